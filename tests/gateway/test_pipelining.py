"""Several requests on one connection, in any segments: in order, none after a refused one."""

import asyncio
from collections import Counter

import pytest

from tests.gateway.client import ACCOUNTS, ORDER, ORDERS, chunks, order, request, until
from tests.gateway.conftest import Gateway, Lab
from tests.scripted import Act, reply

CHUNKED = b"Transfer-Encoding: chunked"


def nth(number: int) -> bytes:
    """Return a GET that says which it is."""
    return request(b"GET", b"/corporate-accounts/%d" % number)


async def test_requests_in_one_segment_are_answered_in_order(gateway: Gateway) -> None:
    """A slow first request delays the others, and keeps their order."""
    opened = asyncio.Event()
    gateway.upstream.scripts.append([opened, reply(200, b"/corporate-accounts/0")])
    client = await gateway.begin(b"".join(nth(number) for number in range(20)), whole=False)
    assert len(gateway.upstream.requests) == 1
    opened.set()
    answers = [await client.answer() for _ in range(20)]
    assert [bytes(answer.content) for answer in answers] == [
        b"/corporate-accounts/%d" % number for number in range(20)
    ]
    assert len(gateway.upstream.connections) == 1


async def test_requests_with_bodies_in_one_segment_are_separated(gateway: Gateway) -> None:
    """A body ends where its framing says, and the next request begins with the byte after it."""
    client = await gateway.connect()
    chunked = request(b"POST", ORDERS, CHUNKED) + chunks(b"GET / HTTP/1.1\r\n\r\n", ORDER)
    await client.send(order() + chunked + nth(1) + order(content=b"") + chunked + nth(2))
    assert [(await client.answer()).status for _ in range(6)] == [200] * 6
    assert [bytes(seen.content) for seen in gateway.upstream.requests] == [
        ORDER,
        b"GET / HTTP/1.1\r\n\r\n" + ORDER,
        b"",
        b"",
        b"GET / HTTP/1.1\r\n\r\n" + ORDER,
        b"",
    ]


SPLIT = (
    request(b"POST", ORDERS, CHUNKED)
    + chunks(b"hello", b"world", trailers=b"X-A: 1\r\n")
    + order()
    + nth(3)
)


@pytest.mark.parametrize("first", range(0, len(SPLIT), 40))
async def test_a_split_at_any_byte_changes_nothing(gateway: Gateway, first: int) -> None:
    """The same requests arrive, whatever the ends of the segments."""

    async def ask(*pieces: bytes) -> None:
        client = await gateway.connect()
        await client.send(*pieces)
        assert [(await client.answer()).status for _ in range(3)] == [200] * 3
        client.close()

    cuts = [(SPLIT[:at], SPLIT[at:]) for at in range(first, min(first + 40, len(SPLIT)))]
    one_byte_at_a_time = [bytes([byte]) for byte in SPLIT[: first + 1]]
    await asyncio.gather(*[ask(*cut) for cut in cuts], ask(*one_byte_at_a_time, SPLIT[first + 1 :]))
    contents = Counter(bytes(seen.content) for seen in gateway.upstream.requests)
    assert contents == dict.fromkeys((b"helloworld", ORDER, b""), len(cuts) + 1)


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (request(b"POST", b"/oauth/v2/token", content=nth(9)), 403),
        (request(b"POST", b"/nowhere", CHUNKED) + chunks(nth(9)), 403),
        (request(b"POST", ACCOUNTS, host=b"elsewhere.example", content=nth(9)), 421),
        (request(b"POST", ACCOUNTS, b"Origin: null", content=nth(9)), 403),
        (request(b"POST", ACCOUNTS, b"Expect: x", content=nth(9)), 417),
        (request(b"FOO", ACCOUNTS, content=nth(9)), 501),
        (request(b"TRACE", ACCOUNTS, content=nth(9)), 405),
        (request(b"POST", b"/corporate-accounts/..", content=nth(9)), 400),
        (b"nonsense\r\n\r\n", 400),
    ],
)
async def test_nothing_after_a_refused_request_is_served(
    gateway: Gateway, bad: bytes, status: int
) -> None:
    """Requests before it are answered; the refusal is the last answer, its body is no request."""
    client = await gateway.connect()
    assert (await client.ask(nth(1) + bad + nth(2))).status == 200
    assert (await client.answer()).status == status
    assert await client.closed() == "fin"
    assert [seen.target for seen in gateway.upstream.requests] == [b"/corporate-accounts/1"]
    assert [record.status for record in gateway.records] == [200, status]


async def test_a_flood_of_requests_is_bounded(gateway: Gateway) -> None:
    """Requests behind a slow one stay in the client's kernel, not in our memory."""
    opened = gateway.upstream.hold(reply(200))
    client = await gateway.connect()
    sending = asyncio.create_task(client.send(nth(1) * 20_000))
    await until(lambda: gateway.upstream.requests)
    served = await gateway.served()
    await until(lambda: served._reading_paused)
    assert len(served.buffer) < 400_000
    assert len(gateway.upstream.requests) == 1
    opened.set()
    for _ in range(1000):
        assert (await client.answer()).status == 200
    client.close()
    sending.cancel()


@pytest.mark.parametrize("raw", [nth(0), order()])
@pytest.mark.parametrize(("answer", "status"), [(b"garbage\r\n\r\n", 502), (b"", 504)])
async def test_a_connection_goes_on_after_a_failed_call(
    lab: Lab, raw: bytes, answer: bytes, status: int
) -> None:
    """After a 502 or 504 to a whole request, which is not sent again, the next one is served."""
    gateway = await lab.gateway(upstream__response_timeout_seconds=1)
    gateway.upstream.scripts.append([Act.WHOLE, answer])
    client = await gateway.connect()
    assert (await client.ask(raw + nth(1))).status == status
    assert (await client.answer()).status == 200
    assert len(gateway.upstream.requests) == 2


async def test_a_pipelined_request_behind_the_last_one_costs_no_answer(gateway: Gateway) -> None:
    """The last answer is not lost in a reset (RFC 9112 section 9.6)."""
    client = await gateway.connect()
    assert (await client.ask(order(b"Connection: close") + order() * 200)).status == 200
    assert await client.closed() == "fin"
    assert len(gateway.upstream.requests) == 1
