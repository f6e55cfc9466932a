"""Spans at a collector: OpenTelemetry's library, its protocol on a socket, its variables."""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace.export import SpanExportResult
from structlog.testing import capture_logs

import proxy
from proxy.records import Record
from proxy.telemetry.spans import BATCH, LAST_SECONDS, MOST_QUEUED, Spans, attributes
from tests.clock import FakeClock
from tests.integration.collector import Collector, collecting, values
from tests.ports import held_port

RECORD = Record("id-1", "POST", "/orders/4799885577", 201, 0.25, 69, 49, 0.1, 0.0, 1)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def traced(trace: str) -> Record:
    """Return the record of a request with that `traceparent`."""
    return RECORD._replace(trace=trace)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """Run a collector."""
    async with collecting() as collector:
        yield collector


class Stage:
    """Spans of records, and what is counted of them."""

    def __init__(self, endpoint: str) -> None:
        self.clock = FakeClock()
        self.counts: Counter[str] = Counter()
        self.spans = Spans(endpoint, self.clock, self._count, period_ms=10)

    def _count(self, result: str, number: int) -> None:
        self.counts[result] += number

    async def until(self, **counts: int) -> None:
        """Wait until so many spans had these results."""
        async with asyncio.timeout(20):
            while self.counts != counts:  # noqa: ASYNC110 # another thread counts
                await asyncio.sleep(0.005)


class Raising:
    """An exporter that raises; the queue drops seven spans meanwhile."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.breaks = True

    def export(self, _: object) -> SpanExportResult:
        """Fail, or take them."""
        if self.breaks:
            self.stage.spans._exporter.dropped += 7
            raise ValueError("hunter2")
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Do nothing."""


async def export(endpoint: str, *records: Record) -> dict[str, int]:
    """Export some records; return how many spans had which result."""
    stage = Stage(endpoint)
    async with stage.spans.running():
        for record in records:
            stage.spans(record)
    return dict(stage.counts)


async def test_a_call_is_a_span(collector: Collector) -> None:
    """Its name, times, attributes, parent and service, sent to the protocol's path.

    The span of a failed one has the status ERROR.
    """
    failed = RECORD._replace(status=502, error="connection_terminated", outcome="unknown")
    assert await export(collector.url, RECORD, failed) == {"exported": 2}
    ((path, fields, _),) = collector.requests
    assert (path, fields["content-type"]) == ("/v1/traces", "application/x-protobuf")
    span, other = collector.spans()
    assert other.status.code == Status.STATUS_CODE_ERROR
    assert (span.name, span.kind) == ("POST", Span.SPAN_KIND_SERVER)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (
        1_799_999_999_750_000_000,
        1_800_000_000_000_000_000,
    )
    assert values(span.attributes) == attributes(RECORD)
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert (len(span.trace_id), len(span.span_id), span.parent_span_id) == (16, 8, b"")
    resource = collector.resource()
    assert resource["service.name"] == "telenor-proxy"
    assert resource["service.version"] == proxy.__version__


async def test_a_span_belongs_to_the_clients_trace(collector: Collector) -> None:
    """A child of the client's span (W3C `traceparent`); a new trace without a valid one.

    The client decides about recording (flag `sampled` 0), and an empty batch is not sent.
    """
    assert await export(collector.url, traced(f"00-{TRACE}-{PARENT}-00")) == {}
    assert collector.requests == []
    records = traced(f"00-{TRACE}-{PARENT}-01"), RECORD, traced("nonsense")
    assert await export(collector.url, *records) == {"exported": 3}
    child, *roots = collector.spans()
    assert (child.trace_id.hex(), child.parent_span_id.hex()) == (TRACE, PARENT)
    assert all(root.parent_span_id == b"" for root in roots)
    assert len({span.trace_id for span in collector.spans()}) == 3


async def test_a_base_url_may_have_a_path(collector: Collector) -> None:
    """Those of hosted collectors have one."""
    for base in ("/otlp", "/otlp/"):
        assert await export(f"{collector.url}{base}", RECORD) == {"exported": 1}
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
    assert await export(collector.url, RECORD) == {"exported": 1}
    resource = collector.resource()
    assert resource["service.name"] == "orders-proxy"
    assert resource["service.version"] == "7"
    assert resource["deployment.environment.name"] == "test"
    assert collector.requests[0][1]["x-api-key"] == "hunter2"
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert await export(collector.url, RECORD) == {}


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
    assert await export(collector.url, RECORD) == {"exported": 1}
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
    assert await export(collector.url, RECORD) == {"failed": 1}
    assert [
        record.name
        for record in caplog.records
        if record.name.startswith(("opentelemetry", "urllib3"))
    ] == []


async def test_a_collector_that_is_away_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """If its port is closed, and if it accepts and stays silent."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    with held_port() as held:
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        assert await export(url, RECORD) == {"failed": 1}
        held.listen()
        assert await export(url, RECORD) == {"failed": 1}


async def test_a_collector_that_takes_nothing_is_logged_once(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once when it begins, and once when it ends, with how many spans were lost."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    stage = Stage(collector.url)
    with capture_logs() as logs:
        async with stage.spans.running():
            collector.status = 503
            for failed in (1, 2, 3):
                stage.spans(RECORD)
                await stage.until(failed=failed)
            collector.requests.clear()
            collector.status = 200
            for exported in (1, 2):
                stage.spans(RECORD._replace(request_id=f"id-{exported}"))
                await stage.until(failed=3, exported=exported)
    failure, restored = logs
    assert (failure["event"], failure["log_level"]) == ("traces.export_failed", "warning")
    assert (failure["endpoint"], failure["reason"]) == (collector.url, "not_taken")
    assert restored == {
        "event": "traces.export_restored",
        "log_level": "info",
        "endpoint": collector.url,
        "lost": 3,
    }
    ids = [values(span.attributes)["telenor_proxy.request_id"] for span in collector.spans()]
    assert ids == ["id-1", "id-2"]  # nothing of a batch that failed


async def test_an_exporter_that_raises_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log says so, without the exception's text; spans dropped meanwhile count as lost."""
    stage = Stage("http://127.0.0.1:9")
    monkeypatch.setattr(stage.spans._exporter, "_exporter", raising := Raising(stage))
    with capture_logs() as logs:
        async with stage.spans.running():
            stage.spans(RECORD)
            await stage.until(failed=1)
            raising.breaks = False
            stage.spans(RECORD)
            await stage.until(failed=1, exported=1)
    assert [event["event"] for event in logs] == ["traces.export_failed", "traces.export_restored"]
    assert "hunter2" not in str(logs)
    assert logs[1]["lost"] == 8


async def test_the_queue_is_bounded_and_what_does_not_fit_is_counted() -> None:
    """With a collector that hangs, one batch is under way and the queue is kept.

    The end is soon.
    """
    assert LAST_SECONDS <= 2
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stage = Stage(f"http://127.0.0.1:{silent.getsockname()[1]}")
        async with asyncio.timeout(20):
            async with stage.spans.running():
                for _ in range(3 * MOST_QUEUED):
                    stage.spans(RECORD)
    assert 2 * MOST_QUEUED - BATCH <= stage.counts["dropped"] <= 2 * MOST_QUEUED
