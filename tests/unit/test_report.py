"""What operators are told: ready or why not, and a status without anything of a customer's."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from proxy.admin.history import History
from proxy.admin.metrics import Metrics
from proxy.admin.report import ORDERS_KEPT, Report
from proxy.records import Record
from proxy.settings import judge
from proxy.tokens.values import TokenEvent, TokenFailure, TokenState, TokenStatus
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
FAILURE = TokenFailure(
    "refused", "40101", "Set a new password in Min Bedrift.", refused=True, at=1.0
)


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


# --- probes ------------------------------------------------------------------------------------


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
    """The first fetch is under way.

    Or it failed, then with what to do about it and when the next attempt is.
    """
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


# --- status ------------------------------------------------------------------------------------


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
    assert told["clients"] == {"connections": 2, "in_flight": 1, "by_name": []}
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
    """No credential, no key, and no path, which may hold a phone number, but of an order to look up."""
    proxy.becomes(TokenState.EXPIRED, last_failure=FAILURE)
    proxy.report(RECORD)
    proxy.report(RECORD._replace(status=502, error="dns_error", outcome="not_sent"))
    proxy.report(RECORD._replace(method="GET", status=502, error="dns_error", outcome="unknown"))
    proxy.report(RECORD._replace(status=403, error="path-not-allowed", refused=True))
    text = json.dumps(status(proxy))
    for secretive in ("hunter2", "4799885577", "/orders"):
        assert secretive not in text
    assert status(proxy)["settings"]["oauth.client_secret"] == "set"


# --- failures ----------------------------------------------------------------------------------


async def test_failures_are_remembered_newest_first(proxy: Proxy) -> None:
    """With when, what, who, why, and the id under which the log has more.

    Calls that the API answered are no failures.
    """
    proxy.report(RECORD)
    proxy.report(RECORD._replace(status=500))
    proxy.report(
        RECORD._replace(
            request_id="id-2", status=403, error="path-not-allowed", refused=True, attempts=0
        )
    )
    await proxy.clock.advance(5)
    proxy.report(
        RECORD._replace(
            request_id="id-3",
            status=502,
            error="dns_error",
            outcome="not_sent",
            client="erp",
            client_address="10.0.0.8",
            detail="The host name of the API could not be resolved.",
        )
    )
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
        "client": "erp",
        "client_address": "10.0.0.8",
        "detail": "The host name of the API could not be resolved.",
    }
    assert older["outcome"] is None
    assert (older["request_id"], older["refused"], older["at"]) == (
        "id-2",
        True,
        proxy.clock.wall() - 5,
    )


def test_memory_does_not_grow_with_failures(proxy: Proxy) -> None:
    """Only the last ones are kept, and a client whose requests are refused hides no failure."""
    for number in range(100):
        proxy.report(RECORD._replace(request_id=f"f-{number}", status=502, error="dns_error"))
    for number in range(1000):
        proxy.report(
            RECORD._replace(
                request_id=f"r-{number}", status=403, error="path-not-allowed", refused=True
            )
        )
    ids = [failure["request_id"] for failure in status(proxy)["last_failures"]]
    assert len(ids) <= 50
    assert {"f-99", "r-999"} <= set(ids)
    assert "f-0" not in ids


# --- the headline ------------------------------------------------------------------------------


def test_the_headline_is_told(proxy: Proxy) -> None:
    """In `/status` and in the metrics, the same sentence."""
    proxy.becomes(TokenState.FRESH)
    for _ in range(45):
        proxy.report(RECORD._replace(status=401, code="40103"))
    told = status(proxy)["headline"]
    assert told["state"] == "not_working"
    assert "40103" in told["text"]
    assert told["text"] == f"{told['title']}. {told['what']} {told['step']}"
    assert (told["since"], told["failed"], told["calls"]) == (proxy.clock.wall(), 45, 45)
    text = proxy.report.metrics().decode()
    assert 'telenor_proxy_working{state="not_working"} 1.0' in text
    assert 'telenor_proxy_working{state="working"} 0.0' in text
    assert f'telenor_proxy_headline{{state="not_working",text="{told["text"]}"}} 1.0' in text


async def test_it_says_since_when(proxy: Proxy) -> None:
    """Since the first failed renewal, or since tokens are lost in a row.

    And since when all is well again.
    """
    began = proxy.clock.wall()
    for _ in range(3):
        proxy.report.on_token(TokenEvent("renewal_failed", "startup", reason="refused"))
        await proxy.clock.advance(30)
    proxy.becomes(TokenState.EMPTY, last_failure=FAILURE)
    assert status(proxy)["headline"]["since"] == began
    proxy.report.on_token(TokenEvent("renewed", "startup"))
    proxy.becomes(TokenState.FRESH)
    assert status(proxy)["headline"]["since"] == began + 90
    await proxy.clock.advance(30)
    proxy.becomes(TokenState.FRESH, contended=True, contended_since=proxy.clock.wall())
    await proxy.clock.advance(30)
    assert status(proxy)["headline"]["since"] == began + 120
    proxy.becomes(TokenState.FRESH)
    assert status(proxy)["headline"]["since"] == began + 150
    proxy.report.draining = True
    assert status(proxy)["headline"]["cause"] == "draining"
    assert status(proxy)["headline"]["since"] == began + 150


def test_refused_credentials_are_told_until_a_login_succeeds(proxy: Proxy) -> None:
    """A passing fault after a refusal hides it from no alert; a new token ends it."""
    seen = []
    for reason in ("timeout", "refused", "timeout", None, "timeout"):
        if reason is None:
            proxy.report.on_token(TokenEvent("renewed", "asked"))
        else:
            proxy.report.on_token(TokenEvent("renewal_failed", "startup", reason=reason))
        seen.append("telenor_proxy_credentials_refused 1.0" in proxy.report.metrics().decode())
    assert seen == [False, True, True, False, False]


# --- orders to look up -------------------------------------------------------------------------


def test_orders_that_may_have_been_placed_are_a_list_of_their_own(proxy: Proxy) -> None:
    """113 of them, and 200 calls that failed or were refused after them: none drops out."""
    for number in range(113):
        proxy.report(
            RECORD._replace(
                request_id=f"o-{number}",
                status=502,
                error="connection_terminated",
                outcome="unknown",
                client="erp",
                client_address="10.0.0.8",
            )
        )
    for _ in range(200):
        proxy.report(RECORD._replace(status=403, error="path-not-allowed", refused=True))
        proxy.report(RECORD._replace(status=502, error="dns_error", outcome="not_sent"))
        proxy.report(
            RECORD._replace(method="GET", status=502, error="dns_error", outcome="unknown")
        )
    told = status(proxy)
    assert told["unknown_orders_counted"] == 113
    assert [order["request_id"] for order in told["unknown_orders"]] == [
        f"o-{number}" for number in reversed(range(113))
    ]
    assert told["unknown_orders"][0] == {
        "at": proxy.clock.wall() - RECORD.seconds,  # when it came
        "client": "erp",
        "client_address": "10.0.0.8",
        "request_id": "o-112",
        "method": "POST",
        "path": "/orders/4799885577",
        "status": 502,
        "error": "connection_terminated",
    }


def test_the_list_is_bounded_and_the_count_is_not(proxy: Proxy) -> None:
    """The newest are kept; how many there were is still told."""
    for number in range(ORDERS_KEPT + 7):
        proxy.report(
            RECORD._replace(request_id=f"o-{number}", status=0, error="x", outcome="unknown")
        )
    told = status(proxy)
    assert len(told["unknown_orders"]) == ORDERS_KEPT
    assert told["unknown_orders"][0]["request_id"] == f"o-{ORDERS_KEPT + 6}"
    assert told["unknown_orders_counted"] == ORDERS_KEPT + 7


# --- parts of others ---------------------------------------------------------------------------


def test_the_history_is_told_when_it_is_asked_for(proxy: Proxy) -> None:
    """It is most of the whole, and only the page needs it."""
    assert "history" not in proxy.report.status()
    assert "history" in proxy.report.status(history=True)


def test_other_parts_have_their_say(proxy: Proxy) -> None:
    """Lines of the log that were lost, what limits the connections, and who calls."""
    caller = {"name": "erp", "calls": 2, "refused": 1, "last_call_at": 5.0, "keys": []}
    report = Report(
        proxy.report.settings,
        proxy.clock,
        Metrics(),
        History(proxy.clock.now()),
        token_status=lambda: EMPTY,
        clients=lambda: {"connections": 0, "in_flight": 0, "by_name": [caller]},
        upstream=dict,
        log=lambda: {"lost": 3},
        limits=lambda: {"detail": None},
    )
    told: Any = report.status()
    assert told["log"] == {"lost": 3}
    assert told["limits"] == {"detail": None}
    assert told["clients"]["by_name"] == [caller]


def test_metrics_are_those_of_the_proxy(proxy: Proxy) -> None:
    """The report hands the exposition on."""
    assert b"telenor_proxy_build_info" in proxy.report.metrics()


def test_fetches_of_a_token_are_in_the_history(proxy: Proxy) -> None:
    """By the minute, those that failed apart."""
    for event in (
        TokenEvent("renewed", "startup"),
        TokenEvent("renewal_failed", "ahead", reason="timeout"),
        TokenEvent("renewal_failed", "ahead", reason="timeout"),
        TokenEvent("invalidated"),
    ):
        proxy.report.on_token(event)
    series: Any = proxy.report.status(history=True)["history"]
    assert (series["renewals"][-1], series["renewal_failures"][-1]) == (1, 2)
