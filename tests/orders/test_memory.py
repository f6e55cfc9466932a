"""What the store in memory does besides what all stores do (test_stores_model.py)."""

import gc

import pytest

from proxy.clock import SystemClock
from proxy.orders.memory import MemoryStore
from proxy.orders.states import State
from proxy.orders.store import StoreAway
from tests.orders.made import ANSWER, DAY, record


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


def test_it_is_bounded() -> None:
    """In records and in bytes of answers; what is over makes room."""
    now = [0.0]
    store = MemoryStore("aa", lambda: now[0], most=2, most_bytes=40)
    first, second, third = (record("aa", key) for key in "abc")
    for order in (first, second):
        assert store.reserve(order) is None
    with pytest.raises(StoreAway, match="full"):
        store.reserve(third)
    assert store.release(second)
    store.enter(first, State.SENT)
    store.enter(first, State.ANSWERED, ANSWER)
    with pytest.raises(StoreAway, match="full"):
        store.reserve(third)
    now[0] += DAY
    assert store.reserve(third) is None
