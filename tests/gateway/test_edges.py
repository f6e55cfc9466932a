"""Requests and answers at the edge of the grammar, and the words for those that are refused."""

from __future__ import annotations

import pytest

from tests.gateway.client import ACCOUNTS, ORDERS, order, request
from tests.gateway.conftest import Gateway, Lab  # noqa: TC001 # resolved by pytest's fixtures
from tests.scripted import Act, reply

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


async def test_http_1_0_needs_a_length_for_content(gateway: Gateway) -> None:
    """Its body would end with the connection, and be lost: 411."""
    raw = request(b"POST", ORDERS, version=b"1.0") + b"{}"
    await gateway.refuses(raw, status=411, kind="length-required")
    assert not gateway.upstream.requests


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


async def test_a_pipelined_request_behind_the_last_one_costs_no_answer(gateway: Gateway) -> None:
    """The last answer is not lost in a reset (RFC 9112 section 9.6)."""
    client = await gateway.connect()
    assert (await client.ask(order(b"Connection: close") + order() * 200)).status == 200
    assert await client.closed() == "fin"
    assert len(gateway.upstream.requests) == 1
