"""The start line: HTTP/1.1 and HTTP/1.0, seven methods; all else is refused.

tests/unit (policy, grammar) holds every spelling of what is refused; here is one of each kind.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.gateway.client import ACCOUNTS, ORDER, ORDERS, chunks, order, request
from tests.scripted import Act, reply

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway

#: A second request in the same segment, which must be refused with the first.
NEXT = request(b"GET", ACCOUNTS)


@pytest.mark.parametrize(
    ("method", "status"),
    [
        (b"TRACE", 405),
        (b"CONNECT", 405),
        (b"get", 501),
        (b"PROPFIND", 501),
        (b"PRI", 501),
        (b"!", 501),
        (b"\x00GET", 400),
        (b"GET:", 400),
        (b"", 400),
    ],
)
async def test_other_methods_are_refused(gateway: Gateway, method: bytes, status: int) -> None:
    """Unknown and lower-case methods get 501, CONNECT and TRACE 405, malformed ones 400."""
    answer = await gateway.refuses(request(method) + NEXT, status=status)
    assert bool(answer.values(b"allow")) == (status == 405)
    assert not gateway.upstream.connections


@pytest.mark.parametrize(
    ("version", "status"),
    [
        (b"HTTP/0.9", 505),
        (b"HTTP/1.2", 505),
        (b"HTTP/2.0", 505),
        (b"HTTP/3.0", 505),
        (b"HTTP/2", 400),
        (b"HTTP/1.10", 400),
        (b"HTTP/ 1.1", 400),
        (b"HTTP/1.1x", 400),
        (b"http/1.1", 400),
        (b"XTTP/1.1", 400),
    ],
)
async def test_other_versions_are_refused(gateway: Gateway, version: bytes, status: int) -> None:
    """An unsupported version of HTTP gets 505, a malformed one 400."""
    raw = b"GET %b %b\r\nHost: localhost\r\n\r\n" % (ACCOUNTS, version)
    await gateway.refuses(raw + NEXT, status=status)
    assert not gateway.upstream.connections


async def test_the_preface_of_http_2_is_refused(gateway: Gateway) -> None:
    """HTTP/2 with prior knowledge is answered in HTTP/1.1, at once."""
    await gateway.refuses(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", status=505
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /\r\n",
        b"\r\nGET /x\r\n",
        b"GET /x\n",
        b"hello\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00",
        b"GET  " + ACCOUNTS + b" HTTP/1.1\r\n",
        b"GET " + ACCOUNTS + b" HTTP/1.1 \r\n",
        b"GET\t" + ACCOUNTS + b" HTTP/1.1\r\n",
        b"GET " + ACCOUNTS + b" x HTTP/1.1\r\n",
        b"GET " + ACCOUNTS + b" HTTP/1.1\n",
        b"GET " + ACCOUNTS + b" HTTP/1.1\rHost: localhost\r\r",
        b"GET " + ACCOUNTS + b"\r\n HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\r\nGET " + ACCOUNTS + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_malformed_request_line_is_refused_at_once(gateway: Gateway, raw: bytes) -> None:
    """HTTP/0.9, TLS, stray spaces and bare line ends get 400 before the rest of the head."""
    await gateway.refuses(raw, status=400, kind="malformed-request")
    assert not gateway.upstream.connections


async def test_one_empty_line_before_a_request_is_ignored(gateway: Gateway) -> None:
    """Old clients send a CRLF after a body; it belongs to no request (RFC 9112 section 2.2)."""
    client = await gateway.connect()
    await client.send(order() + b"\r\n" + request() + b"\r\n", request())
    assert [(await client.answer()).status for _ in range(3)] == [200, 200, 200]
    assert [seen.method for seen in gateway.upstream.requests] == [b"POST", b"GET", b"GET"]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE"])
async def test_http_1_0_closes_after_its_answer(gateway: Gateway, method: bytes) -> None:
    """HTTP/1.0 without keep-alive is served, and the connection ends in order."""
    client = await gateway.connect()
    answer = await client.ask(request(method, version=b"1.0"), method=method)
    assert (answer.status, answer.whole) == (200, True)
    assert answer.values(b"connection") == [b"close"]
    assert await client.closed() == "fin"


@pytest.mark.parametrize(
    "connection", [b"keep-alive", b"Keep-Alive", b"foo, keep-alive", b"keep-alive,"]
)
async def test_http_1_0_may_keep_its_connection(gateway: Gateway, connection: bytes) -> None:
    """HTTP/1.0 with keep-alive gets `Connection: keep-alive`, and the connection goes on."""
    client = await gateway.connect()
    for _ in range(3):
        answer = await client.ask(order(b"Connection: " + connection, version=b"1.0"))
        assert (answer.status, answer.values(b"connection")) == (200, [b"keep-alive"])
    assert [bytes(seen.content) for seen in gateway.upstream.requests] == [ORDER] * 3


@pytest.mark.parametrize(
    "connection", [b"close", b"keep-alive, close", b"close, keep-alive", b"CLOSE", b"x, close"]
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_close_means_close(gateway: Gateway, version: bytes, connection: bytes) -> None:
    """The answer says `close`, the connection ends, and no pipelined request is served."""
    client = await gateway.connect()
    assert (
        await client.ask(
            request(b"GET", ACCOUNTS, b"Connection: " + connection, version=version) + NEXT
        )
    ).values(b"connection") == [b"close"]
    assert await client.closed() == "fin"
    assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
async def test_http_1_0_gets_no_chunks(gateway: Gateway, connection: bytes) -> None:
    """An answer without a length is ended by closing, also where keep-alive was asked for."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    gateway.upstream.usual = [
        Act.WHOLE,
        head + chunks(b"abc", b"defg", trailers=b"X-Trailer: 1\r\n"),
    ]
    client = await gateway.connect()
    answer = await client.ask(
        request(b"GET", ACCOUNTS, b"Connection: " + connection, version=b"1.0")
    )
    assert not answer.values(b"transfer-encoding")
    assert answer.values(b"connection") == [b"close"]
    assert bytes(answer.content) == b"abcdefg"
    assert client.ended == "fin"


async def test_http_1_0_gets_no_interim_answers(gateway: Gateway) -> None:
    """HTTP/1.0 knows no 1xx, and its Expect is ignored (RFC 9110 section 10.1.1)."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    gateway.upstream.usual = [early, Act.WHOLE, early, reply(200, b"done")]
    client = await gateway.connect()
    head = request(
        b"POST", ORDERS, b"Expect: 100-continue, whatever", b"Content-Length: 3", version=b"1.0"
    )
    answer = await client.ask(head, b"abc")
    assert (answer.status, answer.interim) == (200, [])
    assert not gateway.upstream.requests[0].values(b"expect")


async def test_http_1_0_has_no_transfer_coding(gateway: Gateway) -> None:
    """A chunked request in HTTP/1.0 is refused (RFC 9112 section 6.1)."""
    raw = request(b"POST", ORDERS, b"Transfer-Encoding: chunked", version=b"1.0") + chunks(b"abc")
    await gateway.refuses(raw, status=400)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(b"HEAD", b"/oauth/v2/token"), 403),
        (request(b"HEAD", b"/corporate-accounts/.."), 400),
        (request(b"HEAD", ACCOUNTS, b"X A: 1"), 400),
        (request(b"HEAD", ACCOUNTS, version=b"2.0"), 505),
        (request(b"HEAD", b"/" + b"x" * 9000), 414),
        (request(b"HEAD", ACCOUNTS, b"X: " + b"x" * 40_000), 431),
        (b"HEAD /\n", 400),
    ],
)
async def test_a_refused_head_request_gets_no_content(
    gateway: Gateway, raw: bytes, status: int
) -> None:
    """The answer has the fields of problem details and no content."""
    answer = await gateway.refuses(raw, status=status, method=b"HEAD")
    assert not answer.content
    assert answer.values(b"content-type") == [b"application/problem+json"]


async def test_requests_of_both_versions_share_a_connection(gateway: Gateway) -> None:
    """Each request is served by its own version's rules."""
    client = await gateway.connect()
    await client.send(
        request(b"GET", ACCOUNTS, b"Connection: keep-alive", version=b"1.0")
        + request()
        + request(version=b"1.0")
    )
    answers = [await client.answer() for _ in range(3)]
    assert [answer.values(b"connection") for answer in answers] == [[b"keep-alive"], [], [b"close"]]
    assert await client.closed() == "fin"


async def test_nonsense_costs_no_other_client(gateway: Gateway) -> None:
    """A client is served while others send nonsense."""
    nonsense = [gateway.ask(b"\xff" * size) for size in (1, 10, 100, 1000)]
    answers = await asyncio.gather(gateway.ask(request()), *nonsense)
    assert [answer.status for answer in answers] == [200, 400, 400, 400, 400]
    assert len(gateway.upstream.requests) == 1
