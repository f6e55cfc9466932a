"""Hands finished requests to the exporter, and never lets a request wait for that.

Laws
1. A request costs one append. Where the queue is full its record is dropped, and counted.
2. Exporting happens in a thread, one batch at a time, and the end of the process does not wait for
   that thread.
3. That a collector takes nothing is told once, and once more when it takes something again. No
   request ever hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from proxy.clock import Clock
    from proxy.records import Record

#: The defaults of OpenTelemetry's own batch processor: OTEL_BSP_MAX_QUEUE_SIZE,
#: OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BSP_SCHEDULE_DELAY.
MOST_QUEUED: Final = 2048
BATCH: Final = 512
PERIOD: Final = 5.0  # seconds
#: Seconds for what is left at the end: a collector that is well takes milliseconds, and the
#: shutdown waits for it.
LAST_SECONDS: Final = 2.0

Result = Literal["exported", "failed", "dropped"]

log = structlog.get_logger("proxy.telemetry")


class Finished(NamedTuple):
    """A record, and when its request had ended, in seconds since the epoch."""

    record: Record
    ended_at: float


async def in_thread(work: Callable[[], int | None]) -> int | None:
    """Do the work in a thread that dies with the process, which those of asyncio's executor do not."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[int | None] = loop.create_future()

    def tell(result: int | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 # it goes on in the event loop
            problem = error
        with contextlib.suppress(RuntimeError):  # the event loop has ended meanwhile
            loop.call_soon_threadsafe(tell, result, problem)

    threading.Thread(target=run, name="telemetry", daemon=True).start()
    return await done


class Handover:
    """Give it each `Record` while `running` runs.

    export: takes a batch to the collector; gives how many spans that has taken, or None if it took
    none. endpoint: its address, for the log. count: is told how many spans met which result. aside:
    has work done elsewhere, so that the event loop goes on.
    """

    def __init__(
        self,
        export: Callable[[Sequence[Finished]], int | None],
        endpoint: str,
        clock: Clock,
        count: Callable[[Result, int], None],
        aside: Callable[[Callable[[], int | None]], Awaitable[int | None]] = in_thread,
    ) -> None:
        self._export = export
        self._endpoint = endpoint
        self._clock = clock
        self._count = count
        self._aside = aside
        self._queue: deque[Finished] = deque()
        self._wake = asyncio.Event()
        self._ending = False
        self._dropped = 0
        # How many spans were lost since the collector takes none; None while it does.
        self._lost: int | None = None

    def __call__(self, record: Record) -> None:
        """Take a finished request."""
        self.observe((record,))

    def observe(self, records: Sequence[Record]) -> None:
        """Take requests that have finished just now."""
        queue, now = self._queue, self._clock.wall()
        for record in records:
            if len(queue) >= MOST_QUEUED:
                self._dropped += 1
                continue
            queue.append(Finished(record, now))
            if len(queue) == BATCH:
                self._wake.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Export beside what is in the context, and, if it does not take long, what is left at its end."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._ending = True
            self._wake.set()
            _, late = await asyncio.wait({task}, timeout=LAST_SECONDS)
            task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _run(self) -> None:
        while self._queue or not self._ending:
            if len(self._queue) < BATCH and not self._ending:
                self._wake.clear()
                await self._clock.wait(self._wake, PERIOD)
            if self._queue:
                await self._hand_over()

    async def _hand_over(self) -> None:
        """Have one batch exported, and say what became of it."""
        queue = self._queue
        batch = [queue.popleft() for _ in range(min(BATCH, len(queue)))]
        reason = "not_taken"
        try:
            taken = await self._aside(lambda: self._export(batch))
        except Exception as error:  # noqa: BLE001 # whatever the library does, requests go on
            taken, reason = None, type(error).__name__
        dropped, self._dropped = self._dropped, 0
        self._count("dropped", dropped)
        if taken is None:
            self._count("failed", len(batch))
            if self._lost is None:
                self._lost = 0
                log.warning(
                    "traces.export_failed",
                    endpoint=self._endpoint,
                    reason=reason,
                    detail="The collector takes no spans; they are lost until it does. No call suffers by it. "
                    "See that it runs, and that telemetry.otlp_endpoint leads to it.",
                )
            self._lost += len(batch) + dropped
            return
        self._count("exported", taken)
        if self._lost is not None:
            log.info("traces.export_restored", endpoint=self._endpoint, lost=self._lost + dropped)
            self._lost = None
