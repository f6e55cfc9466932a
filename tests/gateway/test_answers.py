"""Answers of the upstream: the same grammar as for requests; a malformed one becomes a 502."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.gateway.client import ACCOUNTS, ORDERS, order, request, until
from tests.gateway.conftest import Gateway, Lab
from tests.scripted import Act, Drip, Step, reply

#: Stands in every bad answer, and must come back in none.
MARKER = b"marker-of-the-answer"
OK = b"HTTP/1.1 200 OK\r\n"
#: A whole answer without a request.
UNASKED = reply(200, MARKER)

#: tests/unit (grammar) holds every spelling; here is one of each kind.
BAD_HEADS = {
    "words": MARKER + b"\r\n\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x0a",
    "HTTP/2 frame": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + MARKER,
    "version 2.0": b"HTTP/2.0 200 OK\r\n\r\n" + MARKER,
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 20\n\n" + MARKER,
    "folded": OK + b"X: a\r\n " + MARKER + b"\r\n\r\n",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n" + MARKER,
    "coding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n" + MARKER,
    "bad chunk at once": OK + b"Transfer-Encoding: chunked\r\n\r\n" + MARKER + b"\r\n",
    "unasked switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + MARKER,
    "bad interim": b"HTTP/1.1 103 X\r\nX Y: 1\r\n\r\n" + UNASKED,
    "bad after interim": b"HTTP/1.1 103 X\r\n\r\n" + MARKER + b"\r\n\r\n",
    "too many fields": OK + b"X: 1\r\n" * 257 + b"\r\n" + MARKER,
    "too large": OK + b"X: " + b"x" * 66_000 + b"\r\n\r\n" + MARKER,
    "without end": OK + b"X: " + b"x" * 70_000,
    "a long reason without end": b"HTTP/1.1 200 " + b"x" * 70_000,
}


@pytest.mark.parametrize("raw", [request(), order()], ids=["get", "order"])
@pytest.mark.parametrize("name", BAD_HEADS)
async def test_an_answer_that_is_not_http_gets_502(gateway: Gateway, name: str, raw: bytes) -> None:
    """502 in our words alone; sent once; the upstream's connection is cut, the client's goes on."""
    gateway.upstream.scripts.append([Act.WHOLE, BAD_HEADS[name]])
    client = await gateway.connect()
    answer = await client.ask(raw)
    assert (answer.status, answer.kind) == (502, "upstream-answer-unreadable")
    assert answer.proxy_error == "http_protocol_error"
    assert answer.problem["outcome"] == "unknown"
    assert ("may or may not have been placed" in answer.problem["detail"]) == (raw == order())
    assert MARKER not in client.received
    assert len(gateway.upstream.requests) == 1
    assert (await client.ask(request())).status == 200
    assert len(gateway.upstream.connections) == 2


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "steps",
    [
        [UNASKED],
        [UNASKED, Act.FIN],
        [reply(408, MARKER, b"Connection: close"), Act.FIN],
        [b"\x00"],
        [b"HTTP/1.1 100 Continue\r\n\r\n"],
        [Act.FIN],
        [Act.CUT],
        [Act.RST],
        [Drip(UNASKED)],
    ],
    ids=["answer", "answer and end", "408", "a byte", "interim", "end", "cut", "reset", "drip"],
)
@pytest.mark.parametrize("seen", [True, False])
async def test_bytes_on_an_idle_connection_answer_no_request(
    lab: Lab, steps: Sequence[Step], *, seen: bool, tls: bool
) -> None:
    """Unrequested bytes, or the end, make a pooled connection useless, read already or not."""
    gateway = await lab.gateway(tls=tls)
    assert (await gateway.ask(request())).status == 200
    assert gateway.pool.connections == (0, 1)
    await gateway.upstream.connections[0].start(steps)
    if seen:
        await until(lambda: not any(connection.is_usable() for connection in gateway.pool._open))
        await asyncio.sleep(0.005)
    answer = await gateway.ask(order())
    assert (answer.status, bytes(answer.content)) == (200, ORDERS)
    assert len(gateway.upstream.whole) == 2
    assert [len(connection.requests) for connection in gateway.upstream.connections] == [1, 1]


@pytest.mark.parametrize("extra", [b"x", UNASKED, b"\r\n"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_byte_more_than_an_answer_ends_its_connection(
    gateway: Gateway, method: bytes, extra: bytes
) -> None:
    """Bytes that follow an answer in the same segment belong to no answer."""
    head = OK + b"Content-Length: 5\r\n\r\n"
    gateway.upstream.scripts.append(
        [Act.WHOLE, head + (b"" if method == b"HEAD" else b"hello") + extra]
    )
    answer = await gateway.ask(request(method), method=method)
    assert (answer.status, answer.whole) == (200, True)
    await until(lambda: gateway.pool.connections == (0, 0))
    assert bytes((await gateway.ask(request())).content) == ACCOUNTS


@pytest.mark.parametrize(
    ("status", "framing", "content"),
    [
        (204, b"Content-Length: %d" % len(UNASKED), UNASKED),
        (304, b"Content-Length: %d" % len(UNASKED), UNASKED),
        (204, b"Content-Length: 5", b""),
        (204, b"Transfer-Encoding: chunked", b""),
    ],
)
async def test_content_behind_204_or_304_is_no_answer(
    gateway: Gateway, status: int, framing: bytes, content: bytes
) -> None:
    """What follows may be its content, so no other call uses it (RFC 9112 section 6.3)."""
    head = b"HTTP/1.1 %d X\r\n%b\r\n\r\n" % (status, framing)
    gateway.upstream.scripts.append([Act.WHOLE, head + content])
    client = await gateway.connect()
    assert (await client.ask(request())).status == status
    assert bytes((await client.ask(request())).content) == ACCOUNTS
    assert len(gateway.upstream.connections) == 2


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", [b"https://elsewhere.example/", b"/oauth/v2/token", b"//elsewhere.example/x", b"?a"]
)
async def test_redirects_are_passed_on(gateway: Gateway, status: int, location: bytes) -> None:
    """A redirect is never followed: the credential goes to the configured origin only."""
    gateway.upstream.usual = [Act.WHOLE, reply(status, b"moved", b"Location: " + location)]
    answer = await gateway.ask(order())
    assert (answer.status, answer.values(b"location")) == (status, [location])
    assert bytes(answer.content) == b"moved"
    assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\n",
        b"HTTP/1.0 200 OK\r\n",
    ],
)
async def test_a_connection_that_should_end_is_not_used_again(
    gateway: Gateway, head: bytes
) -> None:
    """After `Connection: close` or an HTTP/1.0 answer."""
    gateway.upstream.usual = [Act.WHOLE, head + b"Content-Length: 2\r\n\r\nok"]
    for _ in range(3):
        assert bytes((await gateway.ask(order())).content) == b"ok"
    assert len(gateway.upstream.connections) == 3
    await until(lambda: all(connection.ended for connection in gateway.upstream.connections))


async def two_idle(gateway: Gateway) -> None:
    """Leave two connections in the pool."""
    opened = gateway.upstream.hold(reply(200))
    first = asyncio.create_task(gateway.ask(request()))
    await until(lambda: gateway.upstream.whole)
    assert (await gateway.ask(request())).status == 200
    opened.set()
    assert (await first).status == 200
    assert gateway.pool.connections == (0, 2)


@pytest.mark.parametrize("tls", [False, True])
async def test_an_unused_connection_is_closed_in_time(lab: Lab, *, tls: bool) -> None:
    """An idle pooled connection is closed in order after its time."""
    gateway = await lab.gateway(tls=tls, upstream__idle_timeout_seconds=0.5)
    now = [0.0]
    gateway.pool._now = lambda: now[0]
    await two_idle(gateway)
    gateway.pool._idle[1].idle_since = now[0] = 10.0
    await until(lambda: gateway.pool.connections == (0, 1))
    now[0] = 20.0
    await until(lambda: gateway.pool.connections == (0, 0))
    await until(lambda: not gateway.upstream.open)
    assert [connection.ended for connection in gateway.upstream.connections] == ["fin", "fin"]
    assert (await gateway.ask(request())).status == 200


async def test_a_new_connection_replaces_an_idle_one(lab: Lab) -> None:
    """The API has no more connections than `upstream.max_connections` when a call is repeated."""
    gateway = await lab.gateway(upstream__max_connections=2)
    await two_idle(gateway)
    gateway.upstream.scripts.append([Act.WHOLE, Act.FIN])
    assert (await gateway.ask(request())).status == 200
    await until(lambda: len(gateway.upstream.open) == 1)
    assert gateway.pool.connections == (0, 1)


async def test_the_largest_head_passes(gateway: Gateway) -> None:
    """256 fields, nearly 64 KiB: passed on field by field."""
    fields = [b"X-%d: %b" % (number, b"x" * 240) for number in range(255)]
    gateway.upstream.usual = [Act.WHOLE, reply(200, b"ok", *fields)]
    answer = await gateway.ask(request())
    assert [b"%b: %b" % line for line in answer.fields[:255]] == fields


async def test_white_space_before_a_colon_of_the_api_is_removed(gateway: Gateway) -> None:
    """A proxy removes it (RFC 9112 section 5.1): the answer is passed on, and its length counts."""
    gateway.upstream.scripts.append(
        [Act.WHOLE, b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\nX-A : b\r\n\r\nok"]
    )
    answer = await gateway.ask(order())
    assert (answer.status, bytes(answer.content), answer.values(b"x-a")) == (200, b"ok", [b"b"])


async def test_the_apis_code_is_noted(gateway: Gateway) -> None:
    """The code that an error of the API names is in the record, and the answer is unchanged."""
    gateway.upstream.scripts.append([Act.WHOLE, reply(403, b'{"code": "40301"}')])
    answer = await gateway.ask(order())
    assert (answer.status, bytes(answer.content)) == (403, b'{"code": "40301"}')
    assert (await gateway.noted()).code == "40301"


async def test_a_connection_ends_at_its_age(lab: Lab) -> None:
    """A busy connection is renewed after its call, so that a changed address is noticed."""
    gateway = await lab.gateway(upstream__max_age_seconds=0.2)
    client = await gateway.connect()
    now, age = gateway.pool._now, [0.0]
    gateway.pool._now = lambda: now() + age[0]
    for step in (0.0, 0.1, 0.2, 0.0):
        age[0] += step
        assert (await client.ask(request())).status == 200
    assert len(gateway.upstream.connections) == 2


async def test_a_greeting_is_no_answer(lab: Lab) -> None:
    """An API that sends bytes before a request has answered nothing: the order fails unsent."""
    gateway = await lab.gateway()
    gateway.upstream.greeting = [b"HTTP/1.1 201 Created\r\nContent-Length: 8\r\n\r\nGREETING"]
    for _ in range(5):
        answer = await gateway.ask(order())
        assert answer.problem["outcome"] != "not_sent" or b"GREETING" not in answer.content
