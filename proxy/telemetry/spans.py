"""From records to spans, and with these to a collector: OpenTelemetry's own library.

A span says what the access line says of a call, and holds no more: no field, no query, no content,
no token. Sampling, the collector's headers and certificate, and the name of the service follow
OpenTelemetry's standard variables (OTEL_...), which the library reads itself.

A span takes 15 to 30 µs of the event loop; the library's batch processor queues it, and exports in
a thread of its own. What does not fit into the queue is dropped and counted.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

import proxy
from proxy.clock import Clock
from proxy.records import Record
from proxy.threads import in_daemon_thread

#: The library's defaults: OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
#: OTEL_BSP_SCHEDULE_DELAY.
MOST_QUEUED: Final = 2048
BATCH: Final = 512
PERIOD_MS: Final = 5000
#: Seconds that the shutdown waits for what is queued: a collector that works takes milliseconds.
LAST_SECONDS: Final = 2.0
_NAME: Final = "telenor-proxy"
_NANOSECONDS: Final = 1_000_000_000
#: Of a request whose method was not understood (OpenTelemetry's semantic conventions for HTTP).
_OTHER_METHOD: Final = "_OTHER"
#: NGINX's status for a client that left before its answer; it never goes over the wire.
_CLIENT_LEFT: Final = 499
_SERVER_ERRORS: Final = 500
_CLIENTS_OWN: Final = frozenset({"client_left", "client_slow"})

log = structlog.get_logger("proxy.telemetry")
# They log every failed attempt, and quote the collector's answer; `_CountedExporter` logs instead.
for _logger in ("opentelemetry", "urllib3"):
    logging.getLogger(_logger).setLevel(logging.CRITICAL + 1)


class Spans:
    """Makes a span of each `Record` that it is called with, and exports it while `running` runs.

    endpoint: the collector's base URL. count: takes a result (`exported`, `failed`, `dropped`) and
    how many spans had it; called from two threads. period_ms: the longest wait before an export.
    """

    def __init__(
        self,
        endpoint: str,
        clock: Clock,
        count: Callable[[str, int], None],
        period_ms: float = PERIOD_MS,
    ) -> None:
        self._clock = clock
        self._count = count
        self._queued = 0
        self._exporter = _CountedExporter(endpoint, count)
        # What the variables say has the last word.
        resource = Resource.create({"service.name": _NAME, "service.version": proxy.__version__})
        self._provider = TracerProvider(
            resource=resource.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(self._exporter, MOST_QUEUED, period_ms, BATCH)
        )
        self._tracer = self._provider.get_tracer(_NAME, proxy.__version__)
        self._context = TraceContextTextMapPropagator()

    def __call__(self, record: Record) -> None:
        """Queue a span of a finished request, or drop it if the queue is full."""
        # The library would drop the oldest one instead, and count nothing.
        if self._queued - self._exporter.taken >= MOST_QUEUED:
            self._exporter.dropped += 1
            self._count("dropped", 1)
            return
        ended = int(self._clock.wall() * _NANOSECONDS)
        span = self._tracer.start_span(
            record.method or "HTTP",
            self._context.extract({} if record.trace is None else {"traceparent": record.trace}),
            SpanKind.SERVER,
            attributes(record),
            start_time=ended - int(record.seconds * _NANOSECONDS),
        )
        if span.is_recording():  # the sampler may leave it out
            self._queued += 1
        if is_error(record):
            span.set_status(StatusCode.ERROR)
        span.end(ended)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Export beside what is in the context, and at its end what is queued, within bounds."""
        try:
            yield
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await in_daemon_thread(self._provider.shutdown)


class _CountedExporter(SpanExporter):
    """Exports over HTTP, counts, and logs once that the collector takes nothing, and once the end.

    taken: spans given to it so far. dropped: spans that the queue had no room for; `Spans` counts.
    """

    def __init__(self, endpoint: str, count: Callable[[str, int], None]) -> None:
        # Without the environment's company proxy, which knows nothing of collectors, and without
        # .netrc.
        session = requests.Session()
        session.trust_env = False
        self._exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", session=session)
        self._endpoint = endpoint
        self._count = count
        self.taken = 0
        self.dropped = 0
        self._failed = 0
        #: How many were lost before the collector took none; None while it takes some.
        self._lost_before: int | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch; called by the library's thread."""
        self.taken += len(spans)
        lost_before = self._failed + self.dropped
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001 # whatever fails in the library is counted and logged
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self._count("exported", len(spans))
            if self._lost_before is not None:
                lost = self._failed + self.dropped - self._lost_before
                log.info("traces.export_restored", endpoint=self._endpoint, lost=lost)
                self._lost_before = None
            return result
        self._count("failed", len(spans))
        if self._lost_before is None:
            self._lost_before = lost_before
            log.warning(
                "traces.export_failed",
                endpoint=self._endpoint,
                reason="not_taken",
                detail="The collector takes no spans; they are lost until it does. No call suffers "
                "by it. See that it runs, and that telemetry.otlp_endpoint leads to it.",
            )
        self._failed += len(spans)
        return result

    def shutdown(self) -> None:
        """End a retry that waits."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # it lacks its return type


def attributes(record: Record) -> dict[str, AttributeValue]:
    """Describe a call by the semantic conventions for HTTP servers, else by names of our own."""
    status = record.status
    error = record.error or (str(status) if status >= _SERVER_ERRORS else None)
    found: dict[str, AttributeValue | None] = {
        "http.request.method": record.method or _OTHER_METHOD,
        "url.scheme": "http",
        "url.path": record.path,
        "http.response.status_code": None if status in {0, _CLIENT_LEFT} else status,
        "http.request.body.size": record.bytes_in,
        "http.response.body.size": record.bytes_out,
        "error.type": error,
        "telenor_proxy.request_id": record.request_id,
        "telenor_proxy.attempts": record.attempts,
        "telenor_proxy.upstream_seconds": record.upstream_seconds,
        "telenor_proxy.token_seconds": record.token_seconds,
        "telenor_proxy.refused": record.refused,
        "telenor_proxy.outcome": record.outcome,
        "telenor_proxy.code": record.code,
        "telenor_proxy.client": record.client,
        "client.address": record.client_address,
    }
    return {name: value for name, value in found.items() if value is not None}


def is_error(record: Record) -> bool:
    """Whether the span is one of an error; the conventions leave the client's errors unset."""
    if record.status >= _SERVER_ERRORS:
        return True
    return record.error is not None and not record.refused and record.error not in _CLIENTS_OWN
