"""The API behind the token: orders, accounts, the Info API's reads, and the gateway's checks.

Paths, methods and shapes are Telenor's where it has published them (docs/api.md); docs/sandbox.md
says what is chosen here. Never: faults, sockets.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from proxy.sandbox.company import ADDRESS_CARDS, AGREEMENTS, ORGANIZATIONS, OWNER
from proxy.sandbox.login import bearer_token
from proxy.sandbox.messages import Call, SandboxAnswer, UsageError
from proxy.sandbox.published import GATEWAY_ERRORS, SandboxRefusal, json_answer
from proxy.sandbox.state import Account, Sandbox, SandboxOrder

#: Returns the content of the answer; the last argument is the name in the path.
Handler = Callable[[Sandbox, Call, str], object]

_Thing = TypeVar("_Thing")

#: Stated by Telenor for accountReference1 to 3.
MAX_REFERENCE_CHARACTERS: Final = 30
#: Published: `pageSize` is from 1 to 1,000. Not published: its default, here the largest one, so
#: that a small list comes whole.
MAX_PAGE_SIZE: Final = 1000
#: Longer numbers mean nothing here, and `int` is slow with very long ones.
_MAX_DIGITS: Final = 12

_SUBSCRIPTIONS: Final = "/corporate-mobile-subscriptions"
_ACCOUNTS: Final = "/corporate-accounts/v2/accounts"
_AGREEMENTS: Final = "/corporate-agreements/v2"

#: Where a POST places an order, and nothing else. Published: the members of an order. Ids are
#: strings on a subscription, integers on an agreement.
ORDERS: Final[dict[str, dict[str, type]]] = {
    f"{_SUBSCRIPTIONS}/v2/orders": {"productId": str, "msisdn": str, "type": str},
    f"{_AGREEMENTS}/orders": {"productId": int, "agreementId": int, "type": str},
}
_KINDS: Final = {str: "a string", int: "an integer"}
_ACCOUNT_REFERENCES: Final = ("accountReference1", "accountReference2", "accountReference3")
_USER_REFERENCE: Final = re.compile(r"userReference[1-9]")
_NO_CONTENT: Final = 204


def api(sandbox: Sandbox, call: Call) -> SandboxAnswer:
    """Answer a call of the API: path first, then token, then the call itself, as a gateway does.

    Raises SandboxRefusal, and UsageError for a bad request.
    """
    found = _find(call.method, call.path)
    if found is None:
        raise SandboxRefusal(GATEWAY_ERRORS, "404/40401")
    value = bearer_token(call)
    if value is None:
        basic = (call.first("Authorization") or "").lower().startswith("basic ")
        raise SandboxRefusal(GATEWAY_ERRORS, "401/40107" if basic else "401/40102")
    state = sandbox.token_state(value)
    if state != "valid":
        raise SandboxRefusal(GATEWAY_ERRORS, "401/40106" if state == "expired" else "401/40105")
    status, handler, name = found
    content = handler(sandbox, call, name)
    return SandboxAnswer(status) if status == _NO_CONTENT else json_answer(status, content)


def _existing(thing: _Thing | None) -> _Thing:
    if thing is None:
        raise SandboxRefusal(GATEWAY_ERRORS, "404/4042000")
    return thing


# Orders


def _order_content(sandbox: Sandbox, order: SandboxOrder) -> object:
    return {"orderId": order.id, "status": sandbox.order_status(order)}


def _place_order(sandbox: Sandbox, call: Call, _: str) -> object:
    body, members = call.json_object(), ORDERS[call.path]
    if "agreementId" in members:
        _check_configurations(body.get("configurations", []))
    # `type` and not `isinstance`: a truth value is an int to Python, but not to JSON.
    wrong = [
        f"{name} ({_KINDS[kind]})"
        for name, kind in members.items()
        if type(body.get(name)) is not kind or body[name] == ""
    ]
    if wrong:
        raise UsageError(f"Missing, empty or of another type: {', '.join(wrong)}")
    return _order_content(sandbox, sandbox.place_order(body, call))


def _check_configurations(configurations: object) -> None:
    if not isinstance(configurations, list) or not all(
        isinstance(each, dict) and {"id", "value"} <= each.keys() for each in configurations
    ):
        raise UsageError("configurations must be a list of objects with id and value")


def _show_order(sandbox: Sandbox, call: Call, order_id: str) -> object:
    order = sandbox.find_order(order_id)
    is_here = order is not None and call.path == f"{order.path}/{order.id}"
    return _order_content(sandbox, _existing(order if is_here else None))


# Accounts


def _account_content(account: Account) -> dict[str, object]:
    """Put an account into its published shape, without other members that it was created with.

    A member that was never given is null, which is a guess.
    """
    members = (*_ACCOUNT_REFERENCES, "personalPayer", "invoice")
    given = {name: account.body.get(name) for name in members}
    return {"id": account.id, **given, "owner": OWNER, "status": "OPEN"}


def _account_body(call: Call) -> dict[str, Any]:
    body = call.json_object()
    for name in _ACCOUNT_REFERENCES:
        value = body.get(name, "")
        if not isinstance(value, str) or len(value) > MAX_REFERENCE_CHARACTERS:
            raise UsageError(
                f"{name} must be a string of at most {MAX_REFERENCE_CHARACTERS} characters"
            )
    return body


def _create_account(sandbox: Sandbox, call: Call, _: str) -> object:
    return _account_content(sandbox.create_account(_account_body(call)))


def _change_account(sandbox: Sandbox, call: Call, account_id: str) -> object:
    changes = _account_body(call)
    account = _existing(sandbox.accounts.get(account_id))
    account.body.update(changes)
    return _account_content(account)


def _remove_account(sandbox: Sandbox, _: Call, account_id: str) -> None:
    _existing(sandbox.accounts.pop(account_id, None))


def _list_accounts(sandbox: Sandbox, call: Call, _: str) -> object:
    return list(map(_account_content, _page(_parameters(call), sandbox.visible_accounts())))


# Lists. Published: `productId` or `since` (changed within so many seconds), not both; `ascending`;
# `page` from 0.


def _parameters(call: Call) -> dict[str, str]:
    """Read the parameters by name, the last one where a name comes twice."""
    return dict(parse_qsl(call.query, keep_blank_values=True))


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise UsageError(f"{name} must be a whole number, 0 or more")
    return int(text)


def _page(given: Mapping[str, str], entries: Sequence[_Thing]) -> Sequence[_Thing]:
    """Cut the page out of the whole list; one behind its end is empty."""
    size = _number("pageSize", given.get("pageSize", str(MAX_PAGE_SIZE)))
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise UsageError(f"pageSize must be a number from 1 to {MAX_PAGE_SIZE}")
    begin = _number("page", given.get("page", "0")) * size
    return entries[begin : begin + size]


# Subscriptions


def _search_subscriptions(sandbox: Sandbox, call: Call, _: str) -> object:
    given = _parameters(call)
    product_id, since = given.get("productId"), given.get("since")
    if product_id is not None and since is not None:
        raise UsageError("productId and since cannot be used together")
    if not product_id and since is None:
        raise UsageError("One of the search parameters productId and since is required")
    ascending = given.get("ascending", "true")
    if ascending not in {"true", "false"}:
        raise UsageError("ascending must be true or false")
    seconds = None if since is None else _number("since", since)
    found = sandbox.find_subscriptions(product_id, seconds)
    found.sort(reverse=ascending == "false")
    return [sandbox.subscriptions[number] for number in _page(given, found)]


def _change_user_references(sandbox: Sandbox, call: Call, msisdn: str) -> object:
    body = call.json_object()
    if not body or not all(
        _USER_REFERENCE.fullmatch(name) and isinstance(value, str) for name, value in body.items()
    ):
        raise UsageError("The body must be a JSON object of userReference1 to 9, all strings")
    return _existing(sandbox.change_subscription(msisdn, body))


#: Method, path as a regular expression, status and content of the answer. The expression is matched
#: against the raw path: the same resource spelled otherwise does not exist.
_ROUTES: Final[tuple[tuple[str, str, int, Handler], ...]] = (
    *(("POST", f"{path}()", 201, _place_order) for path in ORDERS),
    *(("GET", f"{path}/([^/]+)", 200, _show_order) for path in ORDERS),
    ("GET", f"{_SUBSCRIPTIONS}/v2/mobile-subscriptions()", 200, _search_subscriptions),
    (
        "GET",
        f"{_SUBSCRIPTIONS}/v2/mobile-subscriptions/([^/]+)",
        200,
        lambda sandbox, _, msisdn: _existing(sandbox.subscriptions.get(msisdn)),
    ),
    ("PUT", f"{_SUBSCRIPTIONS}/v1/([^/]+)/user-references", 200, _change_user_references),
    ("POST", f"{_ACCOUNTS}()", 201, _create_account),
    ("GET", f"{_ACCOUNTS}()", 200, _list_accounts),
    ("GET", "/corporate-accounts/v1()", 200, _list_accounts),
    ("PUT", f"{_ACCOUNTS}/([^/]+)", 200, _change_account),
    ("DELETE", f"{_ACCOUNTS}/([^/]+)", _NO_CONTENT, _remove_account),
    ("GET", f"{_AGREEMENTS}/agreements()", 200, lambda *_: AGREEMENTS),
    ("GET", "/organizations/v1/organizations()", 200, lambda *_: ORGANIZATIONS),
    (
        "GET",
        "/organizations/([^/]+)/address-cards",
        200,
        lambda _sandbox, _call, number: _existing(ADDRESS_CARDS.get(number)),
    ),
)


def knows(method: str, path: str) -> bool:
    """Return whether there is such a call."""
    return _find(method, path) is not None


def _find(method: str, path: str) -> tuple[int, Handler, str] | None:
    """Find status, handler, and the name in the path, which is empty if the path has none."""
    for known, pattern, status, handler in _ROUTES:
        match = re.fullmatch(pattern, path)
        if known == method and match is not None:
            return status, handler, match[1]
    return None
