"""The events of the log on the operation page."""

from __future__ import annotations

import ast
import json
import os
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from proxy.logs import AccessLog, LineWriter
from proxy.records import Record
from proxy.settings import LogSettings
from tests.docs.pages import OPERATION, ROOT, names, rows, section

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = section(OPERATION, "Log")
#: The levels and fields of each event that has a row, by name.
EVENTS = {names(row[0])[0]: (row[1], set(names(row[3]))) for row in rows(LOG) if len(row) == 4}
LEVELS = {"debug", "info", "warning", "error", "exception"}
#: An event of the demo alone, told in words below the table; and the libraries' own, which are not
#: named by a call of ours.
NOT_IN_TABLE, NOT_NAMED = {"sandbox.answered"}, {"library"}


def logged() -> Iterator[tuple[str, set[str], set[str]]]:
    """Yield each logging call: the event, its possible levels, and the fields of the call."""
    for path in (ROOT / "proxy").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            first = call.args[0]
            if not isinstance(first, ast.Constant) or not re.fullmatch(
                r"[a-z]+\.[a-z_]+", str(first.value)
            ):
                continue
            levels = {
                part.attr for part in ast.walk(call.func) if isinstance(part, ast.Attribute)
            } & LEVELS
            if levels:
                yield (
                    str(first.value),
                    levels,
                    {keyword.arg for keyword in call.keywords if keyword.arg},
                )


def test_every_event_has_a_row() -> None:
    """The row has its level and the fields of its call; no row is about anything else."""
    levels: dict[str, set[str]] = defaultdict(set)
    fields: dict[str, set[str]] = defaultdict(set)
    for event, its_levels, its_fields in logged():
        levels[event] |= its_levels
        fields[event] |= its_fields
    assert levels.keys() - NOT_IN_TABLE == EVENTS.keys() - NOT_NAMED - {"request.completed"}
    assert all(f"`{event}`" in LOG for event in NOT_IN_TABLE)
    for event in levels.keys() - NOT_IN_TABLE:
        level, told = EVENTS[event]
        assert fields[event] <= told, event
        assert all(word.replace("exception", "error") in level for word in levels[event]), event


def test_the_fields_of_an_access_line_are_those_of_the_table() -> None:
    """`request.completed` has the fields of its table, and no others."""
    read, write = os.pipe()
    try:
        writer = LineWriter(write)
        AccessLog(writer, LogSettings(format="json"))(Record("id-1", "GET", "/", 200, 0.1))
        assert writer.write_out()
        line = json.loads(os.read(read, 10_000))
    finally:
        os.close(read)
        os.close(write)
    told = {name for row in rows(LOG) if len(row) == 2 for name in names(row[0])}
    assert line.keys() - {"timestamp", "level", "event"} == told
    assert line["event"] in EVENTS
