"""The port, or Unix socket, that clients use: opened, drained, closed.

What happens on its connections is `client.py`'s.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from proxy.clients.roster import Roster
from proxy.forward.client import ClientService
from proxy.forward.connection import ClientConnection
from proxy.forward.forwarder import Forwarder
from proxy.network import serving, transport
from proxy.network.closing import SocketFile, stop_listening
from proxy.records import Record
from proxy.settings import Settings


class Listener:
    """The port that clients use. `start`, `drain`, `close`. Built inside a running event loop."""

    def __init__(
        self,
        settings: Settings,
        forwarder: Forwarder[Any],
        observe: Callable[[Record], None],
        roster: Roster | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._service = ClientService(settings, forwarder, observe, roster)
        self.follow = self._service.follow
        self._server: serving.Server | None = None
        self._more_servers: list[serving.Server] = []
        self._file: SocketFile | None = None

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._service.clients)

    @property
    def in_flight(self) -> int:
        """How many requests are being served."""
        return sum(client.exchange is not None for client in self._service.clients)

    async def start(self, host: str, port: int) -> int:
        """Listen on one host; return the port. Raises `OSError`."""
        return await self.listen(await serving.bind([host], port))

    async def listen(
        self,
        sockets: Iterable[socket.socket],
        context: ssl.SSLContext | None = None,
        *,
        is_shared: bool = False,
    ) -> int:
        """Listen on bound sockets, which are closed with the listener.

        Return the port, 0 for a Unix socket. Raises `OSError`.

        context: for TLS. is_shared: others hold the sockets open (`network.activation`).
        """
        server = serving.Server(self._connection, sockets, is_shared=is_shared)
        if self._server is None:
            self._server = server
        else:
            self._more_servers.append(server)
        await server.start(context)
        address = server.sockets[0].getsockname()
        return int(address[1]) if isinstance(address, tuple) else 0

    async def renew(self, context: ssl.SSLContext) -> None:
        """Let connections that come from now on have another TLS context. Raises `OSError`."""
        for server in self._all():
            await server.renew(context)

    def _all(self) -> list[serving.Server]:
        return [] if self._server is None else [self._server, *self._more_servers]

    async def start_unix(self, path: str, mode: int = 0o660) -> None:
        """Listen on a Unix socket that owner and group may use. Raises `OSError`."""
        listening = bind_unix(path, mode)
        self._file = SocketFile.of(path)
        listening.listen(transport.BACKLOG)
        await self.listen([listening])

    def _connection(self) -> ClientConnection:
        return ClientConnection(self._service.welcome, self._loop)

    def drain(self) -> None:
        """From now on every answer ends its connection, and says so."""
        self._service.drain()

    async def close(self, grace_seconds: float) -> int:
        """Accept no more; let the requests in flight finish within the grace period, then end them.

        Return how many were cut short.
        """
        self.drain()
        servers, self._server, self._more_servers = self._all(), None, []
        for server in servers:
            await stop_listening(server, self._file)
        try:
            return await self._service.finish(grace_seconds)
        finally:
            self._service.report()


def bind_unix(path: str, mode: int) -> socket.socket:
    """Bind a Unix socket with these permissions from the first moment on.

    A stale one of an earlier run is replaced. Raises `OSError`.
    """
    with contextlib.suppress(FileNotFoundError):
        if Path(path).is_socket():
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    Path(path).unlink()
    listening = socket.socket(socket.AF_UNIX)
    previous = os.umask(0o777 & ~mode)
    try:
        listening.bind(path)
    except BaseException:
        listening.close()
        raise
    finally:
        os.umask(previous)
    listening.setblocking(False)
    return listening
