"""Between the desk and its store: asks it, and keeps what it could not take.

A change that ends an order must not be lost because the store is away, nor hold its client's
answer back: it waits here, in order, and is made when the store is back. Until then the record
stays as it was, so a repetition is refused.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar, overload

import structlog

from proxy.clock import Clock
from proxy.orders.showing import forget, shown
from proxy.orders.states import Answer, OrderRecord, State
from proxy.orders.store import ClaimLost, Soon, Store, StoreAway, Summary

log = structlog.get_logger("proxy.orders")

P = ParamSpec("P")
T = TypeVar("T")

#: What is counted: what became of each order that a store was asked about, and faults of the store.
RESULTS: Final = (
    "recorded",
    "replayed",
    "in_flight",
    "unknown",
    "answered",
    "reused",
    "not_recorded",
)
STORE_FAULT: Final = "store_fault"

#: Seconds between two looks at the store. A lease there lasts several times as long.
PAUSE: Final = 5.0
#: Changes that wait for a store that is away. With the largest answers, 64 MB.
_MOST_WAITING: Final = 1_000
_CRASHED: Final = "The proxy made a mistake with the store of orders. Restart it."


class Change(NamedTuple):
    """What ends an order: the state that its record enters; None drops the record."""

    record: OrderRecord
    state: State | None
    answer: Answer | None = None


class Keeper:
    """Keeps a store in use. count: called with a word of `RESULTS`, or `STORE_FAULT`.

    summary: what the store held at the last look. looked_at: when that began, in seconds since the
    epoch; None before the first one. away: why it cannot be used, in words; None if it can.
    """

    def __init__(self, store: Store, clock: Clock, count: Callable[[str], None]) -> None:
        self.store = store
        self.clock = clock
        self.count = count
        self.summary = Summary()
        self.looked_at: float | None = None
        self.away: str | None = None
        self._wake = asyncio.Event()
        self._waiting: deque[Change] = deque()
        self._tasks: set[asyncio.Task[object]] = set()

    def fault(self, error: StoreAway) -> None:
        """Note that the store could not be used. `run` notes when it can be used again."""
        self.count(STORE_FAULT)
        if self.away is None:
            log.warning("orders.store_away", detail=str(error))
        self.away = str(error)

    @overload
    async def ask(
        self, method: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def ask(self, method: Callable[P, Soon[T]], *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def ask(self, method: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call a method of the store, and note whether the store could be used."""
        try:
            result = method(*args, **kwargs)
            if isinstance(result, Coroutine):
                result = await result
        except StoreAway as error:
            self.fault(error)
            raise
        if self.away is not None:
            log.info("orders.store_back")
            self.away = None
        return result

    async def end(
        self, record: OrderRecord, state: State | None, answer: Answer | None = None
    ) -> bool:
        """Have the store make a change that ends an order; later, if it is away.

        False if it has lost the record.
        """
        if self._waiting and any(change.record.claim == record.claim for change in self._waiting):
            self.later(record, state, answer)
            return True
        try:
            waiting = self._change(record, state, answer)
            if waiting is not None and isinstance(waiting, Coroutine):  # None: the usual case
                await waiting
        except ClaimLost:
            log.warning(
                "orders.record_lost",
                request_id=record.request_id,
                detail="The record of an order was dropped while the order was under way: the "
                "store was out of reach for too long. Look that order up before it is sent again.",
            )
            return False
        except BaseException as error:
            self.later(record, state, answer)
            if not isinstance(error, StoreAway):
                raise
            self.fault(error)
        return True

    def _change(
        self, record: OrderRecord, state: State | None, answer: Answer | None
    ) -> Soon[object]:
        store = self.store
        return store.release(record) if state is None else store.enter(record, state, answer)

    def later(self, record: OrderRecord, state: State | None, answer: Answer | None = None) -> None:
        """Have the store make such a change soon, without waiting for it."""
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
        self._waiting.append(Change(record, state, answer))
        self._wake.set()

    def beside(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Do something beside what is under way; `close` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self) -> None:
        """Look after the store until cancelled."""
        while True:
            try:
                await self.look_after()
            except Exception:
                log.exception(
                    "orders.upkeep_crashed",
                    detail="The proxy made a mistake while it looked after the store of orders. "
                    "Report it to the project, with this line.",
                )
                self.away = self.away or _CRASHED
            if self.away is not None:
                # What comes in meanwhile does not hasten a store that is away.
                await self.clock.wait(asyncio.Event(), PAUSE)
            elif not self._waiting:
                self._wake.clear()
                await self.clock.wait(self._wake, PAUSE)

    async def look_after(self) -> None:
        """Make the changes that wait, renew leases, drop what is over, see what is held."""
        with contextlib.suppress(StoreAway):
            while self._waiting:
                waiting = self._waiting[0]
                with contextlib.suppress(ClaimLost):
                    await self.ask(self._change, *waiting)
                if self._waiting and self._waiting[0] is waiting:
                    self._waiting.popleft()
            began = self.clock.wall()
            self.summary, self.looked_at = await self.ask(self.store.upkeep), began

    # --- For operators ------------------------------------------------------------------------

    def status(self) -> dict[str, object]:
        """Return what `/status` says of orders. unknown: how many; `records` has the oldest."""
        return {
            "away": self.away,
            "looked_at": self.looked_at,
            "held": self.summary.held,
            "unknown": self.summary.unknown,
            "records": [shown(record) for record in self.summary.records],
        }

    def oldest_unknown_seconds(self) -> float:
        """Return for how long the oldest unknown order has waited for an operator; 0 for none."""
        if not self.summary.records:
            return 0.0
        return max(0.0, self.clock.wall() - self.summary.records[0].created_at)

    async def listed(self, *, unknown: bool) -> list[dict[str, object]] | str:
        """Return the orders as operators see them, or why that cannot be said now."""
        try:
            records = await self.ask(self.store.listing, unknown=unknown)
        except StoreAway as error:
            return str(error)
        return [shown(record) for record in records]

    async def forget(self, order_id: str) -> tuple[int, str] | None:
        """Drop one by an operator's word; return a status and words if it was not dropped."""
        try:
            problem = await self.ask(forget, self.store, order_id)
        except StoreAway as error:
            return 503, str(error)
        self._wake.set()
        return problem

    async def close(self) -> None:
        """Make the changes that wait, once more, and end the store."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.look_after()
        await self.store.close()
