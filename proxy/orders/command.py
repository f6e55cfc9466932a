"""`telenor-proxy orders list` and `orders forget`: what they print, and their exit status.

A SQLite file or a Redis is asked directly, also while no proxy runs. With `memory` the running
proxy is asked, over its admin listener.
"""

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from proxy import inquiry
from proxy.clock import SystemClock
from proxy.orders import showing
from proxy.orders.opening import open_store
from proxy.orders.store import Store, StoreAway
from proxy.settings import AdminSettings, OrdersSettings

_MOST: Final = 32 << 20  # bytes of an answer of the admin listener
_COLUMNS: Final = ("id", "time", "client", "request_id", "method", "path", "status", "outcome")
_NO_STORE: Final = (
    "No orders are remembered: orders.store is not set. Set it to the path of a file, for example."
)


class OrdersCommand:
    """The remembered orders. admin: reads where the running proxy is; called for `memory` only.

    Both actions return lines to print, and raise `ConfigError` and `StoreAway`.
    """

    def __init__(self, orders: OrdersSettings, admin: Callable[[], AdminSettings]) -> None:
        self._orders = orders
        self._admin = admin

    def listing(self, *, unknown: bool, as_json: bool) -> Sequence[str]:
        """Show what is remembered; with `unknown` only the orders to look up."""

        async def work(store: Store) -> dict[str, Any]:
            records = await store.listing(unknown=unknown)
            return {"orders": [showing.shown(record) for record in records]}

        found = self._ask("GET", "/orders?unknown=1" if unknown else "/orders", work)["orders"]
        if as_json:
            return [json.dumps(order) for order in found]
        return _table(found) or ["No orders to look up." if unknown else "No orders."]

    def forget(self, order_id: str) -> Sequence[str]:
        """Drop one record, so that the order may be sent."""

        async def work(store: Store) -> dict[str, Any]:
            problem = await showing.forget(store, order_id)
            if problem is not None:
                raise StoreAway(problem[1])
            return {}

        if self._orders.store and not (order_id.isalnum() and order_id.isascii()):
            raise StoreAway("That is no id. See `telenor-proxy orders list` for the ids.")
        self._ask("DELETE", f"/orders/{order_id}", work)
        return [f"Forgotten: {order_id}. The same order is sent when it comes again."]

    def _ask(
        self, method: str, target: str, work: Callable[[Store], Coroutine[Any, Any, dict[str, Any]]]
    ) -> dict[str, Any]:
        """Do the work with the store, or send the request to the proxy that has it in memory.

        Raises `StoreAway`.
        """
        if self._orders.store is None:
            raise StoreAway(_NO_STORE)
        if self._orders.store_kind == "memory":
            return _answer(self._admin(), method, target)

        async def with_store() -> dict[str, Any]:
            store = open_store(self._orders, SystemClock(), places_orders=False)
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(with_store())


def _answer(admin: AdminSettings, method: str, target: str) -> dict[str, Any]:
    """Ask the admin listener. Raises `StoreAway` if it refuses, or if there is none."""
    try:
        status, content = inquiry.get(admin, target, _MOST, method=method)
        answer: dict[str, Any] = json.loads(content)
        if status != b"200":
            raise StoreAway(answer["detail"])
        answer["ok" if method == "DELETE" else "orders"]  # another server may say 200 to anything
    except inquiry.Unanswered as error:
        raise StoreAway(f"With orders.store memory only the running proxy knows: {error}") from None
    except (ValueError, KeyError, TypeError):
        raise StoreAway(
            f"What answers on {inquiry.where(admin)} knows of no orders. Check admin.host and "
            "admin.port, and that the proxy runs with the same configuration."
        ) from None
    return answer


def _table(orders: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Return a table for a terminal, of orders as `shown` gives them. Nothing for none."""
    if not orders:
        return []
    rows = [_COLUMNS, *map(_row, orders)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _row(order: Mapping[str, Any]) -> tuple[str, ...]:
    at = dt.datetime.fromtimestamp(order["at"], tz=dt.UTC)
    return (
        order["id"],
        at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        order["client"] or "-",
        order["request_id"],
        order["method"],
        order["path"],
        "-" if order["status"] is None else str(order["status"]),
        order["outcome"] or order["state"],
    )
