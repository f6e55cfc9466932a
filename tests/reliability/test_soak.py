"""A short soak (tests/reliability/soak.py) in every run; `make soak` runs a long one."""

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop

from tests.reliability.figures import show
from tests.reliability.soak import MOST_GROWTH, problems, slope, soak

SECONDS: Final = 4.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_short_soak_loses_nothing(tmp_path: Path) -> None:
    """No answer mixed up or cut to look whole, no order twice, no resource leaked."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(soak(tmp_path, 1, SECONDS))
    show(**report)
    assert problems(report) == []
    outcomes: Counter[str] = Counter(report["outcomes"])
    assert outcomes["2xx"] > 0.8 * outcomes.total()
    # All that is meant to happen has happened.
    assert min(outcomes[outcome] for outcome in ("left", "unknown", "cut off")) > 0
    assert report["logins"] >= SECONDS / 2


GOOD: Final[dict[str, Any]] = {
    "requests": 1000,
    "mixed_up": 0,
    "cut_but_looked_whole": 0,
    "no_answer": 0,
    "orders_accepted_twice": 0,
    "orders_that_contradict": 0,
    "crashed": 0,
    "exit_status": 0,
    "expired_tokens": 0,
    "memory": [50_000_000, 60_000_000],
    "blocks": [240_000, 242_000],
    "allocated": [10_000_000, 10_100_000],
    "descriptors": [20, 20],
    "tasks": [7, 7],
}


@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"requests"}))
def test_a_fault_in_the_report_is_a_problem(name: str) -> None:
    """Each figure out of bounds is one problem, and a good report has none."""
    assert problems(GOOD) == []
    bad = [GOOD[name][0], GOOD[name][0] + MOST_GROWTH[name] + 1] if name in MOST_GROWTH else 2
    assert len(problems({**GOOD, name: bad})) == 1


def test_the_slope_is_that_of_the_second_half() -> None:
    """Growth while memory warms up does not count; a leak of ten bytes a request does."""
    warming = [(number * 100, number * 1_000_000) for number in range(10)]
    leaking = [(1000 + number * 100, 10_000_000 + number * 1000) for number in range(10)]
    assert slope([*warming, *leaking]) == pytest.approx(10)
    assert slope(warming[:4]) == 0
