"""The line in front of the API.

When calls start, who is refused, and what becomes of those who leave.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.errors import Failed
from proxy.pacing import LATE_TIMER, Pacer
from proxy.problems import ProblemKind
from tests.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Line:
    """A pacer, and a record of who started when (in seconds since the test began)."""

    def __init__(self, rate: float = 10.0, max_wait: float = 10.0) -> None:
        self.clock = FakeClock()
        self.waits: list[float] = []
        self.pacer = Pacer(rate, max_wait, self.clock, self.waits.append)
        self.starts: list[tuple[str, float]] = []
        self.refused: dict[str, Failed] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._began = self.clock.now()

    async def come(self, *names: str, again: bool = False) -> None:
        """Let them stand in line, in this order."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._start(name, again=again))
        await self.clock.settle()

    async def _start(self, name: str, *, again: bool) -> None:
        try:
            await self.pacer.turn(again=again)
        except Failed as error:
            self.refused[name] = error
        else:
            self.starts.append((name, round(self.clock.now() - self._began, 6)))

    async def leave(self, *names: str) -> None:
        """Let them go."""
        for name in names:
            self.tasks[name].cancel()
        await self.clock.settle()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    """Ten calls a second, ten seconds of patience."""
    line = Line()
    yield line
    await line.leave(*line.tasks)


async def test_a_call_that_finds_nobody_before_it_starts_at_once(line: Line) -> None:
    """A call after a pause of an interval or more is not held back, and not told of."""
    await line.come("a")
    await line.clock.advance(0.1)
    await line.come("b")
    await line.clock.advance(60)
    await line.come("c")
    assert line.starts == [("a", 0.0), ("b", 0.1), ("c", 60.1)]
    assert line.waits == []


async def test_a_burst_is_spread_out_in_the_order_of_coming(line: Line) -> None:
    """Calls that come together start one interval apart, first come first served."""
    await line.come("a", "b", "c", "d")
    assert line.pacer.queued == 3
    await line.clock.advance(60)
    assert line.starts == [("a", 0.0), ("b", 0.1), ("c", 0.2), ("d", 0.3)]
    assert line.waits == pytest.approx([0.1, 0.2, 0.3])
    assert line.pacer.queued == 0


async def test_quiet_time_is_not_saved_up(line: Line) -> None:
    """However long nothing came, two calls start at least an interval apart."""
    await line.clock.advance(3600)
    await line.come("a", "b")
    await line.clock.advance(60)
    assert line.starts == [("a", 3600.0), ("b", 3600.1)]


async def test_a_newcomer_stands_behind_those_who_wait(line: Line) -> None:
    """Who comes while others wait does not slip in between, not even in the moment in which one of them starts."""
    await line.come("a", "b", "c")
    await line.clock.advance(0.1)
    await line.come("d")
    await line.clock.advance(60)
    assert [name for name, _ in line.starts] == ["a", "b", "c", "d"]


async def test_who_would_wait_too_long_is_refused_on_arrival() -> None:
    """A call whose turn lies beyond the longest wait is refused at once.

    429, nothing sent, and when to come back; those before it are not.
    """
    line = Line(rate=1, max_wait=2)
    await line.come("now", "in 1 s", "in 2 s", "in 3 s", "also in 3 s")
    assert set(line.refused) == {"in 3 s", "also in 3 s"}
    error = line.refused["in 3 s"]
    assert (error.kind, error.kind.status, error.outcome) == (ProblemKind.PACED, 429, "not_sent")
    assert error.retry_after == pytest.approx(3)
    await line.clock.advance(60)
    assert line.starts == [("now", 0.0), ("in 1 s", 1.0), ("in 2 s", 2.0)]


async def test_who_comes_back_when_told_starts_at_once() -> None:
    """At the end of `Retry-After` all who were before are through."""
    line = Line(rate=1, max_wait=2)
    await line.come("a", "b", "c", "refused")
    await line.clock.advance(line.refused["refused"].retry_after or 0)
    await line.come("back")
    assert line.starts[-1] == ("back", 3.0)


async def test_who_leaves_gives_the_place_back(line: Line) -> None:
    """When some leave the line, everybody behind them moves up.

    No interval is wasted, whoever it was.
    """
    await line.come("a", "first", "b", "middle", "c", "last")
    await line.leave("first", "middle", "last")
    assert line.pacer.queued == 2
    await line.clock.advance(60)
    assert line.starts == [("a", 0.0), ("b", 0.1), ("c", 0.2)]


async def test_a_place_given_back_is_there_for_the_next() -> None:
    """Once somebody has left, a newcomer who was to be refused before is let in."""
    line = Line(rate=1, max_wait=2)
    await line.come("a", "b", "c")
    await line.leave("b")
    await line.come("d")
    await line.clock.advance(60)
    assert line.starts == [("a", 0.0), ("c", 1.0), ("d", 2.0)]


async def test_a_call_that_is_sent_again_waits_but_is_not_refused() -> None:
    """A call that goes out a second time keeps the distance too, however long that takes."""
    line = Line(rate=1, max_wait=1)
    await line.come("a", "b")
    await line.come("replay", again=True)
    await line.come("c")
    await line.clock.advance(60)
    assert line.starts == [("a", 0.0), ("b", 1.0), ("replay", 2.0)]
    assert set(line.refused) == {"c"}


async def test_a_late_timer_does_not_lower_the_rate(line: Line) -> None:
    """A start that is late by no more than a timer may be is made up for at the next one."""
    await line.come("a", "b", "c")
    line.clock.suspend(LATE_TIMER / 2)  # timers stand still: the next one ends this much too late
    await line.clock.advance(60)
    assert [at for _, at in line.starts] == pytest.approx([0, 0.1 + LATE_TIMER / 2, 0.2])


async def test_a_long_stall_does_not_end_in_a_burst(line: Line) -> None:
    """After a host was suspended, those who waited start one interval apart, not all at once."""
    await line.come("a", "b", "c", "d")
    line.clock.suspend(60)
    await line.clock.advance(60)
    times = [at for _, at in line.starts]
    assert times[1] > 60
    assert [at - times[1] for at in times[1:]] == pytest.approx([0, 0.1, 0.2])
