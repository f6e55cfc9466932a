"""What is measured, each scenario under a name of its own: a table, and nothing else."""

from __future__ import annotations

from typing import Final

from bench.contest import Metric, Scenario
from bench.load import NEW_ORDERS
from bench.moments import download, memory, start, transfers, upload, warm
from bench.traffic import SCALE, Shape, many, scale, single

_REQUESTS: Final = (
    Metric("cpu_us", "CPU per request", "µs", 1),
    Metric("kernel_percent", "of it in the kernel", "%"),
    Metric("per_second", "requests", "/s"),
    Metric("p50_us", "p50", "µs"),
    Metric("p99_us", "p99", "µs"),
)
_TRANSFER: Final = (
    Metric("cpu_ms_per_mb", "CPU per MB", "ms", 2),
    Metric("mb_per_second", "rate", "MB/s"),
    Metric("peak_mb", "peak memory over idle", "MB", 1),
)
_WARM: Final = (
    Metric("first_ms", "first call", "ms", 1),
    Metric("call_ms", "further calls", "ms", 1),
)

SCENARIOS: Final = (
    Scenario(
        "orders",
        "Orders, as they come",
        "32 connections that stay open, each sending one order after the other: a POST of 69 bytes of JSON with the client's own `Authorization`, each with another path, id and body, and each answer with another head and body.",
        _REQUESTS,
        "cpu_us",
        many(Shape(path=NEW_ORDERS, script="orders", relay=False)),
    ),
    Scenario(
        "close",
        "Orders on new connections",
        "The same from 32 clients without keep-alive: each order comes on a new connection, with `Connection: close`.",
        _REQUESTS,
        "cpu_us",
        many(Shape(path=NEW_ORDERS, script="orders", headers=("Connection: close",), relay=False)),
    ),
    Scenario(
        "identical",
        "Identical requests",
        "32 connections that stay open, each sending the very same GET without a credential again and again: what load generators send, and no order system.",
        _REQUESTS,
        "cpu_us",
        many(Shape()),
    ),
    Scenario(
        "single",
        "One connection",
        "One client that sends one request after the other: the time that a call takes when nothing else is going on.",
        _REQUESTS,
        "p50_us",
        single,
    ),
    Scenario(
        "scale",
        "More and more connections",
        "The CPU cost of a request by the number of busy connections; the growth is the cost at 1,000 over the cost at 1.",
        (
            *(Metric(f"cpu_us_{number}", f"{number:,} busy", "µs", 1) for number in SCALE),
            Metric("growth", "growth", "", 2),
        ),
        f"cpu_us_{SCALE[-1]}",
        scale,
    ),
    Scenario(
        "download",
        "100 MB down",
        "One answer of 100 MB; the peak is over the memory after one small call.",
        _TRANSFER,
        "cpu_ms_per_mb",
        transfers(download),
    ),
    Scenario(
        "upload",
        "100 MB up",
        "One request with a body of 100 MB.",
        _TRANSFER,
        "cpu_ms_per_mb",
        transfers(upload),
    ),
    Scenario(
        "memory",
        "Memory",
        "Resident memory after one request, and with 1,000 idle connections of clients that have made one request each.",
        (
            Metric("idle_mb", "idle", "MB", 1),
            Metric("full_mb", "with 1,000 connections", "MB", 1),
            Metric("kb_per_connection", "per connection", "kB", 1),
        ),
        "idle_mb",
        memory,
    ),
    Scenario(
        "start",
        "Start",
        "From the start of the process until it serves; for telenor-proxy, until it has a token and says that it is ready. The health check is `telenor-proxy healthcheck`, as a process.",
        (Metric("ready_ms", "ready after", "ms"), Metric("healthcheck_ms", "health check", "ms")),
        "ready_ms",
        start,
    ),
    Scenario(
        "warm",
        "Calls that come now and then",
        "The API is a round trip of 20 ms away, and each call comes on a new connection: the first call two seconds after the start, and further ones right after it.",
        _WARM,
        "first_ms",
        warm,
    ),
)
