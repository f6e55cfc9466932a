"""One connection's bytes over real sockets: bounded waits and memory, ends and losses."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, cast

import aiofastnet
import pytest

from proxy.network.stream import HIGH_WATER, Gone, Stream, Wait

#: As much as one read of a transport may bring beyond the mark: asyncio's `max_size`.
ONE_READ: Final = 256 * 1024


@dataclass
class Timer:
    """A call at some time."""

    when: float
    callback: Callable[[], object]
    is_over: bool = False

    def cancel(self) -> None:
        """Call nothing."""
        self.is_over = True


class StandingLoop:
    """The running event loop with a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []
        real = asyncio.get_running_loop()
        self.create_future, self.call_soon = real.create_future, real.call_soon

    def time(self) -> float:
        """Return the time of the test's clock."""
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call when the test's clock gets there."""
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    async def advance(self, seconds: float) -> None:
        """Move the clock; what is due happens."""
        target = self.now + seconds
        while due := [each for each in self.timers if each.when <= target and not each.is_over]:
            first = min(due, key=lambda timer: timer.when)
            self.now = first.when
            first.cancel()
            first.callback()
            await turns()
        self.now = target
        await turns()


async def turns() -> None:
    """Let everything that is ready happen."""
    for _ in range(10):
        await asyncio.sleep(0)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    return ours, peer


@contextlib.asynccontextmanager
async def connected(
    loop: StandingLoop | None = None,
    kind: type[Stream] = Stream,
    pair: Callable[[], tuple[socket.socket, socket.socket]] = tcp_pair,
) -> AsyncIterator[tuple[Stream, socket.socket]]:
    """Connect a stream on the proxy's transport; yield it and the peer's end."""
    ours, peer = pair()
    real = asyncio.get_running_loop()
    stream = kind(real if loop is None else cast("asyncio.AbstractEventLoop", loop))
    peer.setblocking(False)
    with peer:
        await aiofastnet.create_connection(real, lambda: stream, sock=ours)
        try:
            yield stream, peer
        finally:
            stream.transport.abort()
            await turns()
            assert stream.lost


async def receive(peer: socket.socket) -> bytes:
    """Return what the peer gets next."""
    return await asyncio.get_running_loop().sock_recv(peer, 65536)


async def receive_all(peer: socket.socket) -> int:
    """Receive to the end; return the size."""
    received = 0
    while piece := await receive(peer):
        received += len(piece)
    return received


async def read_for_ever(stream: Stream) -> None:
    """Read until it raises."""
    while True:
        await stream.more(None)


async def begun(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a wait; return its task once it waits."""
    task = asyncio.create_task(coroutine)
    await turns()
    return task


def reset(peer: socket.socket) -> None:
    """Reset the peer's connection."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@pytest.fixture
async def loop() -> StandingLoop:
    """Give a loop whose clock stands."""
    return StandingLoop()


@pytest.fixture
def wait(loop: StandingLoop) -> Wait:
    """Give a wait on it."""
    return Wait(cast("asyncio.AbstractEventLoop", loop))


# --- waits -------------------------------------------------------------------------------------


async def test_a_wait_ends_at_its_deadline(loop: StandingLoop, wait: Wait) -> None:
    """Not before, with True; a deadline can be lifted and set again."""
    future = wait.begin(5)
    await loop.advance(4.9)
    wait.postpone(None)
    await loop.advance(100)
    wait.postpone(5)
    await loop.advance(4.9)
    assert not future.done()
    await loop.advance(0.1)
    assert await future is True


async def test_a_wait_ends_when_woken(loop: StandingLoop, wait: Wait) -> None:
    """With False; its deadline means nothing for later waits, which may have none."""
    future = wait.begin(5)
    await loop.advance(3)
    wait.wake()
    assert await future is False
    following = wait.begin(5)
    await loop.advance(4.9)
    assert not following.done()
    wait.wake()
    endless = wait.begin(None)
    await loop.advance(1_000_000)
    assert not endless.done()


async def test_waking_without_a_wait_does_nothing(wait: Wait) -> None:
    """Before, after and twice; the next wait is not shortened."""
    wait.wake()
    first = wait.begin(None)
    wait.wake()
    wait.wake()
    assert await first is False
    assert not wait.begin(None).done()


async def test_a_cancelled_wait_is_left_alone(loop: StandingLoop, wait: Wait) -> None:
    """Neither its deadline nor a wake-up changes it."""
    future = wait.begin(5)
    future.cancel()
    wait.wake()
    await loop.advance(10)
    assert future.cancelled()


@pytest.mark.parametrize(
    ("first", "then", "moved_after", "due"),
    [
        (5, 5, 3, 8),  # later
        (5, 1, 3, 4),  # sooner
        (5, 20, 4.9, 24.9),  # much later
        (None, 5, 3, 8),  # from never to some time
    ],
)
async def test_a_deadline_can_be_moved(
    loop: StandingLoop, wait: Wait, first: float | None, then: float, moved_after: float, due: float
) -> None:
    """It counts from the last move, sooner or later than before."""
    future = wait.begin(first)
    await loop.advance(moved_after)
    wait.postpone(then)
    await loop.advance(due - moved_after - 0.01)
    assert not future.done()
    await loop.advance(0.02)
    assert await future is True


async def test_moving_a_deadline_is_cheap(loop: StandingLoop, wait: Wait) -> None:
    """A thousand waits in a row make few timers; the last one ends with the wait."""
    for _ in range(1000):
        future = wait.begin(60)
        await loop.advance(0.1)
        wait.wake()
        await future
    assert len(loop.timers) <= 4
    wait.close()
    assert all(timer.is_over for timer in loop.timers)


# --- reading -----------------------------------------------------------------------------------


async def test_bytes_arrive_in_order() -> None:
    """After as many waits as it takes."""
    async with connected() as (stream, peer):
        for piece in (b"a", b"bc", b"def"):
            before = len(stream.buffer)
            peer.send(piece)
            await stream.more(5)
            assert len(stream.buffer) > before
        assert stream.take(4) == b"abcd"
        assert stream.take(100) == b"ef"
        assert stream.take(100) == b""


async def test_silence_ends_a_wait_for_bytes(loop: StandingLoop) -> None:
    """With `TimeoutError`, also if its deadline was moved; a later wait may succeed."""
    async with connected(loop) as (stream, peer):
        reading = await begun(stream.more(None))
        await loop.advance(1000)
        stream.postpone(5)
        await loop.advance(5)
        with pytest.raises(TimeoutError):
            await reading
        peer.send(b"a")
        await stream.more(5)
        assert stream.buffer == b"a"


async def test_an_end_is_not_a_loss() -> None:
    """Bytes sent before are read, then it is `Gone`; the peer can still be written to."""
    async with connected() as (stream, peer):
        peer.send(b"last words")
        peer.shutdown(socket.SHUT_WR)
        await stream.more(5)
        with pytest.raises(Gone):
            await stream.more(5)
        assert stream.buffer == b"last words"
        assert (stream.ended, stream.lost) == (True, False)
        stream.write(b"answer")
        await stream.drain(5)
        assert await receive(peer) == b"answer"
        stream.close()
        assert await receive(peer) == b""


class OneWay(Stream):
    """A connection to the API."""

    half_close = False


async def test_without_half_close_an_end_closes() -> None:
    """The peer's end is the end of the connection."""
    async with connected(kind=OneWay) as (stream, peer):
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(Gone):
            await stream.more(5)
        assert await receive(peer) == b""
        assert stream.ended


async def test_a_loss_ends_every_wait() -> None:
    """A reset ends reader and writer with `Gone`; it is no end."""
    async with connected() as (stream, peer):
        stream.transport.set_write_buffer_limits(high=0)
        stream.write(b"x" * 50_000_000)
        waits = [await begun(stream.more(5)), await begun(stream.drain(5))]
        reset(peer)
        for wait in (*waits, stream.more(5), stream.drain(5)):
            with pytest.raises(Gone):
                await wait
        assert (stream.ended, stream.lost) == (False, True)
        stream.write(b"into the void")


async def test_a_reset_after_bytes_is_noticed() -> None:
    """The bytes are read, then it is `Gone` at once."""
    async with connected() as (stream, peer):
        peer.send(b"half a request")
        reset(peer)
        with pytest.raises(Gone):
            await asyncio.wait_for(read_for_ever(stream), 5)
        assert (stream.ended, stream.lost) == (False, True)


@pytest.mark.parametrize("waits", [True, False])
async def test_a_fault_is_raised_where_bytes_are_awaited(*, waits: bool) -> None:
    """At once if the reader waits, else at its next wait, and every time after."""
    async with connected() as (stream, peer):
        reading = asyncio.ensure_future(stream.more(None))
        if waits:
            await turns()
        stream.fail(ValueError("x"))
        with pytest.raises(ValueError, match="x"):
            await reading
        peer.send(b"a")
        await turns()
        with pytest.raises(ValueError, match="x"):
            await stream.more(None)


async def test_a_cancelled_reader_leaves_the_stream_usable() -> None:
    """Only the wait ends."""
    async with connected() as (stream, peer):
        reading = await begun(stream.more(None))
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        peer.send(b"a")
        await stream.more(5)
        assert stream.buffer == b"a"


# --- bounds ------------------------------------------------------------------------------------


async def test_unread_bytes_are_bounded() -> None:
    """The peer is stopped, and all arrives when it is read."""
    total = 20_000_000
    async with connected() as (stream, peer):
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(peer, b"x" * total))
        received = 0
        while received < total:
            await stream.more(5)
            for _ in range(20):  # long enough for a megabyte, if it were not stopped
                await asyncio.sleep(0)
            assert len(stream.buffer) <= HIGH_WATER + ONE_READ
            received += len(stream.take(total))
        await sending


async def test_a_writer_waits_for_a_slow_peer() -> None:
    """Only past the write limit."""
    async with connected() as (stream, peer):
        stream.write(b"hello")
        await stream.drain(0)
        assert await receive(peer) == b"hello"
        total = 20_000_000
        stream.write(b"x" * total)
        writing = await begun(stream.drain(5))
        assert not writing.done()
        received = 0
        while received < total:
            received += len(await receive(peer))
        await writing


async def test_a_peer_that_takes_nothing_ends_the_wait(loop: StandingLoop) -> None:
    """With `TimeoutError`; the deadline is for silence, not for the whole."""
    async with connected(loop) as (stream, peer):
        stream.write(b"x" * 50_000_000)
        writing = await begun(stream.drain(5))
        for _ in range(5):
            await loop.advance(4)
            queued = stream.transport.get_write_buffer_size()
            while stream.transport.get_write_buffer_size() >= queued:
                await receive(peer)
            assert not writing.done()
        await loop.advance(10)
        with pytest.raises(TimeoutError):
            await writing


# --- ends --------------------------------------------------------------------------------------


async def test_close_sends_what_is_queued() -> None:
    """Every byte, then the end."""
    total = 5_000_000
    async with connected() as (stream, peer):
        stream.write(b"x" * total)
        stream.close()
        assert await receive_all(peer) == total


async def test_abort_resets_a_tcp_connection() -> None:
    """The peer gets a reset, whether bytes are queued or not."""
    for queued in (b"", b"half an answer"):
        async with connected() as (stream, peer):
            stream.write(queued)
            stream.abort()
            with pytest.raises(ConnectionResetError):
                await receive_all(peer)
            stream.abort()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Unix sockets")
async def test_abort_closes_a_unix_socket() -> None:
    """There is no reset; queued bytes are dropped."""
    async with connected(pair=socket.socketpair) as (stream, peer):
        stream.write(b"x" * 5_000_000)
        stream.abort()
        assert await receive_all(peer) < 5_000_000


async def test_the_rest_is_waited_for(loop: StandingLoop) -> None:
    """`gone` waits until the peer has read it, but not for a silent peer."""
    async with connected(loop) as (stream, peer):
        stream.write(b"x" * 20_000_000)
        stream.close()
        going = await begun(stream.gone(5))
        assert not going.done()
        await loop.advance(5)
        with pytest.raises(TimeoutError):
            await going
        going = asyncio.create_task(stream.gone(5))
        assert await receive_all(peer) == 20_000_000
        await going
        assert stream.lost


async def test_its_representation_shows_no_byte() -> None:
    """Only the state."""
    async with connected() as (stream, peer):
        peer.send(b"secret")
        await stream.more(5)
        assert repr(stream) == "<Stream open, 6 bytes unread>"
