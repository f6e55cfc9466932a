"""A reset right behind the last bytes, on uvloop: both are noticed at once.

libuv stops watching a socket when it reports an error, although bytes may be left to read;
asyncio's own loop does not. So the peers here have bytes and reset in the kernel before the loop
looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.gateway.client import ORDERS, order, request, until
from tests.gateway.conftest import Lab

if sys.platform == "win32":
    pytest.skip("there is no uvloop", allow_module_level=True)
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from tests.gateway.client import Answer, Client
    from tests.gateway.conftest import Certificates, Gateway
    from tests.gateway.variants import Variant

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds


def on_uvloop(
    certificates: Certificates, variant: Variant, main: Callable[[Lab], Coroutine[Any, Any, None]]
) -> None:
    """Run it on the product's event loop, and close what it built."""

    async def run() -> None:
        lab = Lab(certificates, variant)
        try:
            await main(lab)
        finally:
            await lab.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def send_and_reset(raw: socket.socket, data: bytes) -> None:
    """Send the data and reset the connection, without a turn of the event loop between."""
    raw.setblocking(True)
    raw.sendall(data)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    raw.close()


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    """Listen on any free port, for one connection at a time."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        yield server


async def answer_once(server: socket.socket, data: bytes) -> None:
    """Take one connection, read a request, answer with this data, and reset."""
    loop = asyncio.get_running_loop()
    raw, _ = await loop.sock_accept(server)
    await loop.sock_recv(raw, 65536)
    send_and_reset(raw, data)


async def called(
    gateway: Gateway, server: socket.socket, raw: bytes, data: bytes
) -> tuple[Client, Answer]:
    """Make one call to an upstream that answers with this data and resets."""
    client = await gateway.connect()
    answering = asyncio.create_task(answer_once(server, data))
    answer = await client.ask(raw)
    await answering
    return client, answer


@pytest.mark.parametrize(
    "raw",
    [
        b"",  # on TLS: right behind its part of the handshake
        b"G",
        request()[:-2],
        order()[:-5],
        request(b"POST", ORDERS, b"Transfer-Encoding: chunked") + b"5\r\nhel",
        request(b"GET", b"/nowhere"),
        b"nonsense\r\n\r\n",
    ],
)
def test_a_client_that_resets_right_behind_its_bytes_is_noticed(
    certificates: Certificates, variant: Variant, raw: bytes
) -> None:
    """Its connection is closed at once, not at a deadline."""

    async def main(lab: Lab) -> None:
        gateway = await lab.gateway()
        gateway.cut_short = None
        client = await gateway.connect()
        client.send_and_reset(raw)
        await asyncio.sleep(0.02)
        await until(lambda: not gateway.listener.connections, 5)

    on_uvloop(certificates, variant, main)


@pytest.mark.parametrize("raw", [request(), order()], ids=["get", "order"])
@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nX: 1\r\n", b"HTTP/1.1 102 X\r\n\r\n"]
)
def test_an_upstream_that_resets_right_behind_half_a_head(
    certificates: Certificates, variant: Variant, data: bytes, raw: bytes
) -> None:
    """The client gets 502 at once, not 504 much later."""

    async def main(lab: Lab) -> None:
        with listening() as server:
            gateway = await lab.gateway(url=f"http://127.0.0.1:{server.getsockname()[1]}")
            _, answer = await called(gateway, server, raw, data)
        assert (answer.status, answer.proxy_error) == (502, "connection_terminated")

    on_uvloop(certificates, variant, main)


@pytest.mark.parametrize("raw", [request(), order()], ids=["get", "order"])
@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nabc",
    ],
    ids=["length", "chunked", "closing"],
)
def test_an_upstream_that_resets_right_behind_half_a_body(
    certificates: Certificates, variant: Variant, data: bytes, raw: bytes
) -> None:
    """The client gets the part that arrived, and a broken connection, at once."""

    async def main(lab: Lab) -> None:
        with listening() as server:
            gateway = await lab.gateway(url=f"http://127.0.0.1:{server.getsockname()[1]}")
            client, answer = await called(gateway, server, raw, data)
        assert (answer.status, bytes(answer.content), answer.whole) == (200, b"abc", False)
        assert client.ended == "rst"
        assert gateway.record.error == "connection_terminated"

    on_uvloop(certificates, variant, main)


def test_a_whole_answer_right_before_a_reset_is_whole(
    certificates: Certificates, variant: Variant
) -> None:
    """A server that answers without reading all of the request resets afterwards."""

    async def main(lab: Lab) -> None:
        content = b"x" * 100_000
        with listening() as server:
            gateway = await lab.gateway(url=f"http://127.0.0.1:{server.getsockname()[1]}")
            data = b"HTTP/1.1 413 X\r\nContent-Length: %d\r\n\r\n" % len(content) + content
            _, answer = await called(gateway, server, order(), data)
        assert (answer.status, bytes(answer.content), answer.whole) == (413, content, True)

    on_uvloop(certificates, variant, main)
