"""The physical limit: a relay of bytes between clients and open TLS connections to the API.

It reads no HTTP, adds no credential, writes no log, and closes nothing. What is left is the work of
the kernel and of TLS for four socket calls a request, on the event loop and the transports of the
proxy: no proxy on these can cost less. Messages have to come in one piece, and clients have to send
the credential themselves.

    python -m bench.relay PORT UPSTREAM_PORT CA_FILE
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import TYPE_CHECKING

import aiofastnet
import uvloop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BACKLOG = 4096


class ToUpstream(asyncio.Protocol):
    """One connection to the upstream, used by one client until the answer comes."""

    transport: asyncio.Transport
    client: asyncio.Transport

    def __init__(self, idle: list[ToUpstream]) -> None:
        self._idle = idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self.transport = transport  # type: ignore[assignment] # streams have one that writes

    def data_received(self, data: bytes) -> None:
        """Pass the answer on, and become idle again."""
        self._idle.append(self)
        self.client.write(data)


class FromClient(asyncio.Protocol):
    """One connection of a client, which sends one request after the other."""

    _transport: asyncio.Transport

    def __init__(
        self, idle: list[ToUpstream], connect: Callable[[], Awaitable[ToUpstream]]
    ) -> None:
        self._idle = idle
        self._connect = connect

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = transport  # type: ignore[assignment] # as above

    def data_received(self, data: bytes) -> None:
        """Pass a request on, over a new connection if none is idle."""
        if self._idle:
            self._ask(self._idle.pop(), data)
        else:
            self._connecting = asyncio.create_task(self._ask_new(data))

    def _ask(self, upstream: ToUpstream, data: bytes) -> None:
        upstream.client = self._transport
        upstream.transport.write(data)

    async def _ask_new(self, data: bytes) -> None:
        self._ask(await self._connect(), data)


async def serve(port: int, upstream_port: int, ca_file: str) -> None:
    """Relay until the process is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    loop = asyncio.get_running_loop()
    idle: list[ToUpstream] = []
    upstream = ("127.0.0.1", upstream_port)

    async def connect() -> ToUpstream:
        _, made = await aiofastnet.create_connection(
            loop, lambda: ToUpstream(idle), *upstream, ssl=context, server_hostname="localhost"
        )
        return made

    server = await aiofastnet.create_server(
        loop, lambda: FromClient(idle, connect), "127.0.0.1", port, backlog=BACKLOG
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
