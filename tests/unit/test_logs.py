"""One event a line on standard output: complete, in order, and without a credential."""

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import structlog

from proxy import logs
from proxy.problems import ProblemKind
from proxy.records import Record
from proxy.settings import LogSettings

#: The example of W3C Trace Context section 3.2.
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RECORD = Record(
    "id-1", "POST", "/a/b", 201, 0.123456, bytes_in=5, bytes_out=7, upstream_seconds=0.1, attempts=1
)
#: A request that could not be parsed.
MALFORMED = {
    "method": None,
    "path": None,
    "status": 400,
    "refused": True,
    "error": "malformed-request",
}


@pytest.fixture
def stdout(tmp_path: Path) -> Iterator[IO[str]]:
    """Give a file for standard output; restore logging afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    with (tmp_path / "stdout").open("w+", encoding="utf-8") as file:
        yield file
        while _writers:
            _writers.pop().write_out()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


_writers: list[logs.LineWriter] = []


def text(stdout: IO[str]) -> str:
    """Return what is on standard output, once all of it is written."""
    for writer in _writers:
        assert writer.write_out()
    stdout.seek(0)
    return stdout.read()


def lines(stdout: IO[str]) -> list[dict[str, Any]]:
    """Return the events on standard output."""
    return [json.loads(line) for line in text(stdout).split("\n") if line]


def configure(stdout: IO[str], level: str = "info", form: str = "auto") -> logs.LineWriter:
    """Set up logging with these settings."""
    with contextlib.redirect_stdout(stdout):
        writer = logs.configure(settings(level, form), logs.Redactor(["hunter2"]))
    _writers.append(writer)
    return writer


def settings(level: str = "info", form: str = "json") -> LogSettings:
    """Return the settings."""
    return LogSettings(level=level, format=form)  # type: ignore[arg-type] # both are of the words


# --- redaction ---------------------------------------------------------------------------------


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
    """Known secrets, and what follows Bearer or Basic like a credential."""
    assert logs.Redactor(["hunter2"])(text) == shown


def test_a_secret_can_be_learnt_later() -> None:
    """The first ones stay masked, an empty one masks nothing, a longer one is masked whole."""
    redactor = logs.Redactor(["hunter2"])
    redactor.learn(["swordfish", "hunter2", "", "hunter2-and-more"])
    assert redactor("hunter2 swordfish") == "*** ***"
    assert redactor("x hunter2-and-more y hunter2") == "x *** y ***"


def test_what_libraries_say_is_masked(stdout: IO[str]) -> None:
    """Message, arguments and traceback come as an event `library`."""
    configure(stdout)
    logger = logging.getLogger("some.library")
    logger.warning("sent %s with %r", {"Authorization": "Bearer abcdefgh"}, "hunter2")
    try:
        json.loads("{")
    except ValueError as error:
        error.add_note("Basic QWxhZGRpbjpvcGVu hunter2")
        logger.exception("it failed")
    first, second = lines(stdout)
    assert list(first.values())[1:4] == ["warning", "library", "some.library"]
    assert first["message"] == "sent {'Authorization': 'Bearer ***'} with '***'"
    assert (second["level"], second["message"]) == ("error", "it failed")
    assert "JSONDecodeError" in second["exception"]
    assert second["exception"].endswith("Basic *** ***\n")


def test_our_own_tracebacks_are_masked(stdout: IO[str]) -> None:
    """They may quote the value that failed."""
    configure(stdout)
    log = structlog.get_logger()
    password = "hunter2"
    try:
        int(f"{password}x")
    except ValueError:
        log.exception("request.crashed", request_id="id-1")
    (event,) = lines(stdout)
    assert list(event.values())[1:4] == ["error", "request.crashed", "id-1"]
    assert event["exception"].startswith("Traceback")
    assert "ValueError" in event["exception"]
    assert "exc_info" not in event
    assert "hunter2" not in event["exception"]


# --- lines -------------------------------------------------------------------------------------


def test_a_line_begins_with_time_level_and_event(stdout: IO[str]) -> None:
    """Then the event's fields in order; the time is RFC 3339 in UTC; no value breaks the line."""
    configure(stdout)
    structlog.get_logger().info("token.renewed", expires_in=3599, b=1, a=None)
    (event,) = lines(stdout)
    assert list(event) == ["timestamp", "level", "event", "expires_in", "b", "a"]
    assert list(event.values())[1:] == ["info", "token.renewed", 3599, 1, None]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"])
    structlog.get_logger().info("a", text="one\ntwo\r\n{}\x00\u2028", path=os.PathLike)
    assert len(lines(stdout)) == 2


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
    """For the proxy's events, the libraries' records and the access line."""
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
    """Also for loggers that have been used before."""
    configure(stdout, "error")
    log, library = structlog.get_logger(), logging.getLogger("some.library")
    log.info("before")
    library.info("before")
    logs.follow(settings("info"))
    log.info("after")
    library.info("after")
    logs.follow(settings("error"))
    log.info("again")
    assert [event["event"] for event in lines(stdout)] == ["after", "library"]


def test_the_console_is_for_people(stdout: IO[str]) -> None:
    """Time of day, level, event, then names and values; None is left out."""
    configure(stdout, form="console")
    structlog.get_logger().info("token.renewed", expires_in=3599, note=None, detail="two words")
    logging.getLogger("some.library").error("Bearer abcdefgh")
    renewed, library = text(stdout).splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} info    token\.renewed expires_in=3599 detail='two words'", renewed
    )
    assert library.endswith(" error   library logger=some.library message='Bearer ***'")


@pytest.mark.parametrize(
    ("changes", "level", "call", "rest"),
    [
        ({}, "info", "POST /a/b 201", ""),
        ({"attempts": 2, "client": "shop"}, "info", "POST /a/b 201", " attempts=2 client=shop"),
        ({"status": 401, "code": "40103"}, "warning", "POST /a/b 401", " code=40103"),
        (MALFORMED, "info", "- - 400", " error=malformed-request"),
        ({"path": "/\x1b[2J\n"}, "info", "POST '/\\x1b[2J\\n' 201", ""),
    ],
)
def test_a_call_on_the_console(
    stdout: IO[str], changes: dict[str, Any], level: str, call: str, rest: str
) -> None:
    """Method, path, status and milliseconds, the id, then what is unusual."""
    log = logs.AccessLog(configure(stdout, form="console"), settings(form="console"))
    log(RECORD._replace(**changes))
    (line,) = text(stdout).splitlines()
    assert line[13:] == f"{level:7} {call} 123.5 ms id=id-1{rest}"


def test_an_exception_follows_its_line_on_the_console(stdout: IO[str]) -> None:
    """The traceback keeps its lines."""
    configure(stdout, form="console")
    try:
        int("x")
    except ValueError:
        structlog.get_logger().exception("request.crashed")
    first, *rest = text(stdout).splitlines()
    assert first.endswith(" error   request.crashed")
    assert rest[0].startswith("Traceback")


# --- the access line ---------------------------------------------------------------------------


def access_line(stdout: IO[str], record: Record) -> dict[str, Any]:
    """Log the record and return the line."""
    writer = configure(stdout)
    logs.AccessLog(writer, settings())(record)
    (event,) = lines(stdout)
    return event


def test_the_access_line_has_the_fields_of_the_contract(stdout: IO[str]) -> None:
    """In this order, durations in milliseconds."""
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
        "code": None,
        "client": None,
        "client_address": None,
    }
    assert list(event)[:3] == ["level", "event", "request_id"]


@pytest.mark.parametrize(
    ("status", "error", "level"),
    [
        (200, None, "info"),
        (404, None, "info"),
        *((status, None, "warning") for status in (401, 403, 429, 500, 503)),  # the API's own
        (201, "connection_terminated", "warning"),  # cut in the middle
        (499, "client_left", "info"),
        (502, "dns_error", "warning"),
        (504, "http_response_timeout", "warning"),
    ],
)
def test_what_went_wrong_is_a_warning(
    stdout: IO[str], status: int, error: str | None, level: str
) -> None:
    """A failed forward, and an answer that refuses the credential or cannot serve."""
    record = RECORD._replace(status=status, error=error, upstream_seconds=None)
    event = access_line(stdout, record)
    assert (event["level"], event["status"], event["error"]) == (level, status, error)
    assert event["upstream_ms"] is None


@pytest.mark.parametrize(
    ("level", "reasons"),
    [
        ("warning", ["client-key", "client-not-allowed", "path-not-allowed", "host-not-allowed"]),
        ("info", ["malformed-request", "order-in-flight", "method-unknown", "http-version"]),
    ],
)
def test_a_refusal_is_a_warning_if_it_keeps_the_application_out(
    stdout: IO[str], level: str, reasons: list[str]
) -> None:
    """Every other refusal concerns the client only."""
    statuses = {kind.type: kind.status for kind in ProblemKind}
    log = logs.AccessLog(configure(stdout), settings())
    for reason in reasons:
        log(RECORD._replace(status=statuses[reason], error=reason, refused=True))
    assert [event["level"] for event in lines(stdout)] == [level] * 4


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
    """The fast path writes the same keys, order and values."""
    event = access_line(stdout, record)
    assert (event["path"], event["method"]) == (record.path, record.method)
    fields = {
        key: value for key, value in event.items() if key not in {"timestamp", "level", "event"}
    }
    structlog.get_logger().info("request.completed", **fields)
    one, two = (list(event.items())[1:] for event in (event, *lines(stdout)[1:]))
    assert one == two


def test_the_line_names_the_trace_of_a_request_that_had_one(stdout: IO[str]) -> None:
    """Its id alone, so that it can be searched for."""
    writer = configure(stdout)
    for record in (RECORD._replace(trace=TRACE), RECORD):
        logs.AccessLog(writer, settings())(record)
    one, other = lines(stdout)
    assert one["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert "trace_id" not in other


def test_time_stamps_follow_the_clock() -> None:
    """Also when the second has changed since the last one."""
    stamps = [logs.timestamp() for _ in range(3)]
    assert stamps == sorted(stamps)
    logs._second = (0, "1970-01-01T00:00:00")
    assert logs.timestamp()[:4] >= "2024"


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
    """The record is kept; no credential goes anywhere, standard error included."""
    configure(stdout, "debug")
    logger = logging.getLogger("mistaken")
    logger.setLevel(1)
    logger.log(level, message, *arguments)
    (event,) = lines(stdout)
    assert event["logger"] == "mistaken"
    assert "abcdefgh" not in str(event) + capsys.readouterr().err


class _Hidden:
    """What cannot be shown."""

    def __str__(self) -> str:
        raise ValueError("hunter2")

    __repr__ = __str__


@pytest.mark.parametrize(
    "exc_info",
    [
        (type, ConnectionResetError, ConnectionResetError.__traceback__),  # as from uvloop
        (ConnectionResetError, ConnectionResetError, None),
        (ConnectionResetError, None, None),
        (ConnectionResetError, "a text", "no traceback"),
        (_Hidden(), _Hidden(), None),
        (ConnectionResetError,),
        "a text",
    ],
)
def test_the_handler_survives_any_exc_info(
    stdout: IO[str], capsys: pytest.CaptureFixture[str], exc_info: Any
) -> None:
    """The record is written, with the exception's name if it has one."""
    configure(stdout)
    record = logging.LogRecord(
        "uvloop", logging.ERROR, "file", 1, "Fatal error: %s", ("on transport",), None
    )
    record.exc_info = exc_info
    logging.getLogger("uvloop").handle(record)
    (event,) = lines(stdout)
    assert (event["event"], event["message"]) == ("library", "Fatal error: on transport")
    if exc_info[0] in {type, ConnectionResetError}:
        assert "ConnectionResetError" in event["exception"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("value", ["caf\udce9", 1 << 70, _Hidden(), {"a": _Hidden()}, {1: 2}])
def test_a_value_that_cannot_be_written_costs_no_event(
    stdout: IO[str], form: str, value: object
) -> None:
    """The rest of the event is there."""
    configure(stdout, form=form)
    structlog.get_logger().info("proxy.started", configuration=value, version="1")
    assert "proxy.started" in text(stdout)


@pytest.mark.parametrize(("level", "name"), [("high", "error"), (35, "warning"), (0, "debug")])
def test_levels_that_are_not_known(stdout: IO[str], level: Any, name: str) -> None:
    """A library's own level is the known one below; no number is an error."""
    configure(stdout, "debug")
    record = logging.LogRecord("x", logging.ERROR, "file", 1, "text", None, None)
    record.levelno = level
    logging.getLogger().handlers[0].emit(record)
    assert lines(stdout)[0]["level"] == name
