"""Words and log events of the start: version, configuration, open listeners, failed binds.

It binds nothing, and no value of a secret comes into it.
"""

import errno
import os
import platform
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

import proxy
from proxy.settings import ListenSettings, Settings
from proxy.settings.catalogue import doubts
from proxy.settings.files import writable
from proxy.settings.kinds import is_loopback

log = structlog.get_logger("proxy.starting")


def hosts(of: tuple[str, ...]) -> str | list[str]:
    """Return a listener's hosts for the log: one alone, or a list."""
    return of[0] if len(of) == 1 else list(of)


def tell(
    listen: ListenSettings, configuration: Path | None, foundations: Mapping[str, str]
) -> None:
    """Log the start. configuration: the file, if any. foundations: what it runs on, by name."""
    file = None if configuration is None else writable(configuration)
    python = platform.python_version()
    log.info(
        "proxy.started", version=proxy.__version__, python=python, configuration=file, **foundations
    )
    warn_if_open(listen)


def warn_if_open(listen: ListenSettings) -> None:
    """Log a warning if other machines may use the listener, and no key is asked for."""
    if listen.is_open:
        log.warning(
            "listener.open_to_network", host=hosts(listen.host), detail=whom_it_is_open_to(listen)
        )


def warn_of_doubts(settings: Settings) -> None:
    """Log a warning for each credential or key that is visibly wrong, before a login with it."""
    for path, text in doubts(settings):
        log.warning("credentials.doubtful", setting=path, detail=text)


def warn_if_short(why: str | None) -> None:
    """Log a warning if too few connections fit. why: of `descriptors.share`."""
    if why is not None:
        log.warning("descriptors.short", detail=why)


def whom_it_is_open_to(listen: ListenSettings) -> str:
    """Say what an open listener means, and how to close it."""
    reached = " or ".join(host for host in listen.host if not is_loopback(host))
    return (
        f"Any client that reaches {reached} over the network can place orders in your company's "
        "name: no client key is asked for. Set listen.client_key, or listen.host to 127.0.0.1."
    )


def why_not_bound(section: str, at: tuple[str, ...], port: int, error: OSError) -> str:
    """Say why a listener could not be bound; `section` is that of its settings."""
    host = " or ".join(at)
    if error.errno == errno.EADDRINUSE:
        return (
            f"{section}.port: port {port} on {host} is in use by another process. Stop that one, "
            "or choose another port."
        )
    if error.errno == errno.EACCES:
        return f"{section}.port: this user may not listen on port {port}. Choose one above 1023."
    do = "Set it to an address of this machine"
    if error.errno == errno.EADDRNOTAVAIL:
        why, do = ": it is no address of this machine", "Set it to one that is, to 0.0.0.0 for all"
    elif isinstance(error, socket.gaierror) or not error.errno:
        why = ": the name is not known here"
    else:
        why = f", port {port}: {os.strerror(error.errno)}"
    here = "127.0.0.1 for this machine alone"
    return f"{section}.host: cannot listen on {host}{why}. {do}, or to {here}."


#: What to do about a socket that could not be made, where there is something better to say than to
#: choose another place.
_SOCKET_ADVICE: Final = {
    errno.ENOENT: "Create its directory first.",
    errno.EACCES: "Let the user that the proxy runs as write in its directory.",
    errno.EADDRINUSE: "Stop the process that listens there, or choose another path.",
}


def why_no_socket(error: OSError) -> str:
    """Say why the Unix socket could not be made."""
    reason = os.strerror(error.errno) if error.errno else "the system gives no reason"
    advice = _SOCKET_ADVICE.get(error.errno or 0, "Choose another path.")
    return f"listen.unix_socket: the socket could not be made: {reason}. {advice}"
