"""Records to try stores with."""

import itertools
from typing import Any

from proxy.orders.key import fingerprint, identify
from proxy.orders.shared import SharedStore
from proxy.orders.sqlite import SQLiteStore
from proxy.orders.states import OPEN, Answer, OrderRecord, State

_NUMBERS = itertools.count()
ANSWER = Answer(201, b"Content-Type: application/json\r\n", b'{"orderId": "1"}')
DAY = 86_400.0


def record(
    owner: str,
    key: str | None = "k",
    *,
    content: bytes = b"x" * 32,
    lifetime: float = DAY,
    at: float = 1.0,
) -> OrderRecord:
    """Make a record that is not reserved yet."""
    target = b"/corporate-mobile-subscriptions/v2/orders"
    digest = fingerprint("app", b"POST", target)
    digest.update(content)
    return OrderRecord(
        id=identify("app", key or "guard"),
        claim=f"{owner}.{next(_NUMBERS)}",
        key=key,
        client="app",
        method="POST",
        path=target.decode(),
        fingerprint=digest.digest(),
        request_id=f"req-{key}",
        created_at=at,
        lifetime=lifetime,
    )


async def placed(
    store: SQLiteStore | SharedStore, key: str | None = "k", state: State = State.SENT, **made: Any
) -> OrderRecord:
    """Have a store take a new record into this state. made: see `record`."""
    order = record(store.owner, key, **made)
    await store.reserve(order)
    if state is not State.RESERVED:
        await store.enter(order, State.SENT)
    if state not in OPEN:
        await store.enter(order, state, ANSWER if state is State.ANSWERED else None)
    return order
