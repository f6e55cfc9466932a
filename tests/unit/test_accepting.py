"""Accepting clients: a ceiling on connections, and pauses while descriptors are short."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from typing import TYPE_CHECKING, cast

import pytest
from structlog.testing import capture_logs

from proxy.network.serving import RETRY_SECONDS, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Accept = Callable[..., Awaitable[Server]]

DEADLINE = 10.0  # seconds
pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="its event loop waits for no socket"
)


class Greeting(asyncio.Protocol):
    """Greet each client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Write the greeting and close."""
        cast("asyncio.Transport", transport).write(b"hello")
        transport.close()


class Exhausted(socket.socket):
    """A listening socket whose first `left` calls of `accept` fail, and the number of calls."""

    left = 0
    accepts = 0
    number = errno.EMFILE

    def accept(self) -> tuple[socket.socket, object]:
        """Fail while `left` lasts, as the kernel does; then accept."""
        self.accepts += 1
        if self.left:
            self.left -= 1
            raise OSError(self.number, "")
        return super().accept()


@pytest.fixture
def listening() -> Iterator[Exhausted]:
    """Give a bound socket."""
    with Exhausted() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@pytest.fixture
async def accept(listening: Exhausted) -> AsyncIterator[Accept]:
    """Give a function that starts to accept."""
    server = Server(Greeting, [listening])

    async def start(ceiling: int | None = None) -> Server:
        server.ceiling = ceiling
        await server.start()
        return server

    yield start
    server.close()


async def greeted(address: tuple[str, int]) -> bytes:
    """Connect; return what the server sends."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(*address)
        try:
            return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_clients_are_served(listening: Exhausted, accept: Accept) -> None:
    """Many at once; none after the listener is closed."""
    accepting = await accept()
    assert [each.getsockname() for each in accepting.sockets] == [listening.getsockname()]
    address = listening.getsockname()
    assert await asyncio.gather(*(greeted(address) for _ in range(200))) == [b"hello"] * 200
    accepting.close()
    accepting.close()
    assert accepting.sockets == ()
    with pytest.raises(ConnectionRefusedError):
        await greeted(address)


async def test_a_client_beyond_the_ceiling_is_closed(listening: Exhausted, accept: Accept) -> None:
    """It gets no answer; one log line covers them all."""
    with capture_logs() as logged:
        await accept(ceiling=0)
        for _ in range(50):
            assert await greeted(listening.getsockname()) == b""
    assert [each["event"] for each in logged] == ["listener.out_of_descriptors"]
    assert "ulimit" in logged[0]["detail"]


async def test_a_connection_that_has_gone_stops_nothing(
    listening: Exhausted, accept: Accept
) -> None:
    """An error of one connection (Linux, accept(2)) is skipped without a log line."""
    listening.left, listening.number = 3, errno.ECONNABORTED
    with capture_logs() as logged:
        await accept()
        assert await greeted(listening.getsockname()) == b"hello"
    assert logged == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_without_descriptors_accepting_pauses(
    listening: Exhausted, accept: Accept, number: int
) -> None:
    """After each pause it tries again; it logs once."""
    pauses = 2 if number == errno.EMFILE else 1
    listening.left, listening.number = pauses, number
    loop = asyncio.get_running_loop()
    with capture_logs() as logged:
        await accept()
        began = loop.time()
        assert await greeted(listening.getsockname()) == b"hello"
    assert loop.time() - began >= pauses * RETRY_SECONDS * 0.9
    assert listening.accepts <= 4
    assert [each["event"] for each in logged] == ["listener.out_of_descriptors"]


async def test_a_pause_ends_with_the_listener(listening: Exhausted, accept: Accept) -> None:
    """A listener closed during a pause stays closed."""
    listening.left = 1_000_000
    accepting = await accept()
    with socket.create_connection(listening.getsockname()), capture_logs():
        while not listening.accepts:  # noqa: ASYNC110 # the event loop calls `accept`
            await asyncio.sleep(0)
        accepting.close()
    assert accepting._retries == {}
