"""The request line and its target: forwarded byte for byte or not at all.

No spelling leads past the allow-list or to the token and logout endpoints. tests/unit (policy,
grammar) holds every spelling of what is refused; here is one of each kind.
"""

import asyncio

import pytest

from tests.gateway.client import ACCOUNTS, ORDERS, order, request
from tests.gateway.conftest import Gateway, Lab

#: A second request in the same segment, which must be refused with the first.
NEXT = request()


@pytest.mark.parametrize(
    "target",
    [
        b"/corporate-accounts//v2///accounts//?a=1&a=2&&=",
        b"/corporate-accounts/a;b=c;d/%e6%97%A5/.../a.?q=%2e%2e%2f%5c%09/../",
        b'/corporate-accounts/"<>[]^`{|}%25zz',
        b"/corporate-accounts/" + b"x" * (8192 - 20),
    ],
    ids=lambda target: target[:60].decode(),
)
async def test_what_is_judged_is_what_is_sent(gateway: Gateway, target: bytes) -> None:
    """A target that may pass reaches the upstream byte for byte."""
    answer = await gateway.ask(request(b"GET", target))
    assert (answer.status, bytes(answer.content)) == (200, target)
    assert [seen.target for seen in gateway.upstream.requests] == [target]


@pytest.mark.parametrize(
    ("line", "status", "kind"),
    [
        (b"TRACE %b HTTP/1.1", 405, "method-not-allowed"),
        (b"CONNECT %b HTTP/1.1", 405, "method-not-allowed"),
        (b"get %b HTTP/1.1", 501, None),
        (b"GET: %b HTTP/1.1", 400, "malformed-request"),
        (b"GET %b HTTP/2.0", 505, None),
        (b"GET %b HTTP/1.10", 400, "malformed-request"),
        (b"GET  %b HTTP/1.1", 400, "malformed-request"),
        (b"GET %bx y HTTP/1.1", 400, "malformed-request"),
        (b"GET %b%%zz HTTP/1.1", 400, "malformed-request"),
        (b"GET %b\xc3\xa6 HTTP/1.1", 400, "malformed-request"),
        (b"GET %b/../../oauth/v2/token HTTP/1.1", 400, "ambiguous-target"),
        (b"GET %b/..%%2foauth HTTP/1.1", 400, "ambiguous-target"),
        (b"GET %b#c HTTP/1.1", 400, "ambiguous-target"),
        (b"GET http://elsewhere.example%b HTTP/1.1", 400, "ambiguous-target"),
        (b"GET /other%b HTTP/1.1", 403, "path-not-allowed"),
        (b"GET http://localhost/oauth/v2/token?%b HTTP/1.1", 403, "path-not-allowed"),
    ],
)
async def test_another_request_line_is_refused(
    gateway: Gateway, line: bytes, status: int, kind: str | None
) -> None:
    """Methods, versions and targets; nothing is repaired, and nothing of it quoted."""
    raw = line % ACCOUNTS + b"\r\nHost: localhost\r\n\r\n" + NEXT
    answer = await gateway.refuses(raw, status=status, kind=kind)
    assert bool(answer.values(b"allow")) == (status == 405)
    assert b"accounts" not in answer.content
    assert not gateway.upstream.connections
    record = gateway.record
    assert (record.refused, record.attempts) == (True, 0)
    if status in {405, 501}:
        assert record.method == (line.split()[0].decode() if status == 405 else None)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 505),
        (b"GET /\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET " + ACCOUNTS + b" HTTP/1.1\n", 400),
        (b"\r\n\r\n\r\nGET " + ACCOUNTS + b" HTTP/1.1 \r\n", 400),
    ],
    ids=["HTTP/2", "HTTP/0.9", "TLS", "bare LF", "a space"],
)
async def test_what_is_no_request_line_is_refused_at_once(
    gateway: Gateway, raw: bytes, status: int
) -> None:
    """Before the rest of the head."""
    await gateway.refuses(raw, status=status)
    assert not gateway.upstream.connections


@pytest.mark.parametrize(
    ("target", "status"),
    [(b"/oauth/v2/token", 403), (b"/", 403), (ACCOUNTS + b"\n", 400), (b"/" + b"x" * 9000, 414)],
)
async def test_a_refused_head_request_gets_no_content(
    gateway: Gateway, target: bytes, status: int
) -> None:
    """The answer has the fields of problem details and no content."""
    answer = await gateway.refuses(request(b"HEAD", target), status=status, method=b"HEAD")
    assert not answer.content
    assert answer.values(b"content-type") == [b"application/problem+json"]


@pytest.mark.parametrize(
    "target",
    [
        b"/oauth/v2/token",
        b"/OAuth//V2/Token?grant_type=password",
        b"/;/%6f%61%75%74%68%3bx/v2/token",
        b"/LOGIN//v9;a/%74oken;b/more",
        b"/%62ye;x?y",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_no_spelling_reaches_the_token_endpoint(
    lab: Lab, method: bytes, target: bytes
) -> None:
    """Even where every path may be called, /oauth/ and the set token and logout paths may not."""
    gateway = await lab.gateway(
        upstream__allowed_paths="/", oauth__token_path="/login/v9/token", oauth__logout_path="/bye"
    )
    await gateway.refuses(request(method, target, content=b""), status=403, kind="path-not-allowed")
    assert not gateway.upstream.connections


@pytest.mark.parametrize("host", [b"localhost", b"[::1]:1"])
async def test_the_absolute_form_of_our_own_host_is_sent_in_origin_form(
    gateway: Gateway, host: bytes
) -> None:
    """An absolute form that names the request's Host is a path (RFC 9112 section 3.2.2)."""
    target = ORDERS + b"?a=%7E"
    assert (await gateway.ask(request(b"GET", b"HTTP://" + host + target, host=host))).status == 200
    assert gateway.upstream.requests[0].target == target


async def test_empty_lines_before_a_request_are_ignored(gateway: Gateway) -> None:
    """Old clients send a CRLF after a body, in any segment (RFC 9112 section 2.2)."""
    client = await gateway.connect()
    await client.send(order() + b"\r\n" + request() + b"\r", b"\n\r\n\r", b"\n" + order())
    assert [(await client.answer()).status for _ in range(3)] == [200, 200, 200]
    assert [seen.method for seen in gateway.upstream.requests] == [b"POST", b"GET", b"POST"]


async def test_nonsense_costs_no_other_client(gateway: Gateway) -> None:
    """A client is served while others send nonsense."""
    nonsense = [gateway.ask(b"\xff" * size) for size in (1, 10, 100, 1000)]
    answers = await asyncio.gather(gateway.ask(request()), *nonsense)
    assert [answer.status for answer in answers] == [200, 400, 400, 400, 400]
    assert len(gateway.upstream.requests) == 1


MINE = b"X-Request-Id: order-4711"


@pytest.mark.parametrize(
    "raw",
    [
        request(b"GET", b"/nowhere", MINE),
        request(b"GET", ACCOUNTS, MINE, host=b"elsewhere.example"),
        request(b"TRACE", ACCOUNTS, MINE),
        request(b"GET", ACCOUNTS + b"/..", MINE),
        request(b"POST", ORDERS, MINE, b"Expect: x"),
        request(b"POST", ORDERS, MINE, b"Content-Length: 1", b"Transfer-Encoding: chunked"),
    ],
)
async def test_a_refused_request_keeps_its_id(gateway: Gateway, raw: bytes) -> None:
    """The client's id is in the answer, its `instance` and the record, if the head can be read."""
    answer = await gateway.ask(raw)
    assert answer.status >= 400
    assert answer.values(b"x-request-id") == [b"order-4711"]
    assert answer.problem["instance"] == "order-4711"
    assert (await gateway.noted()).request_id == "order-4711"
    assert gateway.record.detail == answer.problem["detail"]


async def test_a_refused_host_is_named(gateway: Gateway) -> None:
    """An operator sees in the answer and in the log which name to add."""
    answer = await gateway.refuses(request(host=b"ERP.example:8080"), status=421)
    assert "erp.example:8080" in answer.problem["detail"]
    assert "erp.example:8080" in str(gateway.record.detail)


async def test_tls_on_the_plain_port_is_named(gateway: Gateway) -> None:
    """The client cannot read the answer, but the record says what to change."""
    client = await gateway.connect()
    await client.send(bytes.fromhex("1603010200010001fc0303") + b"\x00" * 50)
    await client.answer()
    assert "speaks TLS" in str((await gateway.noted()).detail)


async def test_options_goes_as_far_as_it_may(gateway: Gateway) -> None:
    """`Max-Forwards` is counted down; at 0 the proxy answers (RFC 9110 section 7.6.2)."""
    assert (await gateway.ask(request(b"OPTIONS", ACCOUNTS, b"Max-Forwards: 3"))).status == 200
    assert gateway.upstream.requests[0].values(b"max-forwards") == [b"2"]
    answer = await gateway.ask(request(b"OPTIONS", ACCOUNTS, b"Max-Forwards: 0"))
    assert answer.status == 204
    assert answer.values(b"allow") == [b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]
    assert len(gateway.upstream.requests) == 1
    assert (await gateway.ask(request(b"GET", ACCOUNTS, b"Max-Forwards: 0"))).status == 200
    for wrong in (b"x", b"-1", b"1, 2", b""):
        await gateway.refuses(request(b"OPTIONS", ACCOUNTS, b"Max-Forwards: " + wrong), status=400)
