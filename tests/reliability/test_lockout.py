"""Refused credentials are not tried until the machine user is locked out: attempts are counted on the wire over simulated days."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import CredentialsRefused
from tests.gateway.client import order
from tests.gateway.upstream import Act, reply
from tests.reliability.figures import show
from tests.reliability.house import HOUR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.gateway.upstream import Received, Script, Step
    from tests.reliability.house import House

DAY: Final = 24 * HOUR
#: What `policy.REFUSED_PAUSES` comes to, and what docs/reliability.md promises.
FIRST_HOUR: Final = 15
LATER_HOUR: Final = 12

WRONG: Final[Sequence[Step]] = [
    Act.WHOLE,
    reply(401, b'{"code": 20, "message": "invalid resource owner credentials"}'),
]
DOWN: Final[Sequence[Step]] = [Act.WHOLE, reply(503)]


def by_hour(house: House) -> list[int]:
    """Count the attempts of each hour since the house was built."""
    hours = [0] * (int(max(house.calls_at) // HOUR) + 1)
    for instant in house.calls_at:
        hours[int(instant // HOUR)] += 1
    return hours


async def pass_time(house: House, seconds: float) -> None:
    """Let time pass from one deadline to the next; fetches are waited for."""
    end = house.clock.now() + seconds
    await house.clock.settle()
    while (left := end - house.clock.now()) > 0:
        while house.is_fetching:
            await asyncio.sleep(0)
            await house.clock.settle()
        due = house.clock.next_due()
        await house.clock.advance(left if due is None else min(due, left))


async def pass_day(house: House, *, ask_every: float = DAY) -> list[BaseException]:
    """Let a day pass, in which somebody wants a token now and then; return what they got instead."""
    asking = []
    for _ in range(int(DAY / ask_every)):
        asking.append(asyncio.create_task(house.source.get()))
        await pass_time(house, ask_every)
    found = await asyncio.gather(*asking, return_exceptions=True)
    return [each for each in found if isinstance(each, BaseException)]


@pytest.mark.parametrize("ask_every", [DAY, 20.0], ids=["hardly asked", "asked every 20 s"])
async def test_refused_credentials_are_tried_300_times_a_day_at_most(house: House, ask_every: float) -> None:
    """15 attempts in the first hour, 12 in each later one, whoever asks for a token and however often."""
    house.login.usual = WRONG
    house.open()
    errors = await pass_day(house, ask_every=ask_every)
    assert len(errors) == DAY / ask_every
    assert all(isinstance(error, CredentialsRefused) for error in errors)
    hours = by_hour(house)
    show(attempts_by_hour=hours, in_a_day=sum(hours))
    assert hours[0] == FIRST_HOUR
    assert max(hours[1:]) <= LATER_HOUR
    assert sum(hours) == len(house.login.requests) <= 300


async def test_faults_between_refusals_hasten_nothing(house: House) -> None:
    """An endpoint that is down at every other attempt does not bring the quick pace of passing faults back."""
    answers = [WRONG, DOWN]

    def script(_: Received) -> Sequence[Step]:
        return answers[len(house.login.requests) % 2]

    house.login.scripts.append(WRONG)
    house.login.usual = script
    house.open()
    await pass_day(house)
    hours = by_hour(house)
    refused = [entry for entry in house.events("token.renewal_failed") if entry["reason"] == "refused"]
    assert len(refused) == sum(hours) // 2 + 1
    assert hours[0] <= FIRST_HOUR + 3
    assert max(hours[1:]) <= LATER_HOUR


async def test_a_password_that_is_changed_while_the_token_lives(house: House) -> None:
    """The token in force serves until it ends; the attempts to renew it keep to the slow pace from the first refusal on."""
    await house.opened()
    house.login.usual = WRONG
    await house.clock.advance(HOUR - 300)
    await house.until(lambda: house.calls == 2)
    assert (await house.ask(order())).status == 200
    await pass_day(house)
    assert max(by_hour(house)) <= FIRST_HOUR
    assert not house.ready


@pytest.mark.parametrize("steps", [DOWN, [Act.WHOLE, Act.RST], [Act.WHOLE, reply(200)]])
async def test_an_endpoint_that_is_down_is_tried_four_times_a_minute_at_most(
    house: House, steps: Script
) -> None:
    """Passing faults are tried every 15 to 30 s: an hour of them costs 245 attempts at most, and half a minute at most once it is over."""
    house.login.usual = steps
    house.open()
    await pass_time(house, HOUR)
    assert 120 <= house.calls <= 245
    house.login.usual = house.grant
    mended = house.clock.now()
    await house.until(lambda: house.ready)
    assert house.clock.now() - mended <= 30
