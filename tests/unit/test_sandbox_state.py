"""What the sandbox remembers: tokens and their lifetimes, orders, accounts, counters."""

from typing import Any

import pytest

from proxy.sandbox.messages import Call
from proxy.sandbox.state import DEFAULT_CREDENTIALS, KEPT, Sandbox

ORDER = {"productId": "50795", "msisdn": "4799885577", "type": "ADD_PRODUCT"}
CALL = Call("POST", "/")


class Time:
    """A clock that a test moves."""

    seconds = 5_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


@pytest.fixture
def time() -> Time:
    """Give the clock of the sandbox."""
    return Time()


@pytest.fixture
def sandbox(time: Time) -> Sandbox:
    """Give a sandbox with that clock."""
    return Sandbox(now=time)


def counters(sandbox: Sandbox) -> Any:
    """Return what the control API shows."""
    return sandbox.shown()["counters"]


def test_token_lives_as_long_as_the_setting_says(sandbox: Sandbox, time: Time) -> None:
    """Valid before the end, expired from then on."""
    sandbox.settings.token_lifetime_seconds = 60
    token, lifetime = sandbox.log_in()
    time.seconds += 59.9
    assert (lifetime, sandbox.token_state(token)) == (60, "valid")
    time.seconds += 0.1
    assert sandbox.token_state(token) == "expired"
    assert sandbox.token_state("never-issued") == "unknown"


def test_tokens_are_b64token(sandbox: Sandbox) -> None:
    """RFC 6750, with the characters that careless clients get wrong."""
    tokens = {sandbox.log_in()[0] for _ in range(64)}
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")
    assert len(tokens) == 64
    assert set("".join(tokens)) <= allowed
    assert {"+", "/", "="} <= set("".join(tokens))


def test_revoke_ends_all_tokens(sandbox: Sandbox) -> None:
    """It returns how many were valid."""
    tokens = [sandbox.log_in()[0] for _ in range(3)]
    sandbox.log_out(tokens[0])
    assert sandbox.revoke() == 2
    assert [sandbox.token_state(token) for token in tokens] == ["unknown"] * 3
    assert all(token.ended for token in sandbox.issued)


@pytest.mark.parametrize(("single_session", "old"), [(False, "valid"), (True, "unknown")])
def test_single_session(sandbox: Sandbox, *, single_session: bool, old: str) -> None:
    """A login ends the old token if the setting says so."""
    sandbox.settings.single_session = single_session
    first, second = sandbox.log_in()[0], sandbox.log_in()[0]
    assert [sandbox.token_state(token) for token in (first, second)] == [old, "valid"]


def test_shared_token(sandbox: Sandbox, time: Time) -> None:
    """A login gets the valid token and the rest of its lifetime."""
    sandbox.settings.shared_token = True
    sandbox.settings.token_lifetime_seconds = 100
    first = sandbox.log_in()
    time.seconds += 30
    assert sandbox.log_in() == (first[0], 70)
    time.seconds += 70
    assert sandbox.log_in()[0] != first[0]


def test_secrets_have_no_repr(sandbox: Sandbox) -> None:
    """Neither credentials nor tokens."""
    token, _ = sandbox.log_in()
    shown = repr((sandbox.credentials, sandbox.issued))
    assert DEFAULT_CREDENTIALS.username in shown
    for secret in (token, DEFAULT_CREDENTIALS.password, DEFAULT_CREDENTIALS.client_secret):
        assert secret not in shown


def test_orders_and_accounts_have_a_delay(sandbox: Sandbox, time: Time) -> None:
    """An order is accepted, then completed; an account is not listed at first."""
    sandbox.settings.order_delay_seconds = sandbox.settings.account_delay_seconds = 10
    order, account = sandbox.place_order(ORDER, CALL), sandbox.create_account({"name": "x"})
    time.seconds += 9.9
    assert (sandbox.order_status(order), sandbox.visible_accounts()) == ("ACCEPTED", [])
    time.seconds += 0.1
    assert (sandbox.order_status(order), sandbox.visible_accounts()) == ("COMPLETED", [account])


def test_memory_is_bounded(sandbox: Sandbox) -> None:
    """The oldest orders are forgotten; the counter goes on."""
    for number in range(KEPT + 5):
        sandbox.place_order({"number": number}, CALL)
    assert (len(sandbox.orders), sandbox.orders[0].body) == (KEPT, {"number": 5})
    assert counters(sandbox)["orders"] == KEPT + 5


def test_reset_forgets_everything_but_the_tokens(sandbox: Sandbox) -> None:
    """Settings are as at the start, tokens valid."""
    settings = sandbox.settings
    fresh: dict[str, Any] = sandbox.shown()
    token, _ = sandbox.log_in()
    settings.error_shape = "html"
    sandbox.fault("api_drop")
    sandbox.place_order(ORDER, CALL)
    sandbox.create_account({})
    sandbox.subscriptions.clear()
    sandbox.reset()
    fresh["counters"] |= {"tokens_valid": 1}
    assert sandbox.shown() == fresh
    assert sandbox.settings is settings
    assert (sandbox.orders, sandbox.visible_accounts(), len(sandbox.subscriptions)) == ([], [], 2)
    assert sandbox.token_state(token) == "valid"


def test_concurrent_token_calls_are_counted(sandbox: Sandbox) -> None:
    """The most that were open at once."""
    with sandbox.token_call(), sandbox.token_call():
        pass
    with sandbox.token_call():
        pass
    assert sandbox.counters["max_concurrent_token_calls"] == 2
