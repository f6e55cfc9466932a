"""What the report adds for the page: whether calls reach the API, failures that noise cannot hide, and no path at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.admin.history import History
from proxy.admin.metrics import Metrics
from proxy.admin.report import TokenWitness
from tests.clock import FakeClock
from tests.page.staged import NOON, Stage


def trouble(stage: Stage) -> Any:
    """Give what is said about calls that fail at the API."""
    return stage.report.status()["upstream_trouble"]


def test_there_is_no_trouble_at_first() -> None:
    """Nor after good calls, nor after those that the API refused for a reason."""
    stage = Stage()
    assert trouble(stage) is None
    stage.call(200)
    stage.call(404)
    assert trouble(stage) is None


def test_failed_calls_in_a_row_are_trouble_until_one_goes_through() -> None:
    """With the first one's and the last one's time, the last one's error, and how many they are."""
    stage = Stage()
    stage.call(502, error="connection_refused")
    stage.clock.suspend(30)
    stage.call(504, error="http_response_timeout")
    assert trouble(stage) == {
        "since": NOON,
        "at": NOON + 30,
        "error": "http_response_timeout",
        "status": 504,
        "calls": 2,
    }
    stage.call(404)
    assert trouble(stage) is None


def test_errors_of_the_api_itself_are_trouble_of_another_kind() -> None:
    """It answered, so it can be reached; but a 5xx is no service."""
    stage = Stage()
    stage.call(503)
    assert trouble(stage)["error"] == "api_error"
    assert trouble(stage)["status"] == 503


@pytest.mark.parametrize(
    "error", ["destination_unavailable", "connection_limit_reached", "client_left", "proxy_internal_response"]
)
def test_what_is_not_the_apis_doing_is_no_trouble(error: str) -> None:
    """Nor does it end one: it says nothing about the API."""
    stage = Stage()
    stage.call(503, error=error)
    assert trouble(stage) is None
    stage.call(502, error="dns_error")
    stage.call(503, error=error)
    assert trouble(stage)["calls"] == 1


def test_refused_requests_hide_no_failure() -> None:
    """A client that is refused a hundred times leaves the one real failure in the list; the newest come first."""
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
    """A path can hold a phone number; a setting that is secret is only said to be set."""
    stage = Stage()
    stage.call(502, error="connection_refused", path="/corporate-mobile-subscriptions/v1/4799885577")
    text = json.dumps(stage.report.status())
    assert "4799885577" not in text
    assert "Sentinel" not in text


def test_the_witness_counts_and_passes_on() -> None:
    """The metrics hear all that the token source tells; renewals are in the history as well."""
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
