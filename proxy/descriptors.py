"""How many files this process may have open (RLIMIT_NOFILE), and how connections share them.

Each connection takes a descriptor. If the limit is too low, clients must not use up what the admin
listener, the API, the token endpoint and files need: else probes fail and no call reaches the API.
"""

import contextlib
import dataclasses
from typing import Final, NamedTuple

from proxy.settings import Settings

#: For everything but clients and the API: standard streams, the event loop, listening sockets (some
#: 15), probes and scrapes (8), the token endpoint, name servers, files being read, a store (8).
OWN: Final = 32
#: For clients that are being refused.
PASSING: Final = 32
#: Under a limit so low that these would be much of it, they are a quarter and an eighth.
_OWN_PART: Final = 4
_PASSING_PART: Final = 8


class Share(NamedTuple):
    """What fits, as `/status` shows it.

    descriptors: open files, None without a limit. clients, upstream: connections at once. detail:
    that these are fewer than the settings allow, and what to do; None if they are not.
    """

    descriptors: int | None
    clients: int
    upstream: int
    detail: str | None = None


def limit() -> int | None:
    """Return how many files this process may have open; None without a limit, or if unknown."""
    with contextlib.suppress(ImportError, OSError):
        import resource  # noqa: PLC0415 # not on Windows

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return None if soft == resource.RLIM_INFINITY else soft
    return None


def ceiling(most: int | None) -> int | None:
    """Return the first descriptor that is kept for other uses than clients. most: as of `limit`.

    A new descriptor has the lowest free number (POSIX, open), so all below this one are in use.
    """
    return None if most is None else most - _own(most)


def share(settings: Settings, most: int | None) -> Share:
    """Share `most` descriptors (as of `limit`) between clients and the API."""
    clients, upstream = settings.limits.max_connections, settings.upstream.max_connections
    if most is None:
        return Share(None, clients, upstream)
    free = most - _own(most) - min(PASSING, most // _PASSING_PART)
    if clients + upstream <= free:
        return Share(most, clients, upstream)
    # A client has one call at a time: more connections to the API than clients would never be used.
    fewer = max(1, min(upstream, free // 2))
    served = max(1, min(clients, free - fewer))
    detail = (
        f"The process may have {most} files open at once, too few for limits.max_connections "
        f"({clients}) and upstream.max_connections ({upstream}): it serves {served} clients at "
        f"once, with {fewer} connections to the API. Raise the hard limit (ulimit -Hn; systemd: "
        "LimitNOFILE=; Docker: --ulimit nofile=), or lower the two settings."
    )
    return Share(most, served, fewer, detail)


def fitted(settings: Settings, most: int | None) -> Settings:
    """Return the settings with the two limits on connections lowered to what fits."""
    fits = share(settings, most)
    return dataclasses.replace(
        settings,
        limits=dataclasses.replace(settings.limits, max_connections=fits.clients),
        upstream=dataclasses.replace(settings.upstream, max_connections=fits.upstream),
    )


def _own(most: int) -> int:
    return min(OWN, most // _OWN_PART)
