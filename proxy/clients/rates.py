"""Each client's own line, in front of the line of all calls.

A client with `requests_per_second` waits behind its own calls only.

Laws
1. A call waits in its client's line first, and enters the line of all calls when it may start
   there: the total stays under `pacing`.
2. The waits in both together are at most `pacing.max_wait_seconds`, also where
   `pacing.requests_per_second` is not set.
3. What the proxy sends a second time counts against the rate of all calls, not the client's.
4. When the settings change, a line keeps its calls and takes up the new rate.
"""

from collections.abc import Callable, Mapping

from proxy.clock import Clock
from proxy.errors import NOT_SENT, Failed
from proxy.pacing import Pacer
from proxy.problems import ProblemKind


class ClientLine(Pacer):
    """The line of one client."""

    def refusal(self, wait: float) -> Failed:
        """Return what a call gets that would wait for so many seconds."""
        return Failed(
            ProblemKind.CLIENT_RATE,
            f"The proxy lets {self.rate:g} calls of this client a second through"
            " (requests_per_second in listen.clients), and this one would have to wait longer than"
            f" {self.max_wait:g} s (pacing.max_wait_seconds). Send fewer at a time, or raise the"
            " rate.",
            outcome=NOT_SENT,
            retry_after=wait,
        )


class Rates:
    """The lines of all clients.

    total: the line of all calls, if there is one. max_wait: `pacing.max_wait_seconds`.
    observe: takes the seconds for which a call was held back in its client's line.
    """

    def __init__(
        self,
        total: Pacer | None,
        max_wait: float,
        clock: Clock,
        observe: Callable[[float], None] | None = None,
    ) -> None:
        self._total = total
        self._max_wait = max_wait
        self._clock = clock
        self._observe = observe
        self._lines: dict[str | None, ClientLine] = {}

    @property
    def queued(self) -> int:
        """How many calls wait, in any line."""
        own = sum(line.queued for line in self._lines.values())
        return own + (self._total.queued if self._total else 0)

    def follow(self, rates: Mapping[str, float]) -> None:
        """Take up changed settings. rates: calls a second, by client."""
        lines: dict[str | None, ClientLine] = {}
        for name, rate in rates.items():
            line = self._lines.get(name)
            if line is None:
                line = ClientLine(rate, self._max_wait, self._clock, self._observe)
            elif line.rate != rate:
                line.change(rate)
            lines[name] = line
        self._lines = lines

    def take(self, name: str | None) -> bool:
        """Let a call of this client start now if it need not wait; return whether it may."""
        line, total = self._lines.get(name), self._total
        if (line is not None and line.delay() > 0) or (total is not None and total.delay() > 0):
            return False
        for passed in (line, total):
            if passed is not None:
                passed.take()
        return True

    async def turn(self, name: str | None, *, again: bool = False) -> None:
        """Wait until a call of this client may start. again: it was sent before.

        Raises `Failed` (429), on arrival, if that would take too long.
        """
        line, total, waited = self._lines.get(name), self._total, 0.0
        if line is not None and not again:
            if total is not None and total.delay() > self._max_wait:
                raise total.refusal(total.delay())  # before it counts as one of its client's
            arrived = self._clock.now()
            await line.turn()
            waited = self._clock.now() - arrived
        if total is not None:
            await total.turn(again=again, waited=waited)
