"""What operators see: ready or why not, and a status without anything of a customer's."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from proxy.admin.history import History
from proxy.admin.metrics import Metrics
from proxy.admin.report import ORDERS_KEPT, Report
from proxy.records import Record
from proxy.tokens.values import TokenEvent, TokenFailure, TokenState, TokenStatus
from tests.clock import FakeClock
from tests.unit.made import OAUTH, settings

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
PASSWORD = "Set a new password in Min Bedrift."
FAILURE = TokenFailure("refused", "40101", PASSWORD, refused=True, at=1.0)
REFUSED = {"status": 403, "error": "path-not-allowed", "refused": True}
NOT_SENT = {"status": 502, "error": "dns_error", "outcome": "not_sent"}
READ = {"method": "GET", "status": 502, "error": "dns_error", "outcome": "unknown"}


class Proxy:
    """The state of a proxy, as the report asks for it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.token = EMPTY
        self.report = Report(
            settings(
                listen={"client_key": "hunter2-key"},
                oauth={name: f"hunter2-{name}" for name in OAUTH},
            ),
            self.clock,
            Metrics(),
            History(self.clock.now()),
            token_status=lambda: self.token,
            clients=lambda: {"connections": 2, "in_flight": 1},
            upstream=lambda: {"in_use": 1, "idle": 3},
        )

    def call(self, **changes: Any) -> None:
        """Finish a call."""
        self.report(RECORD._replace(**changes))

    def headline(self) -> dict[str, Any]:
        """Return the status's headline."""
        found: dict[str, Any] = status(self)["headline"]
        return found

    def becomes(self, state: TokenState, **changes: Any) -> None:
        """Change the token's state."""
        values = {name: getattr(EMPTY, name) for name in EMPTY.__slots__}
        self.token = TokenStatus(**(values | {"state": state, "generation": 1} | changes))


@pytest.fixture
def proxy() -> Proxy:
    """Give a proxy that has just started."""
    return Proxy()


# --- probes ------------------------------------------------------------------------------------


def test_a_token_starts_the_proxy_and_makes_it_ready(proxy: Proxy) -> None:
    """Started for good; ready while one can be sent, even if the last renewal failed."""
    assert not proxy.report.started()
    for state in (TokenState.FRESH, TokenState.STALE, TokenState.EXPIRED):
        proxy.becomes(state, last_failure=FAILURE)
        assert proxy.report.started()
        assert (proxy.report.not_ready() is None) == (state is not TokenState.EXPIRED)


@pytest.mark.parametrize("state", [TokenState.EMPTY, TokenState.EXPIRED])
def test_not_ready_says_why_in_words(proxy: Proxy, state: TokenState) -> None:
    """The first fetch goes on, or what to do after a failure and when it is tried again."""
    proxy.becomes(state)
    assert proxy.report.not_ready() == "The access token is being fetched."
    proxy.becomes(state, last_failure=FAILURE)
    assert proxy.report.not_ready() == PASSWORD
    proxy.becomes(state, last_failure=FAILURE, next_attempt_in_seconds=29.6)
    assert proxy.report.not_ready() == f"{PASSWORD} Next attempt in 30 s."


def test_a_draining_proxy_is_not_ready(proxy: Proxy) -> None:
    """Whatever the token's state."""
    proxy.becomes(TokenState.FRESH)
    proxy.report.draining = True
    assert proxy.report.not_ready() == "The proxy is shutting down."
    assert proxy.report.status()["draining"] is True


# --- status ------------------------------------------------------------------------------------


def status(proxy: Proxy) -> dict[str, Any]:
    """Return the status as JSON."""
    read: dict[str, Any] = json.loads(orjson.dumps(proxy.report.status()))
    return read


def test_the_status_is_complete(proxy: Proxy) -> None:
    """Times, readiness, the token, connections, settings; the history on request."""
    proxy.becomes(TokenState.FRESH, expires_in_seconds=100.5)
    shown = status(proxy)
    assert shown["ready"] is True
    assert shown["problem"] is None
    assert shown["started_at"] == shown["now"] == proxy.clock.wall()
    assert shown["token"]["state"] == "fresh"
    assert shown["token"]["expires_in_seconds"] == 100.5
    assert shown["clients"] == {"connections": 2, "in_flight": 1, "by_name": []}
    assert shown["upstream"] == {"in_use": 1, "idle": 3}
    assert shown["last_failures"] == []
    assert shown["settings"]["listen.port"] == 8080
    assert "history" not in shown
    assert "history" in proxy.report.status(history=True)


def test_requests_are_counted_by_class(proxy: Proxy) -> None:
    """As the metrics count them."""
    for code in (200, 201, 404, 502, 0):
        proxy.report._metrics(RECORD._replace(status=code))
    assert status(proxy)["requests"] == {"2xx": 2, "4xx": 1, "5xx": 1, "none": 1}


def test_nothing_secret_and_nothing_of_a_customers_is_shown(proxy: Proxy) -> None:
    """No credential, no key, no path; only orders to look up show theirs."""
    proxy.becomes(TokenState.EXPIRED, last_failure=FAILURE)
    for call in ({}, NOT_SENT, READ, REFUSED):
        proxy.call(**call)
    text = json.dumps(status(proxy))
    for secretive in ("hunter2", "4799885577", "/orders"):
        assert secretive not in text
    assert status(proxy)["settings"]["oauth.client_secret"] == "set"


# --- failures ----------------------------------------------------------------------------------


async def test_failures_are_remembered_newest_first(proxy: Proxy) -> None:
    """Not the calls that the API answered."""
    proxy.call()
    proxy.call(status=500)
    proxy.call(request_id="id-2", attempts=0, **REFUSED)
    await proxy.clock.advance(5)
    dns = "The host name of the API could not be resolved."
    erp = {"client": "erp", "client_address": "10.0.0.8"}
    proxy.call(request_id="id-3", detail=dns, **erp, **NOT_SENT)
    shown = status(proxy)
    assert shown["now"] - shown["started_at"] == 5
    newest, older = shown["last_failures"]
    assert newest == {
        "at": proxy.clock.wall(),
        "request_id": "id-3",
        "method": "POST",
        "refused": False,
        "attempts": 1,
        "detail": dns,
        **erp,
        **NOT_SENT,
    }
    assert (older["request_id"], older["refused"], older["outcome"]) == ("id-2", True, None)
    assert older["at"] == proxy.clock.wall() - 5


def test_memory_does_not_grow_with_failures(proxy: Proxy) -> None:
    """Refused requests of a client displace no failure."""
    for number in range(100):
        proxy.call(request_id=f"f-{number}", **NOT_SENT)
    for number in range(1000):
        proxy.call(request_id=f"r-{number}", **REFUSED)
    ids = [failure["request_id"] for failure in status(proxy)["last_failures"]]
    assert len(ids) <= 50
    assert {"f-99", "r-999"} <= set(ids)
    assert "f-0" not in ids


# --- the headline ------------------------------------------------------------------------------


def test_the_headline_is_shown(proxy: Proxy) -> None:
    """The same sentence in `/status` and in the metrics."""
    proxy.becomes(TokenState.FRESH)
    for _ in range(45):
        proxy.call(status=401, code="40103")
    shown = proxy.headline()
    assert shown["state"] == "not_working"
    assert "40103" in shown["text"]
    assert shown["text"] == f"{shown['title']}. {shown['what']} {shown['step']}"
    assert (shown["since"], shown["failed"], shown["calls"]) == (proxy.clock.wall(), 45, 45)
    text = proxy.report.metrics().decode()
    assert 'telenor_proxy_working{state="not_working"} 1.0' in text
    assert 'telenor_proxy_working{state="working"} 0.0' in text
    assert f'telenor_proxy_headline{{state="not_working",text="{shown["text"]}"}} 1.0' in text


async def test_it_says_since_when(proxy: Proxy) -> None:
    """Since the first failed renewal, lost token, or recovery."""
    began = proxy.clock.wall()
    for _ in range(3):
        proxy.report.on_token(TokenEvent("renewal_failed", "startup", reason="refused"))
        await proxy.clock.advance(30)
    proxy.becomes(TokenState.EMPTY, last_failure=FAILURE)
    assert proxy.headline()["since"] == began
    proxy.report.on_token(TokenEvent("renewed", "startup"))
    proxy.becomes(TokenState.FRESH)
    assert proxy.headline()["since"] == began + 90
    await proxy.clock.advance(30)
    proxy.becomes(TokenState.FRESH, contended=True, contended_since=proxy.clock.wall())
    await proxy.clock.advance(30)
    assert proxy.headline()["since"] == began + 120
    proxy.becomes(TokenState.FRESH)
    assert proxy.headline()["since"] == began + 150
    proxy.report.draining = True
    assert proxy.headline()["cause"] == "draining"
    assert proxy.headline()["since"] == began + 150


def test_refused_credentials_are_shown_until_a_login_succeeds(proxy: Proxy) -> None:
    """A passing fault after a refusal does not end it."""
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
    """Calls that failed or were refused later displace none."""
    for number in range(113):
        lost = {"status": 502, "error": "connection_terminated"}
        erp = {"client": "erp", "client_address": "10.0.0.8"}
        proxy.call(request_id=f"o-{number}", outcome="unknown", **lost, **erp)
    for _ in range(200):
        for call in (REFUSED, NOT_SENT, READ):
            proxy.call(**call)
    shown = status(proxy)
    assert shown["unknown_orders_counted"] == 113
    ids = [order["request_id"] for order in shown["unknown_orders"]]
    assert ids == [f"o-{number}" for number in reversed(range(113))]
    assert shown["unknown_orders"][0] == {
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
    """The newest are kept."""
    for number in range(ORDERS_KEPT + 7):
        proxy.call(request_id=f"o-{number}", status=0, error="x", outcome="unknown")
    shown = status(proxy)
    assert len(shown["unknown_orders"]) == ORDERS_KEPT
    assert shown["unknown_orders"][0]["request_id"] == f"o-{ORDERS_KEPT + 6}"
    assert shown["unknown_orders_counted"] == ORDERS_KEPT + 7


def test_a_forgotten_order_is_no_longer_listed(proxy: Proxy) -> None:
    """One with a record is listed as long as the store has it, or while the store is away."""
    stored: dict[str, Any] = {"away": None, "records": []}
    proxy.report._stored = lambda: stored
    lost = {"status": 502, "error": "connection_terminated", "outcome": "unknown"}
    proxy.call(request_id="without", **lost)
    proxy.call(request_id="forgotten", recorded=True, **lost)
    proxy.call(request_id="kept", recorded=True, client_address="10.0.0.8", **lost)
    at = proxy.clock.wall() - RECORD.seconds
    kept, earlier = ({"request_id": name, "at": at - 5, "method": "PUT"} for name in ("kept", "e"))

    def listed() -> list[str]:
        shown = status(proxy)
        ids = [order["request_id"] for order in shown["unknown_orders"]]
        assert shown["unknown_orders_counted"] == len(ids)
        return ids

    assert listed() == ["without"]
    stored["records"] = [earlier, kept]
    assert listed() == ["kept", "without", "e"]
    assert status(proxy)["unknown_orders"][0]["client_address"] == "10.0.0.8"
    stored["away"] = "Wait."
    assert listed() == ["kept", "forgotten", "without", "e"]
    # The store names its oldest orders only: it may have what is newer than those.
    full = [earlier] * ORDERS_KEPT
    for newest, then in ((at - 1, True), (at, False)):
        stored.update(away=None, records=[*full[:-1], kept | {"at": newest}])
        shown = [order["request_id"] for order in status(proxy)["unknown_orders"]]
        assert ("forgotten" in shown) is then


# --- parts of others ---------------------------------------------------------------------------


def test_other_parts_are_in_the_status(proxy: Proxy) -> None:
    """Lost lines of the log, what limits connections, and the clients."""
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
    shown: Any = report.status()
    assert shown["log"] == {"lost": 3}
    assert shown["limits"] == {"detail": None}
    assert shown["clients"]["by_name"] == [caller]


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
