"""The events of the log on the operation page."""

import json
import os
from collections import defaultdict

from proxy.logs import AccessLog, LineWriter
from proxy.records import Record
from proxy.settings import LogSettings
from tests.docs.pages import OPERATION, names, rows, section
from tests.messages.sentences import logged

LOG = section(OPERATION, "Log")
#: The levels and fields of each event that has a row, by name.
EVENTS = {names(row[0])[0]: (row[1], set(names(row[3]))) for row in rows(LOG) if len(row) == 4}
#: The demo's own event, which has a sentence below the table, and the libraries' own.
NOT_IN_TABLE, NOT_NAMED = {"sandbox.answered"}, {"library"}


def test_every_event_has_a_row() -> None:
    """The row has its level and the fields of its call; no row is about anything else."""
    levels: dict[str, set[str]] = defaultdict(set)
    fields: dict[str, set[str]] = defaultdict(set)
    for each in logged():
        levels[each.event] |= each.levels
        fields[each.event] |= each.fields
    assert levels.keys() - NOT_IN_TABLE == EVENTS.keys() - NOT_NAMED - {"request.completed"}
    assert all(f"`{event}`" in LOG for event in NOT_IN_TABLE)
    for event in levels.keys() - NOT_IN_TABLE:
        level, shown = EVENTS[event]
        assert fields[event] <= shown, event
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
    shown = {name for row in rows(LOG) if len(row) == 2 for name in names(row[0])}
    assert line.keys() - {"timestamp", "level", "event"} == shown
    assert line["event"] in EVENTS
