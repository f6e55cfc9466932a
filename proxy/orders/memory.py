"""A store in memory, for one process. It ends with the process, so it protects until a restart.

A row is a plain tuple of plain values, and not an object: the garbage collector stops tracking such
tuples, so that its pauses do not grow with the number of records.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from proxy.orders.states import BEFORE, Answer, OrderRecord, State, has_end, may_forget
from proxy.orders.store import LISTED, SHOWN, ClaimLost, StoreAway, Summary

#: Claim, state, when it ends, the other fields of `OrderRecord`, and those of `Answer`.
_Row: TypeAlias = tuple[str, str, float, tuple[Any, ...], tuple[int, bytes, bytes | None] | None]

#: At about a kilobyte each, 100 MB.
_MAX_RECORDS: Final = 100_000
#: Bytes of answers. An answer to an order has some hundreds.
_MAX_CONTENTS: Final = 64 << 20
_FULL: Final = "The memory for orders is full. Lower orders.remember_seconds, or forget orders."
#: An Enum's member is an object that is tracked; its value is not.
_PLAIN: Final = {state: state.value for state in State}
_RESERVED: Final = State.RESERVED.value


class MemoryStore:
    """Keeps rows in a dictionary. now: seconds on a clock that does not step."""

    def __init__(
        self,
        owner: str,
        now: Callable[[], float],
        *,
        most: int = _MAX_RECORDS,
        most_bytes: int = _MAX_CONTENTS,
    ) -> None:
        self.owner = owner
        self._now = now
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._rows: dict[str, _Row] = {}  # in the order in which they were reserved
        self._guarded: set[str] = set()  # they have another lifetime
        self._unknown: dict[str, None] = {}

    def reserve(self, record: OrderRecord) -> OrderRecord | None:
        """Remember a new record, unless there is one with its id."""
        if record.id in self._rows and (row := self._found(record.id)) is not None:
            return None if row[0] == record.claim else _record(row)
        if len(self._rows) >= self._most or self._bytes >= self._most_bytes:
            self._drop_what_is_over()
            if len(self._rows) >= self._most or self._bytes >= self._most_bytes:
                raise StoreAway(_FULL)
        if record.key is None:
            self._guarded.add(record.id)
        ends = self._now() + record.lifetime
        self._rows[record.id] = (record.claim, _RESERVED, ends, record[:-2], None)
        return None

    def enter(self, record: OrderRecord, state: State, answer: Answer | None = None) -> None:
        """Let it enter a state."""
        row = self._rows.get(record.id)
        if row is None or row[0] != record.claim or row[1] not in BEFORE[state]:
            raise ClaimLost
        if row[1] == state:
            return
        ends, kept = math.inf, None
        if has_end(state, guarded=record.key is None):
            ends = self._now() + record.lifetime
        if state is State.UNKNOWN:
            self._unknown[record.id] = None
        elif row[1] == State.UNKNOWN:
            del self._unknown[record.id]
        if answer is not None:
            kept = answer[:]
            self._bytes += len(answer.fields) + len(answer.content or b"")
        self._rows[record.id] = (record.claim, _PLAIN[state], ends, row[3], kept)

    def release(self, record: OrderRecord) -> bool:
        """Drop it."""
        row = self._found(record.id)
        is_there = row is not None and row[0] == record.claim
        if is_there:
            self._drop(record.id)
        return is_there

    def look_up(self, order_id: str) -> OrderRecord | None:
        """Return the record."""
        row = self._found(order_id)
        return None if row is None else _record(row)

    async def listing(self, *, unknown: bool, most: int = LISTED) -> Sequence[OrderRecord]:
        """Return what is remembered."""
        ids: Iterable[str] = self._unknown if unknown else self._rows
        now = self._now()
        present = (row for row in map(self._rows.__getitem__, ids) if row[2] > now)
        records = [_record(row, with_content=False) for row in itertools.islice(present, most)]
        return sorted(records, key=lambda record: record.created_at)

    async def forget(self, order_id: str) -> bool:
        """Drop it by an operator's word."""
        row = self._found(order_id)
        can_be = row is not None and may_forget(row[1])
        if can_be:
            self._drop(order_id)
        return can_be

    async def upkeep(self) -> Summary:
        """Drop what is over, and say what is held."""
        self._drop_what_is_over()
        unknown = await self.listing(unknown=True, most=SHOWN)
        return Summary(len(self._rows), len(self._unknown), unknown)

    async def close(self) -> None:
        """End."""

    def _found(self, order_id: str) -> _Row | None:
        """Return a row that is not over; drop it if it is."""
        row = self._rows.get(order_id)
        if row is not None and row[2] <= self._now():
            self._drop(order_id)
            return None
        return row

    def _drop_what_is_over(self) -> None:
        now = self._now()
        over = [order_id for order_id in self._guarded if self._rows[order_id][2] <= now]
        for order_id, row in self._rows.items():
            if order_id not in self._guarded:
                if row[2] <= now:
                    over.append(order_id)
                elif row[1] == State.ANSWERED:
                    # those behind it were reserved later, so they end at about that time or later
                    break
        for order_id in over:
            self._drop(order_id)

    def _drop(self, order_id: str) -> None:
        *_, answer = self._rows.pop(order_id)
        self._guarded.discard(order_id)
        self._unknown.pop(order_id, None)
        if answer is not None:
            self._bytes -= len(answer[1]) + len(answer[2] or b"")


def _record(row: _Row, *, with_content: bool = True) -> OrderRecord:
    _, state, _, reserved, kept = row
    answer = None if kept is None else Answer._make(kept)
    if answer is not None and not with_content:
        answer = answer._replace(content=None)
    return OrderRecord._make((*reserved, State(state), answer))
