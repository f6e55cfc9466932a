"""Clients that disconnect, on each way of a call: what reaches the sandbox, and what is logged.

tests/gateway/test_leaving.py has other moments.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.gateway.client import order, request, until
from tests.reliability.api_faults import Way
from tests.reliability.road import body, scene_of, until_body, whole
from tests.reliability.test_api_faults import in_pieces
from tests.scripted import Act

if TYPE_CHECKING:
    from tests.gateway.conftest import Lab
    from tests.scripted import Steps


@pytest.mark.parametrize("way", Way, ids=lambda way: way.name.lower())
@pytest.mark.parametrize("begun", [False, True], ids=["before an answer", "inside the answer"])
@pytest.mark.parametrize("method", [b"GET", b"POST"], ids=["get", "post"])
async def test_a_client_disconnects(lab: Lab, method: bytes, begun: bool, way: Way) -> None:  # noqa: FBT001 # a table's column
    """A GET is cancelled at the API; an order is followed to its end, and its answer logged."""
    is_order = method == b"POST"
    async with scene_of(lab) as scene:
        house, road, let_go = scene.house, scene.road, asyncio.Event()
        await house.opened()
        if way is not Way.NEW:
            assert (await house.ask(request(), method=b"GET")).status == 200
        held: Steps = [until_body, let_go, body] if begun else [let_go, whole]
        road.scripts.append([Act.WHOLE, Act.ASK, *held])
        before, records = len(road.requests), house.gateway.records
        known = len(records)
        client = await house.gateway.connect()
        await client.send(*in_pieces(order() if is_order else request(), way))
        await until(lambda: len(road.requests) > before and road.requests[-1].answer)
        if begun:
            await client._read()
        client.reset()

        if is_order:
            await until(lambda: any(each.lost for each in house.gateway.listener._service.clients))
            assert len(records) == known
            let_go.set()
        await until(lambda: len(records) > known)
        line = scene.access_line(records[-1])
        assert (line["event"], line["level"]) == ("request.completed", "info")
        assert line["error"] == "client_left"
        assert (line["status"], line["attempts"]) == (201 if is_order else 200 if begun else 499, 1)
        assert scene.counter("orders") == is_order
        # The connection of an order is kept; that of a call that was given up is cut, so that the
        # API notices.
        await until(lambda: house.gateway.pool.connections == (0, int(is_order)))
        await until(lambda: is_order or not road.open)
        let_go.set()
        assert (await house.ask(order())).status == 201
        assert len(road.requests) == before + 2
