"""What is counted, and how it is exposed to Prometheus.

Laws
1. No label ever holds a path, a host or a secret: every label is one of a short closed list.
2. An alert's series is there from the start, at 0: Prometheus' `increase` and `rate` do not see a
   count that begins at 1.
3. What is counted for every request is in counts.py.
"""

import itertools
import platform
from collections.abc import Callable, Iterable
from typing import Final, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

import proxy
from proxy import faults
from proxy.admin.counts import CallCounts, histogram
from proxy.records import Record
from proxy.tokens.values import Cause, TokenEvent

#: Telenor's gateway: over the quota, and too many at a time ("spike arrest").
_THROTTLING_CODES: Final = ("42901", "42902", "other")
#: Why fetches of a token fail. A status that the token endpoint should not answer with gets its
#: series, `http_` and a number, when it does.
_RENEWAL_FAILURES: Final = (
    *sorted(faults.REASONS),
    *("http_404", "http_500", "http_502", "http_503", "http_504"),
    *("expired_on_arrival", "illegal_token", "malformed", "no_token", "proxy_answered"),
    *("rate_limited", "redirected", "refused", "unexpected", "unreadable", "wrong_token_type"),
)
#: What becomes of an order that may be a repetition: see `proxy.orders.keeper`.
_ORDER_RESULTS: Final = (
    *("recorded", "replayed", "in_flight", "unknown", "answered", "reused", "not_recorded"),
)

disable_created_metrics()  # type: ignore[no-untyped-call] # it lacks its return type


class _AtScrape(Collector):
    """Families that are made at each scrape."""

    def __init__(self, make: Callable[[], Iterable[Metric]]) -> None:
        self._make = make

    def collect(self) -> Iterable[Metric]:
        """Make them."""
        return self._make()


class Metrics:
    """All of the proxy's metrics, in a registry of their own. Call it with each `Record`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._calls = CallCounts()
        registry.register(self._calls)
        self.follow = self._calls.name
        self.requests = self._calls.by_status_class
        self._token_wait = histogram(
            "telenor_proxy_token_wait_seconds",
            "Time that requests waited for a token, of those that had to.",
            registry,
        )
        self._throttled = self._counter(
            "telenor_proxy_upstream_throttled",
            "Answers 429 of the API by the code that it gave.",
            code=_THROTTLING_CODES,
        )
        #: Takes the seconds that a call had to wait, to keep to a rate.
        self.held_back = histogram(
            "telenor_proxy_pacing_wait_seconds",
            "Time that calls were held back to keep to the set rate, of those that were.",
            registry,
        ).observe
        self._logins = self._counter(
            "telenor_proxy_answered_logins",
            "Logins and logouts of applications that were answered here, by what was asked.",
            asked=("token", "logout"),
        )
        self._reloads = self._counter(
            "telenor_proxy_configuration_reloads",
            "Times that a changed configuration was read, by result.",
            result=("accepted", "refused"),
        )
        self._renewals = self._counter(
            "telenor_proxy_token_renewals",
            "Fetches of a token by result and cause.",
            result=("success", "failure"),
            cause=get_args(Cause),
        )
        self._renewal_seconds = histogram(
            "telenor_proxy_token_renewal_duration_seconds",
            "Duration of successful fetches of a token.",
            registry,
        )
        self._renewal_failures = self._counter(
            "telenor_proxy_token_renewal_failures",
            "Failed fetches of a token by reason.",
            reason=_RENEWAL_FAILURES,
        )
        self._invalidations = self._counter(
            "telenor_proxy_token_invalidations", "Tokens given up because the API rejected them."
        )
        self._contentions = self._counter(
            "telenor_proxy_token_contentions",
            "Rejections in a row: another login seems to end this proxy's tokens.",
        )
        self._spans = self._counter(
            "telenor_proxy_spans",
            "Spans for OpenTelemetry by what became of them.",
            result=("exported", "failed", "dropped"),
        )
        self._orders = self._counter(
            "telenor_proxy_orders",
            "Orders that a store was asked about, by what became of them.",
            result=_ORDER_RESULTS,
        )
        self._store_faults = self._counter(
            "telenor_proxy_order_store_faults", "Times that the store of orders could not be used."
        )
        versions = {"version": proxy.__version__, "python": platform.python_version()}
        build = Gauge(
            "telenor_proxy_build_info", "1, labelled with versions.", versions, registry=registry
        )
        build.labels(**versions).set(1)
        ProcessCollector(namespace="telenor_proxy", registry=registry)

    def _counter(self, name: str, text: str, **labels: tuple[str, ...]) -> Counter:
        """Make a counter with a series for each combination of its labels' values."""
        counter = Counter(name, text, list(labels), registry=self.registry)
        for values in itertools.product(*labels.values()) if labels else ():
            counter.labels(*values)
        return counter

    def __call__(self, record: Record) -> None:
        """Count a finished request."""
        self._calls.count(record)
        if record.token_seconds:
            self._token_wait.observe(record.token_seconds)

    def throttled(self, code: str | None) -> None:
        """Count a 429 of the API."""
        self._throttled.labels(code if code in _THROTTLING_CODES else "other").inc()

    def answered_login(self, asked: str) -> None:
        """Count a login (`token`) or a `logout` of an application that was answered here."""
        self._logins.labels(asked).inc()

    def reloaded(self, accepted: bool) -> None:  # noqa: FBT001 # a callback with one argument
        """Count a configuration that was read anew."""
        self._reloads.labels("accepted" if accepted else "refused").inc()

    def spans(self, result: str, number: int) -> None:
        """Count spans with that result: `exported`, `failed` or `dropped`."""
        self._spans.labels(result).inc(number)

    def order(self, result: str) -> None:
        """Count what became of an order, or a fault of the store."""
        if result in _ORDER_RESULTS:
            self._orders.labels(result).inc()
        else:
            self._store_faults.inc()

    def on_token(self, event: TokenEvent) -> None:
        """Count what happened to a token."""
        match event.name:
            case "renewed":
                self._renewals.labels("success", event.cause).inc()
                self._renewal_seconds.observe(event.seconds)
            case "renewal_failed":
                self._renewals.labels("failure", event.cause).inc()
                self._renewal_failures.labels(event.reason).inc()
            case "invalidated":
                self._invalidations.inc()
            case "contended":
                self._contentions.inc()

    def throttled_by_code(self) -> dict[str, int]:
        """Return how many answers 429 of the API there were, by code."""
        return {
            sample.labels["code"]: int(sample.value)
            for metric in self._throttled.collect()
            for sample in metric.samples
        }

    def expose(self, make: Callable[[], Iterable[Metric]]) -> None:
        """Expose families that are made at each scrape."""
        self.registry.register(_AtScrape(make))

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
