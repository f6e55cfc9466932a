"""The queue in front of the API: when calls start, and which are refused."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.errors import Failed
from proxy.pacing import LATE_TIMER, Pacer
from proxy.problems import ProblemKind
from tests.clock import FakeClock


class Line:
    """A pacer, and when each call started, in seconds from the beginning."""

    def __init__(self, rate: float = 10.0, max_wait: float = 10.0) -> None:
        self.clock = FakeClock()
        self.waits: list[float] = []
        self.pacer = Pacer(rate, max_wait, self.clock, self.waits.append)
        self.starts: list[tuple[str, float]] = []
        self.refused: dict[str, Failed] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._began = self.clock.now()

    async def come(self, *names: str, again: bool = False) -> None:
        """Let these calls queue, in this order."""
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
        """Cancel these calls."""
        for name in names:
            self.tasks[name].cancel()
        await self.clock.settle()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    """Give ten calls a second and a longest wait of ten seconds."""
    line = Line()
    yield line
    await line.leave(*line.tasks)


async def test_a_call_that_is_alone_starts_at_once(line: Line) -> None:
    """After a pause of an interval or more; a long pause saves nothing up."""
    await line.come("a")
    await line.clock.advance(0.1)
    await line.come("b")
    await line.clock.advance(60)
    await line.come("c")
    assert line.starts == [("a", 0.0), ("b", 0.1), ("c", 60.1)]
    assert line.waits == []
    await line.clock.advance(3600)
    await line.come("d", "e")
    await line.clock.advance(60)
    assert line.starts[3:] == [("d", 3660.1), ("e", 3660.2)]


async def test_a_burst_is_spread_out_in_the_order_of_coming(line: Line) -> None:
    """One interval apart."""
    await line.come("a", "b", "c", "d")
    assert line.pacer.queued == 3
    await line.clock.advance(60)
    assert line.starts == [("a", 0.0), ("b", 0.1), ("c", 0.2), ("d", 0.3)]
    assert line.waits == pytest.approx([0.1, 0.2, 0.3])
    assert line.pacer.queued == 0


async def test_a_new_call_stands_behind_waiting_ones(line: Line) -> None:
    """Also in the moment in which one of them starts."""
    await line.come("a", "b", "c")
    await line.clock.advance(0.1)
    await line.come("d")
    await line.clock.advance(60)
    assert [name for name, _ in line.starts] == ["a", "b", "c", "d"]


async def test_a_call_that_would_wait_too_long_is_refused() -> None:
    """429, nothing sent; after Retry-After it starts at once."""
    line = Line(rate=1, max_wait=2)
    await line.come("now", "in 1 s", "in 2 s", "in 3 s", "also in 3 s")
    assert set(line.refused) == {"in 3 s", "also in 3 s"}
    error = line.refused["in 3 s"]
    assert (error.kind, error.kind.status, error.outcome) == (ProblemKind.PACED, 429, "not_sent")
    assert error.retry_after == pytest.approx(3)
    await line.clock.advance(error.retry_after or 0)
    await line.come("back")
    assert line.starts == [("now", 0.0), ("in 1 s", 1.0), ("in 2 s", 2.0), ("back", 3.0)]


async def test_a_cancelled_call_gives_its_place_back(line: Line) -> None:
    """Calls behind it move up, and a new one is let in."""
    await line.come("a", "first", "b", "middle", "c", "last")
    await line.leave("first", "middle", "last")
    assert line.pacer.queued == 2
    await line.clock.advance(60)
    assert line.starts == [("a", 0.0), ("b", 0.1), ("c", 0.2)]


async def test_a_place_given_back_is_taken() -> None:
    """By a call that would have been refused before."""
    line = Line(rate=1, max_wait=2)
    await line.come("a", "b", "c")
    await line.leave("b")
    await line.come("d")
    await line.clock.advance(60)
    assert line.starts == [("a", 0.0), ("c", 1.0), ("d", 2.0)]


async def test_a_call_that_is_sent_again_waits_but_is_not_refused() -> None:
    """However long that takes."""
    line = Line(rate=1, max_wait=1)
    await line.come("a", "b")
    await line.come("replay", again=True)
    await line.come("c")
    await line.clock.advance(60)
    assert line.starts == [("a", 0.0), ("b", 1.0), ("replay", 2.0)]
    assert set(line.refused) == {"c"}


async def test_a_late_timer_does_not_lower_the_rate(line: Line) -> None:
    """A start that is late by no more than a timer may be is made up for."""
    await line.come("a", "b", "c")
    line.clock.suspend(LATE_TIMER / 2)  # the next timer ends so much late
    await line.clock.advance(60)
    assert [at for _, at in line.starts] == pytest.approx([0, 0.1 + LATE_TIMER / 2, 0.2])


async def test_a_long_stall_does_not_end_in_a_burst(line: Line) -> None:
    """After a suspension of the host, calls start one interval apart."""
    await line.come("a", "b", "c", "d")
    line.clock.suspend(60)
    await line.clock.advance(60)
    times = [at for _, at in line.starts]
    assert times[1] > 60
    assert [at - times[1] for at in times[1:]] == pytest.approx([0, 0.1, 0.2])
