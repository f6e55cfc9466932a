"""Fields: ours cannot be removed, doubled or shadowed; hop-by-hop fields end here.

All others keep name, value, number and order.

tests/unit (policy, grammar) holds every spelling of what is refused; here is one of each kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway.client import ACCOUNTS, ORDER, ORDERS, chunks, order, request
from tests.gateway.conftest import SENTINEL
from tests.scripted import Act, reply

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway
    from tests.scripted import FieldLine

#: What the proxy itself may add to a request, by lower-case name.
ADDED = {b"host", b"x-request-id", b"authorization"}
ADDED_BACK = {b"x-request-id", b"connection"}


def sent(gateway: Gateway) -> list[FieldLine]:
    """Return what the upstream got of the client's own fields."""
    (seen,) = gateway.upstream.requests
    return [
        line
        for line in seen.fields
        if line[0].lower() not in ADDED | {b"content-length", b"transfer-encoding"}
    ]


@pytest.mark.parametrize(
    "fields",
    [
        [b"Authorization: Bearer " + SENTINEL],
        [b"aUtHoRiZaTiOn:\t" + SENTINEL + b"\t "],
        [b"Authorization: " + SENTINEL, b"Authorization: " + SENTINEL],
        [b"Authorization: Bearer " + SENTINEL, b"Connection: authorization"],
        [b"Connection: x-request-id, host, authorization, content-length, transfer-encoding"],
        [b"Connection: ,,AUTHORIZATION ,"],
        [b"proxy-authorization: " + SENTINEL, b"Connection: proxy-authorization"],
        [b"Proxy_Authorization: " + SENTINEL],
        [b"Authorization_: x", b"_Authorization: x"],
        [b"Trailer: Authorization"],
    ],
    ids=lambda fields: b"; ".join(fields).decode(),
)
@pytest.mark.parametrize("make", ["get", "order", "chunked"])
async def test_exactly_our_credential_is_sent(
    gateway: Gateway, make: str, fields: list[bytes]
) -> None:
    """Whatever the client sends, one Authorization goes upstream: ours, written last."""
    raw = {
        "get": request(b"GET", ACCOUNTS, *fields),
        "order": order(*fields),
        "chunked": request(b"POST", ORDERS, b"Transfer-Encoding: chunked", *fields) + chunks(ORDER),
    }[make]
    assert (await gateway.ask(raw)).status == 200
    (seen,) = gateway.upstream.requests
    assert seen.fields[-1] == (b"Authorization", b"Bearer token-of-the-test-1")
    assert bytes(seen.content) == (b"" if make == "get" else ORDER)


async def test_trailers_are_dropped(gateway: Gateway) -> None:
    """They reach neither this request nor the next one on the connection."""
    client = await gateway.connect()
    trailers = b"Authorization: " + SENTINEL + b"\r\nX-Trailer: 1\r\nContent-Length: 5\r\n"
    await client.send(
        request(b"POST", ORDERS, b"Transfer-Encoding: chunked")
        + chunks(ORDER, trailers=trailers)
        + request()
    )
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]
    for seen in gateway.upstream.requests:
        assert not seen.values(b"x-trailer")


@pytest.mark.parametrize(
    "line",
    [
        b"Authorization : " + SENTINEL,
        b" Authorization: " + SENTINEL,
        b"X-A: 1\r\n Authorization: " + SENTINEL,
        b"X-A:\r\n b",
        b"X-A: 1\nAuthorization: " + SENTINEL,
        b"X-A: 1\rAuthorization: " + SENTINEL,
        b"X-A: \x00",
        b"X-A: \x1b[31m",
        b"X-A",
        b": value",
        b"X(A): 1",
        b"Content-Length : 0",
    ],
)
async def test_malformed_field_lines_are_refused(gateway: Gateway, line: bytes) -> None:
    """Folding, space before the colon, bare CR or LF, NUL and control characters get 400."""
    for lines in ([line], [b"Accept: */*", line], [line, b"Accept: */*"]):
        await gateway.refuses(
            request(b"GET", ACCOUNTS, *lines), status=400, kind="malformed-request"
        )
    assert not gateway.upstream.connections


async def test_a_first_line_that_is_folded_is_refused(gateway: Gateway) -> None:
    """Whitespace between the start line and the first field is no field (RFC 9112 section 2.2)."""
    raw = b"GET %b HTTP/1.1\r\n X: 1\r\nHost: localhost\r\n\r\n" % ACCOUNTS
    await gateway.refuses(raw, status=400)


async def test_fields_keep_name_value_number_and_order(gateway: Gateway) -> None:
    """Repeated and empty fields, spelling, and bytes outside ASCII reach the API unchanged."""
    fields = [
        b"Accept: a/b",
        b"X-Empty:",
        b"accept: c/d, e/f",
        b"X-Latin: bl\xe5b\xe6r",
        b"X-UTF-8: \xe6\x97\xa5\xe6\x9c\xac",
        b"ACCEPT: g/h",
        b"Cookie: a=1; b=2",
        b"Cookie: c=3",
        b"X-Quote: \"a, b\"; c='d'",
        b"X-Inner: a  \t b",
        b"!#$%&'*+-.^_`|~09AZaz: token",
        b"X_Own_Name: kept",
        b"Content-Type: application/json; charset=utf-8",
        b"Content-Encoding: gzip",
        b"User-Agent: t",
        b"Via: 1.1 other",
        b"X-Forwarded-For: 10.0.0.1",
        b"Idempotency-Key: 7",
        b"Range: bytes=0-1",
        b'If-None-Match: "x"',
    ]
    assert (await gateway.ask(order(*fields))).status == 200
    expected = [tuple(line.replace(b": ", b":", 1).split(b":", 1)) for line in fields]
    assert sent(gateway) == expected


@pytest.mark.parametrize(
    "padding", [(b"", b""), (b" ", b" "), (b"\t", b"\t"), (b"  \t ", b" \t  ")]
)
async def test_whitespace_around_a_value_is_not_part_of_it(
    gateway: Gateway, padding: tuple[bytes, bytes]
) -> None:
    """RFC 9110 section 5.5: another parser reads the same value, whatever stood around it."""
    before, after = padding
    assert (
        await gateway.ask(request(b"GET", ACCOUNTS, b"X-A:" + before + b"a b" + after))
    ).status == 200
    assert sent(gateway) == [(b"X-A", b"a b")]


@pytest.mark.parametrize(
    "fields",
    [
        [b"Connection: keep-alive", b"Keep-Alive: timeout=5"],
        [b"Proxy-Connection: keep-alive"],
        [b"TE: trailers"],
        [b"Trailer: X-Checksum"],
        [
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
        ],
        [b"Connection: x-hop, X-Other", b"X-Hop: 1", b"x-other: 2", b"X-HOP: 3"],
        [b"Connection:", b"Connection: ,"],
        [b"Expect: 100-continue"],
    ],
    ids=lambda fields: b"; ".join(fields).decode(),
)
async def test_hop_by_hop_fields_of_a_request_end_here(
    gateway: Gateway, fields: list[bytes]
) -> None:
    """The fixed ones and those that `Connection` names are removed (RFC 9110 section 7.6.1)."""
    assert (
        await gateway.ask(request(b"GET", ACCOUNTS, b"X-Kept: 1", *fields, b"X-Too: 2"))
    ).status == 200
    assert sent(gateway) == [(b"X-Kept", b"1"), (b"X-Too", b"2")]


async def test_hop_by_hop_fields_of_an_answer_end_here(gateway: Gateway) -> None:
    """So do fields that would lead the client around the proxy (Alt-Svc)."""
    fields = (
        b"Connection: keep-alive, X-Hop",
        b"Keep-Alive: timeout=5",
        b"X-Hop: 1",
        b"Trailer: X-Checksum",
        b"Upgrade: h2c",
        b"Proxy-Authenticate: Basic",
        b'Alt-Svc: h3=":443"',
        b"X-Request-Id: of the upstream",
        b"X-Kept: 1",
    )
    gateway.upstream.usual = [Act.WHOLE, reply(200, b"x", *fields)]
    answer = await gateway.ask(request(b"GET", ACCOUNTS, b"X-Request-Id: mine"))
    assert answer.fields == [
        (b"X-Kept", b"1"),
        (b"Content-Length", b"1"),
        (b"X-Request-Id", b"mine"),
    ]


async def test_fields_of_an_answer_keep_name_value_number_and_order(gateway: Gateway) -> None:
    """Cookies, redirects and codings reach the client unchanged."""
    fields = [
        b"Set-Cookie: a=1; Path=/",
        b"Server: upstream",
        b"set-cookie: b=2",
        b"Location: https://elsewhere.example/%7E?a=b#c",
        b"X-Latin: bl\xe5b\xe6r",
        b"X-Empty:",
        b"Date: Tue, 15 Nov 1994 08:12:31 GMT",
        b'WWW-Authenticate: Bearer realm="a, b", error="x"',
        b"WWW-Authenticate: Basic",
        b"Content-Encoding: gzip",
        b"Strict-Transport-Security: max-age=1",
        b"Vary: Accept, Origin",
    ]
    gateway.upstream.usual = [
        Act.WHOLE,
        reply(302, b"\x1f\x8b\x08", *fields, reason=b"Fo\xfcnd  Elsewhere"),
    ]
    answer = await gateway.ask(request())
    expected = [tuple(line.replace(b": ", b":", 1).split(b":", 1)) for line in fields]
    assert [
        line for line in answer.fields if line[0].lower() not in ADDED_BACK | {b"content-length"}
    ] == expected
    assert (answer.status, answer.reason) == (302, b"Fo\xfcnd  Elsewhere")
    assert bytes(answer.content) == b"\x1f\x8b\x08"
    assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize(
    "status",
    [200, 201, 202, 204, 206, 299, 300, 301, 304, 307, 400, 403, 404, 409, 422, 429, 500, 503, 599],
)
async def test_no_other_field_is_added(gateway: Gateway, status: int) -> None:
    """A request gains the fields that are ours and no other, an answer its request id."""
    gateway.upstream.usual = [Act.WHOLE, reply(status)]
    answer = await gateway.ask(request(b"DELETE"))
    assert answer.status == status
    assert {name.lower() for name, _ in answer.fields} <= ADDED_BACK | {b"content-length"}
    (seen,) = gateway.upstream.requests
    assert {name.lower() for name, _ in seen.fields} == ADDED


@pytest.mark.parametrize("number", [b"a", b"A-1.b_c", b"0" * 128, b"7f9c:1/2=3@4+5"])
async def test_a_sane_request_id_is_used(gateway: Gateway, number: bytes) -> None:
    """The client's own id goes upstream, comes back, and stands in the record."""
    answer = await gateway.ask(request(b"GET", ACCOUNTS, b"X-Request-Id: " + number))
    assert answer.values(b"x-request-id") == [number]
    assert gateway.upstream.requests[0].values(b"x-request-id") == [number]
    assert gateway.record.request_id == number.decode()


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"X-Request-Id:"],
        [b"X-Request-Id: " + SENTINEL, b"X-Request-Id: b"],
        [b"X-Request-Id: a b"],
        [b"X-Request-Id: " + b"0" * 129],
        [b"X-Request-Id: <script>"],
    ],
    ids=lambda fields: b"; ".join(fields)[:40].decode("latin-1"),
)
async def test_any_other_request_id_is_replaced(gateway: Gateway, fields: list[bytes]) -> None:
    """If there is none, two, or one that could break a log, both sides see the same new one."""
    answer = await gateway.ask(request(b"GET", ACCOUNTS, *fields))
    (number,) = answer.values(b"x-request-id")
    assert gateway.upstream.requests[0].values(b"x-request-id") == [number]
    assert number not in b"".join(fields)
    again = await gateway.ask(request(b"GET", ACCOUNTS, *fields))
    assert again.values(b"x-request-id") != [number]


@pytest.mark.parametrize("size", [None, 0, 1, 5000])
async def test_a_length_is_neither_added_nor_lost(gateway: Gateway, size: int | None) -> None:
    """Content-Length goes upstream exactly if the client sent it."""
    content = None if size is None else b"x" * size
    assert (await gateway.ask(request(b"POST", ORDERS, content=content))).status == 200
    (seen,) = gateway.upstream.requests
    assert seen.values(b"content-length") == ([] if size is None else [b"%d" % size])
    assert bytes(seen.content) == (content or b"")
