"""What is counted for every request: the hot path.

It takes integers and dictionaries only; they become Prometheus' families at a scrape.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from proxy.errors import UNKNOWN
from proxy.problems import ProblemKind
from proxy.tokens import codes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

    from proxy.records import Record

# An order takes a gateway some tens of milliseconds; 60 s is the default of
# upstream.response_timeout_seconds.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: The label of an answer that names no code.
_NONE: Final = "none"
_ERROR: Final = 400
#: What gateways and APIs answer calls with; others are counted by their class, so that the label is
#: closed.
_STATUSES: Final = frozenset(
    {
        400,
        401,
        403,
        404,
        405,
        406,
        408,
        409,
        410,
        411,
        412,
        413,
        415,
        422,
        423,
        429,
        500,
        501,
        502,
        503,
        504,
    }
)
#: Of these the series without a known code are there from the start.
_USUAL_STATUSES: Final = ("400", "401", "403", "404", "429", "500", "502", "503", "504")
#: Methods that may change something at the API, so that it matters whether it acted on a call of
#: which no answer came.
CHANGING: Final = ("POST", "PUT", "PATCH", "DELETE")
#: What order systems call with. Other methods get their series when somebody calls with one.
_METHODS: Final = ("GET", *CHANGING)
_CLASSES: Final = (2, 3, 4, 5, 0)
#: Stands for clients without a name. One that is called so is counted with them.
_NO_CLIENT: Final = "none"
_REFUSALS: Final = dict.fromkeys(kind.type for kind in ProblemKind if kind.is_refusal)
_FAILURES: Final = dict.fromkeys(
    [*(kind.word for kind in ProblemKind if not kind.is_refusal), "client_left", "client_slow"]
)


class _Distribution:
    """A histogram of seconds: plain integers, because prometheus_client's own take a lock for each of them."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulated(self) -> list[tuple[str, float]]:
        """Return what Prometheus wants: for each bucket, how many were not longer."""
        return list(
            zip((*map(str, BUCKETS), "+Inf"), itertools.accumulate(self.counts), strict=True)
        )


class CallCounts(Collector):
    """What is counted for every request: the hot path.

    Turned into Prometheus' families at a scrape.
    """

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
        """Have a series for each of these clients from now on.

        What was counted for others stays, as a counter has to.
        """
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
        none_yet: dict[tuple[str | None, int], int] = dict.fromkeys(
            itertools.product(_METHODS, _CLASSES), 0
        )
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
            "telenor_proxy_replays",
            "Requests that were sent upstream more than once.",
            value=self._resent,
        )


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
