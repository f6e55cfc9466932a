"""What is counted, and how it is exposed to Prometheus.

No label ever holds a path, a host or a secret: every label is one of a short closed list. Children are bound once and kept, because a
look-up costs more than the counting.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.process_collector import ProcessCollector

import proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.records import Record
    from proxy.tokens.values import Cause

# An order takes a gateway some tens of milliseconds; 60 s is the default of upstream.response_timeout_seconds.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

disable_created_metrics()  # type: ignore[no-untyped-call] # it lacks its return type


class Metrics:
    """All of the proxy's metrics, in a registry of their own. It observes requests (call it with a `Record`) and tokens."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "telenor_proxy_requests",
            "Requests by method and status class.",
            ["method", "status_class"],
            registry=registry,
        )
        self._duration = Histogram(
            "telenor_proxy_request_duration_seconds",
            "From the whole request head to the end of the answer.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._upstream = Histogram(
            "telenor_proxy_upstream_duration_seconds",
            "From sending a request upstream to the head of its answer.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._token_wait = Histogram(
            "telenor_proxy_token_wait_seconds",
            "Time that requests waited for a token, of those that had to.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._refused = Counter(
            "telenor_proxy_refused_requests",
            "Requests that the proxy's own rules turned down.",
            ["reason"],
            registry=registry,
        )
        self._failed = Counter(
            "telenor_proxy_failed_requests",
            "Requests that could not be forwarded or answered whole.",
            ["error"],
            registry=registry,
        )
        self._resent = Counter(
            "telenor_proxy_replays", "Requests that were sent upstream more than once.", registry=registry
        )
        self._renewals = Counter(
            "telenor_proxy_token_renewals",
            "Fetches of a token by result and cause.",
            ["result", "cause"],
            registry=registry,
        )
        self._renewal_seconds = Histogram(
            "telenor_proxy_token_renewal_duration_seconds",
            "Duration of successful fetches of a token.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._renewal_failures = Counter(
            "telenor_proxy_token_renewal_failures",
            "Failed fetches of a token by reason.",
            ["reason"],
            registry=registry,
        )
        self._invalidations = Counter(
            "telenor_proxy_token_invalidations",
            "Tokens given up because the API rejected them.",
            registry=registry,
        )
        self._contentions = Counter(
            "telenor_proxy_token_contentions",
            "Rejections in a row: another login seems to end this proxy's tokens.",
            registry=registry,
        )
        build = Gauge(
            "telenor_proxy_build_info", "1, labelled with versions.", ["version", "python"], registry=registry
        )
        build.labels(proxy.__version__, platform.python_version()).set(1)
        ProcessCollector(namespace="telenor_proxy", registry=registry)
        self._by_method: dict[tuple[str | None, int], Counter] = {}
        self._gauges: dict[str, Gauge] = {}

    def __call__(self, record: Record) -> None:
        """Count a finished request."""
        key = (record.method, record.status // 100)
        counter = self._by_method.get(key)
        if counter is None:
            counter = self._by_method[key] = self._requests.labels(
                record.method or "unknown", f"{key[1]}xx" if key[1] else "none"
            )
        counter.inc()
        self._duration.observe(record.seconds)
        if record.upstream_seconds is not None:
            self._upstream.observe(record.upstream_seconds)
        if record.token_seconds:
            self._token_wait.observe(record.token_seconds)
        if record.attempts > 1:
            self._resent.inc()
        if record.error is not None:
            (self._refused if record.refused else self._failed).labels(record.error).inc()

    # What a token source tells its observer.

    def renewed(self, cause: Cause, seconds: float) -> None:
        """Count a fetch that gave a token."""
        self._renewals.labels("success", cause).inc()
        self._renewal_seconds.observe(seconds)

    def renewal_failed(self, cause: Cause, reason: str) -> None:
        """Count a fetch that failed."""
        self._renewals.labels("failure", cause).inc()
        self._renewal_failures.labels(reason).inc()

    def invalidated(self) -> None:
        """Count a token that the API rejected."""
        self._invalidations.inc()

    def contended(self) -> None:
        """Count a rejection that is one of a row."""
        self._contentions.inc()

    # What is read when somebody asks.

    def requests(self) -> dict[str, int]:
        """Return how many requests have ended in each status class."""
        counts: dict[str, int] = {}
        for metric in self._requests.collect():
            for sample in metric.samples:
                status_class = sample.labels["status_class"]
                counts[status_class] = counts.get(status_class, 0) + int(sample.value)
        return counts

    def gauge(self, name: str, text: str, value: Callable[[], float], **labels: str) -> None:
        """Expose a value that is computed at each scrape."""
        gauge = self._gauges.get(name)
        if gauge is None:
            gauge = self._gauges[name] = Gauge(name, text, list(labels), registry=self.registry)
        (gauge.labels(**labels) if labels else gauge).set_function(value)

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
