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
    from collections.abc import Awaitable, Callable

    from proxy.orders.store import Store
    from proxy.settings import Settings

_TIMEOUT: Final = 10.0  # seconds for an answer of the admin listener
_MOST: Final = 32 << 20  # bytes of it
_OK: Final = 200

_NO_STORE: Final = (
    "No orders are remembered: orders.store is not set. Set it to the path of a file, for example."
)


class Said(NamedTuple):
    """What a command prints: to standard output, or to standard error if it failed."""

    lines: list[str]
    is_failure: bool = False


def listing(settings: Settings, owner: str, where: str, *, unknown: bool, as_json: bool) -> Said:
    """List what is remembered. where: the host of the admin listener. Raises `ConfigError`."""

    async def work(store: Store) -> list[dict[str, Any]]:
        return [showing.shown(record) for record in await store.listing(unknown=unknown)]

    kind = settings.orders.store_kind
    if kind is None:
        return Said([_NO_STORE], is_failure=True)
    if kind == "memory":
        path = "/orders?unknown=1" if unknown else "/orders"
        status, told = _ask(where, settings.admin.port, "GET", path)
        if status != _OK:
            return _no_answer(settings, told)
        orders = told["orders"]
    else:
        try:
            orders = asyncio.run(_with_store(settings, owner, work))
        except StoreAway as error:
            return Said([str(error)], is_failure=True)
    if as_json:
        return Said([json.dumps(order) for order in orders])
    return Said(list(showing.table(orders)) or ["No orders."])


def forget(settings: Settings, owner: str, where: str, order_id: str) -> Said:
    """Drop one record, so that the order may be sent. Raises `ConfigError`."""
    kind = settings.orders.store_kind
    if kind is None:
        return Said([_NO_STORE], is_failure=True)
    if not order_id.isalnum() or not order_id.isascii():
        return Said(
            ["That is no id. See `telenor-proxy orders list` for the ids."], is_failure=True
        )
    if kind == "memory":
        status, told = _ask(where, settings.admin.port, "DELETE", f"/orders/{order_id}")
        if status != _OK:
            return _no_answer(settings, told)
    else:
        try:
            problem = asyncio.run(
                _with_store(settings, owner, lambda store: showing.forget(store, order_id))
            )
        except StoreAway as error:
            return Said([str(error)], is_failure=True)
        if problem is not None:
            return Said([problem[1]], is_failure=True)
    return Said([f"Forgotten: {order_id}. The same order is sent when it comes again."])


async def _with_store(
    settings: Settings, owner: str, work: Callable[[Store], Awaitable[Any]]
) -> Any:  # noqa: ANN401 # what the work gives
    store = open_store(settings.orders, owner, SystemClock(), places_orders=False)
    try:
        return await work(store)
    finally:
        await store.close()


def _no_answer(settings: Settings, told: dict[str, Any]) -> Said:
    words = told.get("detail") or (
        f"No running proxy answers on admin.port {settings.admin.port}, and with orders.store "
        "memory only that one knows. Check that it runs, with the same configuration."
    )
    return Said([str(words)], is_failure=True)


def _ask(host: str, port: int, method: str, path: str) -> tuple[int, dict[str, Any]]:
    """Ask the admin listener; status 0 and nothing if there is none."""
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        told = json.loads(answer.read(_MOST))
    except (OSError, http.client.HTTPException, ValueError):
        return 0, {}
    finally:
        connection.close()
    return answer.status, told if isinstance(told, dict) else {}
