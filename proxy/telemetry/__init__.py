"""Spans for an OpenTelemetry collector: the extra `otel`, off without `telemetry.otlp_endpoint`.

    Record -> spans.py (OpenTelemetry's library: a span, its queue, its thread) -> collector

Nothing else of the package imports OpenTelemetry, and nothing waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.telemetry.spans import Spans


def create(endpoint: str, clock: Clock, count: Callable[[str, int], None]) -> Spans:
    """Return what takes records and exports them, see `Spans`. Raises `StartError`."""
    try:
        from proxy.telemetry.spans import Spans  # noqa: PLC0415 # with the extra only, and 15 MB
    except ImportError:
        raise StartError(
            "telemetry.otlp_endpoint: OpenTelemetry is not installed. "
            "Install requirements/otel.txt (the extra `otel`), or remove the setting."
        ) from None
    try:
        return Spans(endpoint, clock, count)
    except ValueError:
        raise StartError(
            "telemetry: one of OpenTelemetry's variables (OTEL_...) has a value that cannot be "
            "used. Correct it, or remove it."
        ) from None
