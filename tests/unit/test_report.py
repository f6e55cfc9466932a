"""What operators are told: ready or why not, and a status without anything of a customer's."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from proxy.admin.history import History
from proxy.admin.metrics import Metrics
from proxy.admin.report import Report, TokenWitness
from proxy.records import Record
from proxy.settings import judge
from proxy.tokens.values import TokenFailure, TokenState, TokenStatus
from tests.clock import FakeClock

RECORD = Record("id-1", "POST", "/orders/4799885577", 201, 0.2, upstream_seconds=0.1, attempts=1)
EMPTY = TokenStatus(
    state=TokenState.EMPTY,
    generation=0,
    expires_in_seconds=None,
    last_renewed_at=None,
    last_failure=None,
    next_attempt_in_seconds=0,
    renewals=0,
    failures=0,
    invalidations=0,
    contended=False,
)
FAILURE = TokenFailure("refused", "40101", "Set a new password in Min Bedrift.", refused=True, at=1.0)


class Proxy:
    """The state of a proxy, as the report asks for it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.token = EMPTY
        settings = judge(
            {
                "listen": {"client_key": "hunter2-key"},
                "oauth": {
                    "client_id": "hunter2-id",
                    "client_secret": "hunter2-secret",
                    "username": "hunter2-user",
                    "password": "hunter2-password",
                },
            },
            {},
        )
        self.report = Report(
            settings,
            self.clock,
            Metrics(),
            History(self.clock.now()),
            token_status=lambda: self.token,
            clients=lambda: {"connections": 2, "in_flight": 1},
            upstream=lambda: {"in_use": 1, "idle": 3},
        )

    def becomes(self, state: TokenState, **changes: Any) -> None:
        """Change the token's state."""
        values = {name: getattr(EMPTY, name) for name in EMPTY.__slots__}
        self.token = TokenStatus(**(values | {"state": state, "generation": 1} | changes))


@pytest.fixture
def proxy() -> Proxy:
    """Give a proxy that has just started."""
    return Proxy()


# --- probes -----------------------------------------------------------------------------------------------------------


def test_started_means_that_there_has_been_a_token(proxy: Proxy) -> None:
    """Once, and then for good: also when it has expired since."""
    assert not proxy.report.started()
    for state in (TokenState.FRESH, TokenState.STALE, TokenState.EXPIRED):
        proxy.becomes(state)
        assert proxy.report.started()


@pytest.mark.parametrize("state", [TokenState.FRESH, TokenState.STALE])
def test_ready_means_that_a_token_can_be_sent(proxy: Proxy, state: TokenState) -> None:
    """Fresh or stale: requests go on at once, even if the last renewal failed."""
    proxy.becomes(state, last_failure=FAILURE)
    assert proxy.report.not_ready() is None


@pytest.mark.parametrize("state", [TokenState.EMPTY, TokenState.EXPIRED])
def test_not_ready_says_why_in_words(proxy: Proxy, state: TokenState) -> None:
    """The first fetch is under way; or it failed, then with what to do about it and when the next attempt is."""
    proxy.becomes(state)
    assert proxy.report.not_ready() == "The access token is being fetched."
    proxy.becomes(state, last_failure=FAILURE)
    assert proxy.report.not_ready() == "Set a new password in Min Bedrift."
    proxy.becomes(state, last_failure=FAILURE, next_attempt_in_seconds=29.6)
    assert proxy.report.not_ready() == "Set a new password in Min Bedrift. Next attempt in 30 s."


def test_who_drains_is_not_ready(proxy: Proxy) -> None:
    """Whatever the token is like."""
    proxy.becomes(TokenState.FRESH)
    proxy.report.draining = True
    assert proxy.report.not_ready() == "The proxy is shutting down."
    assert proxy.report.status()["draining"] is True


# --- status -----------------------------------------------------------------------------------------------------------


def status(proxy: Proxy) -> dict[str, Any]:
    """Return the status as it is read by others."""
    read: dict[str, Any] = json.loads(orjson.dumps(proxy.report.status()))
    return read


def test_the_status_tells_everything(proxy: Proxy) -> None:
    """Versions, times, readiness, the token, both sides' connections, settings: as JSON."""
    proxy.becomes(TokenState.FRESH, expires_in_seconds=100.5)
    told = status(proxy)
    assert told["ready"] is True
    assert told["problem"] is None
    assert told["started_at"] == told["now"] == proxy.clock.wall()
    assert told["token"]["state"] == "fresh"
    assert told["token"]["expires_in_seconds"] == 100.5
    assert told["clients"] == {"connections": 2, "in_flight": 1}
    assert told["upstream"] == {"in_use": 1, "idle": 3}
    assert told["last_failures"] == []
    assert told["settings"]["listen.port"] == 8080


async def test_the_time_is_told_as_of_now(proxy: Proxy) -> None:
    """Now is now, and the start stays where it was."""
    await proxy.clock.advance(60)
    told = status(proxy)
    assert told["now"] - told["started_at"] == 60


def test_requests_are_counted_by_class(proxy: Proxy) -> None:
    """As the metrics count them."""
    for code in (200, 201, 404, 502, 0):
        proxy.report._metrics(RECORD._replace(status=code))
    assert status(proxy)["requests"] == {"2xx": 2, "4xx": 1, "5xx": 1, "none": 1}


def test_nothing_secret_and_nothing_of_a_customers_is_told(proxy: Proxy) -> None:
    """No credential, no key, no path: a path may hold a phone number."""
    proxy.becomes(TokenState.EXPIRED, last_failure=FAILURE)
    proxy.report(RECORD)
    proxy.report(RECORD._replace(status=502, error="dns_error"))
    proxy.report(RECORD._replace(status=403, error="path-not-allowed", refused=True))
    text = json.dumps(status(proxy))
    for secretive in ("hunter2", "4799885577", "/orders"):
        assert secretive not in text
    assert status(proxy)["settings"]["oauth.client_secret"] == "set"


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_failures_are_remembered_newest_first(proxy: Proxy) -> None:
    """With when, what, and the id under which the log has more; calls that the API answered are no failures."""
    proxy.report(RECORD)
    proxy.report(RECORD._replace(status=500))
    proxy.report(
        RECORD._replace(request_id="id-2", status=403, error="path-not-allowed", refused=True, attempts=0)
    )
    await proxy.clock.advance(5)
    proxy.report(RECORD._replace(request_id="id-3", status=502, error="dns_error", outcome="not_sent"))
    newest, older = status(proxy)["last_failures"]
    assert newest == {
        "at": proxy.clock.wall(),
        "request_id": "id-3",
        "method": "POST",
        "status": 502,
        "error": "dns_error",
        "refused": False,
        "attempts": 1,
        "outcome": "not_sent",
    }
    assert older["outcome"] is None
    assert (older["request_id"], older["refused"], older["at"]) == ("id-2", True, proxy.clock.wall() - 5)


def test_memory_does_not_grow_with_failures(proxy: Proxy) -> None:
    """Only the last ones are kept, and a client whose requests are refused hides no failure."""
    for number in range(100):
        proxy.report(RECORD._replace(request_id=f"f-{number}", status=502, error="dns_error"))
    for number in range(1000):
        proxy.report(
            RECORD._replace(request_id=f"r-{number}", status=403, error="path-not-allowed", refused=True)
        )
    ids = [failure["request_id"] for failure in status(proxy)["last_failures"]]
    assert len(ids) <= 50
    assert {"f-99", "r-999"} <= set(ids)
    assert "f-0" not in ids


# --- trouble at the API -----------------------------------------------------------------------------------------------


async def test_trouble_at_the_api_is_told_until_a_call_succeeds(proxy: Proxy) -> None:
    """Since when, how often and how calls failed there; a good answer ends it."""
    assert status(proxy)["upstream_trouble"] is None
    began = proxy.clock.wall()
    proxy.report(RECORD._replace(status=502, error="dns_error"))
    await proxy.clock.advance(10)
    proxy.report(RECORD._replace(status=503))
    assert status(proxy)["upstream_trouble"] == {
        "since": began,
        "at": began + 10,
        "error": "api_error",
        "status": 503,
        "calls": 2,
    }
    proxy.report(RECORD)
    assert status(proxy)["upstream_trouble"] is None


@pytest.mark.parametrize(
    "record",
    [
        RECORD._replace(status=403, error="path-not-allowed", refused=True),
        RECORD._replace(status=499, error="client_left"),
        RECORD._replace(status=503, error="destination_unavailable"),  # no token
    ],
)
def test_what_is_not_the_apis_fault_is_no_trouble_there(proxy: Proxy, record: Record) -> None:
    """Refused requests, clients that left and missing tokens begin no trouble, and end none."""
    proxy.report(record)
    assert status(proxy)["upstream_trouble"] is None
    proxy.report(RECORD._replace(status=504, error="http_response_timeout"))
    proxy.report(record)
    assert status(proxy)["upstream_trouble"]["calls"] == 1


def test_metrics_are_those_of_the_proxy(proxy: Proxy) -> None:
    """The report hands the exposition on."""
    assert b"telenor_proxy_build_info" in proxy.report.metrics()


def test_what_happens_to_tokens_is_counted_and_passed_on(proxy: Proxy) -> None:
    """A witness between the source and its observer keeps nothing to itself."""
    metrics, history = Metrics(), History(proxy.clock.now())
    witness = TokenWitness(metrics, history, proxy.clock)
    witness.renewed("startup", 0.3)
    witness.renewal_failed("ahead", "timeout")
    witness.renewal_failed("ahead", "timeout")
    witness.invalidated()
    witness.contended()
    told = metrics.exposition().decode()
    assert 'telenor_proxy_token_renewals_total{cause="startup",result="success"} 1.0' in told
    assert 'telenor_proxy_token_renewal_failures_total{reason="timeout"} 2.0' in told
    assert "telenor_proxy_token_invalidations_total 1.0" in told
    assert "telenor_proxy_token_contentions_total 1.0" in told
    series: dict[str, Any] = history.series(proxy.clock.now())
    assert (series["renewals"][-1], series["renewal_failures"][-1]) == (1, 2)
