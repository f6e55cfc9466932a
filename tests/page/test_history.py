"""The last hour's counts by minute and result, percentiles, and memory."""

import json
import random
import statistics
import tracemalloc
from typing import Any

import pytest

from proxy.admin import history as module
from proxy.admin.history import BOUNDS, MINUTES, RESULTS, History, percentile
from proxy.records import Record

START = 120_000.0
CALL = Record("id-1", "POST", "/x", 200, 0.05, upstream_seconds=0.04, attempts=1)


def results(history: History, now: float) -> dict[str, list[int]]:
    """Give the counts by result."""
    shown: Any = history.series(now)["results"]
    assert isinstance(shown, dict)
    return shown


def last(history: History, now: float) -> dict[str, int]:
    """Give the counts of the newest minute that are not 0."""
    return {name: counts[-1] for name, counts in results(history, now).items() if counts[-1]}


@pytest.mark.parametrize(
    ("record", "result"),
    [
        (CALL, "2xx"),
        (CALL._replace(status=304), "3xx"),
        (CALL._replace(status=404), "4xx"),
        (CALL._replace(status=401), "4xx"),
        (CALL._replace(status=503), "5xx"),
        (CALL._replace(status=403, error="path-not-allowed", refused=True), "refused"),
        (CALL._replace(status=501, error="method-unknown", refused=True), "refused"),
        (CALL._replace(status=413, error="http_request_error"), "refused"),
        (CALL._replace(status=502, error="connection_refused"), "failed"),
        (CALL._replace(status=503, error="destination_unavailable"), "failed"),
        (CALL._replace(status=499, error="client_left"), "failed"),
        (CALL._replace(status=0, error="connection_terminated"), "failed"),
        (CALL._replace(status=200, error="connection_terminated"), "failed"),
        (CALL._replace(status=0), "failed"),
    ],
)
def test_a_call_counts_by_its_result(record: Record, result: str) -> None:
    """Classes are of the API's answers; refused and failed calls stand apart."""
    history = History(START)
    history.observe(record, START + 1)
    assert last(history, START + 2) == {result: 1}


def test_a_call_counts_in_its_minute() -> None:
    """Sixty minutes, oldest first; the last is the present one, and `elapsed_seconds` old."""
    history = History(START + 30)
    for now in (START + 30, START + 59.9, START + 60, START + 185):
        history.observe(CALL, now)
    counts = results(history, START + 190)["2xx"]
    assert len(counts) == MINUTES
    assert counts[-4:] == [2, 1, 0, 1]
    assert sum(counts) == 4
    assert history.series(START + 190)["elapsed_seconds"] == pytest.approx(10)


def test_an_hour_later_it_is_forgotten() -> None:
    """The 61st minute takes the first one's place."""
    history = History(START)
    history.observe(CALL, START)
    assert results(history, START + 59 * 60)["2xx"] == [1] + [0] * 59
    assert sum(results(history, START + 60 * 60)["2xx"]) == 0


@pytest.mark.parametrize("silence", [3600.0, 86_400.0, 1e9])
def test_a_long_silence_leaves_nothing(silence: float) -> None:
    """A host that was suspended for a month is counted anew at once."""
    history = History(START)
    history.observe(CALL, START)
    history.renewed(START)
    history.observe(CALL, START + silence)
    series = history.series(START + silence)
    assert series["renewals"] == [0] * MINUTES
    assert results(history, START + silence)["2xx"] == [0] * (MINUTES - 1) + [1]


def test_percentiles_are_near_the_truth() -> None:
    """Off by an eighth at most, in the minute and over the hour."""
    chance = random.Random(3)  # noqa: S311 # not for secrets
    history = History(START)
    whole = [chance.lognormvariate(-3, 0.8) for _ in range(2000)]
    for seconds in whole:
        history.observe(CALL._replace(seconds=seconds, upstream_seconds=seconds / 2), START)
    cuts = statistics.quantiles(whole, n=20)
    series: Any = history.series(START)
    for name, part in (("duration", 1), ("upstream_duration", 2)):
        for share, true in (("p50", cuts[9]), ("p95", cuts[18])):
            assert series[name][share][-1] == pytest.approx(true / part, rel=0.125)
            assert series["hour"][name][share] == series[name][share][-1]


@pytest.mark.parametrize("seconds", [1e-6, 0.0004, 0.05, 1.0, 60.0])
def test_one_call_is_its_own_percentile(seconds: float) -> None:
    """Never above the next bound, and within half a millisecond or a third of the truth."""
    history = History(START)
    history.observe(CALL._replace(seconds=seconds), START)
    shown: Any = history.series(START)["duration"]
    assert shown["p50"][-1] <= shown["p95"][-1] == pytest.approx(seconds, rel=0.34, abs=0.0005)


def test_endless_calls_count_as_the_longest() -> None:
    """A time above all bounds counts as the last one."""
    history = History(START)
    history.observe(CALL._replace(seconds=3600.0), START)
    shown: Any = history.series(START)["duration"]
    assert shown["p95"][-1] == BOUNDS[-1]


def test_without_calls_there_is_no_percentile() -> None:
    """None, which is not 0."""
    series: Any = History(START).series(START)
    assert series["duration"] == {"p50": [None] * MINUTES, "p95": [None] * MINUTES}
    assert series["hour"]["upstream_duration"] == {"p50": None, "p95": None}
    assert percentile([0] * (len(BOUNDS) + 1), 0.5) is None


def test_refusals_have_no_duration() -> None:
    """A failed call has one, but none of the API's."""
    history = History(START)
    refused = CALL._replace(status=403, error="path-not-allowed", refused=True, seconds=0.001)
    history.observe(refused, START)
    history.observe(CALL._replace(status=504, error="x", seconds=2.0, upstream_seconds=None), START)
    series: Any = history.series(START)
    assert series["duration"]["p50"][-1] > 1
    assert series["upstream_duration"]["p50"][-1] is None


def test_renewals_count_in_their_minute() -> None:
    """Those that gave a token and those that failed, apart."""
    history = History(START)
    history.renewal_failed(START + 1)
    history.renewal_failed(START + 2)
    history.renewed(START + 61)
    series: Any = history.series(START + 62)
    assert series["renewals"][-2:] == [0, 1]
    assert series["renewal_failures"][-2:] == [2, 0]


def test_it_is_json_of_bounded_size() -> None:
    """However much happened: numbers, and a few kilobytes."""
    history = History(START)
    for minute in range(200):
        for status in (200, 304, 404, 500):
            history.observe(CALL._replace(status=status), START + 60 * minute)
    text = json.dumps(history.series(START + 200 * 60), allow_nan=False)
    assert len(text) < 8_000
    assert set(json.loads(text)["results"]) == set(RESULTS)


def held() -> int:
    """Return the bytes that the module holds, whatever other threads allocate."""
    here = tracemalloc.Filter(inclusive=True, filename_pattern=module.__file__)
    traced = tracemalloc.take_snapshot().filter_traces([here])
    return sum(found.size for found in traced.statistics("filename"))


def test_counting_takes_no_memory() -> None:
    """Neither 20,000 calls nor further hours take more."""
    history = History(START)
    for minute in range(2 * MINUTES):
        history.observe(CALL, START + 60 * minute)
    now = START + 2 * MINUTES * 60
    history.observe(CALL, now)
    tracemalloc.start()
    try:
        for number in range(20_000):
            history.observe(CALL, now + number / 1000)
        assert held() < 4_000
        for minute in range(3 * MINUTES):
            history.observe(CALL, now + 60 * minute)
        assert held() < 120_000
    finally:
        tracemalloc.stop()
