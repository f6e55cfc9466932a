"""Spans of a whole proxy: they reach a collector, hold no secret, and cannot harm calls."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.e2e.process import (
    CREDENTIALS,
    ORDER,
    ORDERS,
    Api,
    Starter,
    call,
    configuration,
    order,
)
from tests.integration.collector import Collector, collecting, values

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """Run a collector."""
    async with collecting() as collector:
        yield collector


async def test_every_call_has_a_span(
    start: Starter, api: Api, http: aiohttp.ClientSession, collector: Collector
) -> None:
    """Answered, refused and failed ones; `traceparent` is honoured, all leave before the end."""
    proxy = await start.ready(configuration(api.url, telemetry={"otlp_endpoint": collector.url}))
    fields = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "order-1"}
    assert (await order(http, await proxy.url(ORDERS), **fields)).status == 201
    assert (await call(http, await proxy.url("/elsewhere"))).status == 403
    api.sandbox.fault("api_drop", None, 1)
    assert (await order(http, await proxy.url(ORDERS))).status == 502
    assert await proxy.stop() == 0
    placed, refused, failed = (values(span.attributes) for span in collector.spans())
    assert (placed["url.path"], placed["http.response.status_code"]) == (ORDERS, 201)
    assert placed["telenor_proxy.request_id"] == "order-1"
    assert (refused["error.type"], refused["telenor_proxy.refused"]) == ("path-not-allowed", True)
    assert failed["http.response.status_code"] == 502
    assert failed["telenor_proxy.outcome"] == "unknown"
    span = collector.spans()[0]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)


async def test_no_secret_leaves_with_a_span(
    start: Starter, api: Api, http: aiohttp.ClientSession, collector: Collector
) -> None:
    """No credential, token, field, query or content is anywhere in what a collector gets."""
    key = "Sentinel-Client-Key-0005"
    config = configuration(
        api.url, telemetry={"otlp_endpoint": collector.url}, listen={"client_key": key}
    )
    proxy = await start.ready(config)
    fields = {
        "X-Proxy-Key": key,
        "Authorization": "Bearer SentinelClientToken0006",
        "X-Own": "SentinelField0007",
    }
    url = f"{await proxy.url(ORDERS)}?q=SentinelQuery0008"
    await call(http, url, "POST", json={**ORDER, "note": "SentinelBody0009"}, headers=fields)
    (token,) = api.sandbox.issued
    assert await proxy.stop() == 0
    assert len(collector.spans()) == 1
    for path, sent, content in collector.requests:
        everything = f"{path}{sent}{content.decode('latin-1')}"
        assert "Sentinel" not in everything
        assert CREDENTIALS.username not in everything
        assert token.value not in everything
