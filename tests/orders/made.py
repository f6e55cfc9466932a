"""Records to try stores with."""

from __future__ import annotations

import itertools

from proxy.orders.key import fingerprint, identify
from proxy.orders.states import Answer, OrderRecord

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
