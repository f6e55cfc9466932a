"""One connection's bytes over real sockets: bounded waits and memory, ends and losses."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Final, cast

import aiofastnet
import pytest

from proxy.network.stream import HIGH_WATER, Gone, Stream, Wait

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

#: As much as one read of a transport may bring beyond the mark: asyncio's `max_size`.
ONE_READ: Final = 256 * 1024


class StandingLoop:
    """The running event loop with a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, int, StandingTimer]] = []
        self.made = 0

    def time(self) -> float:
        """Return the time of the test's clock."""
        return self.now

    def create_future(self) -> asyncio.Future[None]:
        """Return a future of the real loop."""
        return asyncio.get_running_loop().create_future()

    def call_soon(self, callback: Callable[[], object]) -> asyncio.Handle:
        """Call in the real loop's next turn."""
        return asyncio.get_running_loop().call_soon(callback)

    def call_at(self, when: float, callback: Callable[[], object]) -> StandingTimer:
        """Call when the test's clock gets there."""
        self.made += 1
        timer = StandingTimer(callback)
        heapq.heappush(self.timers, (when, self.made, timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Move the clock; what is due happens."""
        target = self.now + seconds
        while self.timers and self.timers[0][0] <= target:
            self.now, _, timer = heapq.heappop(self.timers)
            if not timer.cancelled:
                timer.callback()
                await turns()
        self.now = target
        await turns()


class StandingTimer:
    """What `call_at` returns."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Cancel it."""
        self.cancelled = True


async def turns() -> None:
    """Let everything that is ready happen."""
    for _ in range(10):
        await asyncio.sleep(0)


def loops() -> list[Callable[[], asyncio.AbstractEventLoop]]:
    """Return the kinds of event loop that the proxy runs on."""
    if sys.platform == "win32":
        return [asyncio.new_event_loop]
    import uvloop  # noqa: PLC0415 # not on Windows

    return [asyncio.new_event_loop, uvloop.new_event_loop]


def on_each_loop(scenario: Callable[[], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on each kind of event loop."""

    @pytest.mark.parametrize("factory", loops(), ids=lambda made: made.__module__.split(".")[0])
    def test(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario())

    return test


@contextlib.asynccontextmanager
async def connected(
    stream: Stream, pair: Callable[[], tuple[socket.socket, socket.socket]] | None = None
) -> AsyncIterator[socket.socket]:
    """Connect the stream on the proxy's transport; yield the peer's end."""
    ours, peer = (pair or tcp_pair)()
    loop = asyncio.get_running_loop()
    peer.setblocking(False)
    with peer:
        await aiofastnet.create_connection(loop, lambda: stream, sock=ours)
        try:
            yield peer
        finally:
            stream.transport.abort()
            await turns()
            assert stream.lost


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    return ours, peer


async def receive(peer: socket.socket, most: int = 1 << 20) -> bytes:
    """Return what the peer gets next."""
    return await asyncio.get_running_loop().sock_recv(peer, most)


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


def standing() -> tuple[StandingLoop, asyncio.AbstractEventLoop]:
    """Return a loop with a standing clock, twice: with its own type and with asyncio's."""
    loop = StandingLoop()
    return loop, cast("asyncio.AbstractEventLoop", loop)


# --- waits -------------------------------------------------------------------------------------


async def test_a_wait_ends_at_its_deadline() -> None:
    """Not before, with True."""
    loop, as_loop = standing()
    future = Wait(as_loop).begin(5)
    await loop.advance(4.9)
    assert not future.done()
    await loop.advance(0.1)
    assert await future is True


async def test_a_wait_ends_when_woken() -> None:
    """With False; its deadline means nothing for later waits, which may have none."""
    loop, as_loop = standing()
    wait = Wait(as_loop)
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


async def test_waking_without_a_wait_does_nothing() -> None:
    """Before, after and twice; the next wait is not shortened."""
    _, as_loop = standing()
    wait = Wait(as_loop)
    wait.wake()
    first = wait.begin(None)
    wait.wake()
    wait.wake()
    assert await first is False
    assert not wait.begin(None).done()


async def test_a_cancelled_wait_is_left_alone() -> None:
    """Neither its deadline nor a wake-up changes it."""
    loop, as_loop = standing()
    wait = Wait(as_loop)
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
    first: float | None, then: float, moved_after: float, due: float
) -> None:
    """It counts from the last move, sooner or later than before."""
    loop, as_loop = standing()
    wait = Wait(as_loop)
    future = wait.begin(first)
    await loop.advance(moved_after)
    wait.postpone(then)
    await loop.advance(due - moved_after - 0.01)
    assert not future.done()
    await loop.advance(0.02)
    assert await future is True


async def test_a_deadline_can_be_lifted() -> None:
    """And set again."""
    loop, as_loop = standing()
    wait = Wait(as_loop)
    future = wait.begin(5)
    wait.postpone(None)
    await loop.advance(100)
    assert not future.done()
    wait.postpone(5)
    await loop.advance(5)
    assert await future is True


async def test_moving_a_deadline_is_cheap() -> None:
    """A thousand waits in a row make few timers."""
    loop, as_loop = standing()
    wait = Wait(as_loop)
    for _ in range(1000):
        future = wait.begin(60)
        await loop.advance(0.1)
        wait.wake()
        await future
    assert loop.made <= 4


async def test_a_closed_wait_leaves_no_timer() -> None:
    """Nothing fires later."""
    loop, as_loop = standing()
    wait = Wait(as_loop)
    wait.begin(5)
    wait.close()
    assert all(timer.cancelled for _, _, timer in loop.timers)


# --- reading -----------------------------------------------------------------------------------


@on_each_loop
async def test_bytes_arrive_in_order() -> None:
    """After as many waits as it takes."""
    stream = Stream(asyncio.get_running_loop())
    async with connected(stream) as peer:
        for piece in (b"a", b"bc", b"def"):
            before = len(stream.buffer)
            peer.send(piece)
            await stream.more(5)
            assert len(stream.buffer) > before
        assert stream.take(4) == b"abcd"
        assert stream.take(100) == b"ef"
        assert stream.take(100) == b""


async def test_silence_ends_a_wait_for_bytes() -> None:
    """With `TimeoutError`; a later wait may succeed."""
    loop, as_loop = standing()
    stream = Stream(as_loop)
    async with connected(stream) as peer:
        reading = asyncio.ensure_future(stream.more(5))
        await turns()
        await loop.advance(5)
        with pytest.raises(TimeoutError):
            await reading
        peer.send(b"a")
        await stream.more(5)
        assert stream.buffer == b"a"


async def test_the_deadline_of_a_reader_can_be_moved() -> None:
    """When it becomes the peer's turn to send."""
    loop, as_loop = standing()
    stream = Stream(as_loop)
    async with connected(stream):
        reading = asyncio.ensure_future(stream.more(None))
        await turns()
        await loop.advance(1000)
        stream.postpone(5)
        await loop.advance(5)
        with pytest.raises(TimeoutError):
            await reading


@on_each_loop
async def test_an_end_is_not_a_loss() -> None:
    """Bytes sent before are read, then it is `Gone`; the peer can still be written to."""
    stream = Stream(asyncio.get_running_loop())
    async with connected(stream) as peer:
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


@on_each_loop
async def test_without_half_close_an_end_closes() -> None:
    """The peer's end is the end of the connection."""
    stream = OneWay(asyncio.get_running_loop())
    async with connected(stream) as peer:
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(Gone):
            await stream.more(5)
        assert await receive(peer) == b""
        assert stream.ended


class OneWay(Stream):
    """A connection to the API."""

    half_close = False


@on_each_loop
async def test_a_loss_ends_every_wait() -> None:
    """A reset ends reader and writer with `Gone`; it is no end."""
    stream = Stream(asyncio.get_running_loop())
    async with connected(stream) as peer:
        stream.transport.set_write_buffer_limits(high=0)
        stream.write(b"x" * 50_000_000)
        reading = asyncio.ensure_future(stream.more(5))
        writing = asyncio.ensure_future(stream.drain(5))
        await turns()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        for wait in (reading, writing):
            with pytest.raises(Gone):
                await wait
        assert (stream.ended, stream.lost) == (False, True)
        for again in (stream.more(5), stream.drain(5)):
            with pytest.raises(Gone):
                await again
        stream.write(b"into the void")


@on_each_loop
async def test_a_reset_after_bytes_is_noticed() -> None:
    """The bytes are read, then it is `Gone` at once."""
    stream = Stream(asyncio.get_running_loop())
    async with connected(stream) as peer:
        peer.send(b"half a request")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(Gone):
            await asyncio.wait_for(read_for_ever(stream), 5)
        assert (stream.ended, stream.lost) == (False, True)


async def test_a_fault_is_raised_where_bytes_are_awaited() -> None:
    """At once if the reader waits, else at its next wait, and every time after."""
    for waits in (True, False):
        stream = Stream(asyncio.get_running_loop())
        async with connected(stream) as peer:
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
    stream = Stream(asyncio.get_running_loop())
    async with connected(stream) as peer:
        reading = asyncio.ensure_future(stream.more(None))
        await turns()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        peer.send(b"a")
        await stream.more(5)
        assert stream.buffer == b"a"


# --- bounds ------------------------------------------------------------------------------------


@on_each_loop
async def test_unread_bytes_are_bounded() -> None:
    """The peer is stopped, and all arrives when it is read."""
    total = 20_000_000
    stream = Stream(asyncio.get_running_loop())
    async with connected(stream) as peer:
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(peer, b"x" * total))
        received = 0
        while received < total:
            await stream.more(5)
            for _ in range(20):  # long enough for a megabyte, if it were not stopped
                await asyncio.sleep(0)
            assert len(stream.buffer) <= HIGH_WATER + ONE_READ
            received += len(stream.take(total))
        await sending
        assert received == total


async def test_a_writer_waits_for_a_slow_peer() -> None:
    """Only past the write limit."""
    stream = Stream(asyncio.get_running_loop())
    async with connected(stream) as peer:
        stream.write(b"hello")
        await stream.drain(0)
        assert await receive(peer) == b"hello"
        total = 20_000_000
        stream.write(b"x" * total)
        writing = asyncio.ensure_future(stream.drain(5))
        await turns()
        assert not writing.done()
        received = 0
        while received < total:
            received += len(await receive(peer))
        await writing


async def test_a_peer_that_takes_nothing_ends_the_wait() -> None:
    """With `TimeoutError`."""
    loop, as_loop = standing()
    stream = Stream(as_loop)
    async with connected(stream):
        stream.write(b"x" * 20_000_000)
        writing = asyncio.ensure_future(stream.drain(5))
        await turns()
        await loop.advance(5)
        with pytest.raises(TimeoutError):
            await writing


async def test_a_peer_that_takes_a_little_is_waited_for() -> None:
    """The deadline is for silence, not for the whole."""
    loop, as_loop = standing()
    stream = Stream(as_loop)
    async with connected(stream) as peer:
        stream.write(b"x" * 50_000_000)
        writing = asyncio.ensure_future(stream.drain(5))
        await turns()
        for _ in range(5):
            await loop.advance(4)
            queued = stream.transport.get_write_buffer_size()
            while stream.transport.get_write_buffer_size() >= queued:
                await receive(peer, 65536)
            assert not writing.done()
        await loop.advance(10)
        with pytest.raises(TimeoutError):
            await writing


# --- ends --------------------------------------------------------------------------------------


@on_each_loop
async def test_close_sends_what_is_queued() -> None:
    """Every byte, then the end."""
    total = 5_000_000
    stream = Stream(asyncio.get_running_loop())
    async with connected(stream) as peer:
        stream.write(b"x" * total)
        stream.close()
        assert await receive_all(peer) == total


@on_each_loop
async def test_abort_resets_a_tcp_connection() -> None:
    """The peer gets a reset, whether bytes are queued or not."""
    for queued in (b"", b"half an answer"):
        stream = Stream(asyncio.get_running_loop())
        async with connected(stream) as peer:
            stream.write(queued)
            stream.abort()
            with pytest.raises(ConnectionResetError):
                await receive_all(peer)
            stream.abort()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Unix sockets")
@on_each_loop
async def test_abort_closes_a_unix_socket() -> None:
    """There is no reset; queued bytes are dropped."""
    stream = Stream(asyncio.get_running_loop())
    async with connected(stream, socket.socketpair) as peer:
        stream.write(b"x" * 5_000_000)
        stream.abort()
        assert await receive_all(peer) < 5_000_000


async def test_the_rest_is_waited_for() -> None:
    """`gone` waits until the peer has read it, but not for a silent peer."""
    loop, as_loop = standing()
    stream = Stream(as_loop)
    async with connected(stream) as peer:
        stream.write(b"x" * 20_000_000)
        stream.close()
        going = asyncio.ensure_future(stream.gone(5))
        await turns()
        assert not going.done()
        await loop.advance(5)
        with pytest.raises(TimeoutError):
            await going
        going = asyncio.ensure_future(stream.gone(5))
        assert await receive_all(peer) == 20_000_000
        await going
        assert stream.lost
