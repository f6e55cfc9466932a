"""Spans at a collector: OpenTelemetry's library, its protocol on a socket, its variables."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import proxy
from proxy.records import Record
from proxy.telemetry.handover import Finished, in_thread
from proxy.telemetry.spans import SpanExporter, attributes
from tests.integration.collector import Collector, collecting, values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RECORD = Record("id-1", "POST", "/orders/4799885577", 201, 0.25, 69, 49, 0.1, 0.0, 1)
ENDED = 1_800_000_000.5
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def traced(trace: str) -> Record:
    """Return the record of a request with that `traceparent`."""
    return RECORD._replace(trace=trace)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """Run a collector."""
    async with collecting() as collector:
        yield collector


async def export(endpoint: str, *records: Record) -> int | None:
    """Export some records; give how many spans were taken."""
    exporter = SpanExporter(endpoint)
    return await in_thread(lambda: exporter([Finished(record, ENDED) for record in records]))


async def test_a_call_is_a_span(collector: Collector) -> None:
    """Its name, times, attributes, parent and service, sent to the protocol's path."""
    assert await export(collector.url, RECORD) == 1
    ((path, fields, _),) = collector.requests
    assert (path, fields["content-type"]) == ("/v1/traces", "application/x-protobuf")
    (span,) = collector.spans()
    assert (span.name, span.kind) == ("POST", Span.SPAN_KIND_SERVER)
    assert span.start_time_unix_nano == 1_800_000_000_250_000_000
    assert span.end_time_unix_nano == 1_800_000_000_500_000_000
    assert values(span.attributes) == attributes(RECORD)
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert (len(span.trace_id), len(span.span_id), span.parent_span_id) == (16, 8, b"")
    resource = collector.resource()
    assert resource["service.name"] == "telenor-proxy"
    assert resource["service.version"] == proxy.__version__


async def test_a_failed_call_is_an_error(collector: Collector) -> None:
    """Its span has the status ERROR."""
    failed = RECORD._replace(status=502, error="connection_terminated", outcome="unknown")
    assert await export(collector.url, failed, RECORD) == 2
    assert [span.status.code for span in collector.spans()] == [
        Status.STATUS_CODE_ERROR,
        Status.STATUS_CODE_UNSET,
    ]


async def test_a_span_belongs_to_the_clients_trace(collector: Collector) -> None:
    """A child of the client's span (W3C `traceparent`); a new trace without a valid one."""
    assert (
        await export(collector.url, traced(f"00-{TRACE}-{PARENT}-01"), RECORD, traced("nonsense"))
        == 3
    )
    child, *roots = collector.spans()
    assert (child.trace_id.hex(), child.parent_span_id.hex()) == (TRACE, PARENT)
    assert all(root.parent_span_id == b"" for root in roots)
    assert len({span.trace_id for span in collector.spans()}) == 3


async def test_a_trace_that_is_not_recorded_gets_no_span(collector: Collector) -> None:
    """The client decides (flag `sampled` 0), and an empty batch is not sent."""
    assert await export(collector.url, traced(f"00-{TRACE}-{PARENT}-00")) == 0
    assert collector.requests == []


async def test_a_base_url_may_have_a_path(collector: Collector) -> None:
    """Those of hosted collectors have one."""
    for base in ("/otlp", "/otlp/"):
        assert await export(f"{collector.url}{base}", RECORD) == 1
    assert [path for path, _, _ in collector.requests] == ["/otlp/v1/traces"] * 2


async def test_opentelemetrys_variables_are_heeded(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name and attributes of the service, a key for the collector, compression, and the sampler."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "orders-proxy")
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.version=7"
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=hunter2")
    assert await export(collector.url, RECORD) == 1
    resource = collector.resource()
    assert resource["service.name"] == "orders-proxy"
    assert resource["service.version"] == "7"
    assert resource["deployment.environment.name"] == "test"
    assert collector.requests[0][1]["x-api-key"] == "hunter2"
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert await export(collector.url, RECORD) == 0


async def test_other_variables_and_files_are_ignored(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No proxy variable, no .netrc and no other endpoint counts."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password hunter2\n", encoding="ascii")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await export(collector.url, RECORD) == 1
    assert "authorization" not in collector.requests[0][1]


@pytest.mark.parametrize("status", [400, 403, 500, 503])
async def test_a_refusal_is_a_failure(
    collector: Collector,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is raised, and the library logs nothing."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    caplog.set_level(logging.DEBUG)
    collector.status = status
    assert await export(collector.url, RECORD) is None
    assert [
        record.name
        for record in caplog.records
        if record.name.startswith(("opentelemetry", "urllib3"))
    ] == []


async def test_no_collector_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no collector listens, and if one accepts and stays silent."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert await export(f"http://127.0.0.1:{port}", RECORD) is None
    assert await export(f"http://127.0.0.1:{port}", RECORD) is None


async def test_a_collector_that_comes_back_gets_spans(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failed batch is dropped, and the next one is sent."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    exporter = SpanExporter(collector.url)
    collector.status = 503
    assert await in_thread(lambda: exporter([Finished(RECORD, ENDED)])) is None
    collector.requests.clear()
    collector.status = 200
    assert (
        await in_thread(lambda: exporter([Finished(RECORD._replace(request_id="id-2"), ENDED)]))
        == 1
    )
    (span,) = collector.spans()
    assert values(span.attributes)["telenor_proxy.request_id"] == "id-2"
