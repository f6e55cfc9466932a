"""Turns are fair, and a system that fails is left out with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from bench.contest import Bench, rotated
from bench.load import Refused
from bench.report import OURS, RELAY
from bench.systems import System


def system(name: str) -> System:
    """Make a system that is never started."""
    return System(name, "/bin/true", "1", (), lambda _: [])


A, B, C = system(OURS), system("B"), system(RELAY)


def bench(rounds: int = 3) -> Bench:
    """Make one that measures nothing."""
    house: Any = None
    return Bench(house, [A, B, C], rounds, 1, "wrk", lambda _: None)


def test_another_system_begins_each_round() -> None:
    """The systems take turns, beginning with another one in each round."""
    assert list(bench().turns([A, B, C])) == [A, B, C, B, C, A, C, A, B]
    assert rotated([A, B, C], 4) == [B, C, A]


def test_a_system_that_fails_is_left_out_with_a_reason() -> None:
    """The others go on, and the failure is one line."""
    one = bench(rounds=2)
    turns = one.turns([A, B])
    seen = []
    for each in turns:
        with one.trying(each):
            seen.append(each.name)
            if each is B:
                raise Refused("401 instead of 200\nand more")
    assert seen == [OURS, "B", OURS]
    assert one.failed == {"B": "401 instead of 200"}


def test_ours_cannot_be_left_out() -> None:
    """Without the system that all ratios are to, the benchmark fails."""
    one = bench()
    with pytest.raises(Refused), one.trying(A):
        raise Refused("500 instead of 200")


def test_a_mistake_of_the_benchmark_is_no_fault_of_a_system() -> None:
    """Other exceptions pass."""
    one = bench()
    with pytest.raises(KeyError), one.trying(B):
        raise KeyError("x")
    assert one.failed == {}


def test_findings_stand_in_the_order_of_the_systems() -> None:
    """What is no system comes last, whatever was measured first."""
    one = bench()
    for name in ("no proxy", "B", OURS, "B"):
        one.add(name, cpu_us=1.0)
    assert list(one.findings()) == [OURS, "B", "no proxy"]
    assert one.findings()["B"] == {"cpu_us": [1.0, 1.0]}


def test_the_relay_is_no_proxy() -> None:
    """The relay is left out where it could not do the work."""
    assert bench().proxies == [A, B]
