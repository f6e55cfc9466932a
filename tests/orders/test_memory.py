"""What the store in memory does besides what all stores do (test_stores_model.py)."""

from __future__ import annotations

import gc

from proxy.clock import SystemClock
from proxy.orders.memory import MemoryStore
from proxy.orders.states import State
from tests.orders.made import ANSWER, record


def test_the_garbage_collector_has_no_work_with_records() -> None:
    """It tracks none of them for long, in whatever state, so its pauses stay short."""
    store = MemoryStore("aa", SystemClock().now)
    for state in State:
        order = record("aa", state.value)
        store.reserve(order)
        if state is not State.RESERVED:
            store.enter(order, State.SENT)
            store.enter(order, state, ANSWER if state is State.ANSWERED else None)
    gc.collect()  # stops tracking the tuples inside of a row,
    gc.collect()  # and then the row
    assert len(store._rows) == len(State)
    assert not any(gc.is_tracked(row) for row in store._rows.values())
