"""Spaces out the calls to the API, so that a burst of the clients does not become one there.

Owns the moment at which the next call may start, and the line of calls that wait. There is one line
for all calls, and one for each client with a rate of its own (`clients/rates.py`).

Laws
1. Calls start one interval apart. There is no allowance for bursts: what the gateway grants is
   published nowhere, and its spike arrest (code 42902) looks at the distance between calls.
2. First come, first served.
3. A call that would wait longer than the bound is refused on arrival, never after waiting.
4. A call that leaves the line frees its place: those behind move up.

This is virtual scheduling, the generic cell rate algorithm (ITU-T I.371), with a tolerance for late
timers alone.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from proxy.clock import Clock
from proxy.errors import NOT_SENT, Failed
from proxy.problems import ProblemKind

#: Seconds. Timers come a millisecond or two late, and uvloop counts in whole ones. So much is made
#: up for at the next start, or the rate would never be reached; a longer stall, such as a suspended
#: host, is not, or it would end in a burst.
LATE_TIMER: Final = 0.005


class Pacer:
    """A line of calls. queued: how many wait. rate: calls a second. max_wait: seconds.

    observe: takes the seconds that a call was held back, if it was.
    """

    def __init__(
        self,
        requests_per_second: float,
        max_wait_seconds: float,
        clock: Clock,
        observe: Callable[[float], None] | None = None,
    ) -> None:
        self.queued = 0
        self.rate = requests_per_second
        self.max_wait = max_wait_seconds
        self._clock = clock
        self._observe = observe
        self._next = -math.inf  # when the first in line may start
        self._first = asyncio.Lock()  # held by the first in line; asyncio's lock is fair
        self._changed = asyncio.Event()

    def delay(self) -> float:
        """Return how many seconds a call that arrived now would wait; 0 if it may start at once."""
        return max(0.0, self._next - self._clock.now()) + self.queued / self.rate

    def take(self) -> None:
        """Let a call start now. Only while `delay` is 0."""
        now = self._clock.now()
        planned = self._next if now - self._next <= LATE_TIMER else now
        self._next = planned + 1 / self.rate

    def change(self, requests_per_second: float) -> None:
        """Change the rate; the first in line waits no longer than one of the new intervals."""
        self.rate = requests_per_second
        self._next = min(self._next, self._clock.now() + 1 / requests_per_second)
        self._changed.set()
        self._changed = asyncio.Event()

    async def turn(self, *, again: bool = False, waited: float = 0.0) -> None:
        """Wait until one call may start. Raises `Failed`, at once, if that would take too long.

        again: the call was sent before, so it is never refused. waited: seconds already spent in
        another line, which count.
        """
        arrived = self._clock.now()
        wait = self.delay()
        if wait > max(self.max_wait - waited, LATE_TIMER) and not again:
            raise self.refusal(wait)
        self.queued += 1
        try:
            async with self._first:
                while (pause := self._next - self._clock.now()) > 0:
                    await self._clock.wait(self._changed, pause)
                started = self._clock.now()
                self.take()
        finally:
            self.queued -= 1
        if self._observe is not None and started > arrived:
            self._observe(started - arrived)

    def refusal(self, wait: float) -> Failed:
        """Return the answer to a call that would wait for so many seconds."""
        return Failed(
            ProblemKind.PACED,
            f"The proxy lets {self.rate:g} calls a second through (pacing.requests_per_second), "
            f"and this one would have to wait longer than {self.max_wait:g} s "
            "(pacing.max_wait_seconds). Try again when those before it are through.",
            outcome=NOT_SENT,
            retry_after=wait,
        )
