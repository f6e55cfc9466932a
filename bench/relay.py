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
    from collections.abc import Sequence

BACKLOG = 4096


class ToUpstream(asyncio.Protocol):
    """One connection to the upstream, used by one client until the answer comes."""

    _transport: asyncio.Transport

    def __init__(self, idle: list[ToUpstream]) -> None:
        self._idle = idle
        self._client: FromClient | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = transport  # type: ignore[assignment] # streams have one that writes

    def ask(self, client: FromClient, data: bytes) -> None:
        """Write a request; the answer goes to that client."""
        self._client = client
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Pass the answer on, and become idle again."""
        client, self._client = self._client, None
        self._idle.append(self)
        if client is not None:
            client.answer(data)


class FromClient(asyncio.Protocol):
    """One connection of a client."""

    _transport: asyncio.Transport

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = transport  # type: ignore[assignment] # as above

    def data_received(self, data: bytes) -> None:
        """Pass a request on."""
        if self._relay.idle:
            self._relay.idle.pop().ask(self, data)
        else:
            self._relay.connect_for(self, data)

    def answer(self, data: bytes) -> None:
        """Write the answer."""
        self._transport.write(data)


class Relay:
    """Its connections, and how more of them are made."""

    def __init__(self, upstream_port: int, context: ssl.SSLContext) -> None:
        self.idle: list[ToUpstream] = []
        self._upstream_port = upstream_port
        self._context = context
        self._connecting: set[asyncio.Task[None]] = set()

    def connect_for(self, client: FromClient, data: bytes) -> None:
        """Pass a request on over a new connection."""
        task = asyncio.create_task(self._connect(client, data))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, client: FromClient, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await aiofastnet.create_connection(
            loop,
            lambda: ToUpstream(self.idle),
            "127.0.0.1",
            self._upstream_port,
            ssl=self._context,
            server_hostname="localhost",
        )
        connection.ask(client, data)


async def serve(port: int, upstream_port: int, ca_file: str) -> None:
    """Relay until the process is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    relay = Relay(upstream_port, context)
    loop = asyncio.get_running_loop()
    server = await aiofastnet.create_server(
        loop, lambda: FromClient(relay), "127.0.0.1", port, backlog=BACKLOG
    )
    async with server:
        await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """Run it."""
    port, upstream_port, ca_file = arguments
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(port), int(upstream_port), ca_file))


if __name__ == "__main__":
    main(sys.argv[1:])
