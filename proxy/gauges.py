"""What a scrape reads as state at its own moment, and not as a count of finished requests."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from proxy.tokens.values import TokenState

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.admin.metrics import Metrics
    from proxy.clients.rates import Rates
    from proxy.forward.listener import Listener
    from proxy.forward.pool import Pool
    from proxy.logs import LineWriter
    from proxy.orders.keeper import Keeper
    from proxy.tokens.source import TokenSource


def expose(
    metrics: Metrics,
    source: TokenSource,
    listener: Listener,
    pool: Pool,
    rates: Rates,
    writer: LineWriter,
    keeper: Keeper | None,
    ends: Callable[[], dict[str, float | None]],
) -> None:
    """Let a scrape read what is state, or counted elsewhere. ends: of certificates, by name."""
    gauge = metrics.gauge
    if keeper is not None:
        _expose_orders(metrics, keeper)
    lost = "Log lines that could not be written to standard output."
    metrics.counter("telenor_proxy_log_lines_lost", lost, lambda: writer.losses.lost)
    text = "Requests being served."
    gauge("telenor_proxy_requests_in_flight", text, lambda: listener.in_flight)
    text = "Connections of clients."
    gauge("telenor_proxy_client_connections", text, lambda: listener.connections)
    connections = ("telenor_proxy_upstream_connections", "Connections to the API by state.")
    gauge(*connections, lambda: pool.connections[0], state="in_use")
    gauge(*connections, lambda: pool.connections[1], state="idle")
    text = "Calls that wait for their turn, to keep to a set rate."
    gauge("telenor_proxy_pacing_queued", text, lambda: rates.queued)
    text = "1 for the state that the token is in."
    for state in TokenState:
        is_in = functools.partial(_is_in, source, state)
        gauge("telenor_proxy_token_state", text, is_in, state=state.value)
    text = "Seconds until the token ends; 0 without one."
    expires_in = "telenor_proxy_token_expires_in_seconds"
    gauge(expires_in, text, lambda: source.status().expires_in_seconds or 0)
    text = (
        "When a certificate ends, in seconds since the epoch; "
        "0 if there is none, or none was seen yet."
    )
    for what in ends():
        end = functools.partial(_end_of, ends, what)
        gauge("telenor_proxy_certificate_not_after_seconds", text, end, what=what)


def _expose_orders(metrics: Metrics, keeper: Keeper) -> None:
    gauge = metrics.gauge
    text = "Orders that the store remembers."
    gauge("telenor_proxy_orders_held", text, lambda: keeper.summary.held)
    text = "Remembered orders of which it is not known whether they were placed."
    gauge("telenor_proxy_orders_unknown", text, lambda: keeper.summary.unknown)
    text = "For how long the oldest of those waits; 0 without one."
    gauge("telenor_proxy_orders_unknown_oldest_seconds", text, keeper.oldest_unknown_seconds)
    text = "1 while the store of orders can be used."
    gauge("telenor_proxy_order_store_up", text, lambda: keeper.away is None)


def _end_of(ends: Callable[[], dict[str, float | None]], what: str) -> float:
    return ends()[what] or 0.0


def _is_in(source: TokenSource, state: TokenState) -> float:
    return source.state is state
