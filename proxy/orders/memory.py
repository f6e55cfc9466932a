"""A store in memory, for one process. It ends with the process, so it protects until a restart."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from proxy.orders.states import BEFORE, State, has_end, may_forget
from proxy.orders.store import LISTED, SHOWN, ClaimLost, StoreAway, Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxy.orders.states import Answer, OrderRecord

#: At about a kilobyte each, 100 MB.
_MAX_RECORDS: Final = 100_000
#: Bytes of answers. An answer to an order has some hundreds.
_MAX_CONTENTS: Final = 64 << 20
_FULL: Final = "The memory for orders is full. Lower orders.remember_seconds, or forget orders."


class _Entry:
    """A record as it was reserved, and what has become of it.

    since: the time of its last change.
    """

    __slots__ = ("answer", "reserved", "since", "state")

    def __init__(self, reserved: OrderRecord, since: float) -> None:
        self.reserved = reserved
        self.since = since
        self.state = State.RESERVED
        self.answer: Answer | None = None

    def record(self) -> OrderRecord:
        """Return the record as it is now."""
        return self.reserved._replace(state=self.state, answer=self.answer)

    def size(self) -> int:
        """Return the bytes of the answer."""
        answer = self.answer
        return 0 if answer is None else len(answer.fields) + len(answer.content or b"")


class MemoryStore:
    """Keeps records in a dictionary. now: seconds on a clock that does not step."""

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
        self._entries: dict[str, _Entry] = {}  # in the order in which they were reserved
        self._guarded: set[str] = set()  # they have another lifetime
        self._unknown: dict[str, None] = {}

    async def reserve(self, record: OrderRecord) -> OrderRecord | None:
        """Remember a new record, unless there is one with its id."""
        entry = self._entries.get(record.id)
        if entry is not None and not self._dropped_if_over(entry):
            return None if entry.reserved.claim == record.claim else entry.record()
        if len(self._entries) >= self._most or self._bytes >= self._most_bytes:
            await self.upkeep()
            if len(self._entries) >= self._most or self._bytes >= self._most_bytes:
                raise StoreAway(_FULL)
        self._entries[record.id] = _Entry(record, self._now())
        if record.key is None:
            self._guarded.add(record.id)
        return None

    async def enter(self, record: OrderRecord, state: State, answer: Answer | None = None) -> None:
        """Let it enter a state."""
        entry = self._entries.get(record.id)
        if (
            entry is None
            or entry.reserved.claim != record.claim
            or (before := entry.state) not in BEFORE[state]
        ):
            raise ClaimLost
        if before is state:
            return
        if state is State.UNKNOWN:
            self._unknown[record.id] = None
        elif before is State.UNKNOWN:
            del self._unknown[record.id]
        entry.state, entry.answer, entry.since = state, answer, self._now()
        if answer is not None:
            self._bytes += entry.size()

    async def release(self, record: OrderRecord) -> bool:
        """Drop it."""
        entry = self._entries.get(record.id)
        is_there = entry is not None and entry.reserved.claim == record.claim
        if entry is None or not is_there or self._dropped_if_over(entry):
            return False
        self._drop(entry)
        return True

    async def look_up(self, order_id: str) -> OrderRecord | None:
        """Return the record."""
        entry = self._entries.get(order_id)
        return None if entry is None or self._dropped_if_over(entry) else entry.record()

    async def listing(self, *, unknown: bool, most: int = LISTED) -> Sequence[OrderRecord]:
        """Return what is remembered."""
        ids: Iterable[str] = self._unknown if unknown else self._entries
        present = (
            entry for entry in map(self._entries.__getitem__, ids) if not self._is_over(entry)
        )
        records = (entry.record().without_content() for entry in itertools.islice(present, most))
        return sorted(records, key=lambda record: record.created_at)

    async def forget(self, order_id: str) -> bool:
        """Drop it by an operator's word."""
        entry = self._entries.get(order_id)
        if entry is None or self._dropped_if_over(entry) or not may_forget(entry.state):
            return False
        self._drop(entry)
        return True

    async def upkeep(self) -> Summary:
        """Drop what is over, and say what is held."""
        for order_id in tuple(self._guarded):
            self._dropped_if_over(self._entries[order_id])
        over = []
        for entry in self._entries.values():
            if self._is_over(entry):
                over.append(entry)
            elif entry.state is State.ANSWERED and entry.reserved.key is not None:
                # those behind it were reserved later, so they end at about that time or later
                break
        for entry in over:
            self._drop(entry)
        unknown = await self.listing(unknown=True, most=SHOWN)
        return Summary(len(self._entries), len(self._unknown), unknown)

    async def close(self) -> None:
        """End."""

    def _is_over(self, entry: _Entry) -> bool:
        reserved = entry.reserved
        ends = has_end(entry.state, guarded=reserved.key is None)
        return ends and self._now() >= entry.since + reserved.lifetime

    def _dropped_if_over(self, entry: _Entry) -> bool:
        is_over = self._is_over(entry)
        if is_over:
            self._drop(entry)
        return is_over

    def _drop(self, entry: _Entry) -> None:
        order_id = entry.reserved.id
        del self._entries[order_id]
        self._guarded.discard(order_id)
        self._unknown.pop(order_id, None)
        self._bytes -= entry.size()
