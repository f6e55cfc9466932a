"""The signals of the process: stop, stop at once, read the configuration anew."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import TypeVar

T = TypeVar("T")


class Signals:
    """stop: SIGTERM or SIGINT came. stop_now: another one came after it."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.stop_now = asyncio.Event()

    def _on_stop(self) -> None:
        (self.stop_now if self.stop.is_set() else self.stop).set()

    async def unless_stopped_now(self, work: Coroutine[object, object, T]) -> T | None:
        """Return the work's result; None if the second signal to stop came before it was done."""
        task, now = asyncio.create_task(work), asyncio.create_task(self.stop_now.wait())
        try:
            await asyncio.wait({task, now}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            now.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        return None

    @contextlib.contextmanager
    def handled(self, on_hangup: Callable[[], None]) -> Iterator[None]:
        """Handle the signals while in the context; `on_hangup` is called at each SIGHUP."""
        loop = asyncio.get_running_loop()
        handlers: dict[int, Callable[[], None]] = dict.fromkeys(
            (signal.SIGTERM, signal.SIGINT), self._on_stop
        )
        if sys.platform == "win32":
            # Its event loop has no signal handlers; Ctrl+C and service stops come this way.
            for number, handler in handlers.items():
                signal.signal(
                    number, lambda *_, handler=handler: loop.call_soon_threadsafe(handler)
                )
            yield
            return
        handlers[signal.SIGHUP] = on_hangup
        before = {number: signal.getsignal(number) for number in handlers}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number, previous in before.items():
                loop.remove_signal_handler(number)
                # None: it was not set by Python, and cannot be set again.
                signal.signal(number, signal.SIG_DFL if previous is None else previous)
