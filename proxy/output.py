"""Log lines to standard output: at once if that cannot block, else through a queue and a thread.

Laws
1. Taking a line never waits, whatever standard output is: a pipe that is not read, a full disk, a
   closed terminal.
2. The lines of one turn of the event loop leave in one system call, in order.
3. What does not fit into the queue, or cannot be written, is dropped and counted. One line on
   standard error says so, and an event in the log once writing works again; both at most once in
   `TELL_SECONDS`.
4. The end of the process waits for what is queued, for a bounded time.

A pipe that polls as writable takes PIPE_BUF bytes without blocking (pipe(7)), so the event loop
writes pieces of that size itself: a thread for each turn of it took half of a call's CPU time
(perf, Linux 6.18). A thread writes what has to wait, and not O_NONBLOCK, because that flag belongs
to the open file description, which other processes share; it is a daemon, so that a hanging `write`
ends with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import stat
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

#: Bytes in the queue: some 10,000 lines, or a second at full load, so that a reader may pause for
#: as long.
MOST_QUEUED: Final = 4 * 1024 * 1024
#: Seconds that the end of the process waits for what is queued.
LAST_SECONDS: Final = 2.0
#: Seconds between two notices of the same trouble.
TELL_SECONDS: Final = 10.0
#: Seconds until a full non-blocking descriptor is tried again.
_RETRY_SECONDS: Final = 0.02
_STANDARD_ERROR: Final = 2
FULL: Final = "its reader does not keep up, and the queue is full"
LATE: Final = "its reader did not keep up until the end"
UNNAMED: Final = "the system gives no reason"

log = structlog.get_logger("proxy.output")


class Losses(NamedTuple):
    """What was not written. lost: lines since the start. reason: why lines are lost now, else None.

    since: when that began, in seconds since the epoch.
    """

    lost: int
    reason: str | None
    since: float | None = None


class LineWriter:
    """Takes lines for a descriptor. Built anywhere; `write` may be called from any thread.

    complain: gets the one line about lost lines, without its line break; it may block. now: seconds
    that only grow. wall: seconds since the epoch, for people.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        complain: Callable[[str], None] | None = None,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._descriptor = descriptor
        self._complain = complain or _say_on_standard_error
        self._now = now
        self._wall = wall
        self._lock = threading.Lock()
        # What is guarded by the lock, from here on.
        self._lines: list[bytes] = []  # of this turn of the event loop
        self._queued = 0  # bytes handed to the thread and not yet written
        self._lost = 0
        self._lost_when_logged = 0
        self._reason: str | None = None
        self._since: float | None = None  # while there is a reason
        self._complained_at = self._restored_at = -TELL_SECONDS
        self._complaining: threading.Thread | None = None
        self._thread: threading.Thread | None = None
        # An event is set once all before it is written.
        self._chunks: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        self._torn = False  # the last thing written was a part of a line
        self._within = False  # what is queued begins in the middle of a line
        self._poll, self._piece = _how_to_ask(descriptor)

    @property
    def losses(self) -> Losses:
        """What was lost so far, and whether lines are being lost."""
        with self._lock:
            return Losses(self._lost, self._reason, self._since)

    def status(self) -> dict[str, object]:
        """Return the losses for `/status`."""
        return self.losses._asdict()

    def write(self, line: bytes) -> None:
        """Take a line; it leaves after this turn of the event loop, or soon where none runs."""
        with self._lock:
            self._lines.append(line)
            first = len(self._lines) == 1
        if first:
            try:
                asyncio.get_running_loop().call_soon(self._hand_over)
            except RuntimeError:
                self._hand_over()

    def flush(self) -> None:
        """Do nothing: structlog flushes after every line, which batching avoids."""

    def write_out(self, seconds: float = LAST_SECONDS) -> bool:
        """Wait until all lines are written; return whether they were, in `seconds`. Call last."""
        self._hand_over()
        done = threading.Event()
        self._chunks.put(done)
        written = self._thread is None or done.wait(seconds)
        if not written:
            self._lose(0, LATE)
        if self._complaining is not None:
            self._complaining.join(_RETRY_SECONDS)
        return written

    def _hand_over(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
            if not lines:
                return
            data = b"".join(lines)
            if not self._queued and self._reason is None:
                data = self._write_now(data)
                if not data:
                    return
            fits = self._queued + len(data) <= MOST_QUEUED
            if fits:
                self._queued += len(data)
                self._chunks.put(data)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                    self._thread.start()
        if not fits:
            self._lose(len(lines), FULL)

    def _write_now(self, data: bytes) -> bytes:
        """Write what does not block; return the rest. The thread will meet an error too."""
        rest = memoryview(data)
        while rest and self._piece and (self._poll is None or self._poll.poll(0)):
            try:
                rest = rest[os.write(self._descriptor, rest[: self._piece]) :]
            except OSError:
                break
        written = len(data) - len(rest)
        self._within = written > 0 and not data[:written].endswith(b"\n")
        return bytes(rest)

    # --- The thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            item = self._chunks.get()
            if isinstance(item, threading.Event):
                item.set()
                continue
            self._put_out(item)
            with self._lock:
                self._queued -= len(item)

    def _put_out(self, data: bytes) -> None:
        # After a part of a line, the next one begins on a line of its own.
        rest = memoryview(b"\n" + data if self._torn else data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # another holder of the pipe made it non-blocking
                threading.Event().wait(_RETRY_SECONDS)
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else UNNAMED
                self._torn = self._torn or self._within or len(rest) < len(data)
                # The line break in front is none of the lost lines'.
                ends_torn = len(rest) > len(data)
                self._lose(bytes(rest).count(b"\n") - ends_torn, reason)
                return
        self._torn = self._within = False
        if self._reason is not None:
            self._note_restored()

    # --- Losses ---------------------------------------------------------------------------------

    def _lose(self, lines: int, reason: str) -> None:
        """Count lost lines, and say so on standard error unless that was said just now."""
        with self._lock:
            self._lost += lines
            if self._reason is None:
                self._since = self._wall()
            self._reason = reason
            now = self._now()
            busy = self._complaining is not None and self._complaining.is_alive()
            if busy or now - self._complained_at < TELL_SECONDS:
                return
            self._complained_at = now
            text = complaint(reason)
            # In a thread of its own: standard error may be the same pipe.
            self._complaining = threading.Thread(target=self._complain, args=(text,), daemon=True)
            self._complaining.start()

    def _note_restored(self) -> None:
        """Log how many lines are missing."""
        with self._lock:
            now = self._now()
            if now - self._restored_at < TELL_SECONDS:
                return
            self._restored_at = now
            self._reason = self._since = None
            missing, self._lost_when_logged = self._lost - self._lost_when_logged, self._lost
        if missing:
            log.warning(
                "log.restored",
                lost=missing,
                detail=f"{missing} lines before this one could not be written to standard output, "
                "and are lost. See that its reader keeps up, and that its disk has room.",
            )


def _how_to_ask(descriptor: int) -> tuple[select.poll | None, int]:
    """Return how to ask whether the descriptor is writable, and how many bytes that promises.

    The poll is None where it always is.
    """
    try:
        kind = os.fstat(descriptor).st_mode
    except OSError:
        kind = 0
    if stat.S_ISREG(kind):
        return None, MOST_QUEUED
    if not hasattr(select, "poll"):
        return None, 0  # Windows: the thread writes all
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return poll, select.PIPE_BUF


def complaint(reason: str) -> str:
    """Return the line for standard error. reason: FULL, LATE, UNNAMED, or the system's words."""
    return (
        f"telenor-proxy: log lines are lost, because standard output cannot be written: {reason}. "
        "See that its reader keeps up, and that its disk has room."
    )


def _say_on_standard_error(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(_STANDARD_ERROR, f"{text}\n".encode("ascii", "backslashreplace"))
