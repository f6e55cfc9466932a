"""Who calls: for each client by its name, how many calls, how many refused, and when the last one was.

The names are those of the configuration, and `none` for calls of nobody in particular; a client cannot make
a new one. Of keys it knows only their position and when each was last used.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from proxy.clock import Clock
    from proxy.records import Record

#: The label of calls without a client's name.
NONE: Final = "none"
_CLASSES: Final = (2, 3, 4, 5, 0)


class _Caller:
    """What is counted of one client. last_call_at: seconds since the epoch."""

    __slots__ = ("by_class", "last_call_at", "refused")

    def __init__(self) -> None:
        self.by_class: dict[int, int] = {}
        self.refused = 0
        self.last_call_at = 0.0


class Callers(Collector):
    """Counts calls by client.

    names: of the clients that the configuration has now. key_usage: for each name, when each of its keys was
    last used, by position (seconds since the epoch; None for never).
    """

    def __init__(
        self,
        clock: Clock,
        names: Callable[[], Sequence[str]] = tuple,
        key_usage: Callable[[], Mapping[str, Sequence[float | None]]] = dict,
    ) -> None:
        self._clock = clock
        self._names = names
        self._key_usage = key_usage
        self._callers: dict[str, _Caller] = {}

    def observe(self, record: Record) -> None:
        """Count a finished request."""
        name = record.client or NONE
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = _Caller()
        hundreds = record.status // 100
        caller.by_class[hundreds] = caller.by_class.get(hundreds, 0) + 1
        caller.refused += record.refused
        caller.last_call_at = self._clock.wall()

    def by_name(self) -> list[dict[str, object]]:
        """Give the named clients as `/status` has them; a client that never called has zeros.

        calls: all, with the refused ones. keys: position from 1. A name that the configuration has no more is
        left out, its counts stay in the metric.
        """
        usage = self._key_usage()
        return [self._told(name, usage.get(name, ())) for name in self._names()]

    def _told(self, name: str, keys: Sequence[float | None]) -> dict[str, object]:
        caller = self._callers.get(name)
        return {
            "name": name,
            "calls": 0 if caller is None else sum(caller.by_class.values()),
            "refused": 0 if caller is None else caller.refused,
            "last_call_at": None if caller is None else caller.last_call_at,
            "keys": [
                {"position": position, "last_used_at": used} for position, used in enumerate(keys, start=1)
            ],
        }

    def collect(self) -> Iterator[Metric]:
        """Yield the counter; each configured client has its series from the start."""
        family = CounterMetricFamily(
            "telenor_proxy_client_requests",
            "Requests by client and status class.",
            labels=["client", "status_class"],
        )
        counts = dict.fromkeys(itertools.product((*self._names(), NONE), _CLASSES), 0)
        for name, caller in self._callers.items():
            counts |= {(name, hundreds): number for hundreds, number in caller.by_class.items()}
        for (name, hundreds), number in counts.items():
            family.add_metric([name, f"{hundreds}xx" if hundreds else "none"], number)
        yield family
