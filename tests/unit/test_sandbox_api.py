"""The API behind the sandbox's token: the gateway's checks, orders, accounts and reads."""

import re
from typing import Any

import orjson
import pytest

from proxy.sandbox.gateway import reply
from proxy.sandbox.messages import Call, SandboxAnswer
from proxy.sandbox.state import Sandbox

ORDERS = "/corporate-mobile-subscriptions/v2/orders"
SUBSCRIPTIONS = "/corporate-mobile-subscriptions/v2/mobile-subscriptions"
REFERENCES = "/corporate-mobile-subscriptions/v1/4799885577/user-references"
ACCOUNTS = "/corporate-accounts/v2/accounts"
AGREEMENT_ORDERS = "/corporate-agreements/v2/orders"
ORDER = {"productId": "50795", "msisdn": "4799885577", "type": "ADD_PRODUCT"}
#: The order of Telenor's own example.
AGREEMENT_ORDER: dict[str, Any] = {
    "type": "UPDATE_PRODUCT",
    "agreementId": 5538579,
    "productId": 2799029,
    "configurations": [{"id": 6140, "value": "11175198"}],
}


@pytest.fixture
def sandbox() -> Sandbox:
    """Give a sandbox whose time stands still and whose delays are 0."""
    sandbox = Sandbox(now=lambda: 1_000.0)
    sandbox.settings.order_delay_seconds = 0
    sandbox.settings.account_delay_seconds = 0
    return sandbox


def ask(
    sandbox: Sandbox,
    method: str,
    path: str,
    body: object = None,
    authorization: str | None = "valid",
) -> SandboxAnswer:
    """Call the API, with a fresh token unless another Authorization is given."""
    value = f"Bearer {sandbox.log_in()[0]}" if authorization == "valid" else authorization
    fields = () if value is None else (("Authorization", value),)
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    plain, _, query = path.partition("?")
    return reply(sandbox, Call(method, plain, fields, raw, query)).answer


def content(made: SandboxAnswer) -> Any:
    """Read the answer's JSON."""
    return orjson.loads(made.body)


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, 40102),
        ("Digest x", 40102),
        ("Basic YTpi", 40107),
        ("Bearer unknown", 40105),
        ("Bearer", 40105),
    ],
)
def test_a_call_without_a_good_token_is_refused(
    sandbox: Sandbox, authorization: str | None, code: int
) -> None:
    """Each mistake has its code, and nothing is done."""
    made = ask(sandbox, "POST", ORDERS, ORDER, authorization)
    assert (made.status, content(made)["code"], sandbox.orders) == (401, code, [])


def test_an_expired_token_has_another_code_than_an_unknown_one(sandbox: Sandbox) -> None:
    """An expired token gets 40106, a revoked one 40105."""
    sandbox.settings.token_lifetime_seconds = 0
    assert ask(sandbox, "GET", SUBSCRIPTIONS).code == 40106
    token, _ = sandbox.log_in()
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
    """Every call is spelled exactly, token or not."""
    made = ask(sandbox, method, path, authorization=None)
    assert (made.status, content(made)["code"]) == (404, 40401)


@pytest.mark.parametrize(
    ("path", "other", "order"),
    [(ORDERS, AGREEMENT_ORDERS, ORDER), (AGREEMENT_ORDERS, ORDERS, AGREEMENT_ORDER)],
)
def test_an_order_is_accepted_and_can_be_looked_up(
    sandbox: Sandbox, path: str, other: str, order: dict[str, Any]
) -> None:
    """Its answer has the id for later reads, where it was placed."""
    sandbox.settings.order_delay_seconds = 1
    made = ask(sandbox, "POST", path, order)
    order_id = content(made)["orderId"]
    assert (made.status, content(made)["status"]) == (201, "ACCEPTED")
    sandbox.settings.order_delay_seconds = 0
    found = ask(sandbox, "GET", f"{path}/{order_id}")
    assert (found.status, content(found)) == (200, {"orderId": order_id, "status": "COMPLETED"})
    assert ask(sandbox, "GET", f"{other}/{order_id}").code == 4042000
    assert [(each.path, each.body) for each in sandbox.orders] == [(path, order)]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (ORDERS, b"", "JSON object"),
        (ORDERS, b"{", "JSON object"),
        (ORDERS, b"[]", "JSON object"),
        (ORDERS, b'{"productId": NaN}', "JSON object"),
        (ORDERS, {**ORDER, "productId": ""}, "productId"),
        (ORDERS, {**ORDER, "msisdn": 4799885577}, "msisdn"),
        (ORDERS, {"productId": "50795"}, "msisdn (a string), type (a string)"),
        (AGREEMENT_ORDERS, {"agreementId": "5538579"}, "agreementId (an integer)"),
        (AGREEMENT_ORDERS, {"productId": True}, "productId (an integer)"),
        (AGREEMENT_ORDERS, {"type": ""}, "type (a string)"),
        (AGREEMENT_ORDERS, {"configurations": {}}, "list of objects"),
        (AGREEMENT_ORDERS, {"configurations": [{"id": 6140}]}, "list of objects"),
        (AGREEMENT_ORDERS, {"configurations": [6140]}, "list of objects"),
    ],
)
def test_a_wrong_order_is_a_bad_request(
    sandbox: Sandbox, path: str, body: dict[str, object] | bytes, words: str
) -> None:
    """It is refused in words and not kept."""
    if path == AGREEMENT_ORDERS and isinstance(body, dict):
        body = AGREEMENT_ORDER | body
    made = ask(sandbox, "POST", path, body)
    assert (made.status, words in content(made)["message"], sandbox.orders) == (400, True, [])


def test_an_error_without_a_code_names_none(sandbox: Sandbox) -> None:
    """Where no code is published, in any shape."""
    assert content(ask(sandbox, "POST", ORDERS, b"{")).keys() == {"message"}
    sandbox.settings.error_shape = "oauth"
    assert content(ask(sandbox, "POST", ORDERS, b"{"))["error"] == "invalid_request"
    sandbox.fault("api_status", 502)
    answer = content(ask(sandbox, "GET", ORDERS))
    assert answer == {"error": "server_error", "error_description": "Bad Gateway"}


def test_an_account_can_be_created_changed_and_removed(sandbox: Sandbox) -> None:
    """Both lists follow; the shape is the published one."""
    body = {"addressCardId": "1000001", "accountReference1": "ø" * 30}
    made = ask(sandbox, "POST", ACCOUNTS, body)
    account = content(made)
    path = f"{ACCOUNTS}/{account['id']}"
    assert made.status == 201
    assert re.fullmatch(r"[0-9]{1,8}", account["id"])
    changed = ask(sandbox, "PUT", path, {"accountReference2": "b"})
    expected = {
        "id": account["id"],
        "accountReference1": "ø" * 30,
        "accountReference2": "b",
        "accountReference3": None,
        "owner": {"organizationNumber": "914742315", "name": "TELENOR"},
        "personalPayer": None,
        "invoice": None,
        "status": "OPEN",
    }
    assert (changed.status, content(changed)) == (200, expected)
    for listed in (ACCOUNTS, "/corporate-accounts/v1"):
        assert content(ask(sandbox, "GET", listed)) == [expected]
    removed = ask(sandbox, "DELETE", path)
    assert (removed.status, removed.body) == (204, b"")
    assert content(ask(sandbox, "GET", ACCOUNTS)) == []


def test_the_list_of_accounts_has_pages(sandbox: Sandbox) -> None:
    """From 0; those behind the end are empty."""
    ids = [sandbox.create_account({}).id for _ in range(3)]
    for page, expected in enumerate((ids[:2], ids[2:], [])):
        accounts = content(ask(sandbox, "GET", f"{ACCOUNTS}?page={page}&pageSize=2"))
        assert [account["id"] for account in accounts] == expected


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("value", ["x" * 31, 3])
def test_account_references_have_a_limit(sandbox: Sandbox, number: int, value: object) -> None:
    """30 characters, at creation and at a change; both need a JSON object."""
    body = {f"accountReference{number}": value}
    account = sandbox.create_account({})
    for made in (
        ask(sandbox, "POST", ACCOUNTS, body),
        ask(sandbox, "PUT", f"{ACCOUNTS}/{account.id}", body),
    ):
        assert (made.status, f"accountReference{number}" in content(made)["message"]) == (400, True)
    assert ask(sandbox, "POST", ACCOUNTS, b"[]").status == 400
    assert ask(sandbox, "PUT", f"{ACCOUNTS}/none", b"[]").status == 400
    assert sandbox.visible_accounts() == [account]


def test_user_references_are_written_and_read(sandbox: Sandbox) -> None:
    """PUT writes what the Info API shows."""
    made = ask(sandbox, "PUT", REFERENCES, {"userReference3": "cost centre 7"})
    expected = content(made)
    assert (made.status, expected["userReference3"]) == (200, "cost centre 7")
    assert {"msisdn", "type"} <= expected.keys()
    assert content(ask(sandbox, "GET", f"{SUBSCRIPTIONS}/4799885577")) == expected
    assert expected in content(ask(sandbox, "GET", f"{SUBSCRIPTIONS}?since=60"))


@pytest.mark.parametrize(
    "body", [b"", {}, {"userReference3": 3}, {"userReference0": "x"}, {"name": "x"}]
)
def test_wrong_user_references_are_refused(sandbox: Sandbox, body: object) -> None:
    """Only texts under userReference1 to 9 are accepted."""
    assert ask(sandbox, "PUT", REFERENCES, body).status == 400
    assert sandbox.subscriptions["4799885577"].keys() == {"msisdn", "type"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"{ORDERS}/none", None),
        ("PUT", f"{ACCOUNTS}/none", {}),
        ("DELETE", f"{ACCOUNTS}/none", None),
        ("GET", f"{SUBSCRIPTIONS}/4700000000", None),
        ("PUT", REFERENCES.replace("4799885577", "4700000000"), {"userReference1": "x"}),
        ("GET", "/organizations/987654321/address-cards", None),
    ],
)
def test_what_does_not_exist_is_not_found_by_the_back_end(
    sandbox: Sandbox, method: str, path: str, body: object
) -> None:
    """With the back end's code."""
    assert ask(sandbox, method, path, body).code == 4042000


def found(sandbox: Sandbox, query: str) -> list[str]:
    """Search for subscriptions; return their numbers."""
    made = ask(sandbox, "GET", f"{SUBSCRIPTIONS}?{query}")
    assert made.status == 200, made.body
    return [subscription["msisdn"] for subscription in content(made)]


def test_subscriptions_are_found_by_product(sandbox: Sandbox) -> None:
    """Ordered, completed and not removed; or by their type."""
    assert found(sandbox, "productId=50795") == []
    ask(sandbox, "POST", ORDERS, ORDER)
    assert found(sandbox, "productId=50795") == ["4799885577"]
    ask(sandbox, "POST", ORDERS, ORDER | {"type": "REMOVE_PRODUCT"})
    assert found(sandbox, "productId=50795") == []
    type_id = sandbox.subscriptions["4799885577"]["type"]["id"]
    assert found(sandbox, f"productId={type_id}") == ["4799885577", "4799885578"]


def test_subscriptions_are_found_by_their_last_change() -> None:
    """`since` counts seconds back; orders and references are changes."""
    clock = [1_000.0]
    sandbox = Sandbox(now=lambda: clock[0])
    sandbox.settings.order_delay_seconds = 5
    assert found(sandbox, "since=0") == ["4799885577", "4799885578"]
    clock[0] += 100
    assert found(sandbox, "since=99") == []
    ask(sandbox, "PUT", REFERENCES, {"userReference1": "x"})
    assert found(sandbox, "since=1") == ["4799885577"]
    ask(sandbox, "POST", ORDERS, ORDER | {"msisdn": "4799885578"})
    assert found(sandbox, "since=1") == ["4799885577"]
    clock[0] += 10
    assert found(sandbox, "since=6") == ["4799885578"]


def test_a_search_is_sorted_and_has_pages(sandbox: Sandbox) -> None:
    """`ascending`, `page` and `pageSize` are the published parameters."""
    assert found(sandbox, "since=9&ascending=false") == ["4799885578", "4799885577"]
    assert found(sandbox, "since=9&pageSize=1&page=1") == ["4799885578"]
    assert found(sandbox, "since=9&pageSize=1&page=2") == []
    assert found(sandbox, "since=9&unknown=1") == ["4799885577", "4799885578"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "productId and since is required"),
        ("productId=", "productId and since is required"),
        ("productId=1&since=1", "cannot be used together"),
        ("since=soon", "since must be a whole number"),
        ("since=-1", "since must be a whole number"),
        ("since=" + "9" * 5000, "since must be a whole number"),
        ("since=1&page=-1", "page must be a whole number"),
        ("since=1&pageSize=0", "pageSize must be a number from 1 to 1000"),
        ("since=1&pageSize=1001", "pageSize must be a number from 1 to 1000"),
        ("since=1&pageSize=", "pageSize must be a whole number"),
        ("since=1&ascending=1", "ascending must be true or false"),
    ],
)
def test_the_rules_of_a_search_are_the_published_ones(
    sandbox: Sandbox, query: str, words: str
) -> None:
    """A broken rule is a bad request, in words and without a code."""
    made = ask(sandbox, "GET", f"{SUBSCRIPTIONS}?{query}")
    assert (made.status, words in content(made)["message"]) == (400, True)


def test_reads_have_the_published_shape(sandbox: Sandbox) -> None:
    """Agreements, with that of the example order; organizations; address cards with their ids."""
    agreements = content(ask(sandbox, "GET", "/corporate-agreements/v2/agreements"))
    for agreement in agreements:
        assert list(agreement) == ["id", "category", "validFrom", "validTo", "owner", "status"]
        assert list(agreement["owner"]) == ["organizationNumber", "name"]
    assert str(AGREEMENT_ORDER["agreementId"]) in {agreement["id"] for agreement in agreements}
    organizations = content(ask(sandbox, "GET", "/organizations/v1/organizations"))
    assert organizations == [{"orgNumber": "914742315", "name": "TELENOR"}]
    cards = content(ask(sandbox, "GET", "/organizations/914742315/address-cards"))
    assert len(cards) > 1
    assert all(isinstance(card["addressCardId"], str) for card in cards)


@pytest.mark.parametrize(
    ("seconds", "code", "expected"), [(None, 42901, None), (3, 42901, "3"), (3, 50001, None)]
)
def test_retry_after_is_a_setting(
    sandbox: Sandbox, seconds: float | None, code: int, expected: str | None
) -> None:
    """It comes with 429 and 503 only."""
    sandbox.settings.retry_after_seconds = seconds
    sandbox.fault("api_error", code)
    assert dict(ask(sandbox, "GET", SUBSCRIPTIONS).fields).get("Retry-After") == expected


@pytest.mark.parametrize(
    ("method", "path", "authorization", "expected"),
    [
        ("GET", SUBSCRIPTIONS, "Bearer x", 'Bearer realm="sandbox", error="invalid_token"'),
        ("GET", SUBSCRIPTIONS, None, 'Bearer realm="sandbox"'),
        ("GET", "/oauth/v2/logout", None, 'Bearer realm="sandbox"'),
        ("POST", "/oauth/v2/token", None, 'Basic realm="sandbox"'),
    ],
)
def test_www_authenticate_is_a_setting(
    sandbox: Sandbox, method: str, path: str, authorization: str | None, expected: str
) -> None:
    """RFC 6750 and RFC 6749 section 5.2; it names invalid_token where a new token helps."""
    made = ask(sandbox, method, path, authorization=authorization)
    assert "WWW-Authenticate" not in dict(made.fields)
    sandbox.settings.www_authenticate = True
    made = ask(sandbox, method, path, authorization=authorization)
    assert dict(made.fields)["WWW-Authenticate"] == expected
