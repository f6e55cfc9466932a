"""What `telenor-proxy check` says of the store of orders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.clock import SystemClock
from proxy.errors import ConfigError
from proxy.orders.opening import open_store
from proxy.orders.store import VERSION

if TYPE_CHECKING:
    from proxy.settings import OrdersSettings

_IN_MEMORY: Final = (
    "Orders are remembered until the proxy ends. A path in orders.store outlives that."
)


class Seen(NamedTuple):
    """What was seen of a store. text: sentences for a person.

    version: of its records; None in memory.
    """

    text: str
    held: int = 0
    unknown: int = 0
    version: int | None = None


def doubt(orders: OrdersSettings) -> str | None:
    """Say why the file of `orders.store` cannot be made here; None if it can, or is no file."""
    directory = Path(orders.store or "").parent
    if orders.store_kind != "sqlite" or directory.is_dir():
        return None
    return (
        f"orders.store: there is no directory {directory}. "
        "Where the proxy runs, it has to be there."
    )


async def look(orders: OrdersSettings) -> Seen | None:
    """Open the store, and read what it holds; None without one. It makes no file.

    Raises `ConfigError` and `StoreAway`.
    """
    if orders.store is None:
        return None
    if orders.store_kind == "memory":
        return Seen(_IN_MEMORY)
    path = Path(orders.store)
    if orders.store_kind == "sqlite" and not path.exists():  # noqa: ASYNC240 # once, in a command
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise ConfigError(
                [f"orders.store: {path.parent} is no directory that can be written. Make it one."]
            )
        return Seen(f"There is no {path} yet. The proxy makes it when it starts.")
    store = open_store(orders, os.urandom(8).hex(), SystemClock(), places_orders=False)
    try:
        summary = await store.upkeep()
    finally:
        await store.close()
    text = f"The store can be written, and holds {summary.held} orders"
    if summary.unknown:
        text += (
            f", {summary.unknown} of them with an unknown outcome. Look them up: "
            "`telenor-proxy orders list --unknown`"
        )
    return Seen(f"{text}.", summary.held, summary.unknown, VERSION)
