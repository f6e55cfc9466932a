"""One connection's bytes, both ways, for coroutines.

What comes in is buffered, what goes out is flow-controlled, every wait has a deadline.

Laws
1. At most one coroutine waits to read and one to write. Each wait ends with bytes, with `Gone`, or
   with `TimeoutError`.
2. Memory is bounded: past `HIGH_WATER` unread bytes the transport stops reading, past asyncio's
   write limit `drain` waits.
3. The end of what the peer sends (`ended`) and the loss of the connection (`lost`) are two things:
   a client that has only closed its sending side still gets its answer.
4. `abort` never ends a stream in a way that could be taken for its proper end: on TCP it resets the
   connection.
5. No coroutine waits for a peer that has reset the connection, even where the event loop does not
   tell (see `more`).
"""

import asyncio
import contextlib
import select
import socket
import struct
from typing import Final, cast

from proxy.network.transport import is_cut

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: As much unread input as one connection may hold: asyncio's own default for its streams.
HIGH_WATER: Final = 65536  # bytes

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds
#: What a socket raises that its transport has closed; ValueError is uvloop's.
_CLOSED: Final = (OSError, ValueError)
#: Seconds that a peer has for its close_notify. Without a bound of ours the transports wait for 30.
CLOSE_NOTIFY_SECONDS: Final = 0.5


class Gone(Exception):
    """The peer ended or lost the connection."""


class Wait:
    """One coroutine waits for one thing.

    Moving the deadline is cheap: a timer that fires too early is set anew.
    """

    __slots__ = ("_deadline", "_future", "_loop", "_timer", "_timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._deadline: float | None = None

    def begin(self, seconds: float | None) -> asyncio.Future[bool]:
        """Return a future: false when `wake` came, true after so many seconds (None: never).

        It never fails: a failure that a cancelled task does not collect would be logged.
        """
        self._future = future = self._loop.create_future()
        if seconds is None:
            self._deadline = None
        else:
            self._deadline = deadline = self._loop.time() + seconds
            if self._timer is None or self._timer_at > deadline:
                self._rearm(deadline)
        return future

    def postpone(self, seconds: float | None) -> None:
        """Move the deadline to so many seconds from now."""
        if seconds is None:
            self._deadline = None
            return
        self._deadline = deadline = self._loop.time() + seconds
        if self._timer is None or self._timer_at > deadline:
            self._rearm(deadline)

    def _rearm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._fired)

    def _fired(self) -> None:
        self._timer = None
        future = self._future
        if self._deadline is None or future is None or future.done():
            return
        if self._loop.time() < self._deadline:
            self._rearm(self._deadline)
        else:
            future.set_result(True)

    def wake(self) -> None:
        """Let the waiting coroutine, if there is one, go on."""
        future = self._future
        if future is not None and not future.done():
            future.set_result(False)

    def close(self) -> None:
        """Let the waiting coroutine go on, and cancel the timer."""
        self.wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Stream(asyncio.Protocol):
    """A connection. Read with `buffer` and `more`, write with `write` and `drain`."""

    __slots__ = (
        "_loop",
        "_poll",
        "_readable",
        "_reading_paused",
        "_socket",
        "_unproven",
        "_writable",
        "buffer",
        "clogged",
        "ended",
        "fault",
        "lost",
        "postpone",
        "transport",
    )

    #: TCP peers may close one direction only; TLS has no such thing (asyncio says so in
    #: `eof_received`).
    half_close = True

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.buffer = bytearray()
        self.ended = False
        self.lost = False
        self.fault: BaseException | None = None
        self._reading_paused = False
        self._socket: socket.socket | None = None
        # Whether bytes have come, those of a TLS handshake too, since the connection last proved to
        # be whole by a write that did not fail.
        self._unproven = True
        self.clogged = False
        self._poll: select.poll | None = None
        self._readable = Wait(loop)
        #: Moves the deadline of the coroutine that waits in `more`.
        self.postpone = self._readable.postpone
        self._writable = Wait(loop)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self._socket = transport.get_extra_info("socket")

    def data_received(self, data: bytes) -> None:
        """Buffer what came and wake the reader."""
        self.buffer += data
        self._unproven = True
        self._readable.wake()
        if len(self.buffer) >= HIGH_WATER and not self._reading_paused:
            # Not from in here: aiofastnet 1.2 forgets what it has decrypted by then, and finds it
            # again only when more comes.
            self._reading_paused = True
            self._loop.call_soon(self._pause_reading)

    def _pause_reading(self) -> None:
        if self._reading_paused:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Note that no more will come; on TCP, go on writing."""
        if is_cut(self.transport):
            self.transport.abort()
            return False
        self.ended = True
        self._readable.wake()
        return self.half_close and self.transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 # any reason
        """Wake the coroutines that wait, and stop the timers."""
        self.lost = True
        self._readable.close()
        self._writable.close()

    def pause_writing(self) -> None:
        """Note that the peer does not keep up: `drain` waits."""
        self.clogged = True

    def resume_writing(self) -> None:
        """Let `drain` go on."""
        self.clogged = False
        self._writable.wake()

    # What the owner calls.

    def __repr__(self) -> str:
        """Show the state, and nothing of what was received."""
        state = "lost" if self.lost else "ended" if self.ended else "open"
        return f"<{type(self).__name__} {state}, {len(self.buffer)} bytes unread>"

    async def more(self, seconds: float | None) -> None:
        """Wait for more input than there is.

        Raises `Gone` when none will come, `TimeoutError` when none came for so many seconds.

        libuv (`uv__poll_io`) stops polling after a reset, and uvloop then reads once. If bytes came
        before the reset, that read returns them, and the reset is never reported; so this method
        asks for it. With aiofastnet, half a TLS record before a reset goes unnoticed until the
        deadline, because it brings no bytes here.
        """
        if self.lost or self.ended or self.fault is not None:
            raise self._end()
        if self._unproven:
            self._unproven = False
            if self.is_reset():
                self.transport.abort()  # and the wait ends with the loss
        if self._reading_paused:
            self.resume_reading()
        before = len(self.buffer)
        timed_out = await self._readable.begin(seconds)
        if len(self.buffer) == before:
            raise TimeoutError if timed_out else self._end()

    def is_reset(self) -> bool:
        """Whether the peer has reset the connection, even if the event loop did not report it."""
        if self._socket is None:
            return False
        try:
            return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        except _CLOSED:
            return False

    def is_readable(self) -> bool:
        """Whether the kernel holds something to take in: bytes, or the end of them.

        False where one cannot ask (Windows).
        """
        if self._poll is None:
            if self._socket is None or not hasattr(select, "poll"):
                return False
            self._poll = select.poll()
            self._poll.register(self._socket.fileno(), select.POLLIN)
        return bool(self._poll.poll(0))

    def _end(self) -> BaseException:
        return self.fault or Gone()

    def resume_reading(self) -> None:
        """Let more come in, if there was too much."""
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()

    def take(self, size: int) -> bytes:
        """Take up to so many bytes off the buffer."""
        buffer = self.buffer
        if size >= len(buffer):
            piece = bytes(buffer)
            buffer.clear()
        else:
            piece = bytes(buffer[:size])
            del buffer[:size]
        return piece

    def fail(self, error: BaseException) -> None:
        """Make the reader raise this error, now or when it next waits."""
        self.fault = error
        self._readable.wake()

    def write(self, data: bytes) -> None:
        """Queue bytes for sending; without effect once the connection is lost."""
        self._unproven = False
        self.transport.write(data)

    async def drain(self, seconds: float | None) -> None:
        """Wait until the peer has taken enough.

        Raises `Gone` if it has gone, `TimeoutError` if it took nothing for so many seconds.
        """
        while self.clogged and not self.lost:
            await self._taken(seconds)
        if self.lost:
            raise Gone

    async def gone(self, seconds: float) -> None:
        """Wait until the connection is no more.

        Raises `TimeoutError` if the peer took nothing of the rest for so many seconds.
        """
        while not self.lost:
            await self._taken(seconds)

    async def _taken(self, seconds: float | None) -> None:
        queued = self.transport.get_write_buffer_size()
        timed_out = await self._writable.begin(seconds)
        if timed_out and self.transport.get_write_buffer_size() >= queued:
            raise TimeoutError

    def end(self) -> None:
        """End the sending side, where the transport can (TLS cannot), and go on reading."""
        if not self.lost and not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()

    def close(self) -> None:
        """Send what is queued and close in order."""
        # asyncio's TLS transport fails of everything once it is closed twice.
        if self.transport.is_closing():
            return
        self.transport.close()
        if self.transport.get_extra_info("ssl_object") is not None:
            self._loop.call_later(CLOSE_NOTIFY_SECONDS, self._leave)

    def _leave(self) -> None:
        """Abort once the peer has everything; it need not send close_notify (RFC 8446, 6.1)."""
        if self.lost:
            return
        if self.transport.get_write_buffer_size() == 0 and _is_sent(self._socket):
            self.transport.abort()
        else:
            self._loop.call_later(CLOSE_NOTIFY_SECONDS, self._leave)

    def abort(self) -> None:
        """Close so that the peer sees a broken connection, not an end."""
        raw = self._socket
        if raw is not None and raw.family != getattr(socket, "AF_UNIX", None):
            with contextlib.suppress(*_CLOSED):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


def _is_sent(raw: socket.socket | None) -> bool:
    """Whether the peer's kernel has all that was written (tcp(7), SIOCOUTQ).

    False where one cannot ask (Windows).
    """
    if raw is None or fcntl is None:
        return False
    try:
        return fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4)) == bytes(4)
    except _CLOSED:
        return False
