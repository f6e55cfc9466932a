"""What the report adds for the page: failures, and paths of orders to look up only."""

from __future__ import annotations

import json
from typing import Any

from proxy.admin.history import History
from proxy.admin.metrics import Metrics
from proxy.admin.report import TokenWitness
from tests.clock import FakeClock
from tests.page.staged import Stage


def test_refused_requests_hide_no_failure() -> None:
    """A hundred refusals leave the one failure in the list."""
    stage = Stage()
    stage.call(502, error="connection_refused", request_id="the-one")
    for number in range(100):
        stage.clock.suspend(1)
        stage.call(403, error="client-key", refused=True, request_id=f"noise-{number}")
    failures: Any = stage.report.status()["last_failures"]
    assert [failure["request_id"] for failure in failures][-1] == "the-one"
    assert failures[0]["request_id"] == "noise-99"
    assert len(failures) == 21
    assert failures[-1]["refused"] is False


def test_paths_and_secrets_are_not_in_the_status() -> None:
    """A path can hold a phone number."""
    stage = Stage()
    stage.call(
        502, error="connection_refused", path="/corporate-mobile-subscriptions/v1/4799885577"
    )
    text = json.dumps(stage.report.status())
    assert "4799885577" not in text
    assert "Sentinel" not in text


def test_the_witness_counts_and_passes_on() -> None:
    """Metrics count each event, and renewals are in the history too."""
    clock = FakeClock()
    metrics, history = Metrics(), History(clock.now())
    witness = TokenWitness(metrics, history, clock)
    witness.renewed("startup", 0.2)
    witness.renewal_failed("ahead", "timeout")
    witness.invalidated()
    witness.contended()
    text = metrics.exposition().decode()
    assert 'telenor_proxy_token_renewals_total{cause="startup",result="success"} 1.0' in text
    assert 'telenor_proxy_token_renewal_failures_total{reason="timeout"} 1.0' in text
    assert "telenor_proxy_token_invalidations_total 1.0" in text
    assert "telenor_proxy_token_contentions_total 1.0" in text
    series: Any = history.series(clock.now())
    assert (series["renewals"][-1], series["renewal_failures"][-1]) == (1, 1)
