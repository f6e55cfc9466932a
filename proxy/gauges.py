"""What a scrape reads as state at its own moment, and not as a count of finished requests."""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from proxy.admin.counts import Labelled, gauge
from proxy.clients.rates import Rates
from proxy.forward.listener import Listener
from proxy.forward.pool import Pool
from proxy.logs import LineWriter
from proxy.orders.keeper import Keeper
from proxy.tokens.source import TokenSource
from proxy.tokens.values import TokenState

_TEXTS: Final = {
    "telenor_proxy_requests_in_flight": "Requests being served.",
    "telenor_proxy_client_connections": "Connections of clients.",
    "telenor_proxy_upstream_connections": "Connections to the API by state.",
    "telenor_proxy_pacing_queued": "Calls that wait for their turn, to keep to a set rate.",
    "telenor_proxy_token_state": "1 for the state that the token is in.",
    "telenor_proxy_token_expires_in_seconds": "Seconds until the token ends; 0 without one.",
    "telenor_proxy_certificate_not_after_seconds": "When a certificate ends, in seconds since the "
    "epoch; 0 if there is none, or none was seen yet.",
    "telenor_proxy_orders_held": "Orders that the store remembers.",
    "telenor_proxy_orders_unknown": "Remembered orders of which it is not known whether they were "
    "placed.",
    "telenor_proxy_orders_unknown_oldest_seconds": "For how long the oldest of those waits; 0 "
    "without one.",
    "telenor_proxy_order_store_up": "1 while the store of orders can be used.",
}


def families(
    source: TokenSource,
    listener: Listener,
    pool: Pool,
    rates: Rates,
    writer: LineWriter,
    keeper: Keeper | None,
    ends: Callable[[], dict[str, float | None]],
) -> Iterator[Metric]:
    """Yield what is state, or counted elsewhere, as it is now. ends: of certificates, by name."""
    lost = "Log lines that could not be written to standard output."
    yield CounterMetricFamily("telenor_proxy_log_lines_lost", lost, writer.losses.lost)
    in_use, idle = pool.connections
    values: dict[str, float | Labelled] = {
        "telenor_proxy_requests_in_flight": listener.in_flight,
        "telenor_proxy_client_connections": listener.connections,
        "telenor_proxy_upstream_connections": (["state"], {"in_use": in_use, "idle": idle}),
        "telenor_proxy_pacing_queued": rates.queued,
        "telenor_proxy_token_state": (["state"], {s.value: s is source.state for s in TokenState}),
        "telenor_proxy_token_expires_in_seconds": source.status().expires_in_seconds or 0,
        "telenor_proxy_certificate_not_after_seconds": (
            ["what"],
            {what: end or 0 for what, end in ends().items()},
        ),
    }
    if keeper is not None:
        values |= {
            "telenor_proxy_orders_held": keeper.summary.held,
            "telenor_proxy_orders_unknown": keeper.summary.unknown,
            "telenor_proxy_orders_unknown_oldest_seconds": keeper.oldest_unknown_seconds(),
            "telenor_proxy_order_store_up": keeper.away is None,
        }
    for name, value in values.items():
        yield gauge(name, _TEXTS[name], value)
