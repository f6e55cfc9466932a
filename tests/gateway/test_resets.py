"""A reset right behind the last bytes, on uvloop: both are noticed at once.

libuv stops watching a socket when it reports an error, although bytes may be left to read;
asyncio's own loop does not. So the peers here have bytes and reset in the kernel before the loop
looks.
"""

import asyncio
import socket
import sys
from typing import Any, Final

import pytest

from tests.gateway.client import ORDERS, Client, order, request, until
from tests.gateway.conftest import Lab
from tests.scripted import reply

if sys.platform == "win32":
    pytest.skip("there is no uvloop", allow_module_level=True)
from collections.abc import Callable, Coroutine

import uvloop

from tests.gateway.client import Answer
from tests.gateway.conftest import Certificates, Gateway
from tests.gateway.variants import Variant


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


async def called(lab: Lab, raw: bytes, data: bytes) -> tuple[Gateway, Client, Answer]:
    """Make one call to an upstream that answers with this data and resets."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)

        async def answer_once() -> None:
            accepted, _ = await loop.sock_accept(server)
            await loop.sock_recv(accepted, 65536)
            Client(accepted).send_and_reset(data)

        gateway = await lab.gateway(url=f"http://127.0.0.1:{server.getsockname()[1]}")
        client = await gateway.connect()
        answering = asyncio.create_task(answer_once())
        answer = await client.ask(raw)
        await answering
        return gateway, client, answer


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


OK: Final = b"HTTP/1.1 200 OK\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize("raw", [request(), order()], ids=["get", "order"])
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (OK[:10], 502),
        (OK + b"X: 1\r\n", 502),
        (b"HTTP/1.1 102 X\r\n\r\n", 502),
        (OK + b"Content-Length: 10\r\n\r\nabc", 200),
        (OK + CHUNKED + b"\r\n3\r\nabc\r\n", 200),
        (OK + b"\r\nabc", 200),
    ],
)
def test_an_upstream_that_resets_right_behind_half_an_answer(
    certificates: Certificates, variant: Variant, data: bytes, status: int, raw: bytes
) -> None:
    """The client gets 502, or the part that arrived and a broken connection, at once."""

    async def main(lab: Lab) -> None:
        gateway, client, answer = await called(lab, raw, data)
        assert answer.status == status
        assert gateway.record.error == "connection_terminated"
        if status == 502:
            assert answer.proxy_error == "connection_terminated"
        else:
            assert (bytes(answer.content), answer.whole, client.ended) == (b"abc", False, "rst")

    on_uvloop(certificates, variant, main)


def test_a_whole_answer_right_before_a_reset_is_whole(
    certificates: Certificates, variant: Variant
) -> None:
    """A server that answers without reading all of the request resets afterwards."""

    async def main(lab: Lab) -> None:
        content = b"x" * 100_000
        _, _, answer = await called(lab, order(), reply(413, content))
        assert (answer.status, bytes(answer.content), answer.whole) == (413, content, True)

    on_uvloop(certificates, variant, main)
