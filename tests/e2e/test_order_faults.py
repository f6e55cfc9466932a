"""Faults of orders through the proxy, as a customer sees them who tests his retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.e2e.process import ORDER, ORDERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.conftest import Standing

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def placed(http: aiohttp.ClientSession, url: str) -> tuple[int, Mapping[str, object]]:
    """Place an order; give the status and the answer's JSON."""
    async with http.post(url, json=ORDER) as answer:
        content = await answer.json(content_type=None)
        assert isinstance(content, dict)
        return answer.status, content


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
    got, content = await placed(http, await proxy.url(ORDERS))
    assert (got, content.get("outcome")) == (status, outcome)
    assert [row["times"] for row in api.sandbox.placed_shown()] == ([times] if times else [])


async def test_a_second_answer_is_dropped(standing: Standing) -> None:
    """An answer that comes twice is passed on once; the next order gets its own answer."""
    proxy, api, http = standing
    url = await proxy.url(ORDERS)
    api.sandbox.fault("order_answered_twice", count=1)
    answers = [await placed(http, url) for _ in range(3)]
    assert [status for status, _ in answers] == [201, 201, 201]
    assert [content["orderId"] for _, content in answers] == [
        order.id for order in api.sandbox.orders
    ]


async def test_an_answer_that_breaks_off_is_not_complete(standing: Standing) -> None:
    """The client gets half an answer and an error; the order was placed."""
    proxy, api, http = standing
    api.sandbox.fault("order_half", count=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await placed(http, await proxy.url(ORDERS))
    assert len(api.sandbox.orders) == 1
