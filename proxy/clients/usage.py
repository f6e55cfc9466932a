"""What each client has done, from the records of finished requests, for page and `/status`.

One count for each configured name, so that what it shows is a closed set. It never holds a key, nor
a part of one.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from proxy.problems import ProblemKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.records import Record


@dataclasses.dataclass(slots=True)
class _Count:
    """calls: that ended, refused ones too. last_call_at: seconds since the epoch, if any."""

    calls: int = 0
    refused: int = 0
    last_call_at: float | None = None


class Usage:
    """Counts by client. Call it with each `Record`. wall: seconds since the epoch, for people."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._counts: dict[str | None, _Count] = {}

    def follow(self, names: Iterable[str]) -> None:
        """Count for these clients from now on, and forget the others."""
        self._counts = {name: self._counts.get(name) or _Count() for name in names}

    def __call__(self, record: Record) -> None:
        """Count a finished request."""
        count = self._counts.get(record.client)
        if count is None:
            return
        count.calls += 1
        count.last_call_at = self._wall()
        # A call beyond the client's rate (429) is refused too.
        if record.refused or record.error == ProblemKind.CLIENT_RATE.proxy_error:
            count.refused += 1

    def by_name(self, last_used: dict[str, list[float | None]]) -> list[dict[str, object]]:
        """Return the clients as `/status` shows them. last_used: of `Register.last_used`."""
        return [
            {
                "name": name,
                **dataclasses.asdict(count),
                "keys": [
                    {"position": position, "last_used_at": used_at}
                    for position, used_at in enumerate(last_used.get(str(name), ()), 1)
                ],
            }
            for name, count in self._counts.items()
        ]
