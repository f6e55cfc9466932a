"""Logging: structlog set-up, one event a line on standard output, and the access line.

Everything that logs in this process ends here, the libraries' own logging included. No secret is ever handed to a logger; what libraries
say is searched for credentials all the same, because what they say is not ours to know.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from structlog.typing import EventDict, WrappedLogger

    from proxy.records import Record
    from proxy.settings import LogSettings

_CREDENTIALS: Final = re.compile(r"(?i)\b(bearer|basic)(\s+|%20|\+)[\w.~+/=-]{6,}")
_CLIENTS_OWN: Final = frozenset({"client_left", "client_slow"})


class LineWriter:
    """Standard output for a single-threaded event loop: lines of one turn of the loop leave in one system call, none is lost at the end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        """Take a line; it leaves at the end of this turn of the event loop, or at once where none runs."""
        self._lines.append(line)
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_soon(self.write_out)
            except RuntimeError:
                self.write_out()

    def flush(self) -> None:
        """Do nothing: structlog flushes after every line, and that is what batching is there to avoid."""

    def write_out(self) -> None:
        """Write what is there. A reader that has gone away, or a full disk, takes its log with it; the proxy goes on.

        It says nothing of that, because whatever it said would come here again.
        """
        data = memoryview(b"".join(self._lines))
        self._lines.clear()
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except (
                BlockingIOError
            ):  # somebody made the pipe non-blocking: wait for room rather than lose lines
                os.set_blocking(self._descriptor, True)
            except OSError:
                return


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
    """Set up logging for the process; return the writer, whose `write_out` is to be called last of all."""
    writer = LineWriter(sys.stdout.fileno())
    level = _level(settings)
    render = _Renderer(redactor, console=_is_console(settings))
    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(writer),  # type: ignore[arg-type] # it asks for a file, and uses write and flush
        cache_logger_on_first_use=False,  # `set_level` is for loggers that are in use already
    )
    logging.basicConfig(handlers=[_Handler(redactor)], level=level, force=True)
    return writer


def set_level(settings: LogSettings) -> None:
    """Change how severe an event must be to be written."""
    level = _level(settings)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    logging.getLogger().setLevel(level)


class _Renderer:
    """One event -> one line of bytes: time, level and event first, then what the event says."""

    def __init__(self, redactor: Redactor, *, console: bool) -> None:
        self._redact = redactor
        self._console = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty()) if console else None

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        ordered: dict[str, Any] = {
            "timestamp": timestamp(),
            "level": "error" if method == "exception" else method,
            "event": event.pop("event"),
        }
        ordered.update(event)
        if ordered.pop("exc_info", None):
            ordered["exception"] = self._redact(traceback.format_exc())
        if self._console is not None:
            return str(self._console(logger, method, ordered)).encode("utf-8", "backslashreplace")
        return orjson.dumps(ordered, default=str)


class _Handler(logging.Handler):
    """Hands the libraries' records over to structlog, searched for credentials."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redact = redactor
        self._log = structlog.get_logger("library")

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as an event `library`."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 # the library's mistake; logging's own way out prints the arguments, and a key may be one
            message = "(a message that could not be put together)"
        fields = {"logger": record.name, "message": self._redact(message)}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = self._redact("".join(traceback.format_exception(*record.exc_info)))
        # Libraries may have levels of their own; structlog knows the five.
        level = max(logging.DEBUG, min(record.levelno // 10 * 10, logging.CRITICAL))
        self._log.log(level, "library", **fields)


class AccessLog:
    """The one line a request: the event `request.completed`.

    In JSON it is rendered here, without structlog's machinery, into the line that structlog would make of it: at thousands of requests
    a second it is the largest single cost of logging. That of a call that went well is written out, which costs a third of making a
    mapping and rendering that.
    """

    def __init__(self, writer: LineWriter, settings: LogSettings) -> None:
        self._log = structlog.get_logger("proxy.access")
        self._write = writer.write if not _is_console(settings) else None
        self.set_level(settings)

    def set_level(self, settings: LogSettings) -> None:
        """Change which lines are written."""
        level = _level(settings)
        self._fulfils = level <= logging.INFO
        self._fails = level <= logging.WARNING

    def __call__(self, record: Record) -> None:
        """Log it; as a warning when the proxy could not give the API's answer."""
        if record.error is None:
            if self._fulfils:
                self._info(record)
        elif record.refused or record.error in _CLIENTS_OWN:
            if self._fulfils:
                self._event("info", record)
        elif self._fails:
            self._event("warning", record)

    def _info(self, record: Record) -> None:
        request_id, method, path, status, seconds, bytes_in, bytes_out, upstream, _, attempts, *_ = record
        trace = record.trace
        if self._write is None or path is None or trace is not None or '"' in path or "\\" in path:
            self._event("info", record)
            return
        # Nothing in here needs an escape: ids and methods are of a few plain characters, and the path was looked at.
        self._write(
            f'{{"timestamp":"{timestamp()}","level":"info","event":"request.completed","request_id":"{request_id}",'
            f'"method":"{method}","path":"{path}","status":{status},"duration_ms":{seconds * 1000:.2f},'
            f'"bytes_in":{bytes_in},"bytes_out":{bytes_out},'
            f'"upstream_ms":{"null" if upstream is None else f"{upstream * 1000:.2f}"},'
            f'"attempts":{attempts},"error":null,"outcome":null}}\n'.encode("ascii")
        )

    def _event(self, level: str, record: Record) -> None:
        upstream = record.upstream_seconds
        fields = {
            "request_id": record.request_id,
            "method": record.method,
            "path": record.path,
            "status": record.status,
            "duration_ms": round(record.seconds * 1000, 2),
            "bytes_in": record.bytes_in,
            "bytes_out": record.bytes_out,
            "upstream_ms": None if upstream is None else round(upstream * 1000, 2),
            "attempts": record.attempts,
            "error": record.error,
            "outcome": record.outcome,
        }
        if record.trace is not None:
            fields["trace_id"] = record.trace.split("-")[1]
        if self._write is None:
            getattr(self._log, level)("request.completed", **fields)
            return
        line = orjson.dumps(
            {"timestamp": timestamp(), "level": level, "event": "request.completed", **fields}
        )
        self._write(line + b"\n")


_second = (0, "")
_instant = (0, "")


def timestamp() -> str:
    """Return the time as RFC 3339 in UTC, with milliseconds. Each second, and each millisecond, is formatted once."""
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
