"""The clients: register, rates and usage, kept in step with the settings.

A change of the settings takes effect with the next request, on open connections too, because
nothing of the old settings is kept with a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.clients.rates import Rates
from proxy.clients.register import Register
from proxy.clients.usage import Usage
from proxy.settings import ClientSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clients.login import Asked
    from proxy.clock import Clock
    from proxy.pacing import Pacer
    from proxy.settings import Settings


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
        self.usage = Usage(clock.wall)
        self.on_login = on_login
        self.names: tuple[str, ...] = ()
        self.follow(settings)

    def follow(self, settings: Settings) -> None:
        """Let these settings be in force from the next request on."""
        clients = settings.listen.clients
        self.names = tuple(client.name for client in clients)
        # The holder of `listen.client_key` has no name.
        key = settings.listen.client_key
        self.register.follow((*clients, ClientSettings(keys=(key,))) if key else clients)
        rates = {client.name: client.requests_per_second for client in clients}
        self.rates.follow({name: rate for name, rate in rates.items() if rate is not None})
        self.usage.follow(self.names)

    def by_name(self) -> list[dict[str, object]]:
        """Return what `/status` shows as `clients.by_name`."""
        return self.usage.by_name(self.register.last_used())
