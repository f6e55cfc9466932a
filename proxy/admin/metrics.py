"""What is counted, and how it is exposed to Prometheus.

Laws
1. No label ever holds a path, a host or a secret: every label is one of a short closed list.
2. A series whose first increase somebody should hear of is there from the start, at 0: Prometheus' `increase` and `rate` do not see a count
   that begins at 1.
3. Counting a request takes integers and dictionaries only; they become Prometheus' families at a scrape.
"""

from __future__ import annotations

import itertools
import platform
from bisect import bisect_left
from typing import TYPE_CHECKING, Final, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

import proxy
from proxy.admin.calls import State
from proxy.errors import CLIENT_RATE, KINDS, PACED, UNKNOWN
from proxy.tokens import codes
from proxy.tokens.values import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import Metric

    from proxy.admin.headline import Headline
    from proxy.records import Record

# An order takes a gateway some tens of milliseconds; 60 s is the default of upstream.response_timeout_seconds.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Telenor's gateway: over the quota, and too many at a time ("spike arrest").
_THROTTLING_CODES: Final = ("42901", "42902")
_OTHER: Final = "other"
#: The label of an answer that names no code.
_NONE: Final = "none"
_ERROR: Final = 400
#: What gateways and APIs answer calls with; others are counted by their class, so that the label is closed.
_STATUSES: Final = frozenset(
    {400, 401, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 415, 422, 423, 429, 500, 501, 502, 503, 504}
)
#: Of these the series without a known code are there from the start.
_USUAL_STATUSES: Final = ("400", "401", "403", "404", "429", "500", "502", "503", "504")
#: Methods that may change something at the API, so that it matters whether it acted on a call of which no answer came.
CHANGING: Final = ("POST", "PUT", "PATCH", "DELETE")
#: What order systems call with. Other methods get their series when somebody calls with one.
_METHODS: Final = ("GET", *CHANGING)
_CLASSES: Final = (2, 3, 4, 5, 0)
#: Stands for clients without a name. One that is called so is counted with them.
_NO_CLIENT: Final = "none"
#: A request is turned down with a 4xx, or for a method or version that nobody speaks here; all else is a failure. The 4xx among those are
#: the answers to a call that would have to wait too long for its turn.
_REFUSALS: Final = dict.fromkeys(
    kind.name
    for kind in KINDS
    if kind not in {CLIENT_RATE, PACED} and (kind.status < 500 or kind.status in {501, 505})  # noqa: PLR2004 # the class 5xx
)
_FAILURES: Final = dict.fromkeys(
    [*(kind.word for kind in KINDS if kind.name not in _REFUSALS), "client_left", "client_slow"]
)
#: Why fetches of a token fail. A status that the token endpoint should not answer with gets its series, `http_` and a number, when it does.
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


class _Distribution:
    """A histogram of seconds: plain integers, because prometheus_client's own take a lock for each of them."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(_BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulated(self) -> list[tuple[str, float]]:
        """Return what Prometheus wants: for each bucket, how many were not longer."""
        return list(zip((*map(str, _BUCKETS), "+Inf"), itertools.accumulate(self.counts), strict=True))


class _Calls(Collector):
    """What is counted for every request: the hot path. Turned into Prometheus' families at a scrape."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str | None, int], int] = {}
        self._duration = _Distribution()
        self._upstream = _Distribution()
        self._refused: dict[str, int] = dict.fromkeys(_REFUSALS, 0)
        self._failed: dict[str, int] = dict.fromkeys(_FAILURES, 0)
        self._unknown: dict[str, int] = dict.fromkeys(CHANGING, 0)
        self._answers: dict[tuple[str, str], int] = dict.fromkeys(
            [
                *((str(known.status), code) for code, known in codes.GATEWAY.items()),
                *itertools.product(_USUAL_STATUSES, (codes.OTHER, _NONE)),
            ],
            0,
        )
        self._resent = 0
        self._clients: dict[str, dict[int, int]] = {_NO_CLIENT: dict.fromkeys(_CLASSES, 0)}

    def name(self, clients: Iterable[str]) -> None:
        """Have a series for each of these clients from now on. What was counted for others stays, as a counter has to."""
        for client in clients:
            self._clients.setdefault(client, dict.fromkeys(_CLASSES, 0))

    def count(self, record: Record) -> None:
        """Count a finished request."""
        hundreds = record.status // 100
        key = (record.method, hundreds)
        self._requests[key] = self._requests.get(key, 0) + 1
        client = self._clients.get(record.client or _NO_CLIENT)
        if client is not None:
            client[hundreds] = client.get(hundreds, 0) + 1
        self._duration.observe(record.seconds)
        if record.upstream_seconds is not None:
            self._upstream.observe(record.upstream_seconds)
        if record.attempts > 1:
            self._resent += 1
        if record.error is not None:
            self._count_error(record, record.error)
        elif record.status >= _ERROR:
            answer = (_known_status(record.status), codes.label(record.code) or _NONE)
            self._answers[answer] = self._answers.get(answer, 0) + 1
        if record.outcome == UNKNOWN and not record.refused and record.method in self._unknown:
            self._unknown[record.method] += 1

    def _count_error(self, record: Record, error: str) -> None:
        counts = self._refused if record.refused else self._failed
        counts[error] = counts.get(error, 0) + 1

    def by_status_class(self) -> dict[str, int]:
        """Return how many requests have ended in each status class."""
        counts: dict[str, int] = {}
        for (_, status), number in self._requests.items():
            name = _status_class(status)
            counts[name] = counts.get(name, 0) + number
        return counts

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        requests = CounterMetricFamily(
            "telenor_proxy_requests",
            "Requests by method and status class.",
            labels=["method", "status_class"],
        )
        none_yet: dict[tuple[str | None, int], int] = dict.fromkeys(itertools.product(_METHODS, _CLASSES), 0)
        for (method, status), number in (none_yet | self._requests).items():
            requests.add_metric([method or "unknown", _status_class(status)], number)
        yield requests
        clients = CounterMetricFamily(
            "telenor_proxy_client_requests",
            "Requests by client, `none` for one without a name, and status class.",
            labels=["client", "status_class"],
        )
        for client, classes in self._clients.items():
            for status, number in classes.items():
                clients.add_metric([client, _status_class(status)], number)
        yield clients
        yield HistogramMetricFamily(
            "telenor_proxy_request_duration_seconds",
            "From the whole request head to the end of the answer.",
            buckets=self._duration.cumulated(),
            sum_value=self._duration.total,
        )
        yield HistogramMetricFamily(
            "telenor_proxy_upstream_duration_seconds",
            "From sending a request upstream to the head of its answer.",
            buckets=self._upstream.cumulated(),
            sum_value=self._upstream.total,
        )
        yield _counter(
            "telenor_proxy_refused_requests",
            "Requests that the proxy's own rules turned down.",
            "reason",
            self._refused,
        )
        yield _counter(
            "telenor_proxy_failed_requests",
            "Requests that could not be forwarded or answered whole.",
            "error",
            self._failed,
        )
        yield _counter(
            "telenor_proxy_unknown_outcomes",
            "Failed requests on which the API may have acted, of methods that change something.",
            "method",
            self._unknown,
        )
        errors = CounterMetricFamily(
            "telenor_proxy_upstream_errors",
            "Answers 4xx and 5xx of the API by status and by the code that they gave.",
            labels=["status", "code"],
        )
        for answer, number in self._answers.items():
            errors.add_metric(answer, number)
        yield errors
        yield CounterMetricFamily(
            "telenor_proxy_replays", "Requests that were sent upstream more than once.", value=self._resent
        )


class _KeptElsewhere(Collector):
    """A counter whose value another part keeps."""

    def __init__(self, name: str, text: str, value: Callable[[], float]) -> None:
        self._name = name
        self._meaning = text
        self._value = value

    def collect(self) -> Iterator[Metric]:
        """Yield it."""
        yield CounterMetricFamily(self._name, self._meaning, value=self._value())


def _counter(name: str, text: str, label: str, counts: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, number in counts.items():
        family.add_metric([value], number)
    return family


def _known_status(status: int) -> str:
    """Give the status as a label: itself if APIs answer with it, otherwise its class."""
    return str(status) if status in _STATUSES else f"{status // 100}xx"


def _status_class(hundreds: int) -> str:
    return f"{hundreds}xx" if hundreds else "none"


class _HeadlineMetrics(Collector):
    """The headline at a scrape: a gauge for each state, and the sentence, so that an alert says it as well."""

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
        for state in State:
            states.add_metric([state.value], float(state is headline.state))
        yield states
        sentence = GaugeMetricFamily(
            "telenor_proxy_headline", "1, labelled with the status page's sentence.", labels=["state", "text"]
        )
        text = headline.text if headline.is_closed else f"{headline.title}."
        sentence.add_metric([headline.state.value, text], 1.0)
        yield sentence


class Metrics:
    """All of the proxy's metrics, in a registry of their own. It observes requests (call it with a `Record`) and tokens."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._calls = _Calls()
        registry.register(self._calls)
        self._token_wait = Histogram(
            "telenor_proxy_token_wait_seconds",
            "Time that requests waited for a token, of those that had to.",
            buckets=_BUCKETS,
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
            buckets=_BUCKETS,
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
            buckets=_BUCKETS,
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
        self._orders = Counter(
            "telenor_proxy_orders",
            "Orders that a store was asked about, by what became of them.",
            ["result"],
            registry=registry,
        )
        for result in _ORDER_RESULTS:
            self._orders.labels(result)
        self._store_faults = Counter(
            "telenor_proxy_order_store_faults",
            "Times that the store of orders could not be used.",
            registry=registry,
        )
        build = Gauge(
            "telenor_proxy_build_info", "1, labelled with versions.", ["version", "python"], registry=registry
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
        if result in _ORDER_RESULTS:
            self._orders.labels(result).inc()
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

    def report(self, headline: Callable[[], Headline], *, credentials_refused: Callable[[], bool]) -> None:
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
