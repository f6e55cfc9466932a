"""A clock that stands still until a test moves it.

    clock = FakeClock()
    task = asyncio.create_task(part.run(clock))
    await clock.advance(30)      # everything due in these 30 s happens, in order, now

It moves the time of whoever waits through `proxy.clock.Clock`, and nothing else: `asyncio.sleep`,
`asyncio.timeout` and threads go by the real clock. Real sockets of the same event loop may be used
beside it.
"""

import asyncio
import contextlib
import itertools
from typing import Final

#: An arbitrary instant, far from zero: only differences on `now()` may matter to the code under
#: test.
_BOOT: Final = 1_000.0
#: 2027-01-15 08:00:00 UTC.
_EPOCH: Final = 1_800_000_000.0

#: Turns of the event loop, one after the other, with nothing ready: then all tasks wait. More than
#: one, because each turn polls the sockets once, and what arrives may make a task ready.
_IDLE_TURNS: Final = 3
#: Turns when the event loop does not show whether anything is ready (uvloop).
_BLIND_TURNS: Final = 200
#: No task needs so many turns at one instant; one that does spins.
_MOST_TURNS: Final = 20_000


class FakeClock:
    """`proxy.clock.Clock` under a test's control. One for each event loop."""

    def __init__(self, *, wall: float = _EPOCH) -> None:
        # As on Linux, timers count the time that the host is awake, and `now` counts all of it.
        self._awake = _BOOT
        self._asleep = 0.0
        self._wall_offset = wall - _BOOT
        self._waits: dict[int, tuple[float, asyncio.Timeout]] = {}
        self._numbers = itertools.count()

    def now(self) -> float:
        """Seconds that never step; the time of `suspend` is included."""
        return self._awake + self._asleep

    def wall(self) -> float:
        """Seconds since the epoch, moved by `step_wall` as well."""
        return self.now() + self._wall_offset

    async def wait(self, event: asyncio.Event, timeout: float | None) -> bool:  # noqa: ASYNC109 # the wait is the timeout
        """Wait until the event is set (True), or that many seconds have passed (False)."""
        number = next(self._numbers)
        try:
            with contextlib.suppress(TimeoutError):
                # The real timeout context, moved by hand: cancellation and ties behave as they do
                # in production.
                async with asyncio.timeout(None) as limit:
                    if timeout is not None:
                        self._waits[number] = (self._awake + timeout, limit)
                        self._fire(until=self._awake)
                    await event.wait()
        finally:
            self._waits.pop(number, None)
        return event.is_set()

    async def advance(self, seconds: float) -> None:
        """Let time pass: due waits end in order, and their consequences run in between."""
        if seconds < 0:
            raise ValueError("time does not run backwards; see step_wall")
        target = self._awake + seconds
        await self.settle()
        while (deadline := self._earliest()) is not None and deadline <= target:
            self._awake = deadline
            self._fire(until=deadline)
            await self.settle()
        self._awake = target
        await self.settle()

    async def settle(self) -> None:
        """Let every task run until all of them wait for something, without moving the time."""
        # Read only, and by getattr: the standard event loop shows what is ready nowhere else.
        ready = getattr(asyncio.get_running_loop(), "_ready", None)
        if ready is None:
            for _ in range(_BLIND_TURNS):
                await asyncio.sleep(0)
            return
        idle = 0
        for _ in range(_MOST_TURNS):
            await asyncio.sleep(0)
            idle = 0 if ready else idle + 1
            if idle == _IDLE_TURNS:
                return
        raise AssertionError(
            "the tasks do not come to rest: one of them spins without waiting for time to pass"
        )

    def next_due(self) -> float | None:
        """Seconds until the earliest wait ends by itself; None if nothing waits for a time."""
        deadline = self._earliest()
        return None if deadline is None else deadline - self._awake

    def suspend(self, seconds: float) -> None:
        """Put the host to sleep for that long: `now` and `wall` go on, timers stand still."""
        self._asleep += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP would."""
        self._wall_offset += seconds

    def _earliest(self) -> float | None:
        return min((deadline for deadline, _ in self._waits.values()), default=None)

    def _fire(self, *, until: float) -> None:
        """End the waits whose time has come, in the order in which they began."""
        due = [number for number, (deadline, _) in self._waits.items() if deadline <= until]
        for number in due:
            _, limit = self._waits.pop(number)
            limit.reschedule(0.0)  # long past on any event loop: ends with the next turn
