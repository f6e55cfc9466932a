"""W3C Trace Context: the proxy adds no hop, so a client's trace reaches the API unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway.client import ACCOUNTS, order, request
from tests.scripted import Act, reply

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway

PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FIELDS = [
    b"traceparent: " + PARENT,
    b"tracestate: vendor=t61rcWkgMzE, other@system=00f067aa0ba902b7",
    b"tracestate: third=1",
    b"baggage: customer=4711,tier=gold",
]
LINES = [tuple(line.split(b": ", 1)) for line in FIELDS]


@pytest.mark.parametrize("make", ["get", "order"])
async def test_a_trace_goes_on_at_the_api(gateway: Gateway, make: str) -> None:
    """Trace fields are forwarded unchanged, in order, and the API's come back."""
    gateway.upstream.scripts.append([Act.WHOLE, reply(200, b"{}", b"traceresponse: " + PARENT)])
    raw = request(b"GET", ACCOUNTS, *FIELDS) if make == "get" else order(*FIELDS)
    answer = await gateway.ask(raw)
    (seen,) = gateway.upstream.requests
    assert [line for line in seen.fields if line[0].startswith((b"trace", b"baggage"))] == LINES
    assert answer.values(b"traceresponse") == [PARENT]


async def test_no_trace_is_begun(gateway: Gateway) -> None:
    """A call without a trace gets none."""
    await gateway.ask(order())
    (seen,) = gateway.upstream.requests
    assert not seen.values(b"traceparent")


async def test_a_call_that_is_sent_again_keeps_its_trace(gateway: Gateway) -> None:
    """After a 401 that a new token cures, both sendings carry the same trace."""
    gateway.upstream.scripts += [[Act.WHOLE, reply(status, b"{}")] for status in (401, 201)]
    assert (await gateway.ask(order(*FIELDS))).status == 201
    assert [seen.values(b"traceparent") for seen in gateway.upstream.requests] == [
        [PARENT],
        [PARENT],
    ]
