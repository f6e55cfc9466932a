"""What a scrape reads as state, at the moment of the scrape, and not as a count of finished requests."""

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
) -> None:
    """Let a scrape read what is state, or counted elsewhere."""
    if keeper is not None:
        _expose_orders(metrics, keeper)
    lost = "Log lines that could not be written to standard output."
    metrics.counter("telenor_proxy_log_lines_lost", lost, lambda: writer.losses.lost)
    metrics.gauge(
        "telenor_proxy_requests_in_flight", "Requests being served.", lambda: listener.in_flight
    )
    metrics.gauge(
        "telenor_proxy_client_connections", "Connections of clients.", lambda: listener.connections
    )
    connections = ("telenor_proxy_upstream_connections", "Connections to the API by state.")
    metrics.gauge(*connections, lambda: pool.connections[0], state="in_use")
    metrics.gauge(*connections, lambda: pool.connections[1], state="idle")
    queued = "Calls that wait for their turn, to keep to a set rate."
    metrics.gauge("telenor_proxy_pacing_queued", queued, lambda: rates.queued)
    for state in TokenState:
        metrics.gauge(
            "telenor_proxy_token_state",
            "1 for the state that the token is in.",
            functools.partial(_is_in, source, state),
            state=state.value,
        )
    metrics.gauge(
        "telenor_proxy_token_expires_in_seconds",
        "Seconds until the token ends; 0 without one.",
        lambda: source.status().expires_in_seconds or 0,
    )


def expose_certificates(
    metrics: Metrics, ends: Callable[[], dict[str, float | None]]
) -> Callable[[], dict[str, float | None]]:
    """Let a scrape read when certificates end; return `ends`."""
    for what in ends():
        metrics.gauge(
            "telenor_proxy_certificate_not_after_seconds",
            "When a certificate ends, in seconds since the epoch; 0 if there is none, or none was seen yet.",
            functools.partial(_end_of, ends, what),
            what=what,
        )
    return ends


def _end_of(ends: Callable[[], dict[str, float | None]], what: str) -> float:
    return ends()[what] or 0.0


def _expose_orders(metrics: Metrics, keeper: Keeper) -> None:
    metrics.gauge(
        "telenor_proxy_orders_held",
        "Orders that the store remembers.",
        lambda: keeper.summary.held,
    )
    metrics.gauge(
        "telenor_proxy_orders_unknown",
        "Remembered orders of which it is not known whether they were placed.",
        lambda: keeper.summary.unknown,
    )
    metrics.gauge(
        "telenor_proxy_orders_unknown_oldest_seconds",
        "For how long the oldest of those waits; 0 without one.",
        keeper.oldest_unknown_seconds,
    )
    metrics.gauge(
        "telenor_proxy_order_store_up",
        "1 while the store of orders can be used.",
        lambda: keeper.away is None,
    )


def _is_in(source: TokenSource, state: TokenState) -> float:
    return source.state is state
