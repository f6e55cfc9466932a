"""The port, or Unix socket, that clients use: opened, drained, closed. What happens on its connections is `client.py`'s."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.forward.client import ClientConnection, Service
from proxy.forward.closing import SocketFile, stop_listening
from proxy.network import transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clients.roster import Roster
    from proxy.forward.client import Forwards
    from proxy.records import Record
    from proxy.settings import Settings


class Listener:
    """The port that clients use. `start`, `drain`, `close`. Built inside a running event loop."""

    def __init__(
        self,
        settings: Settings,
        forwarder: Forwards,
        observe: Callable[[Record], None],
        roster: Roster | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._service = Service(settings, forwarder, observe, roster)
        self.judge_by = self._service.judge_by
        self._server: asyncio.Server | None = None
        self._more_servers: list[asyncio.Server] = []
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
        """Listen on TCP, on one more host each time; return the port. Raises `OSError`.

        Where the system chooses the port (0), it chooses it for the first host.
        """
        if self._server is None:
            self._server = await transport.serve(self._connection, host, port)
        else:
            more = await transport.serve(self._connection, host, port or self._port())
            self._more_servers.append(more)
        return self._port()

    def _port(self) -> int:
        return 0 if self._server is None else int(self._server.sockets[0].getsockname()[1])

    async def start_unix(self, path: str, mode: int = 0o660) -> None:
        """Listen on a Unix socket that owner and group may use. Raises `OSError`."""
        listening = bind_unix(path, mode)
        self._file = SocketFile.of(path)
        self._server = await transport.serve_unix(self._connection, listening)

    def _connection(self) -> ClientConnection:
        return ClientConnection(self._service, self._loop)

    def drain(self) -> None:
        """From now on every answer ends its connection, and says so."""
        self._service.drain()

    async def close(self, grace_seconds: float) -> int:
        """Accept no more; let the requests in flight finish within the grace period, then end them. Return how many were cut short."""
        self.drain()
        server, self._server = self._server, None
        more, self._more_servers = self._more_servers, []
        for one in [server, *more]:
            if one is not None:
                await stop_listening(one, self._file)
        try:
            return await self._service.finish(grace_seconds)
        finally:
            self._service.report()


def bind_unix(path: str, mode: int) -> socket.socket:
    """Bind a Unix socket with these permissions from the first moment on; a stale one of an earlier run is replaced. Raises `OSError`."""
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
