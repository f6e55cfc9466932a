"""What a request costs in work, not in time: how many Python functions are called on its way, against a recorded budget.

A change that makes the way longer shows here, on whatever machine. The budget is what it was when it was last looked at; raise it with a reason.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from bench.hotpath import Rig

if TYPE_CHECKING:
    from types import FrameType

REQUESTS = 50
#: Calls and resumptions of Python functions for one order on kept connections, from the client's bytes to the access line. Six of them are
#: for a named client: its key, its rights, its line and its counts.
BUDGET = 132


async def calls_for_one(clients: int) -> float:
    """Count the calls and resumptions for one order, on average. clients: so many are named."""
    rig = Rig(clients)
    for _ in range(REQUESTS):  # whatever happens once has happened
        await rig.request()
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call" and "/asyncio/" not in frame.f_code.co_filename

    sys.setprofile(count)
    try:
        for _ in range(REQUESTS):
            await rig.request()
    finally:
        sys.setprofile(None)
    await rig.close()
    await asyncio.sleep(0)
    return calls / REQUESTS


async def test_the_way_of_a_request_stays_short() -> None:
    """An order on kept connections takes no more calls than the budget has."""
    calls = await calls_for_one(clients=0)
    assert calls <= BUDGET
    assert calls > BUDGET / 2, "the budget is far too generous by now: lower it"


async def test_fifty_clients_take_no_more_work_than_one() -> None:
    """Who calls is found by a hash and a lookup, however many may call."""
    one, fifty = await calls_for_one(clients=1), await calls_for_one(clients=50)
    assert abs(one - fifty) < 1  # a timer of the event loop may fire in between
    assert one <= BUDGET
