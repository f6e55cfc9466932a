"""Framing of requests: ambiguous framing is refused and ends the connection.

tests/unit (policy, grammar) holds every spelling of what is refused; here is one of each kind.
"""

import pytest

from tests.gateway.client import ACCOUNTS, ORDERS, chunks, framed, request
from tests.gateway.conftest import Gateway

CHUNKED = b"Transfer-Encoding: chunked"
#: What another parser could take for the next request.
NEXT = request(b"GET", b"/corporate-accounts/next")


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ([b"Content-Length: 5", CHUNKED], b"1.1"),
        ([b"Content-Length: 5", b"Content-Length: 5"], b"1.1"),
        ([b"Content-Length: +5"], b"1.1"),
        ([b"Transfer-Encoding: gzip, chunked"], b"1.1"),
        ([b"Transfer-Encoding : chunked"], b"1.1"),
        ([b"X: 1\nTransfer-Encoding: chunked"], b"1.1"),
        ([CHUNKED], b"1.0"),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else b"; ".join(value).decode(),
)
@pytest.mark.parametrize("method", [b"POST", b"GET"])
async def test_ambiguous_framing_is_refused(
    gateway: Gateway, method: bytes, fields: list[bytes], version: bytes
) -> None:
    """400 and the end of the connection; what follows is not read as a request."""
    raw = request(method, ORDERS, *fields, version=version) + chunks(b"hello") + NEXT
    await gateway.refuses(raw, status=400, kind="malformed-request")
    assert not gateway.upstream.connections


async def test_chunks_are_written_anew(gateway: Gateway) -> None:
    """Extensions and trailers are dropped, content is kept, and the next request is served."""
    body = b'5 ;a=b;c="d"\r\n0\r\n\r\n\r\n0004\r\n\x00\xff\n\r\r\n0;e\r\nX-A: 1\r\n\r\n'
    client = await gateway.connect()
    await client.send(request(b"POST", ORDERS, b"transfer-encoding: CHUNKED\t") + body + NEXT)
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]
    first, second = gateway.upstream.requests
    assert first.values(b"transfer-encoding") == [b"chunked"]
    assert bytes(first.content) == b"0\r\n\r\n\x00\xff\n\r"
    assert second.target == b"/corporate-accounts/next"
    assert b"a=b" not in gateway.upstream.connections[0].received


@pytest.mark.parametrize(
    "body",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"5;" + b"x" * 2000 + b"\r\nhello\r\n0\r\n\r\n",
        b"5" * 2000,
        b"5\r\nhello\r\n0\r\n X-A: 1\r\n\r\n",
        b"5\r\nhello\r\n0\r\n" + b"X-A: 1\r\n" * 2000 + b"\r\n",
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
async def test_chunks_outside_the_grammar_are_refused(gateway: Gateway, body: bytes) -> None:
    """400 and the end; the upstream never sees the request whole, however much of it was sent."""
    gateway.cut_short = None
    raw = request(b"POST", ORDERS, CHUNKED)
    await gateway.refuses(raw + body + NEXT, status=400, kind="malformed-request")
    await gateway.refuses(raw, body + NEXT, status=400, kind="malformed-request")
    assert not gateway.upstream.whole


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"OPTIONS", b"PUT", b"PATCH", b"HEAD"])
@pytest.mark.parametrize("chunked", [True, False])
async def test_bodies_are_forwarded_whatever_the_method(
    gateway: Gateway, method: bytes, *, chunked: bool
) -> None:
    """A body on GET or DELETE is framed like any other, and the next request begins after it."""
    client = await gateway.connect()
    content = b"GET /smuggled HTTP/1.1\r\n\r\n"
    raw = request(method, ACCOUNTS, content=content)
    if chunked:
        raw = request(method, ACCOUNTS, CHUNKED) + chunks(content)
    assert (await client.ask(raw + NEXT, method=method)).status == 200
    assert (await client.answer()).status == 200
    first, second = gateway.upstream.requests
    assert (first.method, bytes(first.content)) == (method, content)
    assert second.target == b"/corporate-accounts/next"


@pytest.mark.parametrize("size", [1, 1023, 65535, 65536, 65537, 300_000, 3_000_000])
@pytest.mark.parametrize("chunked", [True, False])
async def test_bodies_of_any_size_stream_through(
    gateway: Gateway, size: int, *, chunked: bool
) -> None:
    """A body larger than any buffer arrives whole."""
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    assert (await gateway.ask(framed(content, chunked=chunked))).status == 200
    assert gateway.upstream.requests[0].content == content
    assert gateway.record.bytes_in == size
