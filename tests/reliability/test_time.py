"""Clocks that are set, hosts that sleep, tokens that end during a call: no expired token is sent.

The API here knows when each token ends, on the same clock, and checks each request on arrival.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import pytest

from tests.gateway.client import ORDER, order, request, until
from tests.gateway.conftest import Lab
from tests.reliability.house import HOUR, House, house_of
from tests.scripted import Act, Received, Step, reply

DAY: Final = 24 * HOUR
MIDDLE: Final = len(order()) - len(ORDER) // 2
#: The first two.
TOKENS: Final = [b"token-of-the-test-1", b"token-of-the-test-2"]


# --- A token that ends while a call waits ------------------------------------------------------


@pytest.mark.parametrize("refused", [False, True])
async def test_a_token_that_ends_while_a_call_waits_for_a_connection_is_not_sent(
    lab: Lab, *, refused: bool
) -> None:
    """The order is sent with the next token; if there is none, the client gets `not_sent`."""
    async with house_of(lab, upstream__max_connections=1) as house:
        await house.opened()
        let_go = asyncio.Event()
        house.gateway.upstream.scripts.append([Act.WHOLE, let_go, reply(200)])
        first = asyncio.create_task(house.gateway.ask(order()))
        await until(lambda: house.gateway.upstream.whole)
        second = asyncio.create_task(house.gateway.ask(order()))
        await until(lambda: house.gateway.listener.in_flight == 2)
        await asyncio.sleep(0)
        if refused:
            house.login.usual = [Act.WHOLE, reply(401, b'{"code": 20}')]
        house.clock.suspend(2 * HOUR)
        let_go.set()
        await house.until(lambda: first.done() and second.done())
        assert (await first).status == 200
        answer = await second
        if refused:
            assert (answer.status, answer.kind) == (503, "no-token")
            assert answer.problem["outcome"] == "not_sent"
            assert house.bearers == TOKENS[:1]
        else:
            assert answer.status == 200
            assert house.bearers == TOKENS


async def test_a_token_that_ends_before_a_safe_call_is_sent_again_is_not_sent(house: House) -> None:
    """A call whose connection is lost after hours is sent again, with a new token."""
    await house.opened()
    let_go = asyncio.Event()
    house.gateway.upstream.scripts.append([Act.WHOLE, let_go, Act.FIN])
    asking = asyncio.create_task(house.gateway.ask(request()))
    await until(lambda: house.gateway.upstream.whole)
    house.clock.suspend(2 * HOUR)
    let_go.set()
    await house.until(asking.done)
    assert (await asking).status == 200
    assert house.bearers == TOKENS


# --- A token that ends in the middle of a request ----------------------------------------------


async def test_a_token_that_ends_in_the_middle_of_a_request_costs_the_client_nothing(
    house: House,
) -> None:
    """Rejected because the body came slowly: one login, and the whole order is sent again."""
    await house.opened()
    raw = order()
    client = await house.gateway.connect()
    house.gateway.upstream.scripts.append([Act.WHOLE, reply(401, b'{"code": 40106}')])
    await client.send(raw[:MIDDLE])
    await until(lambda: house.gateway.upstream.requests)
    house.clock.suspend(2 * HOUR)
    await client.send(raw[MIDDLE:])
    await until(lambda: house.granted == 2)
    assert (await client.answer()).status == 200
    assert [bytes(seen.content) for seen in house.gateway.upstream.whole] == [ORDER, ORDER]
    assert house.bearers == TOKENS


async def test_a_token_that_ends_in_the_middle_of_an_answer_changes_nothing(house: House) -> None:
    """An answer that has begun does not depend on the token any more."""
    await house.opened()
    let_go, raw = asyncio.Event(), reply(200, b"x" * 1000)
    house.gateway.upstream.scripts.append([Act.WHOLE, raw[:500], let_go, raw[500:]])
    asking = asyncio.create_task(house.gateway.ask(order()))
    await until(lambda: house.gateway.upstream.whole)
    house.clock.suspend(2 * HOUR)
    let_go.set()
    answer = await asking
    assert (answer.status, answer.whole, len(answer.content)) == (200, True, 1000)
    assert len(house.gateway.upstream.requests) == 1


# --- A host that was suspended -----------------------------------------------------------------


async def test_the_first_order_after_two_hours_of_sleep(house: House) -> None:
    """The old token is not tried: the order waits for a new one and arrives once."""
    await house.opened()
    assert (await house.ask(order())).status == 200
    house.clock.suspend(2 * HOUR)
    assert not house.ready
    assert (await house.ask(order())).status == 200
    assert house.ready
    assert house.bearers == TOKENS


async def test_a_connection_that_slept_with_the_host_carries_no_order(house: House) -> None:
    """After two hours of sleep an order gets a new connection, even if the old one looks open."""
    await house.opened()
    house.gateway.pool._now = house.clock.now
    assert (await house.ask(order())).status == 200
    assert (await house.ask(order())).status == 200
    assert len(house.gateway.upstream.connections) == 1
    house.clock.suspend(2 * HOUR)
    assert (await house.ask(order())).status == 200
    assert [len(connection.requests) for connection in house.gateway.upstream.connections] == [2, 1]


# --- Everything at once ------------------------------------------------------------------------


class Week:
    """Clocks are set, the host sleeps, logins fail and calls arrive, in random order.

    late: tokens that had ended when they arrived, with the seconds since.
    """

    def __init__(self, house: House, seed: int) -> None:
        self._house = house
        self._dice = random.Random(seed)  # noqa: S311 # faults, not secrets
        self._calls: list[asyncio.Task[int]] = []
        self._let_go = asyncio.Event()
        self._held = 0
        self.late: list[tuple[bytes, float]] = []
        house.gateway.upstream.usual = self._answer

    def _answer(self, seen: Received) -> Sequence[Step]:
        """Answer some at once; hold the others, so that later calls wait for their connections."""
        token = seen.values(b"authorization")[0].split()[-1]
        left = self._house.ends[token] - self._house.clock.now()
        if left <= 0:
            self.late.append((token, -left))
        if self._dice.random() < 0.7:
            return [Act.WHOLE, reply(200)]
        self._held += 1
        return [Act.WHOLE, self._let_go, reply(200)]

    async def _ask(self) -> int:
        raw = order() if self._dice.random() < 0.5 else request()
        return (await self._house.gateway.ask(raw)).status

    async def _at_rest(self) -> None:
        """Wait until every call waits for something: no time may pass on the way."""
        house = self._house
        await until(
            lambda: (
                sum(not call.done() for call in self._calls)
                <= house.source.waiting + len(house.gateway.pool._waiting) + self._held
            )
        )

    def _release(self) -> None:
        self._held = 0
        self._let_go.set()
        self._let_go = asyncio.Event()

    async def _step(self) -> None:
        house, dice = self._house, self._dice
        await self._at_rest()
        roll = dice.random()
        if roll < 0.25:
            await house.clock.advance(dice.choice([0.1, 5, 59, 299, 301, 1800, HOUR, 2 * HOUR]))
        elif roll < 0.4:
            house.clock.suspend(dice.choice([1, 3590, 3596, 2 * HOUR, DAY]))
        elif roll < 0.5:
            house.clock.step_wall(dice.choice([-DAY, -HOUR, HOUR, DAY]))
        elif roll < 0.6:
            house.login.usual = [Act.WHOLE, reply(dice.choice([503, 401]))]
        elif roll < 0.7:
            house.login.usual = house.grant
        elif roll < 0.75:
            house.lifetime = dice.choice([120, 600, HOUR])
        elif roll < 0.8:
            house.source.renew_now()
        elif roll < 0.9:
            self._release()
        else:
            self._calls += [asyncio.create_task(self._ask()) for _ in range(dice.randrange(1, 5))]

    async def live(self, steps: int) -> list[int]:
        """Live that many steps, then let everything end well; return the statuses of the calls."""
        for _ in range(steps):
            await self._step()
        self._house.login.usual = self._house.grant
        self._house.source.renew_now()
        while not all(call.done() for call in self._calls):
            await self._at_rest()
            self._release()
            await self._house.clock.advance(1)
        return [call.result() for call in self._calls]


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_time_does_no_expired_token_is_sent(lab: Lab, seed: int) -> None:
    """A hundred random steps: each token that arrives is valid, and each call is answered."""
    async with house_of(lab, upstream__max_connections=2) as house:
        await house.opened()
        week = Week(house, seed)
        statuses = await week.live(100)
        assert not week.late
        assert set(statuses) <= {200, 503}
        assert len(house.gateway.upstream.whole) == statuses.count(200)
        house.gateway.upstream.usual = [Act.WHOLE, reply(200)]
        await house.until(lambda: house.ready)
        assert (await house.ask(order())).status == 200
