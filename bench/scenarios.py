"""The table of what is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from bench.load import NEW_ORDERS
from bench.traffic import Bench, Shape, many, memory, single

if TYPE_CHECKING:
    from collections.abc import Callable


class Metric(NamedTuple):
    """One figure. unit: as it is shown; digits: how many after the point."""

    key: str
    title: str
    unit: str
    digits: int = 0


class Scenario(NamedTuple):
    """One thing to measure. shows: a sentence; headline: the figure that ratios are made of."""

    name: str
    title: str
    shows: str
    metrics: tuple[Metric, ...]
    headline: str
    run: Callable[[Bench], None]


_REQUESTS: Final = (
    Metric("cpu_us", "CPU per request", "µs", 1),
    Metric("kernel_percent", "of it in the kernel", "%"),
    Metric("per_second", "requests", "/s"),
    Metric("p50_us", "p50", "µs"),
    Metric("p99_us", "p99", "µs"),
)
_MEMORY: Final = (
    Metric("idle_mb", "idle", "MB", 1),
    Metric("full_mb", "with 1,000 connections", "MB", 1),
    Metric("kb_per_connection", "per connection", "kB", 1),
)

SCENARIOS: Final = (
    Scenario(
        "orders",
        "Orders, as they come",
        "32 connections that stay open, each sending one order after the other: a POST of 69 bytes "
        "of JSON with the client's own `Authorization`, each with another path, id and body, and "
        "each answer with another head and body.",
        _REQUESTS,
        "cpu_us",
        many(Shape(path=NEW_ORDERS, script="orders", relay=False)),
    ),
    Scenario(
        "close",
        "Orders on new connections",
        "The same from 32 clients without keep-alive: each order comes on a new connection, with "
        "`Connection: close`.",
        _REQUESTS,
        "cpu_us",
        many(Shape(path=NEW_ORDERS, script="orders", headers=("Connection: close",), relay=False)),
    ),
    Scenario(
        "identical",
        "Identical requests",
        "32 connections that stay open, each sending the very same GET without a credential again "
        "and again: what load generators send, and no order system.",
        _REQUESTS,
        "cpu_us",
        many(Shape()),
    ),
    Scenario(
        "single",
        "One connection",
        "One client that sends one request after the other: the time that a call takes when "
        "nothing else is going on.",
        _REQUESTS,
        "p50_us",
        single,
    ),
    Scenario(
        "memory",
        "Memory",
        "Resident memory after one request, and with 1,000 idle connections of clients that have "
        "made one request each.",
        _MEMORY,
        "idle_mb",
        memory,
    ),
)
