"""The API behind the token: orders, accounts, the Info API's reads, and the gateway's checks.

Paths, methods and shapes are Telenor's where it has published them (docs/api.md); docs/sandbox.md
says what is chosen here. Never: faults, sockets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from proxy.sandbox.company import ADDRESS_CARDS, AGREEMENTS, ORGANIZATIONS, account_content
from proxy.sandbox.login import bearer_token
from proxy.sandbox.messages import SandboxAnswer, UsageError
from proxy.sandbox.published import (
    BASIC_NOT_ALLOWED,
    EXPIRED_TOKEN,
    NO_AUTHORIZATION,
    NO_SUCH_PATH,
    NO_SUCH_RESOURCE,
    UNKNOWN_TOKEN,
    error_answer,
    json_answer,
    plain_error,
)
from proxy.sandbox.search import read_page, read_search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.sandbox.messages import Call
    from proxy.sandbox.published import PublishedError
    from proxy.sandbox.state import Sandbox, SandboxOrder

    Handler = Callable[[Sandbox, Call, str], SandboxAnswer]

#: Stated by Telenor for accountReference1 to 3.
MAX_REFERENCE_CHARACTERS: Final = 30

#: Published: the members of an order. Ids are strings on a subscription, integers on an agreement.
_SUBSCRIPTION_ORDER: Final = {"productId": str, "msisdn": str, "type": str}
_AGREEMENT_ORDER: Final = {"productId": int, "agreementId": int, "type": str}
_KINDS: Final = {str: "a string", int: "an integer"}
_ACCOUNT_REFERENCES: Final = ("accountReference1", "accountReference2", "accountReference3")
_USER_REFERENCE: Final = re.compile(r"userReference[1-9]")


def api(sandbox: Sandbox, call: Call) -> SandboxAnswer:
    """Answer a call of the API: path first, then token, then the call itself, as a gateway does."""
    shape = sandbox.settings.error_shape
    found = _find(call.method, call.path)
    if found is None:
        return error_answer(NO_SUCH_PATH, shape)
    refusal = _token_refusal(sandbox, call)
    if refusal is not None:
        return error_answer(refusal, shape)
    handler, name = found
    try:
        return handler(sandbox, call, name)
    except UsageError as error:
        return error_answer(plain_error(400, str(error)), shape)


def _token_refusal(sandbox: Sandbox, call: Call) -> PublishedError | None:
    value = bearer_token(call)
    if value is None:
        basic = (call.first("Authorization") or "").lower().startswith("basic ")
        return BASIC_NOT_ALLOWED if basic else NO_AUTHORIZATION
    return {"valid": None, "expired": EXPIRED_TOKEN, "unknown": UNKNOWN_TOKEN}[
        sandbox.token_state(value)
    ]


def _json_object(call: Call) -> dict[str, Any]:
    try:
        content = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        content = None
    if not isinstance(content, dict):
        raise UsageError("The body must be a JSON object")
    return content


def _not_found(sandbox: Sandbox) -> SandboxAnswer:
    return error_answer(NO_SUCH_RESOURCE, sandbox.settings.error_shape)


# Orders


def _order_content(sandbox: Sandbox, order: SandboxOrder) -> dict[str, object]:
    return {"orderId": order.id, "status": sandbox.order_status(order)}


def _place_subscription_order(sandbox: Sandbox, call: Call, _: str) -> SandboxAnswer:
    return _place_order(sandbox, call, _json_object(call), _SUBSCRIPTION_ORDER)


def _place_agreement_order(sandbox: Sandbox, call: Call, _: str) -> SandboxAnswer:
    body = _json_object(call)
    configurations = body.get("configurations", [])
    if not isinstance(configurations, list) or not all(
        isinstance(each, dict) and {"id", "value"} <= each.keys() for each in configurations
    ):
        raise UsageError("configurations must be a list of objects with id and value")
    return _place_order(sandbox, call, body, _AGREEMENT_ORDER)


def _place_order(
    sandbox: Sandbox, call: Call, body: dict[str, Any], members: Mapping[str, type]
) -> SandboxAnswer:
    # `type` and not `isinstance`: a truth value is an int to Python, but not to JSON.
    wrong = [
        f"{name} ({_KINDS[kind]})"
        for name, kind in members.items()
        if type(body.get(name)) is not kind or body[name] == ""
    ]
    if wrong:
        raise UsageError(f"Missing, empty or of another type: {', '.join(wrong)}")
    return json_answer(201, _order_content(sandbox, sandbox.place_order(body, call)))


def _show_order(sandbox: Sandbox, call: Call, order_id: str) -> SandboxAnswer:
    order = sandbox.find_order(order_id)
    if order is None or call.path != f"{order.path}/{order.id}":
        return _not_found(sandbox)
    return json_answer(200, _order_content(sandbox, order))


# Accounts


def _account_body(call: Call) -> dict[str, Any]:
    body = _json_object(call)
    for name in _ACCOUNT_REFERENCES:
        value = body.get(name, "")
        if not isinstance(value, str) or len(value) > MAX_REFERENCE_CHARACTERS:
            raise UsageError(
                f"{name} must be a string of at most {MAX_REFERENCE_CHARACTERS} characters"
            )
    return body


def _create_account(sandbox: Sandbox, call: Call, _: str) -> SandboxAnswer:
    account = sandbox.create_account(_account_body(call))
    return json_answer(201, account_content(account.id, account.body))


def _change_account(sandbox: Sandbox, call: Call, account_id: str) -> SandboxAnswer:
    account = sandbox.change_account(account_id, _account_body(call))
    return (
        _not_found(sandbox)
        if account is None
        else json_answer(200, account_content(account.id, account.body))
    )


def _remove_account(sandbox: Sandbox, _: Call, account_id: str) -> SandboxAnswer:
    return SandboxAnswer(204) if sandbox.remove_account(account_id) else _not_found(sandbox)


def _list_accounts(sandbox: Sandbox, call: Call, _: str) -> SandboxAnswer:
    page = read_page(call.query)
    visible = [account_content(account.id, account.body) for account in sandbox.visible_accounts()]
    return json_answer(200, page.of(visible))


# Subscriptions


def _search_subscriptions(sandbox: Sandbox, call: Call, _: str) -> SandboxAnswer:
    search = read_search(call.query)
    found = sandbox.find_subscriptions(search.product_id, search.since_seconds)
    found.sort(reverse=not search.ascending)
    return json_answer(200, [sandbox.subscriptions[number] for number in search.page.of(found)])


def _show_subscription(sandbox: Sandbox, _: Call, msisdn: str) -> SandboxAnswer:
    subscription = sandbox.subscriptions.get(msisdn)
    return _not_found(sandbox) if subscription is None else json_answer(200, subscription)


def _change_user_references(sandbox: Sandbox, call: Call, msisdn: str) -> SandboxAnswer:
    body = _json_object(call)
    if not body or not all(
        _USER_REFERENCE.fullmatch(name) and isinstance(value, str) for name, value in body.items()
    ):
        raise UsageError("The body must be a JSON object of userReference1 to 9, all strings")
    subscription = sandbox.change_subscription(msisdn, body)
    return _not_found(sandbox) if subscription is None else json_answer(200, subscription)


# Agreements and organizations


def _list_address_cards(sandbox: Sandbox, _: Call, org_number: str) -> SandboxAnswer:
    cards = ADDRESS_CARDS.get(org_number)
    return _not_found(sandbox) if cards is None else json_answer(200, cards)


_SUBSCRIPTIONS: Final = "/corporate-mobile-subscriptions"
_ACCOUNTS: Final = "/corporate-accounts/v2/accounts"
_AGREEMENTS: Final = "/corporate-agreements/v2"

#: Where a POST places an order, and nothing else.
ORDER_PATHS: Final = (f"{_SUBSCRIPTIONS}/v2/orders", f"{_AGREEMENTS}/orders")

#: Method and path as a regular expression, matched against the raw path: the same resource spelled
#: otherwise does not exist.
_ROUTES: Final[tuple[tuple[str, re.Pattern[str], Handler], ...]] = tuple(
    (method, re.compile(pattern), handler)
    for method, pattern, handler in (
        ("POST", f"{_SUBSCRIPTIONS}/v2/orders()", _place_subscription_order),
        ("GET", f"{_SUBSCRIPTIONS}/v2/orders/([^/]+)", _show_order),
        ("GET", f"{_SUBSCRIPTIONS}/v2/mobile-subscriptions()", _search_subscriptions),
        ("GET", f"{_SUBSCRIPTIONS}/v2/mobile-subscriptions/([^/]+)", _show_subscription),
        ("PUT", f"{_SUBSCRIPTIONS}/v1/([^/]+)/user-references", _change_user_references),
        ("POST", f"{_ACCOUNTS}()", _create_account),
        ("GET", f"{_ACCOUNTS}()", _list_accounts),
        ("GET", "/corporate-accounts/v1()", _list_accounts),
        ("PUT", f"{_ACCOUNTS}/([^/]+)", _change_account),
        ("DELETE", f"{_ACCOUNTS}/([^/]+)", _remove_account),
        ("POST", f"{_AGREEMENTS}/orders()", _place_agreement_order),
        ("GET", f"{_AGREEMENTS}/orders/([^/]+)", _show_order),
        ("GET", f"{_AGREEMENTS}/agreements()", lambda *_: json_answer(200, AGREEMENTS)),
        ("GET", "/organizations/v1/organizations()", lambda *_: json_answer(200, ORGANIZATIONS)),
        ("GET", "/organizations/([^/]+)/address-cards", _list_address_cards),
    )
)


def knows(method: str, path: str) -> bool:
    """Return whether there is such a call."""
    return _find(method, path) is not None


def _find(method: str, path: str) -> tuple[Handler, str] | None:
    """Find the handler, and the name in the path, if the path has one."""
    for known, pattern, handler in _ROUTES:
        match = pattern.fullmatch(path)
        if known == method and match is not None:
            return handler, match[1]
    return None
