"""What is counted, and how it is exposed to Prometheus.

Laws
1. No label ever holds a path, a host or a secret: every label is one of a short closed list.
2. A series whose first increase somebody should hear of is there from the start, at 0: Prometheus'
   `increase` and `rate` do not see a count that begins at 1.
3. Counting a request takes integers and dictionaries only; they become Prometheus' families at a
   scrape.
"""

from __future__ import annotations

import itertools
import platform
from typing import TYPE_CHECKING, Final, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

import proxy
from proxy.admin.calls import HeadlineState
from proxy.admin.counts import BUCKETS, CallCounts
from proxy.tokens.values import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from proxy.admin.headline import Headline
    from proxy.records import Record

#: Telenor's gateway: over the quota, and too many at a time ("spike arrest").
_THROTTLING_CODES: Final = ("42901", "42902")
_OTHER: Final = "other"
#: Why fetches of a token fail. A status that the token endpoint should not answer with gets its
#: series, `http_` and a number, when it does.
_RENEWAL_FAILURES: Final = (
    "company_proxy_connect",
    "company_proxy_denied",
    "company_proxy_dns",
    "company_proxy_failed",
    "company_proxy_login",
    "company_proxy_malformed",
    "company_proxy_reset",
    "company_proxy_timeout",
    "company_proxy_tls",
    "connect",
    "dns",
    "expired_on_arrival",
    "http_404",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "illegal_token",
    "malformed",
    "no_token",
    "proxy_answered",
    "rate_limited",
    "redirected",
    "refused",
    "reset",
    "timeout",
    "tls",
    "unexpected",
    "unreadable",
    "wrong_token_type",
)
#: What becomes of an order that may be a repetition: see `proxy.orders.keeper`.
_ORDER_RESULTS: Final = (
    "recorded",
    "replayed",
    "in_flight",
    "unknown",
    "answered",
    "reused",
    "not_recorded",
)

disable_created_metrics()  # type: ignore[no-untyped-call] # it lacks its return type


class _KeptElsewhere(Collector):
    """A counter whose value another part keeps."""

    def __init__(self, name: str, text: str, value: Callable[[], float]) -> None:
        self._name = name
        self._meaning = text
        self._value = value

    def collect(self) -> Iterator[Metric]:
        """Yield it."""
        yield CounterMetricFamily(self._name, self._meaning, value=self._value())


class _OrderCounts(Collector):
    """What became of orders; counted in plain integers, because each order is."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield the family."""
        text = "Orders that a store was asked about, by what became of them."
        family = CounterMetricFamily("telenor_proxy_orders", text, labels=["result"])
        for result, number in self._counts.items():
            family.add_metric([result], number)
        yield family


class _HeadlineMetrics(Collector):
    """The headline at a scrape.

    A gauge for each state, and the sentence, so that an alert says it as well.
    """

    def __init__(self, headline: Callable[[], Headline]) -> None:
        self._headline = headline

    def collect(self) -> Iterator[Metric]:
        """Yield the families. A sentence that is not of a closed list is left at its title."""
        headline = self._headline()
        states = GaugeMetricFamily(
            "telenor_proxy_working",
            "1 for the state that the status page shows: working, impaired or not_working.",
            labels=["state"],
        )
        for state in HeadlineState:
            states.add_metric([state.value], float(state is headline.state))
        yield states
        sentence = GaugeMetricFamily(
            "telenor_proxy_headline",
            "1, labelled with the status page's sentence.",
            labels=["state", "text"],
        )
        text = headline.text if headline.is_closed else f"{headline.title}."
        sentence.add_metric([headline.state.value, text], 1.0)
        yield sentence


class Metrics:
    """All of the proxy's metrics, in a registry of their own.

    It observes requests (call it with a `Record`) and tokens.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._calls = CallCounts()
        registry.register(self._calls)
        self._token_wait = Histogram(
            "telenor_proxy_token_wait_seconds",
            "Time that requests waited for a token, of those that had to.",
            buckets=BUCKETS,
            registry=registry,
        )
        self._throttled = Counter(
            "telenor_proxy_upstream_throttled",
            "Answers 429 of the API by the code that it gave.",
            ["code"],
            registry=registry,
        )
        self._throttled_by_code = {
            code: self._throttled.labels(code) for code in (*_THROTTLING_CODES, _OTHER)
        }
        self._held_back = Histogram(
            "telenor_proxy_pacing_wait_seconds",
            "Time that calls were held back to keep to the set rate, of those that were.",
            buckets=BUCKETS,
            registry=registry,
        )
        self._logins = Counter(
            "telenor_proxy_answered_logins",
            "Logins and logouts of applications that were answered here, by what was asked.",
            ["asked"],
            registry=registry,
        )
        for asked in ("token", "logout"):
            self._logins.labels(asked)
        self._reloads = Counter(
            "telenor_proxy_configuration_reloads",
            "Times that a changed configuration was read, by result.",
            ["result"],
            registry=registry,
        )
        for result in ("accepted", "refused"):
            self._reloads.labels(result)
        self._renewals = Counter(
            "telenor_proxy_token_renewals",
            "Fetches of a token by result and cause.",
            ["result", "cause"],
            registry=registry,
        )
        for result, cause in itertools.product(("success", "failure"), get_args(Cause)):
            self._renewals.labels(result, cause)
        self._renewal_seconds = Histogram(
            "telenor_proxy_token_renewal_duration_seconds",
            "Duration of successful fetches of a token.",
            buckets=BUCKETS,
            registry=registry,
        )
        self._renewal_failures = Counter(
            "telenor_proxy_token_renewal_failures",
            "Failed fetches of a token by reason.",
            ["reason"],
            registry=registry,
        )
        for reason in _RENEWAL_FAILURES:
            self._renewal_failures.labels(reason)
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
        self._spans = Counter(
            "telenor_proxy_spans",
            "Spans for OpenTelemetry by what became of them.",
            ["result"],
            registry=registry,
        )
        for result in ("exported", "failed", "dropped"):
            self._spans.labels(result)
        self._orders = dict.fromkeys(_ORDER_RESULTS, 0)
        registry.register(_OrderCounts(self._orders))
        self._store_faults = Counter(
            "telenor_proxy_order_store_faults",
            "Times that the store of orders could not be used.",
            registry=registry,
        )
        build = Gauge(
            "telenor_proxy_build_info",
            "1, labelled with versions.",
            ["version", "python"],
            registry=registry,
        )
        build.labels(proxy.__version__, platform.python_version()).set(1)
        ProcessCollector(namespace="telenor_proxy", registry=registry)
        self._gauges: dict[str, Gauge] = {}

    def __call__(self, record: Record) -> None:
        """Count a finished request."""
        self._calls.count(record)
        if record.token_seconds:
            self._token_wait.observe(record.token_seconds)

    # What the forwarder and its pacer tell.

    def throttled(self, code: str | None) -> None:
        """Count a 429 of the API."""
        (self._throttled_by_code.get(code or _OTHER) or self._throttled_by_code[_OTHER]).inc()

    def held_back(self, seconds: float) -> None:
        """Count a call that had to wait for its turn."""
        self._held_back.observe(seconds)

    # What the listener tells, and who may use it.

    def name_clients(self, names: Iterable[str]) -> None:
        """Count for these clients by name from now on."""
        self._calls.name(names)

    def answered_login(self, asked: str) -> None:
        """Count a login (`token`) or a `logout` of an application that was answered here."""
        self._logins.labels(asked).inc()

    # What the rotation tells.

    def reloaded(self, accepted: bool) -> None:  # noqa: FBT001 # a callback with one argument
        """Count a configuration that was read anew."""
        self._reloads.labels("accepted" if accepted else "refused").inc()

    # What the hand-over of spans tells.

    def spans(self, result: str, number: int) -> None:
        """Count spans that met that result: `exported`, `failed` or `dropped`."""
        self._spans.labels(result).inc(number)

    # What the keeper of orders tells.

    def order(self, result: str) -> None:
        """Count what became of an order, or a fault of the store."""
        if result in self._orders:
            self._orders[result] += 1
        else:
            self._store_faults.inc()

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
        return self._calls.by_status_class()

    def throttled_by_code(self) -> dict[str, int]:
        """Return how many answers 429 of the API there were, by code."""
        return {
            sample.labels["code"]: int(sample.value)
            for metric in self._throttled.collect()
            for sample in metric.samples
        }

    def gauge(self, name: str, text: str, value: Callable[[], float], **labels: str) -> None:
        """Expose a value that is computed at each scrape."""
        gauge = self._gauges.get(name)
        if gauge is None:
            gauge = self._gauges[name] = Gauge(name, text, list(labels), registry=self.registry)
        (gauge.labels(**labels) if labels else gauge).set_function(value)

    def counter(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Expose a count that is kept elsewhere; `name` without `_total`."""
        self.registry.register(_KeptElsewhere(name, text, value))

    def report(
        self, headline: Callable[[], Headline], *, credentials_refused: Callable[[], bool]
    ) -> None:
        """Expose what the report says at each scrape."""
        self.registry.register(_HeadlineMetrics(headline))
        self.gauge(
            "telenor_proxy_credentials_refused",
            "1 from a refusal of the credentials to the next token.",
            lambda: float(credentials_refused()),
        )

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
