"""The API behind the token: orders, accounts, and the reads of the Info API, with the gateway's checks in front.

Paths and methods are Telenor's where `docs/sandbox.md` says so; the shape of most answers is published nowhere and chosen here.
Never: faults, sockets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from proxy.sandbox.answers import (
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
from proxy.sandbox.login import bearer_token
from proxy.sandbox.values import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.sandbox.answers import PublishedError
    from proxy.sandbox.state import Account, Order, Sandbox
    from proxy.sandbox.values import Call

    Handler = Callable[[Sandbox, Call, str], Answer]

#: Stated by Telenor for accountReference1 to 3.
MAX_REFERENCE_CHARACTERS: Final = 30

_ORDER_MEMBERS: Final = ("productId", "msisdn", "type")
_ACCOUNT_REFERENCES: Final = ("accountReference1", "accountReference2", "accountReference3")
_USER_REFERENCE: Final = re.compile(r"userReference[1-9]")


def api(sandbox: Sandbox, call: Call) -> Answer:
    """Answer a call of the API: the path first, then the token, then the call itself, as a gateway does."""
    shape = sandbox.settings.error_shape
    found = _find(call)
    if found is None:
        return error_answer(NO_SUCH_PATH, shape)
    refusal = _token_refusal(sandbox, call)
    if refusal is not None:
        return error_answer(refusal, shape)
    handler, name = found
    return handler(sandbox, call, name)


def _token_refusal(sandbox: Sandbox, call: Call) -> PublishedError | None:
    value = bearer_token(call)
    if value is None:
        basic = (call.first("Authorization") or "").lower().startswith("basic ")
        return BASIC_NOT_ALLOWED if basic else NO_AUTHORIZATION
    return {"valid": None, "expired": EXPIRED_TOKEN, "unknown": UNKNOWN_TOKEN}[sandbox.token_state(value)]


def _json_object(call: Call) -> dict[str, Any] | None:
    try:
        content = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def _bad_request(sandbox: Sandbox, words: str) -> Answer:
    return error_answer(plain_error(400, words), sandbox.settings.error_shape)


def _not_found(sandbox: Sandbox) -> Answer:
    return error_answer(NO_SUCH_RESOURCE, sandbox.settings.error_shape)


def _order_content(sandbox: Sandbox, order: Order) -> dict[str, object]:
    return {"orderId": order.id, "status": sandbox.order_status(order)}


def _place_order(sandbox: Sandbox, call: Call, _: str) -> Answer:
    body = _json_object(call)
    if body is None:
        return _bad_request(sandbox, "The body must be a JSON object")
    missing = [name for name in _ORDER_MEMBERS if not (isinstance(body.get(name), str) and body[name])]
    if missing:
        return _bad_request(sandbox, f"Missing, empty or not a string: {', '.join(missing)}")
    return json_answer(201, _order_content(sandbox, sandbox.place_order(body, call)))


def _show_order(sandbox: Sandbox, _: Call, order_id: str) -> Answer:
    order = sandbox.find_order(order_id)
    return _not_found(sandbox) if order is None else json_answer(200, _order_content(sandbox, order))


def _account_problem(body: dict[str, Any] | None) -> str | None:
    if body is None:
        return "The body must be a JSON object"
    for name in _ACCOUNT_REFERENCES:
        value = body.get(name, "")
        if not isinstance(value, str) or len(value) > MAX_REFERENCE_CHARACTERS:
            return f"{name} must be a string of at most {MAX_REFERENCE_CHARACTERS} characters"
    return None


def _account_content(account: Account) -> dict[str, object]:
    return {**account.body, "accountId": account.id}


def _create_account(sandbox: Sandbox, call: Call, _: str) -> Answer:
    body = _json_object(call)
    problem = _account_problem(body)
    if body is None or problem is not None:
        return _bad_request(sandbox, problem or "")
    return json_answer(201, _account_content(sandbox.create_account(body)))


def _change_account(sandbox: Sandbox, call: Call, account_id: str) -> Answer:
    body = _json_object(call)
    problem = _account_problem(body)
    if body is None or problem is not None:
        return _bad_request(sandbox, problem or "")
    account = sandbox.change_account(account_id, body)
    return _not_found(sandbox) if account is None else json_answer(200, _account_content(account))


def _remove_account(sandbox: Sandbox, _: Call, account_id: str) -> Answer:
    return Answer(204) if sandbox.remove_account(account_id) else _not_found(sandbox)


def _list_accounts(sandbox: Sandbox, _: Call, __: str) -> Answer:
    return json_answer(
        200, {"accounts": [_account_content(account) for account in sandbox.visible_accounts()]}
    )


def _list_subscriptions(sandbox: Sandbox, _: Call, __: str) -> Answer:
    return json_answer(200, {"mobileSubscriptions": list(sandbox.subscriptions.values())})


def _show_subscription(sandbox: Sandbox, _: Call, msisdn: str) -> Answer:
    subscription = sandbox.subscriptions.get(msisdn)
    return _not_found(sandbox) if subscription is None else json_answer(200, subscription)


def _change_user_references(sandbox: Sandbox, call: Call, msisdn: str) -> Answer:
    body = _json_object(call)
    if not body or not all(
        _USER_REFERENCE.fullmatch(name) and isinstance(value, str) for name, value in body.items()
    ):
        return _bad_request(sandbox, "The body must be a JSON object of userReference1 to 9, all strings")
    subscription = sandbox.subscriptions.get(msisdn)
    if subscription is None:
        return _not_found(sandbox)
    subscription.update(body)
    return json_answer(200, subscription)


def _list_agreements(_: Sandbox, __: Call, ___: str) -> Answer:
    return json_answer(200, {"agreements": [{"agreementId": "sandbox-agreement-1"}]})


def _list_organizations(_: Sandbox, __: Call, ___: str) -> Answer:
    # All zeros is nobody's organization number: real ones begin with 8 or 9.
    return json_answer(200, {"organizations": [{"organizationNumber": "000000000"}]})


_SUBSCRIPTIONS: Final = "/corporate-mobile-subscriptions"
_ACCOUNTS: Final = "/corporate-accounts/v2/accounts"

#: Method and path as a regular expression, matched against the raw path: the same resource spelled otherwise does not exist.
_ROUTES: Final[tuple[tuple[str, re.Pattern[str], Handler], ...]] = tuple(
    (method, re.compile(pattern), handler)
    for method, pattern, handler in (
        ("POST", f"{_SUBSCRIPTIONS}/v2/orders()", _place_order),
        ("GET", f"{_SUBSCRIPTIONS}/v2/orders/([^/]+)", _show_order),
        ("GET", f"{_SUBSCRIPTIONS}/v2/mobile-subscriptions()", _list_subscriptions),
        ("GET", f"{_SUBSCRIPTIONS}/v2/mobile-subscriptions/([^/]+)", _show_subscription),
        ("PUT", f"{_SUBSCRIPTIONS}/v1/([^/]+)/user-references", _change_user_references),
        ("POST", f"{_ACCOUNTS}()", _create_account),
        ("GET", f"{_ACCOUNTS}()", _list_accounts),
        ("PUT", f"{_ACCOUNTS}/([^/]+)", _change_account),
        ("DELETE", f"{_ACCOUNTS}/([^/]+)", _remove_account),
        ("GET", "/corporate-agreements/v2/agreements()", _list_agreements),
        ("GET", "/organizations/v1/organizations()", _list_organizations),
    )
)


def _find(call: Call) -> tuple[Handler, str] | None:
    """Find the handler, and the name in the path, if the path has one."""
    for method, pattern, handler in _ROUTES:
        match = pattern.fullmatch(call.path)
        if method == call.method and match is not None:
            return handler, match[1]
    return None
