"""Sockets that systemd hands over (sd_listen_fds(3)), which stay open while the proxy restarts."""

import socket
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

#: The first of them (sd-daemon.h, SD_LISTEN_FDS_START).
FIRST: Final = 3
#: The name in LISTEN_FDNAMES of the admin listener's; all others are the listener's.
ADMIN: Final = "admin"
_MOST: Final = 64


class HandedOver(NamedTuple):
    """Listening sockets. listener: what clients use. admin: what operators use."""

    listener: tuple[socket.socket, ...] = ()
    admin: tuple[socket.socket, ...] = ()

    def close(self) -> None:
        """Let go of all of them; the process that handed them over keeps them open."""
        for listening in (*self.listener, *self.admin):
            listening.close()


def descriptors(environ: Mapping[str, str], pid: int) -> dict[int, str]:
    """Return the file descriptors that are handed to this process, each with its name or "".

    LISTEN_PID says whose they are, so that a child of another service takes none.
    """
    whose, count = environ.get("LISTEN_PID", ""), environ.get("LISTEN_FDS", "")
    if whose != str(pid) or not (count.isascii() and count.isdigit()):
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    numbers = range(FIRST, FIRST + min(int(count), _MOST))
    return {
        number: names[place] if place < len(names) else "" for place, number in enumerate(numbers)
    }


def handed_over(
    environ: Mapping[str, str], pid: int, take: Callable[[int], socket.socket] | None = None
) -> HandedOver:
    """Take the sockets that are handed to this process. Raises `OSError` for another file."""
    taken = [(name, (take or _take)(number)) for number, name in descriptors(environ, pid).items()]
    return HandedOver(
        tuple(listening for name, listening in taken if name != ADMIN),
        tuple(listening for name, listening in taken if name == ADMIN),
    )


def _take(number: int) -> socket.socket:
    listening = socket.socket(fileno=number)
    accepts = listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listening.type != socket.SOCK_STREAM or not accepts:
        listening.detach()
        raise OSError("it is no listening stream socket")
    listening.set_inheritable(False)
    listening.setblocking(False)
    return listening
