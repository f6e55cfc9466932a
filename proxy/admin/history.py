"""The last hour, minute by minute: calls by result, how long they took, renewals of the token.

Pure and bounded: the time is handed in, and memory does not grow with the number of calls. It knows
neither paths nor request ids. `observe` is on the way of every call: it compares, counts, and makes
nothing.
"""

import operator
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import Final

from proxy.records import Record

#: An hour in bars of a minute: what a person looks at after an incident, and as many bars as a
#: phone can show.
MINUTES: Final = 60
_MINUTE: Final = 60.0  # seconds

#: The four classes are of the API's own answers. refused: turned down by the proxy's rules; failed:
#: not forwarded, or not answered whole.
RESULTS: Final = ("2xx", "3xx", "4xx", "5xx", "refused", "failed")
_REFUSED: Final = RESULTS.index("refused")
_FAILED: Final = RESULTS.index("failed")
#: By status // 100; there is no final 1xx, and 0 stands for a cut connection.
_BY_CLASS: Final = (_FAILED, _FAILED, 0, 1, 2, 3, _FAILED, _FAILED, _FAILED, _FAILED)
#: A client that left before its answer (NGINX's number): it was not refused.
_CLIENT_LEFT: Final = 499

#: Seconds, each bound 2**(1/3) times the one before, from 0.5 ms to 65 s: so a percentile is off by
#: an eighth at most, and the longest default timeout (60 s) lies inside.
BOUNDS: Final = tuple(0.0005 * 2 ** (step / 3) for step in range(52))
_BINS: Final = len(BOUNDS) + 1
_MEDIAN: Final = 0.5
_HIGH: Final = 0.95


class _Minute:
    """What is counted in one minute."""

    __slots__ = ("percentiles", "renewal_failures", "renewals", "results", "upstream", "whole")

    def __init__(self) -> None:
        self.results = [0] * len(RESULTS)
        self.whole = [0] * _BINS
        self.upstream = [0] * _BINS
        self.renewals = 0
        self.renewal_failures = 0
        # Kept once the minute is over, since they are asked for every two seconds.
        self.percentiles: tuple[float | None, ...] = ()


class History:
    """Counts per minute. `now` is `Clock.now` everywhere."""

    def __init__(self, now: float) -> None:
        self._minutes = deque((_Minute() for _ in range(MINUTES)), maxlen=MINUTES)
        self._ends = (now // _MINUTE + 1) * _MINUTE

    def observe(self, record: Record, now: float) -> None:
        """Count a finished request."""
        minute = self._minute(now)
        status = record.status
        if record.error is None:
            minute.results[_BY_CLASS[status // 100]] += 1
        elif record.refused or 400 <= status < _CLIENT_LEFT:  # noqa: PLR2004 # the class 4xx
            # How fast the proxy refuses says nothing about calls.
            minute.results[_REFUSED] += 1
            return
        else:
            minute.results[_FAILED] += 1
        minute.whole[bisect_left(BOUNDS, record.seconds)] += 1
        upstream = record.upstream_seconds
        if upstream is not None:
            minute.upstream[bisect_left(BOUNDS, upstream)] += 1

    def renewed(self, now: float) -> None:
        """Count a fetch that gave a token."""
        self._minute(now).renewals += 1

    def renewal_failed(self, now: float) -> None:
        """Count a fetch that failed."""
        self._minute(now).renewal_failures += 1

    def series(self, now: float) -> dict[str, object]:
        """Return the hour as JSON: lists of 60 minutes, oldest first; percentiles in seconds.

        The last minute is `elapsed_seconds` old. A percentile is None where there was no call.
        """
        self._minute(now)
        minutes = list(self._minutes)
        percentiles = [minute.percentiles or _percentiles(minute) for minute in minutes]
        results = zip(*(minute.results for minute in minutes), strict=True)
        hour = _Minute()
        for minute in minutes:
            if any(minute.results):
                hour.whole = list(map(operator.add, hour.whole, minute.whole))
                hour.upstream = list(map(operator.add, hour.upstream, minute.upstream))
        return {
            "bucket_seconds": _MINUTE,
            "elapsed_seconds": now - self._ends + _MINUTE,
            "results": dict(zip(RESULTS, map(list, results), strict=True)),
            **_named(list(map(list, zip(*percentiles, strict=True)))),
            "renewals": [minute.renewals for minute in minutes],
            "renewal_failures": [minute.renewal_failures for minute in minutes],
            "hour": _named(_percentiles(hour)),
        }

    def _minute(self, now: float) -> _Minute:
        """Return the minute that `now` is in; begin it, and those before it, if need be."""
        if now >= self._ends:
            passed = int((now - self._ends) // _MINUTE) + 1
            self._ends += passed * _MINUTE
            for _ in range(min(passed, MINUTES)):
                self._minutes[-1].percentiles = _percentiles(self._minutes[-1])
                self._minutes.append(_Minute())
        return self._minutes[-1]


def _percentiles(minute: _Minute) -> tuple[float | None, ...]:
    """Median and 95th percentile of the whole call, then of the upstream."""
    return tuple(
        percentile(counts, share)
        for counts in (minute.whole, minute.upstream)
        for share in (_MEDIAN, _HIGH)
    )


def _named(percentiles: Sequence[object]) -> dict[str, dict[str, object]]:
    """Name the four of `_percentiles`."""
    p50, p95, upstream_p50, upstream_p95 = percentiles
    return {
        "duration": {"p50": p50, "p95": p95},
        "upstream_duration": {"p50": upstream_p50, "p95": upstream_p95},
    }


def percentile(counts: list[int], share: float) -> float | None:
    """Estimate the duration that `share` of the counted ones did not exceed, in seconds, or None.

    counts: how many lay at or below each of `BOUNDS` and above the one before; last, above all.
    """
    rank = share * sum(counts)
    if not rank:
        return None
    for index, count in enumerate(counts):
        if rank <= count:
            if index == len(BOUNDS):
                break
            upper = BOUNDS[index]
            lower = BOUNDS[index - 1] if index else 0.0
            return round(lower + (upper - lower) * rank / count, 6)
        rank -= count
    return BOUNDS[-1]
