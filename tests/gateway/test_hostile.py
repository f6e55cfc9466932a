"""Attacks of a peer on the service of other clients; each of these once worked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.gateway.client import ORDERS, order, request, until
from tests.scripted import reply

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, Lab


async def test_silent_uploads_give_way_to_waiting_calls(lab: Lab) -> None:
    """Clients that announce a body and send none hold connections only while no call waits."""
    gateway = await lab.gateway(upstream__max_connections=2, upstream__connect_timeout_seconds=10)
    gateway.cut_short = 2
    silent = [await gateway.connect() for _ in range(2)]
    for client in silent:
        await client.send(request(b"POST", ORDERS, b"Content-Length: 5"))
    await until(lambda: len(gateway.upstream.requests) == 2)
    assert (await gateway.ask(request())).status == 200
    assert {(await client.answer()).status for client in silent[:1]} == {408}
    for client in silent:
        client.close()


async def test_empty_lines_do_not_extend_the_idle_timeout(lab: Lab) -> None:
    """The time that a client may be idle does not begin anew with each empty line."""
    gateway = await lab.gateway(limits__idle_timeout_seconds=0.3)
    client = await gateway.connect()

    async def trickle() -> None:
        while client.ended is None:
            await client.send(b"\r\n")
            await asyncio.sleep(0.05)

    trickling = asyncio.ensure_future(trickle())
    try:
        await client.closed()
    finally:
        trickling.cancel()
        await asyncio.wait({trickling})
    assert not gateway.records


@pytest.mark.parametrize(("padding", "sendings"), [(10, 2), (5000, 1)])
async def test_only_the_beginning_of_a_challenge_is_searched(
    gateway: Gateway, padding: int, sendings: int
) -> None:
    """Searching all of a long `WWW-Authenticate` would block the event loop for a second."""
    challenge = b'WWW-Authenticate: Bearer realm="%b", error="invalid_token"' % (b"x" * padding)
    gateway.upstream.scripts.append([reply(401, b'{"code": 40101}', challenge)])
    await gateway.ask(order())
    assert len(gateway.upstream.requests) == sendings


async def test_a_greeting_is_no_answer(lab: Lab) -> None:
    """An API that sends bytes before a request has answered nothing: the order fails unsent."""
    gateway = await lab.gateway()
    gateway.upstream.greeting = [b"HTTP/1.1 201 Created\r\nContent-Length: 8\r\n\r\nGREETING"]
    for _ in range(5):
        answer = await gateway.ask(order())
        assert answer.problem["outcome"] != "not_sent" or b"GREETING" not in answer.content
