"""Listening sockets, bound on several hosts and both families or handed over, and their TLS.

Laws
1. `localhost` is every loopback family that there is, `::` takes IPv4 as well, and a host that
   leads to several addresses gets them all.
2. A renewed TLS context counts for connections that are accepted from then on; the sockets stay.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from typing import TYPE_CHECKING, Final

from proxy import descriptors
from proxy.network import transport
from proxy.network.accepting import Accepting

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Sequence

    Address = tuple[socket.AddressFamily, str]

#: Attempts to find a port that is free on all hosts, where the system chooses it.
_TRIES: Final = 8
#: Turns of the event loop in which asyncio's server, on Windows, makes a connection.
_ACCEPTING_TURNS: Final = 5
_LOOPBACK: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_EVERY_IPV6: Final = "::"
_EVERY_IPV4: Final = "0.0.0.0"  # noqa: S104 # what `::` means where there is no IPv6
#: A family, or an address of it, that this machine does not have.
_MISSING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class Server:
    """Accepts connections on sockets that it owns.

    is_shared: others hold the same sockets open, so clients wait in the kernel once it is closed.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.Protocol],
        sockets: Iterable[socket.socket],
        *,
        is_shared: bool = False,
    ) -> None:
        self._factory = factory
        self._accepting: Accepting | None = None
        self._servers: list[asyncio.Server] = []
        self.sockets: Sequence[socket.socket] = tuple(sockets)
        self.is_shared = is_shared

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        """Accept from now on; with a context, on TLS. Raises `OSError`."""
        await self.renew(context)

    async def renew(self, context: ssl.SSLContext | None) -> None:
        """Accept with another context from now on. Raises `OSError`, and goes on as before then."""
        if sys.platform == "win32":  # its event loop has no add_reader for `Accepting`
            await self._replace(context)
        elif self._accepting is None:
            ceiling = descriptors.ceiling(descriptors.limit())
            self._accepting = Accepting(self.sockets, self._factory, context, ceiling)
        else:
            self._accepting.tls = context

    async def _replace(self, context: ssl.SSLContext | None) -> None:
        # Both accept from the system's one queue until the old one is closed.
        begun = [
            await transport.serve_bound(self._factory, listening.dup(), tls=context)
            for listening in self.sockets
        ]
        old, self._servers = self._servers, begun
        for server in old:
            server.close()

    async def settled(self, seconds: float) -> None:
        """Wait until all accepted ones are connections, for so long at most. Once it is closed."""
        if self._accepting is not None:
            await self._accepting.settled(seconds)
        for _ in range(_ACCEPTING_TURNS if self._servers else 0):
            await asyncio.sleep(0)

    def close(self) -> None:
        """Accept no more."""
        if self._accepting is not None:
            self._accepting.close()
        for server in self._servers:
            server.close()
        sockets, self.sockets = self.sockets, ()
        for listening in sockets:
            listening.close()


async def bind(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Return sockets that listen on each host, all on one port; 0: one free on all.

    Raises `OSError`.
    """
    addresses = await _addresses(hosts)
    is_optional = "localhost" in {host.lower() for host in hosts}
    for attempt in range(_TRIES):
        try:
            return _bind_all(addresses, port, is_optional=is_optional)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE or attempt == _TRIES - 1:
                raise
    raise AssertionError  # the last try returns or raises


async def _addresses(hosts: Sequence[str]) -> list[Address]:
    """Return the addresses to bind, each once; those that `::` takes anyway are left out."""
    found: dict[Address, None] = {}
    for host in hosts:
        if host.lower() == "localhost":
            found |= dict.fromkeys(_LOOPBACK)
            continue
        infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found |= {(info[0], str(info[4][0])): None for info in infos}
    every = (socket.AF_INET6, _EVERY_IPV6)
    return [every] if every in found else list(found)


def _bind_all(addresses: Sequence[Address], port: int, *, is_optional: bool) -> list[socket.socket]:
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in addresses:
            try:
                # The first socket's, if the system chose it.
                found = int(bound[0].getsockname()[1]) if bound else 0
                bound.append(_bind(family, address, port or found))
            except OSError as error:
                is_loopback = is_optional and (family, address) in _LOOPBACK
                if error.errno not in _MISSING or not is_loopback:
                    raise
                missing = error
    except BaseException:
        for listening in bound:
            listening.close()
        raise
    if missing is not None and not bound:
        raise missing
    return bound


def _bind(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    try:
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if (address, error.errno) != (_EVERY_IPV6, errno.EAFNOSUPPORT):
            raise
        return _bind(socket.AF_INET, _EVERY_IPV4, port)
    try:
        if os.name == "posix":  # on Windows it would take the port from another process
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            only = address != _EVERY_IPV6
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        listening.bind((address, port))
        listening.listen(transport.BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening
