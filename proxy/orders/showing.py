"""What operators do with records: see them, as JSON or as lines of a table, and forget one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from proxy.orders.states import State, may_forget

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from proxy.orders.states import OrderRecord
    from proxy.orders.store import Store

_COLUMNS: Final = ("id", "time", "client", "request_id", "method", "path", "status", "outcome")


async def forget(store: Store, order_id: str) -> tuple[int, str] | None:
    """Drop a record by an operator's word; return a status and words if it was not dropped.

    Raises `StoreAway`.
    """
    found = store.look_up(order_id)
    if isinstance(found, Coroutine):
        found = await found
    if found is not None and not may_forget(found.state):
        return (
            409,
            "The order is under way, and cannot be forgotten. Wait for its end, then look again.",
        )
    if not await store.forget(order_id):
        return 404, f"There is no order {order_id}. See `telenor-proxy orders list` for the ids."
    return None


def shown(record: OrderRecord) -> dict[str, object]:
    """Return one record as JSON. `at`: seconds since the epoch. `key`: None without a key."""
    return {
        "id": record.id,
        "at": record.created_at,
        "client": record.client or None,
        "key": record.key,
        "request_id": record.request_id,
        "method": record.method,
        "path": record.path,
        "state": record.state,
        "status": None if record.answer is None else record.answer.status,
        "outcome": "unknown" if record.state is State.UNKNOWN else None,
    }


def table(orders: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table for a terminal, of orders as `shown` gives them. Nothing for none."""
    if not orders:
        return
    rows = [_COLUMNS, *map(_row, orders)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


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
