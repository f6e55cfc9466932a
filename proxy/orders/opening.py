"""From `orders.store` to a store. Raises `ConfigError` for one that cannot be used."""

import os
from pathlib import Path
from typing import Final

from proxy.clock import Clock
from proxy.errors import ConfigError
from proxy.orders.memory import MemoryStore
from proxy.orders.store import Store
from proxy.settings import OrdersSettings

_NO_CLIENT: Final = (
    "orders.store: needs the Python package redis, which is not installed. "
    "Install requirements/redis.txt (the extra `redis`), or choose memory or a file."
)


def open_store(settings: OrdersSettings, clock: Clock, *, places_orders: bool = True) -> Store:
    """Open what `orders.store` names, which is set.

    places_orders: False for a command that only looks; it makes no file. A Redis that is away
    raises nothing yet.
    """
    named, owner = settings.store or "", os.urandom(8).hex()
    if settings.store_kind == "memory":
        return MemoryStore(owner, clock.now)
    if settings.store_kind == "redis":
        try:
            from proxy.orders.shared import SharedStore  # noqa: PLC0415 # the extra may be missing
        except ImportError:
            raise ConfigError([_NO_CLIENT]) from None
        return SharedStore(named, settings.store_password, owner, places_orders=places_orders)
    from proxy.orders.sqlite import SQLiteStore, Unusable  # noqa: PLC0415 # only where it is used

    path = Path(named)
    if not places_orders and not path.exists():
        raise ConfigError(
            [f"orders.store: {path}: there is no such file. The proxy makes it when it starts."]
        )
    try:
        return SQLiteStore(path, owner, clock)
    except Unusable as error:
        raise ConfigError([f"orders.store: {path}: {error}."]) from None
