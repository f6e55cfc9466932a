"""Clients of HTTP/1.0 beside those of HTTP/1.1: how a connection goes on, and how answers end."""

import pytest

from tests.gateway.client import ACCOUNTS, ORDER, ORDERS, chunks, order, request
from tests.gateway.conftest import Gateway
from tests.scripted import Act, reply


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE"])
async def test_http_1_0_closes_after_its_answer(gateway: Gateway, method: bytes) -> None:
    """HTTP/1.0 without keep-alive is served, and the connection ends in order."""
    client = await gateway.connect()
    answer = await client.ask(request(method, version=b"1.0"), method=method)
    assert (answer.status, answer.whole) == (200, True)
    assert answer.values(b"connection") == [b"close"]
    assert await client.closed() == "fin"


async def test_http_1_0_may_keep_its_connection(gateway: Gateway) -> None:
    """HTTP/1.0 with keep-alive gets `Connection: keep-alive`, and the connection goes on."""
    client = await gateway.connect()
    for _ in range(3):
        answer = await client.ask(order(b"Connection: foo, Keep-Alive", version=b"1.0"))
        assert (answer.status, answer.values(b"connection")) == (200, [b"keep-alive"])
    assert [bytes(seen.content) for seen in gateway.upstream.requests] == [ORDER] * 3


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_close_means_close(gateway: Gateway, version: bytes) -> None:
    """The answer says `close`, the connection ends, and no pipelined request is served."""
    client = await gateway.connect()
    raw = request(b"GET", ACCOUNTS, b"Connection: keep-alive, CLOSE", version=version)
    assert (await client.ask(raw + request())).values(b"connection") == [b"close"]
    assert await client.closed() == "fin"
    assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
async def test_http_1_0_gets_no_chunks(gateway: Gateway, connection: bytes) -> None:
    """An answer without a length is ended by closing, also where keep-alive was asked for."""
    body = chunks(b"abc", b"defg", trailers=b"X-Trailer: 1\r\n")
    gateway.upstream.usual = [
        Act.WHOLE,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body,
    ]
    client = await gateway.connect()
    raw = request(b"GET", ACCOUNTS, b"Connection: " + connection, version=b"1.0")
    answer = await client.ask(raw)
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


async def test_http_1_0_needs_a_length_for_content(gateway: Gateway) -> None:
    """Its body would end with the connection, and be lost: 411."""
    raw = request(b"POST", ORDERS, version=b"1.0") + b"{}"
    await gateway.refuses(raw, status=411, kind="length-required")
    assert not gateway.upstream.requests
