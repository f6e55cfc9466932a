"""A store in memory, for one process. It ends with the process, so it protects until a restart."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from proxy.orders.states import State, has_end, may_forget
from proxy.orders.store import LISTED, SHOWN, ClaimLost, StoreAway, Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxy.orders.states import Answer, OrderRecord

#: At about a kilobyte each, 100 MB.
_MAX_RECORDS: Final = 100_000
#: Bytes of answers. An answer to an order has some hundreds.
_MAX_CONTENTS: Final = 64 << 20


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
        # By the time at which they were last changed, so that those which are over come first.
        self._records: dict[str, tuple[OrderRecord, float]] = {}
        self._unknown: dict[str, None] = {}

    async def reserve(self, record: OrderRecord) -> OrderRecord | None:
        """Remember a new record, unless there is one with its id."""
        found = await self.look_up(record.id)
        if found is not None:
            return None if found.claim == record.claim else found
        if len(self._records) >= self._most or self._bytes >= self._most_bytes:
            await self.upkeep()
        if len(self._records) >= self._most or self._bytes >= self._most_bytes:
            raise StoreAway("The memory for orders is full. Lower orders.remember_seconds, or forget orders.")
        self._put(record)
        return None

    async def mark_sent(self, record: OrderRecord) -> None:
        """Note that the first byte leaves."""
        self._change(record, State.SENT, State.RESERVED)

    async def complete(self, record: OrderRecord, answer: Answer) -> None:
        """Keep the answer."""
        self._change(record, State.ANSWERED, State.SENT, State.UNKNOWN, answer=answer)

    async def mark_unknown(self, record: OrderRecord) -> None:
        """Note that it is not known whether the order was placed."""
        self._change(record, State.UNKNOWN, State.SENT)

    async def release(self, record: OrderRecord) -> bool:
        """Drop it."""
        found = await self.look_up(record.id)
        if found is None or found.claim != record.claim:
            return False
        self._drop(record.id)
        return True

    async def look_up(self, order_id: str) -> OrderRecord | None:
        """Return the record."""
        found = self._records.get(order_id)
        if found is None:
            return None
        if self._is_over(*found):
            self._drop(order_id)
            return None
        return found[0]

    async def listing(self, *, unknown: bool, most: int = LISTED) -> Sequence[OrderRecord]:
        """Return what is remembered."""
        names = self._unknown if unknown else self._records
        every = map(self._records.__getitem__, names)
        records = (record for record, since in every if not self._is_over(record, since))
        found = list(itertools.islice(_without_contents(records), most))
        return sorted(found, key=lambda record: record.created_at)

    async def forget(self, order_id: str) -> bool:
        """Drop it by an operator's word."""
        found = await self.look_up(order_id)
        if found is None or not may_forget(found.state):
            return False
        self._drop(order_id)
        return True

    async def upkeep(self) -> Summary:
        """Drop what is over, and say what is held."""
        over = [name for name in self._unknown if self._is_over(*self._records[name])]
        for order_id, (record, since) in self._records.items():
            if self._is_over(record, since):
                over.append(order_id)
            elif record.key is not None and record.state is State.ANSWERED:
                break  # what follows was changed later, and has the same lifetime or no end
        for order_id in over:
            self._drop(order_id)
        unknown = await self.listing(unknown=True, most=SHOWN)
        return Summary(len(self._records), len(self._unknown), unknown)

    async def close(self) -> None:
        """End."""

    def _is_over(self, record: OrderRecord, since: float) -> bool:
        ends = has_end(record.state, guarded=record.key is None)
        return ends and self._now() >= since + record.lifetime

    def _change(
        self, record: OrderRecord, state: State, *states: State, answer: Answer | None = None
    ) -> None:
        found, _ = self._records.get(record.id, (None, 0.0))
        if found is None or found.claim != record.claim or found.state not in {state, *states}:
            raise ClaimLost
        if found.state is not state:
            self._put(replace(found, state=state, answer=answer))

    def _put(self, record: OrderRecord) -> None:
        self._drop(record.id)
        self._bytes += _size(record)
        self._records[record.id] = (record, self._now())
        if record.state is State.UNKNOWN:
            self._unknown[record.id] = None

    def _drop(self, order_id: str) -> None:
        found = self._records.pop(order_id, None)
        if found is not None:
            self._bytes -= _size(found[0])
            self._unknown.pop(order_id, None)


def _size(record: OrderRecord) -> int:
    answer = record.answer
    return 0 if answer is None else len(answer.fields) + len(answer.content or b"")


def _without_contents(records: Iterator[OrderRecord]) -> Iterator[OrderRecord]:
    for record in records:
        answer = record.answer
        yield record if answer is None else replace(record, answer=replace(answer, content=None))
