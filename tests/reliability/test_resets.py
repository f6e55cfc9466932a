"""A peer that sends and resets at once is noticed at once, on asyncio's and the product's loop."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

import aiofastnet
import pytest

from proxy.app import new_event_loop
from proxy.network.stream import Gone, Stream
from tests.scripted import reset_on_close

if TYPE_CHECKING:
    from collections.abc import Callable

#: How long the proxy would wait in silence; no peer here is silent.
PATIENCE: Final = 10.0  # seconds


async def read_on(stream: Stream) -> None:
    """Read until there is no more."""
    while True:
        await stream.more(PATIENCE)


async def send_and_reset(sent: bytes) -> tuple[bytes, float]:
    """Let a peer send and reset; return what was read, and seconds until the loss was known."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Stream] = loop.create_future()

    class Accepted(Stream):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            accepted.set_result(self)

    server = await aiofastnet.create_server(loop, lambda: Accepted(loop), "127.0.0.1", 0)
    peer = socket.create_connection(server.sockets[0].getsockname())
    stream = await accepted
    # Both in one turn of the loop, so that it sees them at once.
    peer.sendall(sent)
    reset_on_close(peer)
    peer.close()
    began = loop.time()
    with pytest.raises(Gone):
        await read_on(stream)
    assert stream.lost
    server.close()
    return bytes(stream.buffer), loop.time() - began


@pytest.mark.parametrize(
    "make_loop", [asyncio.new_event_loop, new_event_loop], ids=["asyncio", "the command's"]
)
@pytest.mark.parametrize(
    "sent", [b"", b"GET /half-a-requ", b"x" * 200_000], ids=["nothing", "a little", "much"]
)
def test_a_reset_that_arrives_with_bytes_is_noticed(
    make_loop: Callable[[], asyncio.AbstractEventLoop], sent: bytes
) -> None:
    """The bytes are read and the loss is known at once, not when patience ends."""
    with asyncio.Runner(loop_factory=make_loop) as runner:
        read, seconds = runner.run(send_and_reset(sent))
    assert sent.startswith(read)
    assert seconds < PATIENCE / 2
