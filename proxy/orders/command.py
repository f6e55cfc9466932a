"""`telenor-proxy orders list` and `orders forget`: what they say, and their exit status.

A SQLite file or a Redis is asked directly, also while no proxy runs. With `memory` the running
proxy is asked, over its admin listener.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.clock import SystemClock
from proxy.orders import showing
from proxy.orders.opening import open_store
from proxy.orders.store import StoreAway

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proxy.orders.store import Store
    from proxy.settings import Settings

_TIMEOUT: Final = 10.0  # seconds for an answer of the admin listener
_MOST: Final = 32 << 20  # bytes of it
_OK: Final = 200

_NO_STORE: Final = (
    "No orders are remembered: orders.store is not set. Set it to the path of a file, for example."
)

_NO_PROXY: Final = (
    "No running proxy answers on admin.port {port}, and with orders.store memory only that one "
    "knows. Check that it runs, with the same configuration."
)


class Said(NamedTuple):
    """What a command prints: to standard output, or to standard error if it failed."""

    lines: list[str]
    is_failure: bool = False


def listing(settings: Settings, owner: str, where: str, *, unknown: bool, as_json: bool) -> Said:
    """List what is remembered. where: the host of the admin listener. Raises `ConfigError`."""

    async def work(store: Store) -> dict[str, Any]:
        records = await store.listing(unknown=unknown)
        return {"orders": [showing.shown(record) for record in records]}

    try:
        path = "/orders?unknown=1" if unknown else "/orders"
        orders = _asked(settings, owner, where, ("GET", path), work)["orders"]
    except StoreAway as error:
        return Said([str(error)], is_failure=True)
    if as_json:
        return Said([json.dumps(order) for order in orders])
    return Said(
        list(showing.table(orders)) or ["No orders to look up." if unknown else "No orders."]
    )


def forget(settings: Settings, owner: str, where: str, order_id: str) -> Said:
    """Drop one record, so that the order may be sent. Raises `ConfigError`."""

    async def work(store: Store) -> dict[str, Any]:
        problem = await showing.forget(store, order_id)
        if problem is not None:
            raise StoreAway(problem[1])
        return {}

    if settings.orders.store and not (order_id.isalnum() and order_id.isascii()):
        words = "That is no id. See `telenor-proxy orders list` for the ids."
        return Said([words], is_failure=True)
    try:
        _asked(settings, owner, where, ("DELETE", f"/orders/{order_id}"), work)
    except StoreAway as error:
        return Said([str(error)], is_failure=True)
    return Said([f"Forgotten: {order_id}. The same order is sent when it comes again."])


def _asked(
    settings: Settings,
    owner: str,
    where: str,
    request: tuple[str, str],
    work: Callable[[Store], Coroutine[Any, Any, dict[str, Any]]],
) -> dict[str, Any]:
    """Do the work with the store, or send the request to the proxy that has it in memory.

    Raises `StoreAway`.
    """
    if settings.orders.store_kind is None:
        raise StoreAway(_NO_STORE)
    if settings.orders.store_kind == "memory":
        status, answer = _answer(where, settings.admin.port, *request)
        if status != _OK:
            raise StoreAway(str(answer.get("detail") or _NO_PROXY.format(port=settings.admin.port)))
        return answer

    async def with_store() -> dict[str, Any]:
        store = open_store(settings.orders, owner, SystemClock(), places_orders=False)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(with_store())


def _answer(host: str, port: int, method: str, path: str) -> tuple[int, dict[str, Any]]:
    """Ask the admin listener; status 0 and nothing if there is none."""
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        content = json.loads(answer.read(_MOST))
    except (OSError, http.client.HTTPException, ValueError):
        return 0, {}
    finally:
        connection.close()
    return answer.status, content if isinstance(content, dict) else {}
