"""One connection's bytes over real sockets.

Every wait ends, memory is bounded, and an end is told from a loss.
"""

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
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

#: As much as one read of a transport may bring beyond the mark: asyncio's `max_size`.
ONE_READ: Final = 256 * 1024


class StandingLoop:
    """The running event loop with a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, int, StandingTimer]] = []
        self.made = 0

    def time(self) -> float:
        """Return the instant that the test has set."""
        return self.now

    def create_future(self) -> asyncio.Future[None]:
        """Return a future of the real loop."""
        return asyncio.get_running_loop().create_future()

    def call_soon(self, callback: Callable[[], object]) -> asyncio.Handle:
        """Call with the real loop's next turn."""
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
        """Forget it."""
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


@pytest.fixture(params=loops(), ids=lambda factory: factory.__module__.partition(".")[0])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Run a scenario on each kind of event loop."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@contextlib.asynccontextmanager
async def connected(
    stream: Stream, pair: Callable[[], tuple[socket.socket, socket.socket]] | None = None
) -> AsyncIterator[socket.socket]:
    """Connect the stream, on the transport that the proxy uses; yield the peer's end."""
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
    """Receive to the end; return how much it was."""
    received = 0
    while piece := await receive(peer):
        received += len(piece)
    return received


async def read_for_ever(stream: Stream) -> None:
    """Read until it raises."""
    while True:
        await stream.more(None)


def standing() -> tuple[StandingLoop, asyncio.AbstractEventLoop]:
    """Return a loop with a standing clock, twice: as what it is, and as what it stands for."""
    loop = StandingLoop()
    return loop, cast("asyncio.AbstractEventLoop", loop)


# --- waits -------------------------------------------------------------------------------------


async def test_a_wait_ends_at_its_deadline() -> None:
    """Not before, and it says that it is for that."""
    loop, as_loop = standing()
    future = Wait(as_loop).begin(5)
    await loop.advance(4.9)
    assert not future.done()
    await loop.advance(0.1)
    assert await future is True


async def test_a_wait_ends_when_woken() -> None:
    """It says that it is for that, and its deadline then means nothing, to it and to the next."""
    loop, as_loop = standing()
    wait = Wait(as_loop)
    future = wait.begin(5)
    await loop.advance(3)
    wait.wake()
    assert await future is False
    following = wait.begin(5)
    await loop.advance(4.9)
    assert not following.done()


async def test_waking_nobody_does_nothing() -> None:
    """Before, after and twice: who does not wait is not woken, and the next wait is not shortened."""
    _, as_loop = standing()
    wait = Wait(as_loop)
    wait.wake()
    first = wait.begin(None)
    wait.wake()
    wait.wake()
    assert await first is False
    assert not wait.begin(None).done()


async def test_a_cancelled_wait_is_left_alone() -> None:
    """Neither its deadline nor being woken reaches somebody who has gone."""
    loop, as_loop = standing()
    wait = Wait(as_loop)
    future = wait.begin(5)
    future.cancel()
    wait.wake()
    await loop.advance(10)
    assert future.cancelled()


async def test_a_wait_may_last_for_ever() -> None:
    """Without seconds there is no deadline, also where an earlier wait had one."""
    loop, as_loop = standing()
    wait = Wait(as_loop)
    wait.begin(5)
    wait.wake()
    future = wait.begin(None)
    await loop.advance(1_000_000)
    assert not future.done()


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
    """The wait ends so many seconds after the last word, sooner or later than first said."""
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
    """Moved to never, it does not come; moved back, it does."""
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
    """A thousand waits one after the other, each with the same patience, make a timer now and then, not a thousand."""
    loop, as_loop = standing()
    wait = Wait(as_loop)
    for _ in range(1000):
        future = wait.begin(60)
        await loop.advance(0.1)
        wait.wake()
        await future
    assert loop.made <= 4


async def test_a_closed_wait_leaves_no_timer() -> None:
    """Nothing fires after the end."""
    loop, as_loop = standing()
    wait = Wait(as_loop)
    wait.begin(5)
    wait.close()
    assert all(timer.cancelled for _, _, timer in loop.timers)


# --- reading -----------------------------------------------------------------------------------


def test_bytes_arrive_in_order(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """What the peer sends is in the buffer, after as many waits as it takes."""

    async def scenario() -> None:
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

    run(scenario())


async def test_silence_ends_a_wait_for_bytes() -> None:
    """After so many seconds without a byte, `TimeoutError`.

    The connection is as before, and a later wait may succeed.
    """
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
    """Whoever learns that it is now the peer's turn can start its time anew."""
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


def test_an_end_is_not_a_loss(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """A peer that ends its sending side gets what was sent before as bytes, the end as `Gone`, and can still be written to."""

    async def scenario() -> None:
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

    run(scenario())


def test_who_knows_no_half_close_closes(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Where an ended peer would not listen, its end is the end of the connection."""

    async def scenario() -> None:
        stream = OneWay(asyncio.get_running_loop())
        async with connected(stream) as peer:
            peer.shutdown(socket.SHUT_WR)
            with pytest.raises(Gone):
                await stream.more(5)
            assert await receive(peer) == b""
            assert stream.ended

    run(scenario())


class OneWay(Stream):
    """As connections to the API are."""

    half_close = False


def test_a_loss_ends_every_wait(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """A reset ends the reader and the writer with `Gone`, now and from then on; it is no end."""

    async def scenario() -> None:
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

    run(scenario())


def test_a_reset_after_bytes_is_heard_of(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Bytes that came before the reset are read.

    Then, at once, it is `Gone` and no end, however patient the reader is.
    """

    async def scenario() -> None:
        stream = Stream(asyncio.get_running_loop())
        async with connected(stream) as peer:
            peer.send(b"half a request")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            with pytest.raises(Gone):
                await asyncio.wait_for(read_for_ever(stream), 5)
            assert (stream.ended, stream.lost) == (False, True)

    run(scenario())


async def test_a_fault_is_raised_where_bytes_are_awaited() -> None:
    """Another task can make the reader fail: now, if it waits, and every time after."""
    stream = Stream(asyncio.get_running_loop())
    async with connected(stream) as peer:
        reading = asyncio.ensure_future(stream.more(None))
        await turns()
        stream.fail(ValueError("x"))
        with pytest.raises(ValueError, match="x"):
            await reading
        peer.send(b"a")
        await turns()
        with pytest.raises(ValueError, match="x"):
            await stream.more(None)


async def test_a_fault_is_kept_for_who_does_not_wait_yet() -> None:
    """It is raised at the next wait."""
    stream = Stream(asyncio.get_running_loop())
    async with connected(stream):
        stream.fail(ValueError("x"))
        with pytest.raises(ValueError, match="x"):
            await stream.more(None)


async def test_a_cancelled_reader_leaves_the_stream_usable() -> None:
    """Cancellation ends the wait and nothing else."""
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


def test_unread_bytes_are_bounded(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """A peer that sends without being read is stopped: the rest waits in its own system.

    Read on, all of it arrives.
    """
    total = 20_000_000

    async def scenario() -> None:
        stream = Stream(asyncio.get_running_loop())
        async with connected(stream) as peer:
            sending = asyncio.ensure_future(
                asyncio.get_running_loop().sock_sendall(peer, b"x" * total)
            )
            received = 0
            while received < total:
                await stream.more(5)
                for _ in range(20):  # long enough for a megabyte, if it were not stopped
                    await asyncio.sleep(0)
                assert len(stream.buffer) <= HIGH_WATER + ONE_READ
                received += len(stream.take(total))
            await sending
            assert received == total

    run(scenario())


async def test_the_mark_can_be_set() -> None:
    """The bound is the stream's own."""
    stream = Stream(asyncio.get_running_loop(), high_water=10)
    async with connected(stream) as peer:
        peer.send(b"x" * 10)
        await stream.more(5)
        await turns()
        assert not stream.transport.is_reading()
        stream.take(10)
        peer.send(b"y")
        await stream.more(5)
        assert stream.buffer == b"y"


async def test_a_writer_waits_for_a_slow_peer() -> None:
    """Past the write limit `drain` waits, until the peer has taken enough.

    Unhurried writers do not wait at all.
    """
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
    """After so many seconds, `TimeoutError`."""
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
    """The time is that of silence, not of the whole: a slow reader is no silent one."""
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


def test_close_sends_what_is_queued(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """A connection closed in order is an answer's proper end: every byte, then the end."""
    total = 5_000_000

    async def scenario() -> None:
        stream = Stream(asyncio.get_running_loop())
        async with connected(stream) as peer:
            stream.write(b"x" * total)
            stream.close()
            assert await receive_all(peer) == total

    run(scenario())


def test_abort_resets_a_tcp_connection(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """What is broken off looks broken.

    The peer gets a reset, never an end, whether bytes are queued or not.
    """

    async def scenario() -> None:
        for queued in (b"", b"half an answer"):
            stream = Stream(asyncio.get_running_loop())
            async with connected(stream) as peer:
                stream.write(queued)
                stream.abort()
                with pytest.raises(ConnectionResetError):
                    await receive_all(peer)
                stream.abort()

    run(scenario())


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Unix sockets")
def test_abort_closes_a_unix_socket(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Unix sockets know no reset; the connection ends, and what was queued is dropped."""

    async def scenario() -> None:
        stream = Stream(asyncio.get_running_loop())
        async with connected(stream, socket.socketpair) as peer:
            stream.write(b"x" * 5_000_000)
            stream.abort()
            assert await receive_all(peer) < 5_000_000

    run(scenario())


async def test_the_rest_is_waited_for() -> None:
    """After `close`, `gone` waits until the peer has taken the rest.

    One that takes nothing of it is not waited for.
    """
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
