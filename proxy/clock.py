"""The one place that reads the clock and waits for time to pass.

Everything that judges validity or backs off takes a `Clock`, so that tests can own the time.
"""

import asyncio
import contextlib
import functools
import time
from typing import Protocol

# Linux counts suspended time in CLOCK_BOOTTIME only; elsewhere the monotonic clock is the best
# there is. Neither is moved by NTP or by hand.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """Time as the parts see it. Seconds everywhere."""

    def now(self) -> float:
        """Seconds that never step and go on while the host is suspended; only differences count."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch, for people only: nothing is decided by it."""
        ...

    async def wait(self, event: asyncio.Event, timeout: float | None) -> bool:  # noqa: ASYNC109 # the wait is the timeout
        """Wait until the event is set (True) or that many seconds have passed (False)."""
        ...


class SystemClock:
    """The real one."""

    #: Seconds since boot, suspended time included where the system can tell.
    now = staticmethod(
        time.monotonic if _BOOTTIME is None else functools.partial(time.clock_gettime, _BOOTTIME)
    )

    #: Seconds since the epoch.
    wall = staticmethod(time.time)

    async def wait(self, event: asyncio.Event, timeout: float | None) -> bool:  # noqa: ASYNC109 # the wait is the timeout
        """Wait for the event, at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await event.wait()
        return event.is_set()


def monotonic_microseconds() -> int:
    """Return the time of CLOCK_MONOTONIC, by which systemd orders messages."""
    return int(time.monotonic() * 1_000_000)
