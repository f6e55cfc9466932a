"""The scenarios: turns are fair, and findings are in order."""

from typing import Any

from bench.report import OURS, RELAY
from bench.scenarios import SCENARIOS, Bench
from bench.systems import System


def system(name: str) -> System:
    """Make a system that is never started."""
    return System(name, "/bin/true", "1", (), "")


A, B, C = system(OURS), system("B"), system(RELAY)


def bench() -> Bench:
    """Make one that measures nothing."""
    house: Any = None
    return Bench(house, [A, B, C], 4, 1)


def test_another_system_begins_each_round() -> None:
    """The systems take turns, beginning with another one in each round."""
    assert list(bench().turns([A, B, C])) == [A, B, C, B, C, A, C, A, B, A, B, C]


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


def test_scenarios_have_names_of_their_own() -> None:
    """Names are unique, and ratios are made of one of the figures."""
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    for scenario in SCENARIOS:
        assert scenario.headline in {metric.key for metric in scenario.metrics}
        assert scenario.shows.endswith(".")
