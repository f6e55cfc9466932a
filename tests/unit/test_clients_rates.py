"""Each client's own queue: who waits, who is refused, and the total that all keep to."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest

from proxy.clients.rates import Rates
from proxy.errors import Failed
from proxy.pacing import Pacer
from proxy.problems import ProblemKind
from tests.clock import FakeClock

RATES: Final = {"batch": 1.0, "shop": 10.0}


class Lines:
    """The queues of all clients, and when each call started, in seconds from the beginning."""

    def __init__(
        self, total: float | None = None, max_wait: float = 10.0, rates: Mapping[str, float] = RATES
    ) -> None:
        self.clock = FakeClock()
        self.waits: list[float] = []
        pacer = None if total is None else Pacer(total, max_wait, self.clock)
        self.rates = Rates(pacer, max_wait, self.clock, self.waits.append)
        self.rates.follow(rates)
        self.starts: list[tuple[str | None, float]] = []
        self.refused: list[tuple[str | None, Failed]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._began = self.clock.now()

    async def come(self, *names: str | None, again: bool = False) -> None:
        """Let each of these clients make a call, in this order."""
        self._tasks += [asyncio.create_task(self._call(name, again=again)) for name in names]
        await self.clock.settle()

    async def _call(self, name: str | None, *, again: bool) -> None:
        try:
            if again or not self.rates.take(name):
                await self.rates.turn(name, again=again)
        except Failed as error:
            self.refused.append((name, error))
        else:
            self.starts.append((name, round(self.clock.now() - self._began, 6)))

    async def end(self) -> None:
        """End the calls that still wait."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def lines() -> AsyncIterator[Lines]:
    """Give a batch with one call a second and a shop with ten."""
    lines = Lines()
    yield lines
    await lines.end()


async def test_a_greedy_client_waits_behind_its_own_calls_only(lines: Lines) -> None:
    """Others start at once meanwhile, with a rate or without."""
    await lines.come(*["batch"] * 4, "shop", "report", None)
    assert lines.starts == [("batch", 0.0), ("shop", 0.0), ("report", 0.0), (None, 0.0)]
    assert lines.rates.queued == 3
    await lines.clock.advance(60)
    assert [at for name, at in lines.starts if name == "batch"] == [0.0, 1.0, 2.0, 3.0]
    assert lines.waits == pytest.approx([1, 2, 3])


async def test_a_call_that_would_wait_too_long_is_refused_on_arrival() -> None:
    """429, also without `pacing.requests_per_second`; nothing is sent."""
    lines = Lines(max_wait=2)
    await lines.come(*["batch"] * 5)
    assert [name for name, _ in lines.refused] == ["batch", "batch"]
    error = lines.refused[0][1]
    assert (error.kind, error.outcome) == (ProblemKind.CLIENT_RATE, "not_sent")
    assert error.retry_after == pytest.approx(3)
    await lines.come("shop")
    assert lines.starts[-1] == ("shop", 0.0)
    await lines.end()


async def test_all_clients_together_keep_to_the_total() -> None:
    """However high their own rates are."""
    lines = Lines(total=2, rates={"a": 100.0, "b": 100.0})
    await lines.come("a", "b", "a", "b", None)
    await lines.clock.advance(60)
    assert [at for _, at in lines.starts] == [0.0, 0.5, 1.0, 1.5, 2.0]
    await lines.end()


async def test_a_batch_does_not_fill_the_common_queue() -> None:
    """Its calls enter the common queue one by one, so others come between them."""
    lines = Lines(total=2)
    await lines.come(*["batch"] * 4, "shop", "shop")
    await lines.clock.advance(60)
    assert [at for name, at in lines.starts if name == "batch"] == [0.0, 1.5, 2.0, 3.0]
    assert [at for name, at in lines.starts if name == "shop"] == [0.5, 1.0]
    await lines.end()


async def test_the_waits_in_both_queues_are_bounded_together() -> None:
    """The wait in the first queue counts towards the bound in the second."""
    lines = Lines(total=1, max_wait=3)
    await lines.come("batch", "batch")
    await lines.come("shop", "shop", "shop")  # take the turns of the next 3 s
    await lines.clock.advance(60)
    assert [(name, error.kind) for name, error in lines.refused] == [("batch", ProblemKind.PACED)]
    assert len(lines.starts) == 4
    await lines.end()


async def test_a_full_common_queue_costs_a_client_no_turn() -> None:
    """A call that the common queue refuses leaves its client's turn to the next one."""
    lines = Lines(total=1, max_wait=1, rates={"batch": 0.5})
    await lines.come(None, None, "batch")
    assert [(name, error.kind) for name, error in lines.refused] == [("batch", ProblemKind.PACED)]
    await lines.clock.advance(2)
    await lines.come("batch")
    assert lines.starts[-1] == ("batch", 2.0)
    await lines.end()


async def test_a_call_that_is_sent_again_takes_no_turn_of_its_client(lines: Lines) -> None:
    """A retry by the proxy keeps to the total only."""
    await lines.come("batch")
    await lines.come("batch", again=True)
    assert lines.starts == [("batch", 0.0), ("batch", 0.0)]


async def test_a_changed_rate_holds_for_waiting_calls(lines: Lines) -> None:
    """Waiting calls are spaced by the new rate."""
    lines.rates.follow({"batch": 0.01})
    await lines.come("batch", "batch")
    assert [name for name, _ in lines.refused] == ["batch"]
    lines.rates.follow({"batch": 0.1})
    await lines.come("batch", "batch")
    lines.rates.follow({"batch": 2.0})
    await lines.clock.advance(60)
    assert lines.starts == [("batch", 0.0), ("batch", 0.5)]
    assert len(lines.refused) == 2


async def test_a_removed_rate_delays_no_new_call(lines: Lines) -> None:
    """Waiting calls keep their turns; new ones start at once."""
    await lines.come("batch", "batch")
    lines.rates.follow({})
    await lines.come("batch")
    await lines.clock.advance(60)
    assert lines.starts == [("batch", 0.0), ("batch", 0.0), ("batch", 1.0)]


async def test_without_rates_nothing_waits() -> None:
    """With neither rates nor pacing."""
    lines = Lines(rates={})
    assert all(lines.rates.take(name) for name in ("a", "b", None) * 100)
    assert lines.rates.queued == 0
