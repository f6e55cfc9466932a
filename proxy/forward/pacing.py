"""Spaces out the calls to the API, so that a burst of the clients does not become one there.

Owns the moment at which the next call may start, and the line of those who wait for theirs. It knows no request and no token.

Laws
1. Calls start one interval apart. There is no allowance for bursts: what the gateway grants is published nowhere, and its spike arrest
   (code 42902) is of the kind that looks at the distance between calls.
2. First come, first served.
3. Who would wait longer than the bound is refused on arrival, never after waiting.
4. Who leaves the line takes nothing along: everybody behind moves up.

This is virtual scheduling, the generic cell rate algorithm (ITU-T I.371), with a tolerance for late timers alone.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from proxy import errors
from proxy.errors import NOT_SENT, Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock

#: Seconds. Timers come a millisecond or two late, and uvloop counts in whole ones. So much is made up for at the next start, or the rate
#: would never be reached; a longer stall, such as a suspended host, is not, or it would end in a burst.
LATE_TIMER: Final = 0.005


class Pacer:
    """The line in front of the API. `queued`: how many stand in it.

    observe: is told for how many seconds a call was held back, of those that were.
    """

    def __init__(
        self,
        requests_per_second: float,
        max_wait_seconds: float,
        clock: Clock,
        observe: Callable[[float], None] | None = None,
    ) -> None:
        self.queued = 0
        self._rate = requests_per_second
        self._interval = 1 / requests_per_second
        self._max_wait = max_wait_seconds
        self._clock = clock
        self._observe = observe
        self._next = -math.inf  # when the first in line may start
        self._first = asyncio.Lock()  # held by the first in line; asyncio's lock is fair
        self._never = asyncio.Event()

    async def turn(self, *, again: bool = False) -> None:
        """Wait until one call may start. Raises `Failed`, at once, if that would take too long.

        again: the call was sent before, and the client has waited for it already. It stands in line like any other, but is not refused.
        """
        arrived = self._clock.now()
        wait = max(0.0, self._next - arrived) + self.queued * self._interval
        if wait > self._max_wait and not again:
            raise self._refusal(wait)
        self.queued += 1
        try:
            async with self._first:
                while (pause := self._next - self._clock.now()) > 0:
                    await self._clock.wait(self._never, pause)
                started = self._clock.now()
                planned = self._next if started - self._next <= LATE_TIMER else started
                self._next = planned + self._interval
        finally:
            self.queued -= 1
        if self._observe is not None and started > arrived:
            self._observe(started - arrived)

    def _refusal(self, wait: float) -> Failed:
        return Failed(
            errors.PACED,
            f"The proxy lets {self._rate:g} calls a second through (pacing.requests_per_second), and this one would have to wait "
            f"longer than {self._max_wait:g} s (pacing.max_wait_seconds). Try again when those before it are through.",
            outcome=NOT_SENT,
            retry_after=wait,
        )
