"""Logging: structlog's set-up, one event a line on standard output, and the access line.

All logs of this process end here, the libraries' included. No secret is ever handed to a logger;
what libraries log is searched for credentials all the same.
"""

import contextlib
import logging
import re
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from proxy.output import LineWriter
from proxy.problems import ProblemKind
from proxy.records import Record
from proxy.settings import LogSettings

_CREDENTIALS: Final = re.compile(r"(?i)\b(bearer|basic)(\s+|%20|\+)[\w.~+/=-]{6,}")
_KEPT_OUT: Final = frozenset(kind.type for kind in ProblemKind if kind.keeps_out)
_CLIENTS_OWN: Final = frozenset({"client_left", "client_slow"})
#: Answers of the API that an operator should see: it refuses the credential, or cannot serve.
_TELLING: Final = frozenset({401, 403, 429})
_SERVER_ERRORS: Final = 500

__all__ = ["AccessLog", "LineWriter", "Redactor", "configure", "follow", "timestamp"]


class Redactor:
    """Takes credentials out of text that libraries produced."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: list[str] = []
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these too from now on; the longest first, since one may hold another."""
        self._known = sorted({*self._known, *filter(None, secrets)}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text with known secrets and everything that looks like a credential masked."""
        for secret in self._known:
            text = text.replace(secret, "***")
        return _CREDENTIALS.sub(r"\1 ***", text)


def configure(settings: LogSettings, redactor: Redactor) -> LineWriter:
    """Set up logging; return the writer, whose `write_out` must be called last."""
    writer = LineWriter(sys.stdout.fileno())
    level = _level(settings)
    render = _Renderer(redactor, console=_is_console(settings))
    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(writer),  # type: ignore[arg-type] # it asks for a file, and uses write and flush
        cache_logger_on_first_use=False,  # `follow` is for loggers that are in use already
    )
    logging.basicConfig(handlers=[_Handler(redactor)], level=level, force=True)
    return writer


def follow(settings: LogSettings) -> None:
    """Change how severe an event must be to be written."""
    level = _level(settings)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    logging.getLogger().setLevel(level)


class _Renderer:
    """One event -> one line of bytes: time, level and event first, then what the event says."""

    def __init__(self, redactor: Redactor, *, console: bool) -> None:
        self._redact = redactor
        self._console = console
        self._colors = console and sys.stdout.isatty()

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        ordered: dict[str, Any] = {
            "timestamp": timestamp(),
            "level": "error" if method == "exception" else method,
            "event": event.pop("event"),
        }
        ordered.update(event)
        if ordered.pop("exc_info", None):
            ordered["exception"] = self._redact(traceback.format_exc())
        if self._console:
            return _console_line(ordered, colors=self._colors)
        try:
            return orjson.dumps(ordered, default=str)
        except TypeError:  # no UTF-8, a number beyond 64 bits, or what cannot be shown
            return orjson.dumps({_plain(name): _plain(value) for name, value in ordered.items()})


def _plain(value: object) -> str | None:
    """Return a value as text that any encoding can hold."""
    if value is None:
        return None
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 # whatever a library hands over
        text = f"({type(value).__name__}: it cannot be shown)"
    return text.encode("utf-8", "backslashreplace").decode()


#: SGR parameters (ECMA-48): dim, green, yellow, red.
_COLORS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31"}
_WORD: Final = re.compile(r"[!-~]+")


def _console_line(event: Mapping[str, Any], *, colors: bool) -> bytes:
    """Write an event for people: time of day (UTC), level, event, fields; None is left out.

    A finished request is shown by method, path, status, milliseconds, and what is unusual of it.
    """
    rest = {name: value for name, value in event.items() if value is not None}
    time_of_day = rest.pop("timestamp")[11:23]
    level = f"{rest.pop('level'):<7}"
    text = str(rest.pop("event"))
    exception = rest.pop("exception", None)
    if text == _COMPLETED:
        shown = [rest.pop(name, "-") for name in ("method", "path", "status")]
        text = f"{' '.join(map(_value, shown))} {rest.pop('duration_ms'):.1f} ms"
        rest = {"id": rest.pop("request_id"), **rest}
        for name in _FOR_MACHINES:
            rest.pop(name, None)
        if rest.get("attempts", 0) <= 1:
            rest.pop("attempts", None)
    if colors:
        level = f"\x1b[{_COLORS.get(level.rstrip(), '0')}m{level}\x1b[0m"
    words = " ".join((text, *(f"{name}={_value(value)}" for name, value in rest.items())))
    below = "" if exception is None else f"\n{str(exception).rstrip()}"
    return f"{time_of_day} {level} {words}{below}".encode("utf-8", "backslashreplace")


_COMPLETED: Final = "request.completed"
#: Left out on the console, where a line is to fit.
_FOR_MACHINES: Final = ("bytes_in", "bytes_out", "upstream_ms", "client_address", "trace_id")


def _value(value: object) -> str:
    """Write a value so that it ends no line and moves no cursor."""
    text = value if isinstance(value, str) else _plain(value) or ""
    return text if _WORD.fullmatch(text) else repr(text)


class _Handler(logging.Handler):
    """Hands the libraries' records to structlog, searched for credentials; survives all of them."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redact = redactor
        self._log = structlog.get_logger("library")

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as an event `library`."""
        try:
            message = record.getMessage()
        # logging's own handling prints the arguments, and a key may be one.
        except Exception:  # noqa: BLE001 # the library's mistake
            message = "(a message that could not be put together)"
        fields = {"logger": str(record.name), "message": self._redact(message)}
        exception = _exception(record.exc_info)
        if exception is not None:
            fields["exception"] = self._redact(exception)
        self._log.log(_known_level(record.levelno), "library", **fields)


def _known_level(level: object) -> int:
    """Return the next lower level of structlog's five; libraries may have their own."""
    if not isinstance(level, int):
        return logging.ERROR
    return max(logging.DEBUG, min(level // 10 * 10, logging.CRITICAL))


def _exception(exc_info: object) -> str | None:
    """Return a record's exception as text. uvloop hands over a class instead of an exception."""
    if not isinstance(exc_info, tuple) or not any(exc_info):
        return None
    kind, error, trace = (*exc_info, None, None)[:3]
    if isinstance(error, BaseException):
        with contextlib.suppress(Exception):  # an exception may raise when it is shown
            return "".join(traceback.format_exception(type(error), error, trace))
        return type(error).__name__
    named = error if isinstance(error, type) else kind
    return named.__name__ if isinstance(named, type) else "(an exception that cannot be shown)"


class AccessLog:
    """The event `request.completed`, one line a request.

    JSON is rendered here: structlog's processors would be the largest cost of logging.
    """

    def __init__(self, writer: LineWriter, settings: LogSettings) -> None:
        self._log = structlog.get_logger("proxy.access")
        self._write = writer.write if not _is_console(settings) else None
        self.follow(settings)

    def follow(self, settings: LogSettings) -> None:
        """Change which lines are written."""
        self._least = _level(settings)

    def __call__(self, record: Record) -> None:
        """Log it, as a warning for 401, 403, 421, 429, 5xx and an answer that was not given."""
        if record.error is None:
            status = record.status
            warns = status >= _SERVER_ERRORS or status in _TELLING
        elif record.refused:
            warns = record.error in _KEPT_OUT
        else:
            warns = record.error not in _CLIENTS_OWN
        if self._least > (logging.WARNING if warns else logging.INFO):
            return
        level = "warning" if warns else "info"
        if self._write is None:
            getattr(self._log, level)(_COMPLETED, **record.fields())
            return
        line = {"timestamp": timestamp(), "level": level, "event": _COMPLETED, **record.fields()}
        self._write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


_second = (0, "")
_instant = (0, "")


def timestamp() -> str:
    """Return the time in UTC as RFC 3339, with milliseconds; each is formatted once."""
    global _second, _instant  # noqa: PLW0603 # caches of one
    milliseconds = int(time.time() * 1000)
    if milliseconds == _instant[0]:
        return _instant[1]
    second = milliseconds // 1000
    if second != _second[0]:
        _second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
    _instant = (milliseconds, f"{_second[1]}.{milliseconds % 1000:03d}Z")
    return _instant[1]


def _level(settings: LogSettings) -> int:
    return logging.getLevelNamesMapping()[settings.level.upper()]


def _is_console(settings: LogSettings) -> bool:
    return settings.format == "console" or (settings.format == "auto" and sys.stdout.isatty())
