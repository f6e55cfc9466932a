"""From records to spans, and with these to a collector.

OpenTelemetry's own library, behind one call.

A span says what the access line says of a call, and holds no more: no field, no query, no content,
no token. Sampling, the collector's headers and certificate, and the name of the service follow
OpenTelemetry's standard variables (OTEL_...), which the library reads itself.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import proxy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.util.types import AttributeValue

    from proxy.records import Record
    from proxy.telemetry.handover import Finished

_NAME: Final = "telenor-proxy"
_NANOSECONDS: Final = 1_000_000_000
#: Of a request whose method was not understood (OpenTelemetry's semantic conventions for HTTP).
_OTHER_METHOD: Final = "_OTHER"
#: NGINX's status for a client that left before its answer; it never goes over the wire.
_CLIENT_LEFT: Final = 499
_SERVER_ERRORS: Final = 500
_CLIENTS_OWN: Final = frozenset({"client_left", "client_slow"})
# They speak of every failed attempt, from another thread, and quote what a collector said. What
# matters is told by `handover`.
for _logger in ("opentelemetry", "urllib3"):
    logging.getLogger(_logger).setLevel(logging.CRITICAL + 1)


class _Ended(SpanProcessor):
    """Keeps the spans of a batch: those that have ended, and that the sampler chose."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep one."""
        self.spans.append(span)


class SpanExporter:
    """Takes batches to one collector. endpoint: its base URL.

    To be called by one thread at a time.
    """

    def __init__(self, endpoint: str) -> None:
        # What the variables say has the last word.
        resource = Resource.create({"service.name": _NAME, "service.version": proxy.__version__})
        provider = TracerProvider(
            resource=resource.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._ended = _Ended()
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer(_NAME, proxy.__version__)
        self._context = TraceContextTextMapPropagator()
        # Without the environment's company proxy, which knows nothing of collectors, and without
        # .netrc.
        session = requests.Session()
        session.trust_env = False
        self._exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", session=session)

    def __call__(self, batch: Sequence[Finished]) -> int | None:
        """Export a batch; give how many spans there were, or None if the collector did not take them. The sampler may have left some out."""
        for record, ended_at in batch:
            self._make(record, ended_at)
        spans, self._ended.spans = self._ended.spans, []
        if spans and self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            return None
        return len(spans)

    def _make(self, record: Record, ended_at: float) -> None:
        ended = int(ended_at * _NANOSECONDS)
        span = self._tracer.start_span(
            record.method or "HTTP",
            self._context.extract({} if record.trace is None else {"traceparent": record.trace}),
            SpanKind.SERVER,
            attributes(record),
            start_time=ended - int(record.seconds * _NANOSECONDS),
        )
        if is_error(record):
            span.set_status(StatusCode.ERROR)
        span.end(ended)


def attributes(record: Record) -> dict[str, AttributeValue]:
    """Describe a call: by the semantic conventions for HTTP servers where these have a word for it, and else by names of our own."""
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
    """Whether the span is one of an error.

    Not if the client is to blame (the conventions leave those unset).
    """
    if record.status >= _SERVER_ERRORS:
        return True
    return record.error is not None and not record.refused and record.error not in _CLIENTS_OWN
