"""What the forwarder gets for each request, and what a store that is away changes."""

import asyncio
import hashlib
from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.errors import NOT_SENT, UNKNOWN, Failed, Problem, Refused
from proxy.orders.desk import Desk, Order, Replay
from proxy.orders.keeper import Keeper
from proxy.orders.key import parse
from proxy.orders.memory import MemoryStore
from proxy.orders.states import MAX_CONTENT, Answer, State
from proxy.orders.store import StoreAway, Summary
from proxy.problems import ProblemKind
from tests.clock import FakeClock

PATH = "/corporate-mobile-subscriptions/v2/orders"
ANSWER = Answer(201, b"Content-Type: application/json\r\n", b'{"orderId": "1"}')


class Shaky(MemoryStore):
    """A store in memory that can be away."""

    away = False
    calls = 0

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in {"reserve", "enter", "release", "upkeep", "look_up"}:
            self.calls += 1
            if self.away:
                return _away
        return found


async def _away(*_: object) -> None:
    raise StoreAway("The store is away. Wait for it.")


class House:
    """A desk with its parts, and the counts that it made."""

    def __init__(self, guard: float = 0.0) -> None:
        self.clock = FakeClock()
        self.counts: Counter[str] = Counter()
        self.store = Shaky("aa", self.clock.now)
        self.keeper = Keeper(self.store, self.clock, lambda word: self.counts.update([word]))
        self.desk = Desk(self.keeper, remember_seconds=3600, guard_seconds=guard)
        self.number = 0

    async def begin(
        self, *key: bytes, content: bytes = b"1", client: str = "app", method: bytes = b"POST"
    ) -> Order | Replay:
        """Ask as the forwarder does."""
        self.number += 1
        return await self.desk.begin(
            client=client,
            method=method,
            path=PATH,
            key=parse(key) if key else None,
            fingerprint=hashlib.sha256(method + content).digest(),
            request_id=b"req-%d" % self.number,
        )

    async def order(self, *key: bytes, **given: Any) -> Order:
        """Begin one that is new."""
        order = await self.begin(*key, **given)
        assert isinstance(order, Order)
        return order

    async def placed(self, *key: bytes) -> Order:
        """Begin one that is new, and let its first byte leave."""
        order = await self.order(*key)
        await order.sent()
        return order

    async def refused(self, *key: bytes, **given: Any) -> Problem:
        """Begin one that is refused."""
        with pytest.raises(Problem) as raised:
            await self.begin(*key, **given)
        return raised.value

    async def states(self) -> list[State]:
        """Return the states of all records."""
        return [record.state for record in await self.store.listing(unknown=False)]


@pytest.fixture
def house() -> House:
    """Give a desk without guard."""
    return House()


@pytest.fixture
def guarded() -> House:
    """Give a desk that guards orders without a key for a minute."""
    return House(guard=60.0)


def test_whom_it_concerns(house: House, guarded: House) -> None:
    """Calls that may change something, and have a key or are guarded."""
    for method in (b"POST", b"PUT", b"PATCH", b"DELETE"):
        assert house.desk.concerns(method, [b"k"])
        assert not house.desk.concerns(method, [])
        assert guarded.desk.concerns(method, [])
    for method in (b"GET", b"HEAD", b"OPTIONS"):
        assert not guarded.desk.concerns(method, [b"k"])


# --- With a key --------------------------------------------------------------------------------


@pytest.mark.parametrize("is_sent", [False, True])
async def test_an_order_under_way_is_not_sent_again(house: House, is_sent: bool) -> None:  # noqa: FBT001 # a parameter
    """409, with `Retry-After`, whether its first byte has left or not."""
    order = await house.order(b"k")
    if is_sent:
        await order.sent()
        await order.sent()  # as after a 401 that a new token cured
    problem = await house.refused(b"k")
    assert isinstance(problem, Refused)
    assert problem.kind is ProblemKind.ORDER_IN_FLIGHT
    assert problem.retry_after
    assert problem.outcome is None
    assert "req-1" in problem.detail


async def test_it_is_remembered_for_its_time(house: House) -> None:
    """The same key, quoted or not, gets its answer; when the time is over, the key is free."""
    order = await house.placed(b"k")
    await order.answered(ANSWER)
    await house.clock.advance(3599)
    for spelling in (b"k", b'"k"'):
        assert await house.begin(spelling) == Replay(
            201, ANSWER.fields, b'{"orderId": "1"}', "req-1"
        )
    assert house.counts == {"recorded": 1, "replayed": 2}
    await house.clock.advance(1)
    await house.order(b"k")


async def test_a_large_answer_is_not_kept(house: House) -> None:
    """A repetition gets 409 in its place."""
    order = await house.placed(b"k")
    await order.answered(Answer(200, b"", b"x" * (MAX_CONTENT + 1)))
    assert (await house.refused(b"k")).kind is ProblemKind.ORDER_ANSWERED


@pytest.mark.parametrize("is_sent", [False, True])
async def test_what_is_abandoned_has_an_end(house: House, is_sent: bool) -> None:  # noqa: FBT001 # a parameter
    """Unknown if its first byte may have left, otherwise dropped; an end that it has stays."""
    order = await house.order(b"k")
    if is_sent:
        await order.sent()
    order.abandon(may_be_placed=is_sent)
    await house.keeper.look_after()
    assert await house.states() == [State.UNKNOWN] * is_sent
    over = await house.placed(b"l")
    await over.answered(ANSWER)
    over.left()
    over.abandon(may_be_placed=True)
    await house.keeper.look_after()
    assert State.ANSWERED in await house.states()


# --- A store that is away ----------------------------------------------------------------------


async def test_what_cannot_be_recorded_is_not_sent(house: House) -> None:
    """503 `not_sent`, at the reservation and right before the first byte; nothing is left of it."""
    house.store.away = True
    problem = await house.refused(b"k")
    assert isinstance(problem, Failed)
    assert (problem.kind, problem.outcome) == (ProblemKind.ORDER_STORE_AWAY, NOT_SENT)
    assert house.keeper.away == "The store is away. Wait for it."
    house.store.away = False
    await house.keeper.look_after()
    assert house.keeper.away is None
    order = await house.order(b"k")
    house.store.away = True
    with pytest.raises(Failed) as raised:
        await order.sent()
    assert raised.value.outcome == NOT_SENT
    order.abandon(may_be_placed=False)
    house.store.away = False
    await house.keeper.look_after()
    assert await house.states() == []
    assert house.counts["not_recorded"] == 2
    assert house.counts["store_fault"] == 2


async def test_a_reservation_that_is_cancelled_is_taken_back(house: House) -> None:
    """A client that leaves while its order is reserved may send it again."""
    reserve = house.store.reserve

    async def never(record: Any) -> None:
        assert reserve(record) is None
        await asyncio.Event().wait()

    house.store.reserve = never  # type: ignore[method-assign, assignment] # the store is slow
    task = asyncio.create_task(house.begin(b"k"))
    await house.clock.settle()
    assert await house.states() == [State.RESERVED]
    task.cancel()
    await asyncio.wait({task})
    await house.keeper.look_after()
    assert await house.states() == []


async def test_an_answer_is_recorded_when_the_store_is_back(house: House) -> None:
    """The client gets it at once; a repetition waits until it is recorded."""
    order = await house.placed(b"k")
    house.store.away = True
    await order.answered(ANSWER)
    running = asyncio.create_task(house.keeper.run())
    await house.clock.settle()
    house.store.away = False
    assert (await house.refused(b"k")).kind is ProblemKind.ORDER_IN_FLIGHT
    await house.clock.advance(5)
    assert isinstance(await house.begin(b"k"), Replay)
    running.cancel()
    await asyncio.wait({running})


async def test_a_record_that_was_lost_is_not_sent(house: House) -> None:
    """A replica that was taken for dead finds its claim gone before the first byte leaves."""
    order = await house.order(b"k")
    house.store.release(order._record)
    with pytest.raises(Failed) as raised:
        await order.sent()
    assert raised.value.outcome == NOT_SENT


async def test_a_store_that_stays_away_is_asked_at_intervals(house: House) -> None:
    """What waits does not hasten it."""
    house.store.away = True
    running = asyncio.create_task(house.keeper.run())
    await house.clock.settle()
    for _ in range(5):
        await house.refused(b"k")
    calls = house.store.calls
    await house.clock.advance(60)
    assert house.store.calls - calls == 12
    running.cancel()
    await asyncio.wait({running})
    house.store.away = False
    await house.keeper.close()


async def test_a_mistake_of_ours_is_logged_and_outlived(house: House) -> None:
    """Upkeep goes on after an unexpected exception, and says that there was one."""
    upkeep = house.store.upkeep

    async def mistaken() -> Summary:
        raise ZeroDivisionError

    house.store.upkeep = mistaken  # type: ignore[method-assign] # the store is mistaken
    with capture_logs() as logged:
        running = asyncio.create_task(house.keeper.run())
        await house.clock.settle()
    assert "orders.upkeep_crashed" in [line["event"] for line in logged]
    assert house.keeper.away is not None
    house.store.upkeep = upkeep  # type: ignore[method-assign] # as it was
    await house.clock.advance(5)
    assert house.keeper.away is None
    running.cancel()
    await asyncio.wait({running})


# --- The guard ---------------------------------------------------------------------------------


async def test_a_missed_answer_is_given_to_one(guarded: House) -> None:
    """Of two who ask for it at once, one gets it, and the other one's order is sent."""
    order = await guarded.placed()
    order.left()
    await order.answered(ANSWER)
    found = await asyncio.gather(guarded.begin(), guarded.begin())
    assert sorted(type(one).__name__ for one in found) == ["GuardedOrder", "Replay"]


async def test_an_unknown_outcome_is_guarded_for_its_time(guarded: House) -> None:
    """409, also if the client has stayed, until the time is over."""
    order = await guarded.placed()
    await order.end(State.UNKNOWN)
    problem = await guarded.refused()
    assert (problem.kind, problem.outcome) == (ProblemKind.ORDER_UNKNOWN, UNKNOWN)
    await guarded.clock.advance(60)
    await guarded.order()


async def test_what_is_abandoned_is_guarded(guarded: House) -> None:
    """A call that was cancelled in the middle has an unknown outcome."""
    order = await guarded.placed()
    order.abandon(may_be_placed=True)
    await guarded.clock.settle()
    assert (await guarded.refused()).kind is ProblemKind.ORDER_UNKNOWN


async def test_a_guarded_order_that_was_not_sent_leaves_nothing(guarded: House) -> None:
    """Before its first byte, and after proof that it was not acted on."""
    early = await guarded.order()
    early.left()
    early.abandon(may_be_placed=False)
    late = await guarded.placed()
    late.left()
    await late.end(None)
    await guarded.keeper.look_after()
    assert await guarded.states() == []


async def test_the_guard_stops_no_order_when_the_store_is_away(guarded: House) -> None:
    """Calls without a key are served."""
    guarded.store.away = True
    order = await guarded.placed()
    order.left()
    await order.answered(ANSWER)
    guarded.store.away = False
    await guarded.order()


async def test_a_client_that_left_while_its_answer_was_written(guarded: House) -> None:
    """The answer was over before, and is remembered all the same.

    That of one not acted on is not.
    """
    order = await guarded.placed()
    await order.answered(ANSWER)
    order.left()
    order.left()
    await guarded.clock.settle()
    assert isinstance(await guarded.begin(), Replay)
    rejected = await guarded.placed()
    await rejected.answered(Answer(429, b"", b""))
    rejected.left()
    await guarded.clock.settle()
    assert await guarded.states() == []


async def test_what_the_store_keeps_as_unknown(house: House) -> None:
    """An order that is answered, or whose record is lost, is not among them."""
    ended, abandoned, answered, early = [await house.placed(b"k%d" % n) for n in range(4)]
    lost = await house.placed(b"lost")
    house.store.release(lost._record)
    for order in (ended, lost):
        await order.end(State.UNKNOWN)
    await answered.answered(ANSWER)
    await answered.end(State.UNKNOWN)
    abandoned.abandon(may_be_placed=True)
    early.abandon(may_be_placed=False)
    orders = (ended, abandoned, answered, early, lost)
    assert [order.is_unknown for order in orders] == [True, True, False, False, False]


async def test_a_look_says_when_it_began(house: House) -> None:
    """None before the first one; one that fails does not count."""
    assert house.keeper.status()["looked_at"] is None
    await house.keeper.look_after()
    began = house.clock.wall()
    house.clock.suspend(5)
    house.store.away = True
    await house.keeper.look_after()
    assert house.keeper.status()["looked_at"] == began


async def test_what_operators_see(house: House) -> None:
    """Counts and the oldest unknown orders, with their age.

    Forgetting has words for each failure.
    """
    order = await house.placed(b"k")
    assert (await house.keeper.forget(order._record.id)) is not None
    await order.end(State.UNKNOWN)
    await house.keeper.look_after()
    house.clock.step_wall(4000)
    status = house.keeper.status()
    assert (status["held"], status["unknown"], status["away"]) == (1, 1, None)
    assert house.keeper.oldest_unknown_seconds() == 4000
    found = await house.keeper.listed(unknown=True)
    assert isinstance(found, list)
    (listed,) = found
    assert listed["path"] == "/corporate-mobile-subscriptions/v2/orders"
    assert (listed["outcome"], listed["request_id"], listed["key"]) == ("unknown", "req-1", "k")
    missing = await house.keeper.forget("0" * 32)
    assert missing is not None
    assert missing[0] == 404
    house.store.away = True
    away = await house.keeper.forget("0" * 32)
    assert away is not None
    assert away[0] == 503
