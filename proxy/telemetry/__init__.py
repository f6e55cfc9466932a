"""Spans for an OpenTelemetry collector.

The extra `otel`, and off without `telemetry.otlp_endpoint`.

    Record -> handover.py (a bounded queue, and a thread for each batch) -> spans.py (OpenTelemetry's library) -> collector

Nothing else of the package imports OpenTelemetry, and nothing waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import StartError
from proxy.telemetry.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.telemetry.handover import Result


def create(endpoint: str, clock: Clock, count: Callable[[Result, int], None]) -> Handover:
    """Give what takes records and exports them; see `Handover`.

    Raises `StartError` where that cannot be.
    """
    try:
        from proxy.telemetry.spans import SpanExporter  # noqa: PLC0415 # with the extra only, and 15 MB
    except ImportError:
        raise StartError(
            "telemetry.otlp_endpoint: OpenTelemetry is not installed. Install the extra (telenor-proxy[otel]), or remove the setting."
        ) from None
    try:
        exporter = SpanExporter(endpoint)
    except ValueError:
        raise StartError(
            "telemetry: one of OpenTelemetry's variables (OTEL_...) has a value that cannot be used. Correct it, or remove it."
        ) from None
    return Handover(exporter, endpoint, clock, count)
