"""The API behind the sandbox's token: the gateway's checks, orders, accounts, and the reads of the Info API."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.sandbox.answers import GATEWAY_ERRORS
from proxy.sandbox.gateway import reply
from proxy.sandbox.state import Sandbox
from proxy.sandbox.values import Answer, Call

ORDERS = "/corporate-mobile-subscriptions/v2/orders"
SUBSCRIPTIONS = "/corporate-mobile-subscriptions/v2/mobile-subscriptions"
REFERENCES = "/corporate-mobile-subscriptions/v1/4799885577/user-references"
ACCOUNTS = "/corporate-accounts/v2/accounts"
ORDER = {"productId": "50795", "msisdn": "4799885577", "type": "ADD_PRODUCT"}


@pytest.fixture
def sandbox() -> Sandbox:
    """Give a sandbox whose time stands still and whose orders and accounts need none."""
    sandbox = Sandbox(now=lambda: 1_000.0)
    sandbox.settings.order_delay_seconds = 0
    sandbox.settings.account_delay_seconds = 0
    return sandbox


def ask(
    sandbox: Sandbox, method: str, path: str, body: object = None, authorization: str | None = "valid"
) -> Answer:
    """Call the API; with a fresh token, unless the test gives another Authorization."""
    value = f"Bearer {sandbox.log_in('api1')[0]}" if authorization == "valid" else authorization
    fields = () if value is None else (("Authorization", value),)
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return reply(sandbox, Call(method, path, fields, raw)).answer


def content(made: Answer) -> Any:
    """Read the answer's JSON."""
    return orjson.loads(made.body)


@pytest.mark.parametrize(
    ("authorization", "code"),
    [(None, 40102), ("Digest x", 40102), ("Basic YTpi", 40107), ("Bearer unknown", 40105), ("Bearer", 40105)],
)
def test_a_call_without_a_good_token_is_refused(
    sandbox: Sandbox, authorization: str | None, code: int
) -> None:
    """Each kind of missing or wrong authorization has its own code, and nothing is done."""
    made = ask(sandbox, "POST", ORDERS, ORDER, authorization)
    assert (made.status, content(made)["code"], sandbox.orders) == (401, code, [])


def test_an_expired_token_is_told_from_an_unknown_one(sandbox: Sandbox) -> None:
    """An expired token gets 40106, a revoked one 40105."""
    sandbox.settings.token_lifetime_seconds = 0
    assert ask(sandbox, "GET", SUBSCRIPTIONS).code == 40106
    token, _ = sandbox.log_in("api1")
    sandbox.revoke()
    assert ask(sandbox, "GET", SUBSCRIPTIONS, authorization=f"Bearer {token}").code == 40105


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", ORDERS),
        ("PATCH", ORDERS),
        ("POST", f"{ORDERS}/"),
        ("POST", f"/{ORDERS}"),
        ("POST", ORDERS.replace("orders", "%6frders")),
        ("DELETE", ACCOUNTS),
        ("GET", "/oauth/token"),
    ],
)
def test_an_unknown_path_or_method_is_not_found(sandbox: Sandbox, method: str, path: str) -> None:
    """What is not spelled exactly like a known call does not exist, token or not."""
    made = ask(sandbox, method, path, authorization=None)
    assert (made.status, content(made)["code"]) == (404, 40401)


@pytest.mark.parametrize("error", GATEWAY_ERRORS, ids=lambda error: error.name)
def test_every_gateway_error_can_be_switched_on(sandbox: Sandbox, error: Any) -> None:
    """Whatever the table lists, a good order gets it when the fault says so, and is not placed."""
    sandbox.fault("api_error", error.code)
    made = ask(sandbox, "POST", ORDERS, ORDER)
    assert (made.status, content(made)["code"], sandbox.orders) == (error.status, error.code, [])


def test_an_order_is_accepted_and_can_be_looked_up(sandbox: Sandbox) -> None:
    """A good order is answered at once with an id, under which its state can be read."""
    sandbox.settings.order_delay_seconds = 1
    made = ask(sandbox, "POST", ORDERS, ORDER)
    order = content(made)
    assert (made.status, order["status"]) == (201, "ACCEPTED")
    sandbox.settings.order_delay_seconds = 0
    found = ask(sandbox, "GET", f"{ORDERS}/{order['orderId']}")
    assert (found.status, content(found)) == (200, {"orderId": order["orderId"], "status": "COMPLETED"})
    assert [each.body for each in sandbox.orders] == [ORDER]


def test_an_unknown_order_is_not_found_by_the_back_end(sandbox: Sandbox) -> None:
    """An order that was never placed has no state."""
    assert ask(sandbox, "GET", f"{ORDERS}/none").code == 4042000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON object"),
        (b"{", "JSON object"),
        (b"[]", "JSON object"),
        (b'{"productId": NaN}', "JSON object"),
        ({**ORDER, "productId": ""}, "productId"),
        ({**ORDER, "msisdn": 4799885577}, "msisdn"),
        ({"productId": "50795"}, "msisdn, type"),
    ],
)
def test_a_wrong_order_is_a_bad_request(sandbox: Sandbox, body: object, words: str) -> None:
    """An order that is not JSON or lacks a member is refused in words and not kept."""
    made = ask(sandbox, "POST", ORDERS, body)
    assert (made.status, words in content(made)["message"], sandbox.orders) == (400, True, [])


def test_an_error_without_a_code_names_none(sandbox: Sandbox) -> None:
    """Where no code is published, none is made up, in whatever shape."""
    assert content(ask(sandbox, "POST", ORDERS, b"{")).keys() == {"message"}
    sandbox.settings.error_shape = "oauth"
    assert content(ask(sandbox, "POST", ORDERS, b"{"))["error"] == "invalid_request"
    sandbox.fault("api_status", 502)
    assert content(ask(sandbox, "GET", ORDERS)) == {
        "error": "server_error",
        "error_description": "Bad Gateway",
    }


def test_an_account_can_be_created_changed_and_removed(sandbox: Sandbox) -> None:
    """POST creates, PUT changes, DELETE removes, and the list follows."""
    made = ask(sandbox, "POST", ACCOUNTS, {"name": "One", "accountReference1": "ø" * 30})
    account = content(made)
    path = f"{ACCOUNTS}/{account['accountId']}"
    assert made.status == 201
    changed = ask(sandbox, "PUT", path, {"accountReference1": "b"})
    expected = {"name": "One", "accountReference1": "b", "accountId": account["accountId"]}
    assert (changed.status, content(changed)) == (200, expected)
    assert content(ask(sandbox, "GET", ACCOUNTS)) == {"accounts": [expected]}
    removed = ask(sandbox, "DELETE", path)
    assert (removed.status, removed.body) == (204, b"")
    assert content(ask(sandbox, "GET", ACCOUNTS)) == {"accounts": []}


def test_a_missing_account_is_not_found_by_the_back_end(sandbox: Sandbox) -> None:
    """An account that does not exist can be neither changed nor removed."""
    assert ask(sandbox, "PUT", f"{ACCOUNTS}/none", {}).code == 4042000
    assert ask(sandbox, "DELETE", f"{ACCOUNTS}/none").code == 4042000


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("value", ["x" * 31, 3])
def test_account_references_have_a_limit(sandbox: Sandbox, number: int, value: object) -> None:
    """A reference of more than 30 characters, or no text at all, is refused at creation and at a change."""
    body = {f"accountReference{number}": value}
    account = sandbox.create_account({})
    for made in (ask(sandbox, "POST", ACCOUNTS, body), ask(sandbox, "PUT", f"{ACCOUNTS}/{account.id}", body)):
        assert (made.status, f"accountReference{number}" in content(made)["message"]) == (400, True)
    assert sandbox.visible_accounts() == [account]


def test_an_account_must_be_json(sandbox: Sandbox) -> None:
    """A body that is no JSON object creates and changes nothing."""
    assert ask(sandbox, "POST", ACCOUNTS, b"[]").status == 400
    assert ask(sandbox, "PUT", f"{ACCOUNTS}/none", b"[]").status == 400


def test_user_references_are_written_and_read(sandbox: Sandbox) -> None:
    """What PUT writes to a subscription, the Info API shows afterwards."""
    made = ask(sandbox, "PUT", REFERENCES, {"userReference3": "cost centre 7"})
    expected = {"msisdn": "4799885577", "userReference3": "cost centre 7"}
    assert (made.status, content(made)) == (200, expected)
    assert content(ask(sandbox, "GET", f"{SUBSCRIPTIONS}/4799885577")) == expected
    assert expected in content(ask(sandbox, "GET", SUBSCRIPTIONS))["mobileSubscriptions"]


@pytest.mark.parametrize("body", [b"", {}, {"userReference3": 3}, {"userReference0": "x"}, {"name": "x"}])
def test_wrong_user_references_are_refused(sandbox: Sandbox, body: object) -> None:
    """Only texts under userReference1 to 9 are taken."""
    assert ask(sandbox, "PUT", REFERENCES, body).status == 400
    assert sandbox.subscriptions["4799885577"] == {"msisdn": "4799885577"}


def test_an_unknown_subscription_is_not_found_by_the_back_end(sandbox: Sandbox) -> None:
    """A number that the company does not have is neither read nor written."""
    assert ask(sandbox, "GET", f"{SUBSCRIPTIONS}/4700000000").code == 4042000
    path = REFERENCES.replace("4799885577", "4700000000")
    assert ask(sandbox, "PUT", path, {"userReference1": "x"}).code == 4042000


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/corporate-agreements/v2/agreements", "agreements"),
        ("/organizations/v1/organizations", "organizations"),
    ],
)
def test_the_other_reads_have_something_to_show(sandbox: Sandbox, path: str, member: str) -> None:
    """Agreements and organizations are lists with an entry."""
    assert len(content(ask(sandbox, "GET", path))[member]) == 1


@pytest.mark.parametrize(
    ("seconds", "code", "expected"),
    [(None, 42901, None), (3, 42901, "3"), (3, 50001, None)],
)
def test_retry_after_is_a_setting(
    sandbox: Sandbox, seconds: float | None, code: int, expected: str | None
) -> None:
    """Retry-After comes with 429 and 503, and only when a setting says how long."""
    sandbox.settings.retry_after_seconds = seconds
    sandbox.fault("api_error", code)
    assert dict(ask(sandbox, "GET", SUBSCRIPTIONS).fields).get("Retry-After") == expected


@pytest.mark.parametrize(
    ("authorization", "path", "expected"),
    [
        ("Bearer unknown", SUBSCRIPTIONS, 'Bearer realm="sandbox", error="invalid_token"'),
        (None, SUBSCRIPTIONS, 'Bearer realm="sandbox"'),
        (None, "/oauth/v2/logout", 'Bearer realm="sandbox"'),
    ],
)
def test_www_authenticate_is_a_setting(
    sandbox: Sandbox, authorization: str | None, path: str, expected: str
) -> None:
    """The challenge of RFC 6750 comes with 401 when the setting says so, and names invalid_token where a new token helps."""
    assert "WWW-Authenticate" not in dict(ask(sandbox, "GET", path, authorization=authorization).fields)
    sandbox.settings.www_authenticate = True
    made = ask(sandbox, "GET", path, authorization=authorization)
    assert dict(made.fields)["WWW-Authenticate"] == expected


def test_the_token_endpoint_challenges_for_basic(sandbox: Sandbox) -> None:
    """A refused login asks for Basic authentication, when the setting says so (RFC 6749 section 5.2)."""
    sandbox.settings.www_authenticate = True
    made = ask(sandbox, "POST", "/oauth/v2/token", authorization=None)
    assert dict(made.fields)["WWW-Authenticate"] == 'Basic realm="sandbox"'
