"""Taking clients in: none takes what is kept for the rest, and a system without descriptors makes no noise."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from proxy.network.accepting import RETRY_SECONDS, Accepting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds. What takes longer is broken.
DEADLINE = 10.0
pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="its event loop waits for no socket"
)


class Greeting(asyncio.Protocol):
    """Says hello to each client."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # aiofastnet's, which is like one
        """Say it."""
        transport.write(b"hello")
        transport.close()


class Exhausted(socket.socket):
    """A listening socket of a system that has no descriptors left for as long as `left` says.

    accepts: how often it was asked.
    """

    left = 0
    accepts = 0
    number = errno.EMFILE

    def accept(self) -> tuple[socket.socket, object]:
        """Accept, or fail as the kernel does."""
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
def accept(listening: Exhausted) -> Iterator[Callable[..., Accepting]]:
    """Start to accept on it."""
    started: list[Accepting] = []

    def start(ceiling: int | None = None) -> Accepting:
        started.append(Accepting([listening], Greeting, None, ceiling))
        return started[0]

    yield start
    for each in started:
        each.close()


async def greeted(address: tuple[str, int]) -> bytes:
    """Connect; return what is said."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(*address)
        try:
            return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_clients_are_served(listening: Exhausted, accept: Callable[..., Accepting]) -> None:
    """Many at once; and none after the end."""
    accepting = accept()
    assert [each.getsockname() for each in accepting.sockets] == [listening.getsockname()]
    address = listening.getsockname()
    assert await asyncio.gather(*(greeted(address) for _ in range(200))) == [b"hello"] * 200
    accepting.close()
    accepting.close()
    assert accepting.sockets == ()
    with pytest.raises(ConnectionRefusedError):
        await greeted(address)


async def test_a_client_beyond_the_ceiling_is_closed(
    listening: Exhausted, accept: Callable[..., Accepting]
) -> None:
    """It gets no answer, since its descriptor is kept for others.

    This is told once, however many come.
    """
    with capture_logs() as told:
        accept(ceiling=0)
        for _ in range(50):
            assert await greeted(listening.getsockname()) == b""
    assert [each["event"] for each in told] == ["listener.out_of_descriptors"]
    assert "ulimit" in told[0]["detail"]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_without_descriptors_accepting_pauses(
    listening: Exhausted, accept: Callable[..., Accepting], number: int
) -> None:
    """It is tried again after each pause, the client is served then, and this is told once."""
    pauses = 2 if number == errno.EMFILE else 1
    listening.left, listening.number = pauses, number
    loop = asyncio.get_running_loop()
    with capture_logs() as told:
        accept()
        began = loop.time()
        assert await greeted(listening.getsockname()) == b"hello"
    assert loop.time() - began >= pauses * RETRY_SECONDS * 0.9
    assert listening.accepts <= 4
    assert [each["event"] for each in told] == ["listener.out_of_descriptors"]


async def test_a_pause_ends_with_the_listener(
    listening: Exhausted, accept: Callable[..., Accepting]
) -> None:
    """Closed while it pauses, it does not come back."""
    listening.left = 1_000_000
    accepting = accept()
    with socket.create_connection(listening.getsockname()), capture_logs():
        while not listening.accepts:  # noqa: ASYNC110 # the event loop calls `accept`
            await asyncio.sleep(0)
        accepting.close()
    assert accepting._retries == {}


async def test_a_connection_that_has_gone_stops_nothing(
    listening: Exhausted, accept: Callable[..., Accepting]
) -> None:
    """An error of one connection (Linux, accept(2)) is skipped in silence."""
    listening.left, listening.number = 3, errno.ECONNABORTED
    with capture_logs() as told:
        accept()
        assert await greeted(listening.getsockname()) == b"hello"
    assert told == []
