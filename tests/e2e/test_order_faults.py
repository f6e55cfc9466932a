"""Faults of orders through the proxy, as a customer sees them who tests his retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.e2e.process import ORDERS, order

if TYPE_CHECKING:
    from tests.e2e.conftest import Standing

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("fault", "status", "outcome", "times"),
    [
        ("order_drop", 502, "unknown", 0),
        ("order_drop_after", 502, "unknown", 1),
        ("order_silent", 504, "unknown", 1),
        ("order_placed_twice", 201, None, 2),
    ],
)
async def test_the_sandbox_counts_what_the_proxy_cannot_know(
    standing: Standing, fault: str, status: int, outcome: str | None, times: int
) -> None:
    """The proxy says that it does not know; the sandbox says how often the order was placed."""
    proxy, api, http = standing
    api.sandbox.fault(fault, count=1)
    answer = await order(http, await proxy.url(ORDERS))
    assert (answer.status, answer.json().get("outcome")) == (status, outcome)
    assert [row["times"] for row in api.sandbox.placed_shown()] == ([times] if times else [])


async def test_a_second_answer_is_dropped(standing: Standing) -> None:
    """An answer that comes twice is passed on once; the next order gets its own answer."""
    proxy, api, http = standing
    url = await proxy.url(ORDERS)
    api.sandbox.fault("order_answered_twice", count=1)
    answers = [await order(http, url) for _ in range(3)]
    assert {answer.status for answer in answers} == {201}
    placed = [order.id for order in api.sandbox.orders]
    assert [answer.json()["orderId"] for answer in answers] == placed


async def test_an_answer_that_breaks_off_is_not_complete(standing: Standing) -> None:
    """The client gets half an answer and an error; the order was placed."""
    proxy, api, http = standing
    api.sandbox.fault("order_half", count=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await order(http, await proxy.url(ORDERS))
    assert len(api.sandbox.orders) == 1
