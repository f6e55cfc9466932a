"""What operators see: ready or why not, and a status without anything of a customer's."""

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest

from proxy.admin.report import ORDERS_KEPT
from proxy.tokens.values import TokenEvent, TokenFailure, TokenState
from tests.page.staged import Stage
from tests.unit.made import EMPTY

PASSWORD = "Set a new password in Min Bedrift."
FAILURE = TokenFailure("refused", "40101", PASSWORD, refused=True, at=1.0)
REFUSED: dict[str, Any] = {"status": 403, "error": "path-not-allowed", "refused": True}
NOT_SENT: dict[str, Any] = {"status": 502, "error": "dns_error", "outcome": "not_sent"}
READ: dict[str, Any] = {"method": "GET", "status": 502, "error": "dns_error", "outcome": "unknown"}
LOST: dict[str, Any] = {"status": 502, "error": "connection_terminated", "outcome": "unknown"}
ERP: dict[str, Any] = {"client": "erp", "client_address": "10.0.0.8"}


@pytest.fixture
def stage() -> Stage:
    """Give a proxy that has a token."""
    return Stage()


def status(stage: Stage) -> dict[str, Any]:
    """Return the status as JSON."""
    read: dict[str, Any] = json.loads(orjson.dumps(stage.report.status()))
    return read


def headline(stage: Stage) -> dict[str, Any]:
    """Return the status's headline."""
    found: dict[str, Any] = status(stage)["headline"]
    return found


# --- probes ------------------------------------------------------------------------------------


def test_a_token_starts_the_proxy_and_makes_it_ready(stage: Stage) -> None:
    """Started for good; ready while one can be sent, even if the last renewal failed."""
    for state in (TokenState.FRESH, TokenState.STALE, TokenState.EXPIRED):
        stage.token_is(state=state, last_failure=FAILURE)
        assert stage.report.started()
        assert (stage.report.not_ready() is None) == (state is not TokenState.EXPIRED)
    stage.token = EMPTY
    assert not stage.report.started()


@pytest.mark.parametrize("state", [TokenState.EMPTY, TokenState.EXPIRED])
def test_not_ready_says_why_in_words(stage: Stage, state: TokenState) -> None:
    """The first fetch goes on, or what to do after a failure and when it is tried again."""
    stage.token = replace(EMPTY, state=state)
    assert stage.report.not_ready() == "The access token is being fetched."
    stage.token_is(last_failure=FAILURE)
    assert stage.report.not_ready() == PASSWORD
    stage.token_is(next_attempt_in_seconds=29.6)
    assert stage.report.not_ready() == f"{PASSWORD} Next attempt in 30 s."


def test_a_draining_proxy_is_not_ready(stage: Stage) -> None:
    """Whatever the token's state."""
    stage.report.draining = True
    assert stage.report.not_ready() == "The proxy is shutting down."
    assert status(stage)["draining"] is True


# --- status ------------------------------------------------------------------------------------


def test_the_status_is_complete(stage: Stage) -> None:
    """Times, readiness, the token, parts of others, settings; the history on request."""
    stage.token_is(expires_in_seconds=100.5)
    shown = status(stage)
    assert shown["ready"] is True
    assert shown["problem"] is None
    assert shown["now"] == stage.clock.wall()
    assert shown["token"]["state"] == "fresh"
    assert shown["token"]["expires_in_seconds"] == 100.5
    assert shown["upstream"] == {"in_use": 1, "idle": 5}
    assert shown["last_failures"] == []
    assert shown["settings"]["listen.port"] == 8080
    assert "history" not in shown
    assert "history" in stage.report.status(history=True)


def test_requests_are_counted_by_class(stage: Stage) -> None:
    """As the metrics count them."""
    for code in (200, 201, 404, 502, 0):
        stage.call(code)
    assert status(stage)["requests"] == {"2xx": 2, "4xx": 1, "5xx": 1, "none": 1}


def test_nothing_secret_and_nothing_of_a_customers_is_shown(stage: Stage) -> None:
    """No credential, no key, no path; only orders to look up show theirs."""
    stage.token_is(state=TokenState.EXPIRED, last_failure=FAILURE)
    calls: list[dict[str, Any]] = [{}, NOT_SENT, READ, REFUSED]
    for call in calls:
        stage.call(**{"path": "/orders/4799885577", **call})
    text = json.dumps(status(stage))
    for secretive in ("Sentinel", "4799885577", "/orders"):
        assert secretive not in text
    assert status(stage)["settings"]["oauth.client_secret"] == "set"


# --- failures ----------------------------------------------------------------------------------


async def test_failures_are_remembered_newest_first(stage: Stage) -> None:
    """Not the calls that the API answered."""
    stage.call()
    stage.call(500)
    stage.call(request_id="id-2", attempts=0, **REFUSED)
    stage.clock.suspend(5)
    dns = "The host name of the API could not be resolved."
    stage.call(request_id="id-3", detail=dns, **ERP, **NOT_SENT)
    newest, older = status(stage)["last_failures"]
    assert newest == {
        "at": stage.clock.wall(),
        "request_id": "id-3",
        "method": "POST",
        "refused": False,
        "attempts": 1,
        "detail": dns,
        **ERP,
        **NOT_SENT,
    }
    assert (older["request_id"], older["refused"], older["outcome"]) == ("id-2", True, None)
    assert older["at"] == stage.clock.wall() - 5


def test_memory_does_not_grow_with_failures(stage: Stage) -> None:
    """Refused requests of a client displace no failure."""
    for number in range(100):
        stage.call(request_id=f"f-{number}", **NOT_SENT)
    for number in range(1000):
        stage.call(request_id=f"r-{number}", **REFUSED)
    ids = [failure["request_id"] for failure in status(stage)["last_failures"]]
    assert len(ids) <= 50
    assert {"f-99", "r-999"} <= set(ids)
    assert "f-0" not in ids


# --- the headline ------------------------------------------------------------------------------


def test_the_headline_is_shown(stage: Stage) -> None:
    """The same sentence in `/status` and in the metrics."""
    for _ in range(45):
        stage.call(401, code="40103")
    shown = headline(stage)
    assert shown["state"] == "not_working"
    assert "40103" in shown["text"]
    assert shown["text"] == f"{shown['title']}. {shown['what']} {shown['step']}"
    assert (shown["since"], shown["failed"], shown["calls"]) == (stage.clock.wall(), 45, 45)
    text = stage.report.metrics().decode()
    assert 'telenor_proxy_working{state="not_working"} 1.0' in text
    assert 'telenor_proxy_working{state="working"} 0.0' in text
    assert f'telenor_proxy_headline{{state="not_working",text="{shown["text"]}"}} 1.0' in text


def test_it_says_since_when(stage: Stage) -> None:
    """Since the first failed renewal, lost token, or recovery."""
    began = stage.clock.wall()
    stage.token = EMPTY
    for _ in range(3):
        stage.report.on_token(TokenEvent("renewal_failed", "startup", reason="refused"))
        stage.clock.suspend(30)
    stage.token_is(last_failure=FAILURE)
    assert headline(stage)["since"] == began
    stage.report.on_token(TokenEvent("renewed", "startup"))
    stage.token_is(state=TokenState.FRESH, last_failure=None)
    assert headline(stage)["since"] == began + 90
    stage.clock.suspend(30)
    stage.token_is(contended=True, contended_since=stage.clock.wall())
    stage.clock.suspend(30)
    assert headline(stage)["since"] == began + 120
    stage.token_is(contended=False)
    assert headline(stage)["since"] == began + 150
    stage.report.draining = True
    assert headline(stage)["cause"] == "draining"
    assert headline(stage)["since"] == began + 150


def test_refused_credentials_are_shown_until_a_login_succeeds(stage: Stage) -> None:
    """A passing fault after a refusal does not end it."""
    seen = []
    for reason in ("timeout", "refused", "timeout", None, "timeout"):
        if reason is None:
            stage.report.on_token(TokenEvent("renewed", "asked"))
        else:
            stage.report.on_token(TokenEvent("renewal_failed", "startup", reason=reason))
        seen.append("telenor_proxy_credentials_refused 1.0" in stage.report.metrics().decode())
    assert seen == [False, True, True, False, False]


# --- orders to look up -------------------------------------------------------------------------


def test_orders_that_may_have_been_placed_are_a_list_of_their_own(stage: Stage) -> None:
    """Calls that failed or were refused later displace none."""
    for number in range(113):
        stage.call(request_id=f"o-{number}", **LOST, **ERP)
    for _ in range(200):
        for call in (REFUSED, NOT_SENT, READ):
            stage.call(**call)
    shown = status(stage)
    assert shown["unknown_orders_counted"] == 113
    ids = [order["request_id"] for order in shown["unknown_orders"]]
    assert ids == [f"o-{number}" for number in reversed(range(113))]
    assert shown["unknown_orders"][0] == {
        "at": stage.clock.wall() - 0.05,  # when it came
        **ERP,
        "request_id": "o-112",
        "method": "POST",
        "path": "/x",
        "status": 502,
        "error": "connection_terminated",
    }


def test_the_list_is_bounded_and_the_count_is_not(stage: Stage) -> None:
    """The newest are kept."""
    for number in range(ORDERS_KEPT + 7):
        stage.call(request_id=f"o-{number}", **LOST)
    shown = status(stage)
    assert len(shown["unknown_orders"]) == ORDERS_KEPT
    assert shown["unknown_orders"][0]["request_id"] == f"o-{ORDERS_KEPT + 6}"
    assert shown["unknown_orders_counted"] == ORDERS_KEPT + 7


def test_a_forgotten_order_is_no_longer_listed(stage: Stage) -> None:
    """One with a record is listed as long as the store has it, or while the store is away."""
    stored: dict[str, Any] = {"away": None, "looked_at": stage.clock.wall(), "records": []}
    stage.report._stored = lambda: stored
    stage.clock.suspend(1)
    stage.call(request_id="without", **LOST)
    stage.call(request_id="forgotten", recorded=True, **LOST)
    stage.call(request_id="kept", recorded=True, client_address="10.0.0.8", **LOST)
    at = stage.clock.wall() - 0.05
    kept, earlier = ({"request_id": name, "at": at - 5, "method": "PUT"} for name in ("kept", "e"))

    def listed() -> list[str]:
        shown = status(stage)
        ids = [order["request_id"] for order in shown["unknown_orders"]]
        assert shown["unknown_orders_counted"] == len(ids)
        return ids

    # The last look was before they ended.
    assert listed() == ["kept", "forgotten", "without"]
    stored["looked_at"] = stage.clock.wall()
    assert listed() == ["without"]
    stored["records"] = [earlier, kept]
    assert listed() == ["kept", "without", "e"]
    assert status(stage)["unknown_orders"][0]["client_address"] == "10.0.0.8"
    stored["away"] = "Wait."
    assert listed() == ["kept", "forgotten", "without", "e"]
    # The store names its oldest orders only: it may have what is newer than those.
    full = [earlier] * ORDERS_KEPT
    for newest, then in ((at - 1, True), (at, False)):
        stored.update(away=None, records=[*full[:-1], kept | {"at": newest}])
        shown = [order["request_id"] for order in status(stage)["unknown_orders"]]
        assert ("forgotten" in shown) is then


def test_fetches_of_a_token_are_in_the_history(stage: Stage) -> None:
    """By the minute, those that failed apart."""
    for name in ("renewed", "renewal_failed", "renewal_failed", "invalidated"):
        stage.report.on_token(TokenEvent(name, reason="timeout"))
    series: Any = stage.report.status(history=True)["history"]
    assert (series["renewals"][-1], series["renewal_failures"][-1]) == (1, 2)
