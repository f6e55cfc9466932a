"""What is counted for every request, on the hot path.

Counts are plain integers, which become Prometheus' families at a scrape; durations are the
library's histograms (1 µs a request more than integers, measured).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from prometheus_client import CollectorRegistry, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from proxy.errors import UNKNOWN
from proxy.problems import ProblemKind
from proxy.records import Record
from proxy.tokens import codes

# An order takes a gateway some tens of milliseconds; 60 s is the default of
# upstream.response_timeout_seconds.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: The label of an answer that names no code.
_NONE: Final = "none"
_ERROR: Final = 400
#: What gateways and APIs answer calls with; others are counted by their class, so that the label is
#: closed.
_STATUSES: Final = frozenset(
    {400, 401, *range(403, 407), *range(408, 414), 415, 422, 423, 429, *range(500, 505)}
)
#: Of these the series without a known code are there from the start.
_USUAL_STATUSES: Final = ("400", "401", "403", "404", "429", "500", "502", "503", "504")
#: Methods that may change something at the API, so that it matters whether it acted on a call of
#: which no answer came.
CHANGING: Final = ("POST", "PUT", "PATCH", "DELETE")
_CLASSES: Final = (2, 3, 4, 5, 0)
#: What order systems call with. Other methods get their series with the first such request.
_USUAL_REQUESTS: Final = dict.fromkeys(itertools.product(("GET", *CHANGING), _CLASSES), 0)
#: Stands for clients without a name. One that is called so is counted with them.
_NO_CLIENT: Final = "none"

_TEXTS: Final = {
    "telenor_proxy_requests": "Requests by method and status class.",
    "telenor_proxy_client_requests": "Requests by client, `none` for one without a name, and "
    "status class.",
    "telenor_proxy_refused_requests": "Requests that the proxy's own rules turned down.",
    "telenor_proxy_failed_requests": "Requests that could not be forwarded or answered whole.",
    "telenor_proxy_unknown_outcomes": "Failed requests on which the API may have acted, of methods "
    "that change something.",
    "telenor_proxy_upstream_errors": "Answers 4xx and 5xx of the API by status and by the code "
    "that they gave.",
}

T = TypeVar("T")
F = TypeVar("F", CounterMetricFamily, GaugeMetricFamily)
#: Names of labels, and a value for each tuple of their values, or for each value of the only one.
Labelled: TypeAlias = "tuple[list[str], Mapping[Any, float]]"


def _from_zero(names: Iterable[T] = ()) -> defaultdict[T, int]:
    """Count these from 0, so that their series are there from the start."""
    return defaultdict(int, dict.fromkeys(names, 0))


def histogram(name: str, text: str, registry: CollectorRegistry | None = None) -> Histogram:
    """Make a histogram of seconds."""
    return Histogram(name, text, buckets=BUCKETS, registry=registry)


class CallCounts(Collector):
    """Counts requests: call `count` with each `Record`."""

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str | None, int], int] = _from_zero()
        self._duration = histogram(
            "telenor_proxy_request_duration_seconds",
            "From the whole request head to the end of the answer.",
        )
        self._upstream = histogram(
            "telenor_proxy_upstream_duration_seconds",
            "From sending a request upstream to the head of its answer.",
        )
        self._refused = _from_zero(kind.type for kind in ProblemKind if kind.is_refusal)
        failures = [kind.word for kind in ProblemKind if not kind.is_refusal]
        self._failed = _from_zero([*failures, "client_left", "client_slow"])
        self._unknown: defaultdict[str | None, int] = _from_zero(CHANGING)
        self._answers = _from_zero(
            [
                *((str(known.status), code) for code, known in codes.GATEWAY.items()),
                *itertools.product(_USUAL_STATUSES, (codes.OTHER, _NONE)),
            ]
        )
        self._resent = 0
        self._clients = {_NO_CLIENT: _from_zero(_CLASSES)}

    def name(self, clients: Iterable[str]) -> None:
        """Have a series for each of these clients from now on; those of others stay."""
        for client in clients:
            self._clients.setdefault(client, _from_zero(_CLASSES))

    def count(self, record: Record) -> None:
        """Count a finished request."""
        hundreds = record.status // 100
        self._requests[record.method, hundreds] += 1
        client = self._clients.get(record.client or _NO_CLIENT)
        if client is not None:
            client[hundreds] += 1
        self._duration.observe(record.seconds)
        if record.upstream_seconds is not None:
            self._upstream.observe(record.upstream_seconds)
        if record.attempts > 1:
            self._resent += 1
        if record.error is not None:
            (self._refused if record.refused else self._failed)[record.error] += 1
        elif record.status >= _ERROR:
            self._answers[_known_status(record.status), codes.label(record.code) or _NONE] += 1
        if record.outcome == UNKNOWN and not record.refused and record.method in self._unknown:
            self._unknown[record.method] += 1

    def by_status_class(self) -> dict[str, int]:
        """Return how many requests have ended in each status class."""
        counts: defaultdict[str, int] = _from_zero()
        for (_, status), number in self._requests.items():
            counts[_status_class(status)] += number
        return dict(counts)

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        requests = {
            (method or "unknown", _status_class(status)): number
            for (method, status), number in (_USUAL_REQUESTS | self._requests).items()
        }
        clients = {
            (client, _status_class(status)): number
            for client, classes in self._clients.items()
            for status, number in classes.items()
        }
        counted: dict[str, Labelled] = {
            "telenor_proxy_requests": (["method", "status_class"], requests),
            "telenor_proxy_client_requests": (["client", "status_class"], clients),
            "telenor_proxy_refused_requests": (["reason"], self._refused),
            "telenor_proxy_failed_requests": (["error"], self._failed),
            "telenor_proxy_unknown_outcomes": (["method"], self._unknown),
            "telenor_proxy_upstream_errors": (["status", "code"], self._answers),
        }
        for name, (labels, counts) in counted.items():
            yield _filled(CounterMetricFamily(name, _TEXTS[name], labels=labels), counts)
        yield from self._duration.collect()
        yield from self._upstream.collect()
        yield CounterMetricFamily(
            "telenor_proxy_replays",
            "Requests that were sent upstream more than once.",
            value=self._resent,
        )


def _filled(family: F, values: Mapping[Any, float]) -> F:
    for labels, value in values.items():
        family.add_metric([labels] if isinstance(labels, str) else labels, value)
    return family


def gauge(name: str, text: str, value: float | Labelled) -> GaugeMetricFamily:
    """Return a gauge with this value, or with one for each series."""
    if not isinstance(value, tuple):
        return GaugeMetricFamily(name, text, value)
    labels, values = value
    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def _known_status(status: int) -> str:
    """Return the status as a label: itself if APIs answer with it, otherwise its class."""
    return str(status) if status in _STATUSES else f"{status // 100}xx"


def _status_class(hundreds: int) -> str:
    return f"{hundreds}xx" if hundreds else "none"
