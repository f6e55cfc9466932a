"""What a scrape reads as state: each value from the part that knows it."""

from types import SimpleNamespace
from typing import Any, Final

from proxy import gauges
from tests.unit.made import FRESH

#: Parts of a proxy whose values all differ.
PARTS: Final[dict[str, Any]] = {
    "source": SimpleNamespace(state=FRESH.state, status=lambda: FRESH),
    "listener": SimpleNamespace(in_flight=2, connections=3),
    "pool": SimpleNamespace(connections=(4, 5)),
    "rates": SimpleNamespace(queued=6),
    "writer": SimpleNamespace(losses=SimpleNamespace(lost=7)),
    "ends": lambda: {"listener": None, "api": 8.0},
}
STORE: Final[Any] = SimpleNamespace(
    summary=SimpleNamespace(held=9, unknown=10), oldest_unknown_seconds=lambda: 11.0, away=None
)
AWAY: Final[Any] = SimpleNamespace(**{**vars(STORE), "away": "It does not answer."})


def scraped(keeper: Any) -> dict[str, float]:
    """Return the samples, by name without the prefix and by label."""
    return {
        " ".join(
            (sample.name.removeprefix("telenor_proxy_"), *sample.labels.values())
        ): sample.value
        for family in gauges.families(**PARTS, keeper=keeper)
        for sample in family.samples
    }


def test_each_gauge_has_its_own_value() -> None:
    """Those of orders only with a store; a token or certificate that is not there is 0."""
    without = {
        "log_lines_lost_total": 7,
        "requests_in_flight": 2,
        "client_connections": 3,
        "upstream_connections in_use": 4,
        "upstream_connections idle": 5,
        "pacing_queued": 6,
        "token_state empty": 0,
        "token_state fresh": 1,
        "token_state stale": 0,
        "token_state expired": 0,
        "token_expires_in_seconds": 3599,
        "certificate_not_after_seconds listener": 0,
        "certificate_not_after_seconds api": 8,
    }
    held = {"orders_held": 9, "orders_unknown": 10, "orders_unknown_oldest_seconds": 11}
    assert scraped(None) == without
    assert scraped(STORE) == without | held | {"order_store_up": 1}
    assert scraped(AWAY) == without | held | {"order_store_up": 0}
