"""What operators do with records: see them, and forget one."""

from collections.abc import Coroutine

from proxy.orders.states import OrderRecord, State, may_forget
from proxy.orders.store import Store


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
