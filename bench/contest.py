"""What a scenario works with: the systems, whose turn it is, and what was found.

The systems take turns within each round, and another one begins each round, so that what disturbs
the machine disturbs all of them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bench.report import RELAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.systems import House, System

#: For each system and each of its figures, one value a round.
Samples = dict[str, dict[str, list[float]]]


class Metric(NamedTuple):
    """One figure. unit: as it is shown; digits: how many after the point."""

    key: str
    title: str
    unit: str
    digits: int = 0


class Scenario(NamedTuple):
    """One thing to measure. shows: a sentence; headline: the figure that ratios are made of."""

    name: str
    title: str
    shows: str
    metrics: tuple[Metric, ...]
    headline: str
    run: Callable[[Bench], None]


@dataclass
class Bench:
    """One scenario's systems and findings. seconds: of load; wrk: its path; say: shows progress."""

    house: House
    systems: Sequence[System]
    rounds: int
    seconds: int
    wrk: str
    say: Callable[[str], None]
    samples: Samples = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    @property
    def proxies(self) -> list[System]:
        """The systems that are proxies: all but the relay."""
        return [system for system in self.systems if system.name != RELAY]

    def add(self, system: str, **figures: float) -> None:
        """Note what one round gave."""
        for key, value in figures.items():
            self.samples[system][key].append(round(value, 3))

    def turns(self, systems: Sequence[System]) -> Iterator[System]:
        """Give the systems in turn, round by round."""
        for number in range(self.rounds):
            self.say(f"  round {number + 1} of {self.rounds}")
            yield from rotated(systems, number)

    def findings(self) -> Samples:
        """Return the samples in the order of the systems; what is none comes last."""
        names = [system.name for system in self.systems]
        order = sorted(
            self.samples, key=lambda name: names.index(name) if name in names else len(names)
        )
        return {name: dict(self.samples[name]) for name in order}


def rotated(systems: Sequence[System], by: int) -> list[System]:
    """Return the systems, another one first each time."""
    first = by % len(systems)
    return [*systems[first:], *systems[:first]]
