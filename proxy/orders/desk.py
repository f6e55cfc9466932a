"""What the forwarder calls: it opens a record for an order, or gives what a repetition gets.

    order = await desk.begin(...)      an `Order` to send, a `Replay`, or a `Problem` is raised
    await order.sent()                 before its first byte leaves, each time that it is sent
    await order.answered(answer)       before the client gets the answer; or `end` without one
    order.abandon()                    in a `finally`: ends what nothing else has ended

It knows no sockets. What the store could not take is kept by keeper.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine, Sequence
from typing import Any, Final, NamedTuple

from proxy.errors import NOT_SENT, UNKNOWN, Failed, Problem, Refused
from proxy.orders import key as keys
from proxy.orders.keeper import PAUSE, Change, Keeper
from proxy.orders.states import MAX_CONTENT, Again, Answer, OrderRecord, State, again, ending
from proxy.orders.store import ClaimLost, StoreAway
from proxy.problems import ProblemKind

#: Seconds that a client waits before it asks for the answer again.
_RETRY_AFTER: Final = 2.0

_RECORD_LOST: Final = (
    "The record of this order was dropped, because the store was out of reach for too long."
)
_SEND_AGAIN: Final = " Nothing was sent. Send it again later, with the same key."


class Replay(NamedTuple):
    """An answer that was given before. fields: field lines, each with CRLF, without framing.

    first_id: the request that placed the order.
    """

    status: int
    fields: bytes
    content: bytes
    first_id: str


class Desk:
    """Judges repetitions. Times in seconds; with `guard_seconds` 0 only orders with a key count."""

    def __init__(self, keeper: Keeper, *, remember_seconds: float, guard_seconds: float) -> None:
        self._keeper = keeper
        self._remember = remember_seconds
        self._guard = guard_seconds
        self._claims = itertools.count(1)

    def concerns(self, method: bytes, key: Sequence[bytes]) -> bool:
        """Whether a request has to `begin` here. key: the values of its Idempotency-Key fields."""
        return method in keys.METHODS and bool(key or self._guard)

    async def begin(
        self,
        *,
        client: str,
        method: bytes,
        path: str,
        key: str | None,
        fingerprint: bytes,
        request_id: bytes,
    ) -> Order | Replay:
        """Open a record for an order whose content is here as a whole.

        client: its name, "" if clients have none. path: the target without its query. key: as
        `key.parse` returns it, None without the field. fingerprint: see `key.fingerprint`. Raises
        `Refused` for what must not be sent, and `Failed` if the order cannot be recorded.
        """
        keeper = self._keeper
        record = OrderRecord(
            keys.identify_guarded(fingerprint) if key is None else keys.identify(client, key),
            f"{keeper.store.owner}.{next(self._claims)}",
            key,
            client,
            keys.METHODS[method],
            path,
            fingerprint,
            request_id.decode("ascii"),
            keeper.clock.wall(),
            self._guard if key is None else self._remember,
        )
        if key is None:
            return await self._begin_guarded(record)
        try:
            found = keeper.store.reserve(record)
            if found is not None and isinstance(found, Coroutine):  # None: the usual case
                found = await found
        except BaseException as error:
            keeper.later(record, None)
            if isinstance(error, StoreAway):
                raise _not_recorded(keeper, error) from None
            raise
        if found is not None:
            return self._repeated(found, record)
        keeper.count("recorded")
        return Order(keeper, record)

    async def _begin_guarded(self, record: OrderRecord) -> Order | Replay:
        """Send it, unless an identical one is remembered. Without a store it is sent, too."""
        keeper, found = self._keeper, None
        with contextlib.suppress(StoreAway):
            found = await keeper.ask(keeper.store.look_up, record.id)
            if found is not None and found.answer is not None:
                # Given once: of two that ask for it, one gets it and the other one is sent.
                found = found if await keeper.ask(keeper.store.release, found) else None
        return GuardedOrder(keeper, record) if found is None else self._repeated(found, record)

    def _repeated(self, found: OrderRecord, record: OrderRecord) -> Replay:
        """Give what a repetition gets, or raise it."""
        what = again(found, record.fingerprint)
        self._keeper.count(what)
        answer = found.answer
        if what is Again.REPLAYED and answer is not None and answer.content is not None:
            return Replay(answer.status, answer.fields, answer.content, found.request_id)
        raise _refusal(what, found)


class Order:
    """An order that has a record, and is to be sent.

    is_sent: the record says that its first byte may have left. is_over: it has an end. is_unknown:
    its record says that its outcome is unknown, or soon will, and stays until it is forgotten.
    """

    __slots__ = ("_keeper", "_record", "is_over", "is_sent", "is_unknown")

    def __init__(self, keeper: Keeper, record: OrderRecord) -> None:
        self._keeper = keeper
        self._record = record
        self.is_sent = False
        self.is_over = False
        self.is_unknown = False

    async def sent(self) -> None:
        """Record that its first byte leaves now. Raises `Failed`; then nothing may leave."""
        if self.is_sent:
            return
        try:
            waiting = self._keeper.store.enter(self._record, State.SENT)
            if waiting is not None:
                await waiting
        except (StoreAway, ClaimLost) as error:
            raise _not_recorded(self._keeper, error) from None
        self.is_sent = True

    def answered(self, answer: Answer, code: str | None = None) -> Coroutine[Any, Any, object]:
        """Record a final answer of the API. code: the API's error code in it, if it names one."""
        state = ending(answer.status, code)
        if state is not State.ANSWERED:
            return self.end(state)
        if answer.content is not None and len(answer.content) > MAX_CONTENT:
            answer = answer._replace(content=None)
        return self.end(state, answer)

    def end(self, state: State | None, answer: Answer | None = None) -> Coroutine[Any, Any, object]:
        """Record how it ended; None: the API cannot have acted on it, and the record is dropped.

        If it has an end already, that one stays.
        """
        if self.is_over:
            return _nothing()
        self.is_over = True
        if state is State.UNKNOWN:
            return self._end_unknown()
        return self._keeper.end(self._record, state, answer)

    async def _end_unknown(self) -> None:
        self.is_unknown = True
        self.is_unknown = await self._keeper.end(self._record, State.UNKNOWN)

    def left(self) -> None:
        """Note that its client has left: that changes nothing."""

    def abandon(self, *, may_be_placed: bool) -> None:
        """End it, if nothing else has; without waiting, so also while being cancelled.

        may_be_placed: the API may have begun to act on it.
        """
        if not self.is_over:
            self.is_over, self.is_unknown = True, may_be_placed
            self._keeper.later(self._record, State.UNKNOWN if may_be_placed else None)


class GuardedOrder(Order):
    """An order without a key.

    It is remembered if its client has left before its answer, or if its outcome is unknown. The
    client may leave before the order ends or after, so either one finds what the other has left.
    """

    __slots__ = ("_ending", "_recording")

    def __init__(self, keeper: Keeper, record: OrderRecord) -> None:
        super().__init__(keeper, record)
        self._recording: asyncio.Task[bool] | None = None
        self._ending: Change | None = None

    async def sent(self) -> None:
        """Note that its first byte leaves now."""
        self.is_sent = True

    def left(self) -> None:
        """Note that its client has left before its answer was whole there."""
        is_dropped = self.is_over and self._ending is None
        if self._recording is None and self.is_sent and not is_dropped:
            self._recording = self._keeper.beside(self._remember())
            if self._ending is not None:
                self._keeper.beside(self._settle(self._recording, self._ending))

    async def _remember(self) -> bool:
        """Make the record; say whether there is one now that is this order's."""
        keeper = self._keeper
        with contextlib.suppress(StoreAway, ClaimLost):
            if await keeper.ask(keeper.store.reserve, self._record) is None:
                await keeper.ask(keeper.store.enter, self._record, State.SENT)
                return True
        return False

    async def _settle(self, recording: asyncio.Task[bool], change: Change) -> None:
        if await asyncio.shield(recording):
            await self._keeper.end(*change)

    async def end(self, state: State | None, answer: Answer | None = None) -> None:
        """Record how it ended, if there is a record by now, or has to be one."""
        if state is State.UNKNOWN:
            self.left()
        if not self.is_over:
            self.is_over = True
            change = Change(self._record, state, answer)
            self._ending = None if state is None else change
            if self._recording is not None:
                await self._settle(self._recording, change)

    def abandon(self, *, may_be_placed: bool) -> None:
        """End it, if nothing else has."""
        if not self.is_over:
            self._keeper.beside(self.end(State.UNKNOWN if may_be_placed else None))


async def _nothing() -> None: ...


def _not_recorded(keeper: Keeper, error: StoreAway | ClaimLost) -> Failed:
    if isinstance(error, StoreAway):
        keeper.fault(error)
    keeper.count("not_recorded")
    why = str(error) if isinstance(error, StoreAway) else _RECORD_LOST
    return Failed(
        ProblemKind.ORDER_STORE_AWAY, why + _SEND_AGAIN, outcome=NOT_SENT, retry_after=PAUSE
    )


def _refusal(what: Again, found: OrderRecord) -> Problem:
    first = found.request_id
    if what is Again.REUSED:
        return Refused(
            ProblemKind.ORDER_KEY_REUSED,
            f"This Idempotency-Key belongs to a different order, that of request {first}. "
            "Use a new key for each order, and the same one only to send the same order again.",
        )
    if what is Again.IN_FLIGHT:
        refused = Refused(
            ProblemKind.ORDER_IN_FLIGHT,
            f"The same order is under way, since request {first}. "
            "Wait, and send it again to get its answer.",
        )
        refused.retry_after = _RETRY_AFTER
        return refused
    if what is Again.ANSWERED:
        status = 0 if found.answer is None else found.answer.status
        return Refused(
            ProblemKind.ORDER_ANSWERED,
            f"The API answered this order with status {status} to request {first}, in an answer "
            "that was too large to be kept. Look the order up instead of sending it again.",
        )
    refused = Refused(
        ProblemKind.ORDER_UNKNOWN,
        f"It is not known whether request {first} placed this order: the API may have acted on it. "
        f"Look it up at Telenor. Then `telenor-proxy orders forget {found.id}`, "
        "with the proxy's --config, lets it be sent.",
    )
    refused.outcome = UNKNOWN
    return refused
