"""One event a line on standard output: complete, in order, and without a credential."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import threading
from typing import IO, TYPE_CHECKING, Any

import pytest
import structlog

from proxy import logs
from proxy.records import Record
from proxy.settings import LogSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The example of W3C Trace Context section 3.2.
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RECORD = Record(
    "id-1", "POST", "/a/b", 201, 0.123456, bytes_in=5, bytes_out=7, upstream_seconds=0.1, attempts=1
)


@pytest.fixture
def stdout(tmp_path: Path) -> Iterator[IO[str]]:
    """Give a file to stand for standard output; logging is as before when the test is over."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    with (tmp_path / "stdout").open("w+", encoding="utf-8") as file:
        yield file
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stdout: IO[str]) -> list[dict[str, Any]]:
    """Return the events on standard output."""
    stdout.seek(0)
    return [json.loads(line) for line in stdout]


def configure(stdout: IO[str], level: str = "info", form: str = "json") -> logs.LineWriter:
    """Set up logging with these settings."""
    with contextlib.redirect_stdout(stdout):
        return logs.configure(settings(level, form), logs.Redactor(["hunter2"]))


def settings(level: str = "info", form: str = "json") -> LogSettings:
    """Return the settings."""
    return LogSettings(level=level, format=form)  # type: ignore[arg-type] # both are of the words


# --- the writer -------------------------------------------------------------------------------------------------------


def _datagrams() -> tuple[socket.socket, socket.socket]:
    """Return a pair on which each system call that writes is one message."""
    writing, reading = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    reading.setblocking(False)
    return writing, reading


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Unix sockets")
def test_without_an_event_loop_a_line_leaves_at_once() -> None:
    """What is said before and after the loop is not kept back."""
    writing, reading = _datagrams()
    with writing, reading:
        writer = logs.LineWriter(writing.fileno())
        writer.write(b"one\n")
        assert reading.recv(100) == b"one\n"
        writer.write(b"two\n")
        writer.flush()
        assert reading.recv(100) == b"two\n"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Unix sockets")
async def test_the_lines_of_one_turn_leave_in_one_system_call() -> None:
    """They are batched until the event loop goes on, in order; the next turn's lines leave with the next turn."""
    writing, reading = _datagrams()
    with writing, reading:
        writer = logs.LineWriter(writing.fileno())
        writer.write(b"one\n")
        writer.flush()
        writer.write(b"two\n")
        with pytest.raises(BlockingIOError):
            reading.recv(100)
        await asyncio.sleep(0)
        assert reading.recv(100) == b"one\ntwo\n"
        writer.write(b"three\n")
        await asyncio.sleep(0)
        assert reading.recv(100) == b"three\n"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Unix sockets")
def test_no_line_is_lost_at_the_end() -> None:
    """What the last turn of an event loop said, and what comes after it, leaves when the writer is told that it is over."""
    writing, reading = _datagrams()
    with writing, reading:
        writer = logs.LineWriter(writing.fileno())
        loop = asyncio.new_event_loop()

        async def last_turn() -> None:
            loop.call_soon(loop.stop)
            writer.write(b"one\n")

        with contextlib.suppress(RuntimeError):
            loop.run_until_complete(last_turn())
        loop.close()
        writer.write(b"two\n")
        writer.write_out()
        writer.write_out()
        got = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                got += reading.recv(100)
        assert got == b"one\ntwo\n"


def test_a_slow_reader_loses_no_line() -> None:
    """Where somebody has made the pipe non-blocking, a full one is waited for."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got = bytearray()

    def read() -> None:
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            while piece := pipe.read(65536):
                got.extend(piece)

    writer = logs.LineWriter(writing)
    line = b"x" * 999 + b"\n"
    reader = threading.Thread(target=read)
    with os.fdopen(writing, "wb", buffering=0):
        for number in range(1000):
            if number == 100:  # by now the pipe is full
                reader.start()
            writer._lines.append(line)
            if number >= 100:
                writer.write_out()
    reader.join()
    assert bytes(got) == line * 1000


def test_a_reader_that_has_gone_ends_nothing() -> None:
    """Whoever stops reading the log does not stop the proxy."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0):
        writer = logs.LineWriter(writing)
        writer.write(b"one\n")
        writer.write(b"two\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")  # noqa: PTH110 # a device
async def test_a_full_disk_ends_nothing_and_is_no_event() -> None:
    """Lines that cannot be written are lost, and nothing is said of it, because that would have to be written too."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        writer = logs.LineWriter(full)
        writer.write(b"one\n")
        writer.write(b"two\n")
        await asyncio.sleep(0)
        writer.write_out()
    finally:
        os.close(full)
    assert complaints == []


# --- redaction --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("nothing to hide", "nothing to hide"),
        ("Authorization: Bearer abc.DEF-123_~+/=", "Authorization: Bearer ***"),
        ("{'Authorization': 'bearer abcdef'}", "{'Authorization': 'bearer ***'}"),
        ("b'BASIC\tQWxhZGRpbjpvcGVu'", "b'BASIC ***'"),
        ("Bearer  abcdefgh and Basic ijklmnop", "Bearer *** and Basic ***"),
        ("access=Bearer%20abcdefgh&x=Bearer+abcdefgh", "access=Bearer ***&x=Bearer ***"),
        ("the password is hunter2!", "the password is ***!"),
        ("hunter2hunter2", "******"),
        ("a basic idea", "a basic idea"),
        ("bearer of news", "bearer of news"),
        ("forbearer abcdefgh", "forbearer abcdefgh"),
    ],
)
def test_credentials_are_masked(text: str, shown: str) -> None:
    """Known secrets, and whatever follows Bearer or Basic like a credential; ordinary words stay."""
    assert logs.Redactor(["hunter2"])(text) == shown


def test_a_secret_can_be_learnt_later() -> None:
    """Credentials that came in while the proxy runs are masked like the first ones, which stay masked."""
    redactor = logs.Redactor(["hunter2"])
    redactor.learn(["swordfish", "hunter2", ""])
    assert redactor("hunter2 swordfish") == "*** ***"


def test_an_empty_secret_masks_nothing() -> None:
    """A setting that is empty does not turn every text into stars."""
    assert logs.Redactor([""])("text") == "text"


def test_what_libraries_say_is_masked(stdout: IO[str]) -> None:
    """Message, arguments and traceback of the standard logging come out as an event `library`, without credentials."""
    configure(stdout)
    logger = logging.getLogger("some.library")
    logger.warning("sent %s with %r", {"Authorization": "Bearer abcdefgh"}, "hunter2")
    try:
        json.loads("{")
    except ValueError as error:
        error.add_note("Basic QWxhZGRpbjpvcGVu hunter2")
        logger.exception("it failed")
    first, second = lines(stdout)
    assert (first["level"], first["event"], first["logger"]) == ("warning", "library", "some.library")
    assert first["message"] == "sent {'Authorization': 'Bearer ***'} with '***'"
    assert (second["level"], second["message"]) == ("error", "it failed")
    assert "JSONDecodeError" in second["exception"]
    assert second["exception"].endswith("Basic *** ***\n")


def test_our_own_tracebacks_are_masked(stdout: IO[str]) -> None:
    """A mistake of ours is logged with its traceback, which may quote what it failed on."""
    configure(stdout)
    log = structlog.get_logger()
    password = "hunter2"
    try:
        int(f"{password}x")
    except ValueError:
        log.exception("request.crashed", request_id="id-1")
    (event,) = lines(stdout)
    assert (event["level"], event["event"], event["request_id"]) == ("error", "request.crashed", "id-1")
    assert event["exception"].startswith("Traceback")
    assert "ValueError" in event["exception"]
    assert "exc_info" not in event
    assert "hunter2" not in event["exception"]


# --- lines ------------------------------------------------------------------------------------------------------------


def test_a_line_begins_with_time_level_and_event(stdout: IO[str]) -> None:
    """Then comes what the event says, in the order in which it says it; the time is RFC 3339 in UTC, to the millisecond."""
    configure(stdout)
    structlog.get_logger().info("token.renewed", expires_in=3599, b=1, a=None)
    (event,) = lines(stdout)
    assert list(event) == ["timestamp", "level", "event", "expires_in", "b", "a"]
    assert (event["level"], event["event"], event["expires_in"], event["a"]) == (
        "info",
        "token.renewed",
        3599,
        None,
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"])


def test_an_event_is_one_line(stdout: IO[str]) -> None:
    """Whatever a value holds, it opens no second line."""
    configure(stdout)
    structlog.get_logger().info("a", text="one\ntwo\r\n{}\x00\u2028", path=os.PathLike)
    assert len(lines(stdout)) == 1


@pytest.mark.parametrize(
    ("level", "kept"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_holds_for_all(stdout: IO[str], level: str, kept: list[str]) -> None:
    """Our events, the libraries' records and the access line below `log.level` are not written."""
    writer = configure(stdout, level)
    log, library = structlog.get_logger(), logging.getLogger("some.library")
    for each in ("debug", "info", "warning", "error"):
        getattr(log, each)("a")
        getattr(library, each)("a")
    access = logs.AccessLog(writer, settings(level))
    access(RECORD)
    access(RECORD._replace(status=502, error="dns_error"))
    levels = [event["level"] for event in lines(stdout)]
    access_levels = [each for each in ("info", "warning") if each in kept]
    assert levels == [each for each in kept for _ in range(2)] + access_levels


def test_the_level_can_be_changed(stdout: IO[str]) -> None:
    """From one event to the next, also for loggers that have been used before."""
    configure(stdout, "error")
    log, library = structlog.get_logger(), logging.getLogger("some.library")
    log.info("before")
    library.info("before")
    logs.set_level(settings("info"))
    log.info("after")
    library.info("after")
    logs.set_level(settings("error"))
    log.info("again")
    assert [event["event"] for event in lines(stdout)] == ["after", "library"]


def test_the_console_is_for_people(stdout: IO[str]) -> None:
    """`console` writes the same events as text, one a line, with names before values, and masks the same."""
    writer = configure(stdout, form="console")
    structlog.get_logger().info("token.renewed", expires_in=3599)
    logging.getLogger("some.library").error("Bearer abcdefgh")
    logs.AccessLog(writer, settings(form="console"))(RECORD)
    stdout.seek(0)
    renewed, library, access = stdout.read().splitlines()
    assert "token.renewed" in renewed
    assert "expires_in=3599" in renewed
    assert "Bearer ***" in library
    assert "request.completed" in access
    assert "status=201" in access


def test_auto_is_json_where_nobody_watches(stdout: IO[str]) -> None:
    """Standard output that is no terminal gets JSON."""
    configure(stdout, form="auto")
    structlog.get_logger().info("a")
    assert lines(stdout)[0]["event"] == "a"


# --- the access line --------------------------------------------------------------------------------------------------


def access_line(stdout: IO[str], record: Record) -> dict[str, Any]:
    """Log the record and return the line."""
    writer = configure(stdout)
    logs.AccessLog(writer, settings())(record)
    (event,) = lines(stdout)
    return event


def test_the_access_line_has_the_fields_of_the_contract(stdout: IO[str]) -> None:
    """One `request.completed` a request, with these fields in this order, durations in milliseconds."""
    event = access_line(stdout, RECORD)
    del event["timestamp"]
    assert event == {
        "level": "info",
        "event": "request.completed",
        "request_id": "id-1",
        "method": "POST",
        "path": "/a/b",
        "status": 201,
        "duration_ms": 123.46,
        "bytes_in": 5,
        "bytes_out": 7,
        "upstream_ms": 100.0,
        "attempts": 1,
        "error": None,
        "outcome": None,
    }
    assert list(event)[:3] == ["level", "event", "request_id"]


@pytest.mark.parametrize(
    ("status", "error", "level"),
    [
        (200, None, "info"),
        (503, None, "info"),  # the API's own
        (201, "connection_terminated", "warning"),  # cut in the middle
        (499, "client_left", "info"),
        (502, "dns_error", "warning"),
        (504, "http_response_timeout", "warning"),
    ],
)
def test_what_the_proxy_could_not_do_is_a_warning(
    stdout: IO[str], status: int, error: str | None, level: str
) -> None:
    """An answer of the API's is none of the proxy's concern, a refusal is the client's; a failed forward is a warning."""
    event = access_line(stdout, RECORD._replace(status=status, error=error, upstream_seconds=None))
    assert (event["level"], event["status"], event["error"], event["upstream_ms"]) == (
        level,
        status,
        error,
        None,
    )


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "path-not-allowed"), (501, "method-unknown"), (505, "http-version")]
)
def test_a_refusal_is_no_warning(stdout: IO[str], status: int, reason: str) -> None:
    """What the proxy turned down is the client's concern, whatever the status."""
    event = access_line(stdout, RECORD._replace(status=status, error=reason, refused=True))
    assert event["level"] == "info"


def test_the_line_says_whether_an_order_may_have_been_placed(stdout: IO[str]) -> None:
    """An operator who looks for orders to look up finds them by `outcome`."""
    event = access_line(stdout, RECORD._replace(status=502, error="connection_terminated", outcome="unknown"))
    assert event["outcome"] == "unknown"


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        RECORD._replace(upstream_seconds=None),
        RECORD._replace(path='/a"b', bytes_in=0),
        RECORD._replace(path="/a\\b"),
        RECORD._replace(path='/","status":500,"path":"'),
        RECORD._replace(path=None, method=None, error="malformed", refused=True),
        RECORD._replace(trace=TRACE),
    ],
)
def test_the_access_line_is_as_structlog_would_write_it(stdout: IO[str], record: Record) -> None:
    """The short cut changes nothing: same keys, same order, same values, whatever is in them."""
    event = access_line(stdout, record)
    assert (event["path"], event["method"]) == (record.path, record.method)
    fields = {key: value for key, value in event.items() if key not in {"timestamp", "level", "event"}}
    structlog.get_logger().info("request.completed", **fields)
    stdout.seek(0)
    one, two = (list(json.loads(line).items())[1:] for line in stdout)
    assert one == two


def test_the_line_names_the_trace_of_a_request_that_had_one(stdout: IO[str]) -> None:
    """W3C Trace Context: the trace id alone, so that it can be searched for."""
    assert access_line(stdout, RECORD._replace(trace=TRACE))["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    stdout.truncate(0)
    stdout.seek(0)
    assert "trace_id" not in access_line(stdout, RECORD)


def test_time_stamps_follow_the_clock() -> None:
    """A stamp is of its own moment, also when the second has turned since the last one."""
    stamps = [logs.timestamp() for _ in range(3)]
    assert stamps == sorted(stamps)
    logs._second = (0, "1970-01-01T00:00:00")
    assert logs.timestamp()[:4] >= "2024"


def test_one_secret_may_hold_another() -> None:
    """The longer one is masked whole."""
    assert logs.Redactor(["hunter2", "hunter2-and-more"])("x hunter2-and-more y hunter2") == "x *** y ***"


@pytest.mark.parametrize(
    ("level", "message", "arguments"),
    [
        (25, "sent Bearer abcdefgh", ()),
        (logging.WARNING, "sent %d", ("Bearer abcdefgh",)),
        (5, "Basic abcdefgh", ()),
    ],
)
def test_a_librarys_mistake_shows_nothing(
    stdout: IO[str],
    capsys: pytest.CaptureFixture[str],
    level: int,
    message: str,
    arguments: tuple[str, ...],
) -> None:
    """A level of its own or arguments that do not fit: the record is kept, and no credential goes anywhere, standard error included."""
    configure(stdout, "debug")
    logger = logging.getLogger("mistaken")
    logger.setLevel(1)
    logger.log(level, message, *arguments)
    (event,) = lines(stdout)
    assert event["logger"] == "mistaken"
    assert "abcdefgh" not in str(event) + capsys.readouterr().err
