"""The clients: register, rates and counts, kept in step with the settings.

A change of the settings takes effect with the next request, on open connections too, because
nothing of the old settings is kept with a connection. There is one count for each configured name,
so that what is shown is a closed set.
"""

import dataclasses
from collections.abc import Callable

from proxy.clients.login import Asked
from proxy.clients.rates import Rates
from proxy.clients.register import Register
from proxy.clock import Clock
from proxy.pacing import Pacer
from proxy.problems import ProblemKind
from proxy.records import Record
from proxy.settings import ClientSettings, Settings


@dataclasses.dataclass(slots=True)
class _Count:
    """calls: that ended, refused ones too. last_call_at: seconds since the epoch, if any."""

    calls: int = 0
    refused: int = 0
    last_call_at: float | None = None


class Roster:
    """The clients of one listener.

    pepper: 16 to 64 random bytes of this process, see `Register`. total: the line of all calls, if
    there is one. on_held_back: see `Rates`. on_login: takes each login that was answered here.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        pepper: bytes,
        *,
        total: Pacer | None = None,
        on_held_back: Callable[[float], None] | None = None,
        on_login: Callable[[Asked], None] | None = None,
    ) -> None:
        self.register = Register(pepper, clock.wall)
        self.rates = Rates(total, settings.pacing.max_wait_seconds, clock, on_held_back)
        self.on_login = on_login
        self._wall = clock.wall
        self._counts: dict[str | None, _Count] = {}
        self.follow(settings)

    def follow(self, settings: Settings) -> None:
        """Let these settings be in force from the next request on; a client keeps its counts."""
        clients = settings.listen.clients
        # The holder of `listen.client_key` has no name.
        key = settings.listen.client_key
        self.register.follow((*clients, ClientSettings(keys=(key,))) if key else clients)
        rates = {client.name: client.requests_per_second for client in clients}
        self.rates.follow({name: rate for name, rate in rates.items() if rate is not None})
        self._counts = {name: self._counts.get(name) or _Count() for name in rates}

    def count(self, record: Record) -> None:
        """Count a finished request."""
        count = self._counts.get(record.client)
        if count is None:
            return
        count.calls += 1
        count.last_call_at = self._wall()
        # A call beyond the client's rate (429) is refused too.
        if record.refused or record.error == ProblemKind.CLIENT_RATE.proxy_error:
            count.refused += 1

    def by_name(self) -> list[dict[str, object]]:
        """Return what `/status` shows as `clients.by_name`."""
        last_used = self.register.last_used()
        return [
            {
                "name": name,
                **dataclasses.asdict(count),
                "keys": [
                    {"position": position, "last_used_at": used_at}
                    for position, used_at in enumerate(last_used[str(name)], 1)
                ],
            }
            for name, count in self._counts.items()
        ]
