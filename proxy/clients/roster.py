"""All that concerns clients, in one hand.

It follows the settings, and its parts are asked by the code that serves a request.

Owns the parts (`register`, `rates`, `usage`) and keeps them in step. A change of the settings takes
effect with the next request, on connections that are open too, because nothing of the old settings
is kept with a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.clients.rates import Rates
from proxy.clients.register import Entry, Register
from proxy.clients.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.clients.login import Asked
    from proxy.clock import Clock
    from proxy.pacing import Pacer
    from proxy.settings import Settings


class Roster:
    """The clients of one listener.

    pepper: 16 to 64 random bytes of this process, see `Register`. total: the line of all calls, if
    there is one. on_held_back: is told for how many seconds a call was held back in its client's
    line, of those that were. on_login: is told of each login that was answered here.
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
        self.register.follow(entries(settings))
        self.rates.follow(
            {
                client.name: client.requests_per_second
                for client in clients
                if client.requests_per_second is not None
            }
        )
        self.usage.follow(self.names)

    def by_name(self) -> list[dict[str, object]]:
        """Return what `/status` shows as `clients.by_name`.

        Calls, refusals, the last call, and each key's last use, by position.
        """
        return self.usage.by_name(self.register.last_used())


def entries(settings: Settings) -> Iterator[Entry]:
    """Yield the clients that the settings name, or the holder of `listen.client_key`.

    None where anybody may call.
    """
    listen = settings.listen
    for client in listen.clients:
        yield Entry(
            client.name,
            client.keys,
            client.certificate,
            client.allowed_paths,
            client.allowed_methods,
        )
    if listen.client_key is not None:
        yield Entry(None, (listen.client_key,))
