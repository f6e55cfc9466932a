"""Spans of a whole proxy: they reach a collector, hold no secret, and cannot harm calls."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.e2e.process import (
    ACCOUNTS,
    CREDENTIALS,
    DEADLINE,
    ORDER,
    ORDERS,
    Api,
    Starter,
    call,
    configuration,
    order,
)
from tests.integration.collector import Collector, collecting, values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

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


async def test_a_broken_collector_harms_nothing(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """Its port is closed: calls are served, one log line says so, lost spans are counted."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    config = configuration(api.url, telemetry={"otlp_endpoint": f"http://127.0.0.1:{port}"})
    proxy = await start.ready(config, environ={"OTEL_EXPORTER_OTLP_TIMEOUT": "0.1"})
    for _ in range(600):  # more than a batch of 512, which leaves at once
        assert (await call(http, await proxy.url(ACCOUNTS))).status == 200
    failed = await proxy.event("traces.export_failed")
    assert failed["endpoint"] == f"http://127.0.0.1:{port}"
    # The first export may have been of few spans, and the next is under way.
    async with asyncio.timeout(DEADLINE):
        while await lost_spans(http, await proxy.admin_url("/metrics")) < 512:  # noqa: ASYNC110 # no sign
            await asyncio.sleep(0.05)
    assert await proxy.stop() == 0
    assert len(proxy.events("traces.export_failed")) == 1
    assert proxy.errors == ""


async def lost_spans(http: aiohttp.ClientSession, url: str) -> float:
    """Return a scrape's number of spans that failed or were dropped."""
    text = (await call(http, url)).text
    found = re.findall(r'telenor_proxy_spans_total\{result="(?:failed|dropped)"\} (\S+)', text)
    return sum(map(float, found))
