"""Fields: ours cannot be removed, doubled or shadowed; hop-by-hop fields end here.

All others keep name, value, number and order. tests/unit (policy, grammar, rewrite) holds every
spelling; here is one of each kind.
"""

import pytest

from tests.gateway.client import ACCOUNTS, ORDER, ORDERS, chunks, order, request
from tests.gateway.conftest import SENTINEL, Gateway
from tests.scripted import Act, reply

#: What the proxy itself may add to a request, by lower-case name.
ADDED = {b"host", b"x-request-id", b"authorization"}


@pytest.mark.parametrize(
    "fields",
    [
        [b"aUtHoRiZaTiOn:\t" + SENTINEL + b"\t ", b"Authorization: Bearer " + SENTINEL],
        [b"Authorization: Bearer " + SENTINEL, b"Connection: authorization"],
        [b"Connection: x-request-id, host, ,AUTHORIZATION, content-length, transfer-encoding"],
        [b"proxy-authorization: " + SENTINEL, b"Proxy_Authorization: " + SENTINEL],
        [b"Authorization_: x", b"_Authorization: x", b"Trailer: Authorization"],
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
        b"X-A: 1\nAuthorization: " + SENTINEL,
        b"X-A: \x00",
        b"X-A",
    ],
)
async def test_malformed_field_lines_are_refused(gateway: Gateway, line: bytes) -> None:
    """Folding, space before the colon, bare CR or LF, NUL and control characters get 400."""
    raw = b"GET %b HTTP/1.1\r\n%b\r\nHost: localhost\r\n\r\n" % (ACCOUNTS, line)
    await gateway.refuses(raw, status=400, kind="malformed-request")
    assert not gateway.upstream.connections


async def test_fields_keep_name_value_number_and_order(gateway: Gateway) -> None:
    """Repeated and empty fields, spelling, and bytes outside ASCII pass in both directions."""
    fields = [
        b"Accept: a/b",
        b"X-Empty:",
        b"accept: c/d, e/f",
        b"X-Latin: bl\xe5b\xe6r",
        b"Set-Cookie: a=1; b=2",
        b"Set-Cookie: c=3",
        b"!#$%&'*+-.^_`|~09AZaz: a  \t b",
        b"Content-Encoding: gzip",
        b"Via: 1.1 other",
        b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b'If-None-Match: "x"',
    ]
    gateway.upstream.usual = [
        Act.WHOLE,
        reply(302, b"\x1f\x8b\x08", *fields, reason=b"Fo\xfcnd  Elsewhere"),
    ]
    answer = await gateway.ask(order(*fields))
    expected = [tuple(line.replace(b": ", b":", 1).split(b":", 1)) for line in fields]
    (seen,) = gateway.upstream.requests
    assert seen.fields[1:-3] == expected
    assert answer.fields[:-2] == expected
    assert (answer.status, answer.reason) == (302, b"Fo\xfcnd  Elsewhere")
    assert bytes(answer.content) == b"\x1f\x8b\x08"


async def test_hop_by_hop_fields_end_here(gateway: Gateway) -> None:
    """The fixed ones, those that `Connection` names, and what leads the client around the proxy."""
    fields = (
        b"X-Kept: 1",
        b"Connection: keep-alive, X-Hop",
        b"Keep-Alive: timeout=5",
        b"X-Hop: 1",
        b"TE: trailers",
        b"Trailer: X-Checksum",
        b"Upgrade: h2c",
    )
    own = (b"Proxy-Authenticate: Basic", b'Alt-Svc: h3=":443"', b"X-Request-Id: of the upstream")
    gateway.upstream.usual = [Act.WHOLE, reply(200, b"x", *fields, *own)]
    answer = await gateway.ask(request(b"GET", ACCOUNTS, *fields, b"X-Request-Id: mine"))
    length, number = (b"Content-Length", b"1"), (b"X-Request-Id", b"mine")
    assert answer.fields == [(b"X-Kept", b"1"), length, number]
    assert gateway.upstream.requests[0].fields[1:-1] == [(b"X-Kept", b"1"), number]


@pytest.mark.parametrize(
    "status",
    [200, 201, 202, 204, 206, 299, 300, 301, 304, 307, 400, 403, 404, 409, 422, 429, 500, 503, 599],
)
async def test_no_other_field_is_added(gateway: Gateway, status: int) -> None:
    """A request gains the fields that are ours and no other, an answer its request id."""
    gateway.upstream.usual = [Act.WHOLE, reply(status)]
    answer = await gateway.ask(request(b"DELETE"))
    assert answer.status == status
    added_back = {b"x-request-id", b"connection", b"content-length"}
    assert {name.lower() for name, _ in answer.fields} <= added_back
    (seen,) = gateway.upstream.requests
    assert {name.lower() for name, _ in seen.fields} == ADDED


@pytest.mark.parametrize("number", [b"A-1.b_c", b"0" * 128])
async def test_a_sane_request_id_is_used(gateway: Gateway, number: bytes) -> None:
    """The client's own id goes upstream, comes back, and stands in the record."""
    answer = await gateway.ask(request(b"GET", ACCOUNTS, b"X-Request-Id: " + number))
    assert answer.values(b"x-request-id") == [number]
    assert gateway.upstream.requests[0].values(b"x-request-id") == [number]
    assert gateway.record.request_id == number.decode()


@pytest.mark.parametrize(
    "fields", [[], [b"X-Request-Id: " + SENTINEL, b"X-Request-Id: b"], [b"X-Request-Id: a b"]]
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
