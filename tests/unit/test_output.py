"""Writing log lines: in order, in few system calls, off the event loop, every loss counted."""

import asyncio
import contextlib
import json
import os
import resource
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from proxy import logs
from proxy.output import FULL, LATE, MOST_QUEUED, TELL_SECONDS, LineWriter, Losses, complaint

Pair = tuple[socket.socket, socket.socket]

DEADLINE = 20.0  # seconds
LINE = b"x" * 999 + b"\n"

full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Unix sockets")


class Complaints:
    """Stands for standard error and the clock."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.now = 0.0
        self.came = threading.Event()

    def __call__(self, text: str) -> None:
        """Take one."""
        self.texts.append(text)
        self.came.set()

    def time(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Give a pipe, as (read, write)."""
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(end)


@pytest.fixture
def datagrams() -> Iterator[Pair]:
    """Give a pair, as (read, write); each system call that writes is a message."""
    writing, reading = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    reading.settimeout(DEADLINE)
    with writing, reading:
        yield reading, writing


def drain(reading: int, expected: int) -> bytes:
    """Read so many bytes."""
    got = b""
    while len(got) < expected:
        got += os.read(reading, 1 << 20)
    return got


@unix
def test_without_an_event_loop_a_line_leaves_at_once(datagrams: Pair) -> None:
    """Before and after the loop."""
    reading, writing = datagrams
    writer = LineWriter(writing.fileno())
    writer.write(b"one\n")
    assert reading.recv(100) == b"one\n"
    writer.write(b"two\n")
    writer.flush()
    assert reading.recv(100) == b"two\n"
    assert writer.write_out()


@unix
async def test_the_lines_of_one_turn_leave_in_one_system_call(datagrams: Pair) -> None:
    """In order; the next turn's lines leave with the next turn."""
    reading, writing = datagrams
    writer = LineWriter(writing.fileno())
    writer.write(b"one\n")
    writer.flush()
    writer.write(b"two\n")
    await asyncio.sleep(0)
    assert reading.recv(100) == b"one\ntwo\n"
    writer.write(b"three\n")
    await asyncio.sleep(0)
    assert reading.recv(100) == b"three\n"
    assert writer.write_out()


def test_no_line_is_lost_at_the_end(pipe: tuple[int, int]) -> None:
    """`write_out` writes the last turn's lines and those after it."""
    reading, writing = pipe
    writer = LineWriter(writing)
    loop = asyncio.new_event_loop()

    async def last_turn() -> None:
        loop.call_soon(loop.stop)
        writer.write(b"one\n")

    with contextlib.suppress(RuntimeError):
        loop.run_until_complete(last_turn())
    loop.close()
    writer.write(b"two\n")
    assert writer.write_out()
    assert writer.write_out()
    assert os.read(reading, 100) == b"one\ntwo\n"


async def test_threads_may_write_too(pipe: tuple[int, int]) -> None:
    """Lines are whole, and none is missing."""
    reading, writing = pipe
    writer = LineWriter(writing)
    lines = {f"{number}-{each}".encode() for number in range(4) for each in range(200)}

    def write(number: int) -> None:
        for each in range(200):
            writer.write(f"{number}-{each}\n".encode())

    threads = [threading.Thread(target=write, args=(number,)) for number in (0, 1, 2)]
    for thread in threads:
        thread.start()
    write(3)
    for thread in threads:
        thread.join()
    assert writer.write_out()
    got = drain(reading, sum(len(line) + 1 for line in lines))
    assert set(got.split()) == lines


async def test_a_pipe_that_is_not_read_stops_nothing(pipe: tuple[int, int]) -> None:
    """Lines are queued up to the bound, then dropped and counted."""
    reading, writing = pipe
    complaints = Complaints()
    writer = LineWriter(writing, complain=complaints, now=complaints.time)
    written = (MOST_QUEUED // len(LINE)) * 2
    for _ in range(written):
        writer.write(LINE)
        await asyncio.sleep(0)
    lost, reason, _ = writer.losses
    assert reason is not None
    kept = (written - lost) * len(LINE)
    # Only what is on its way into the pipe counts neither as kept nor as lost.
    assert MOST_QUEUED - len(LINE) <= kept <= 2 * MOST_QUEUED
    assert complaints.came.wait(DEADLINE)
    assert complaints.texts == [complaint(FULL)]
    assert drain(reading, kept) == LINE * (written - lost)
    assert writer.write_out(DEADLINE)


def test_the_end_waits_for_a_bounded_time(pipe: tuple[int, int]) -> None:
    """For a pipe that is never read; then it complains."""
    reading, writing = pipe
    complaints = Complaints()
    writer = LineWriter(writing, complain=complaints)
    writer.write(LINE * 100)
    assert not writer.write_out(0.05)
    assert complaints.came.wait(DEADLINE)
    assert complaints.texts == [complaint(LATE)]
    assert drain(reading, 100 * len(LINE)) == LINE * 100
    assert writer.write_out(DEADLINE)


def test_a_slow_reader_loses_no_line(pipe: tuple[int, int]) -> None:
    """A full non-blocking pipe is waited for; its flag, which others share, stays."""
    reading, writing = pipe
    os.set_blocking(writing, False)
    writer = LineWriter(writing)
    for _ in range(1000):
        writer.write(LINE)
    assert drain(reading, 1000 * len(LINE)) == LINE * 1000
    assert writer.write_out()
    assert not os.get_blocking(writing)
    assert writer.losses == Losses(0, None)


def test_a_reader_that_has_gone_ends_nothing(pipe: tuple[int, int]) -> None:
    """Lines that cannot be written are counted."""
    reading, writing = pipe
    os.close(reading)
    complaints = Complaints()
    writer = LineWriter(writing, complain=complaints)
    writer.write(b"one\n")
    writer.write(b"two\n")
    assert writer.write_out()
    assert writer.losses[:2] == (2, "Broken pipe")
    assert writer.losses.since is not None


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE")
def test_lines_that_are_lost_behind_a_torn_one_count_once(tmp_path: Path) -> None:
    """The line break that ends a torn line does not count."""
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    writer = LineWriter(descriptor, complain=Complaints())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6, limits[1]))
    try:
        for _ in range(3):
            writer.write(b"a line\n")
            assert writer.write_out()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        os.close(descriptor)
    assert writer.losses.lost == 3


@full
async def test_a_full_disk_ends_nothing(tmp_path: Path) -> None:
    """One complaint; the log says how many lines are missing once it can."""
    complaints = Complaints()
    path = tmp_path / "log"
    path.touch()
    descriptor = os.open("/dev/full", os.O_WRONLY)
    seconds = iter([1000.0, 2000.0])
    writer = LineWriter(
        descriptor, complain=complaints, now=complaints.time, wall=lambda: next(seconds)
    )
    structlog.configure(
        processors=[logs._Renderer(logs.Redactor(), console=False)],
        logger_factory=structlog.BytesLoggerFactory(writer),  # type: ignore[arg-type] # like a file
        cache_logger_on_first_use=False,
    )
    try:
        for number in range(3):
            writer.write(b"lost\n")
            await asyncio.sleep(0)
            assert writer.write_out()
            assert writer.losses == Losses(number + 1, "No space left on device", 1000.0)
        disk = os.open(path, os.O_WRONLY)
        os.dup2(disk, descriptor)  # there is room again
        os.close(disk)
        writer.write(b'{"event":"kept"}\n')
        assert writer.write_out()
        assert writer.write_out()  # the event came after what was written first
    finally:
        structlog.reset_defaults()
        os.close(descriptor)
    kept, restored = (json.loads(line) for line in path.read_text("ascii").splitlines())
    assert kept == {"event": "kept"}
    assert [restored[key] for key in ("level", "event", "lost")] == ["warning", "log.restored", 3]
    assert writer.losses == Losses(3, None)
    assert len(complaints.texts) == 1


@full
def test_complaints_have_a_bounded_rate() -> None:
    """Standard error gets a line every ten seconds at most."""
    complaints = Complaints()
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        writer = LineWriter(descriptor, complain=complaints, now=complaints.time)
        for number in range(40):
            complaints.now = number * TELL_SECONDS / 10
            writer.write(b"lost\n")
            assert writer.write_out()
    finally:
        os.close(descriptor)
    assert len(complaints.texts) == 4
    assert writer.losses.lost == 40


def test_a_line_that_was_cut_is_ended_before_the_next(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up never joins two lines."""
    reading, writing = pipe
    complaints = Complaints()
    writer = LineWriter(writing, complain=complaints)
    write, calls = os.write, iter([4, None, None])

    def cut(descriptor: int, data: memoryview) -> int:
        if descriptor != writing:
            return write(descriptor, data)
        most = next(calls, len(data))
        if most is None:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:most])

    monkeypatch.setattr("proxy.output.os.write", cut)
    writer.write(b"one, two\n")
    assert writer.write_out()
    writer.write(b"three\n")
    assert writer.write_out()
    assert os.read(reading, 100) == b"one,\nthree\n"
    assert writer.losses.lost == 1
