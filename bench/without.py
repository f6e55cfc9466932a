"""The proxy with one part left out, or made another way: what that part costs, or saves.

    python -m bench.without "no access line" serve --config config.yaml

Each variant reaches into the product, which is why it stands here and not there; `make bench BENCH=--parts` measures them all.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from proxy import app, cli, logs
from proxy.forward import service
from proxy.http1 import grammar

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.records import Record


def _by_task() -> None:
    service.Service.begin = lambda *_: False  # type: ignore[method-assign] # the short way takes nothing


def _no_heads() -> None:
    service.MAX_REMEMBERED_HEAD = -1  # type: ignore[misc] # none is short enough


def _no_lines() -> None:
    _no_heads()
    grammar.MAX_REMEMBERED_LINE = -1  # type: ignore[misc] # as above


def _no_access_line() -> None:
    logs.AccessLog.__call__ = lambda *_: None  # type: ignore[method-assign] # it writes nothing


def _no_records() -> None:
    app._tell = lambda *_: None  # noqa: SLF001 # nobody is told of a finished request


def _by_structlog() -> None:
    logs.AccessLog._info = lambda self, record: self._event("info", record)  # type: ignore[method-assign] # noqa: SLF001 # as for calls that failed
    event = logs.AccessLog._event  # noqa: SLF001

    def through_structlog(self: logs.AccessLog, level: str, record: Record) -> None:
        write, self._write = self._write, None  # without it, the line goes by way of structlog
        event(self, level, record)
        self._write = write

    logs.AccessLog._event = through_structlog  # type: ignore[method-assign] # noqa: SLF001


def _write_each() -> None:
    def write(self: logs.LineWriter, line: bytes) -> None:
        self._lines.append(line)  # its own
        self.write_out()

    logs.LineWriter.write = write  # type: ignore[method-assign] # no line waits for others


VARIANTS: Final[dict[str, Callable[[], None]]] = {
    "every call by a task": _by_task,
    "no heads remembered": _no_heads,
    "no heads or lines remembered": _no_lines,
    "access lines by structlog": _by_structlog,
    "a write for each line": _write_each,
    "no access lines": _no_access_line,
    "no access lines, metrics or status": _no_records,
}


if __name__ == "__main__":
    VARIANTS[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
