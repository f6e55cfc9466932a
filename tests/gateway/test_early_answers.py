"""Answers that arrive before the request is whole, also if the API closes the connection."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.gateway.client import ORDERS, Gone, chunks, request, until
from tests.gateway.conftest import Gateway, Lab  # noqa: TC001 # resolved by pytest's fixtures
from tests.scripted import Act, Drip, reply

TOO_LARGE = reply(413, b'{"code": 41301}', b"Connection: close")


async def upload(gateway: Gateway, size: int, *, chunked: bool = False) -> int:
    """Upload so many bytes on a new connection; return the status of the answer, or 0."""
    client = await gateway.connect()
    content = b"x" * size
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    body = (
        chunks(*[content[at : at + 16_384] for at in range(0, size, 16_384)])
        if chunked
        else content
    )
    with contextlib.suppress(ConnectionError):
        await client.send(
            request(b"POST", ORDERS, framing),
            *[body[at : at + 50_000] for at in range(0, len(body), 50_000)],
        )
    try:
        return (await client.answer()).status
    except Gone:
        return 0


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [70_000, 3_000_000])
@pytest.mark.parametrize("end", [Act.FIN, Act.RST])
async def test_an_early_refusal_reaches_the_client(
    lab: Lab, size: int, end: Act, *, chunked: bool, tls: bool
) -> None:
    """The API answers 413 before it has read the upload and closes: the client gets the 413."""
    gateway = await lab.gateway(tls=tls)
    gateway.cut_short = None
    gateway.upstream.usual = [TOO_LARGE, end]
    statuses = await asyncio.gather(*(upload(gateway, size, chunked=chunked) for _ in range(6)))
    assert statuses == [413] * 6
    await until(lambda: len(gateway.records) == 6)
    assert {(record.status, record.error, record.outcome) for record in gateway.records} == {
        (413, None, None)
    }


@pytest.mark.parametrize("size", [1, 7, len(TOO_LARGE) - 1])
async def test_an_early_refusal_may_come_in_pieces(gateway: Gateway, size: int) -> None:
    """Nothing is written while an answer arrives, so that no failing write loses the rest of it."""
    gateway.cut_short = None
    gateway.upstream.usual = [Drip(TOO_LARGE, size), Act.RST]
    assert [await upload(gateway, 1_000_000) for _ in range(3)] == [413] * 3


async def test_a_request_that_was_not_sent_whole_ends_its_connection(lab: Lab) -> None:
    """It holds half a request after an early refusal; the next call gets another one."""
    gateway = await lab.gateway(upstream__max_connections=1)
    gateway.cut_short = None
    gateway.upstream.scripts.append([reply(413, b"early")])
    assert await upload(gateway, 3_000_000) == 413
    assert (await gateway.ask(request())).status == 200
    assert len(gateway.upstream.connections) == 2
