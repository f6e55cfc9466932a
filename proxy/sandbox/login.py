"""The token endpoint and logout: which login is accepted, and which published error refuses one.

RFC 6749 section 4.3 (password grant), with Basic authentication of the client. Telenor does not say
in which order it checks; here: Authorization field, client, form, grant type, user, scope.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from proxy.sandbox.messages import SandboxAnswer
from proxy.sandbox.published import (
    JSON_TYPE,
    LOGOUT_NO_BEARER,
    LOGOUT_WRONG_TOKEN,
    NO_BASIC,
    NO_GRANT_TYPE,
    NO_STORE,
    NO_SUCH_PATH,
    UNKNOWN_CLIENT,
    WRONG_SCOPE,
    WRONG_SECRET,
    WRONG_USER,
    error_answer,
    json_answer,
)
from proxy.sandbox.settings import EXPIRES_IN, MINIMAL

if TYPE_CHECKING:
    from proxy.sandbox.messages import Call
    from proxy.sandbox.published import PublishedError
    from proxy.sandbox.state import Sandbox

TOKEN_PATH: Final = "/oauth/v2/token"  # noqa: S105 # a path
LOGOUT_PATH: Final = "/oauth/v2/logout"

_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_A_FORM: Final = f"the Content-Type is not {_FORM_TYPE}"
_UNREADABLE_FORM: Final = "the form is not UTF-8, badly percent-encoded, or names a parameter twice"


def token(sandbox: Sandbox, call: Call) -> SandboxAnswer:
    """Answer a call of the token endpoint."""
    refusal = _refusal(sandbox, call)
    if refusal is not None:
        error, note = refusal
        return error_answer(error, sandbox.settings.error_shape, note)
    value, seconds = sandbox.log_in(sandbox.credentials.username)
    expires_in = EXPIRES_IN[sandbox.settings.expires_in](seconds)
    if sandbox.settings.token_answer == MINIMAL:
        return _minimal(value, expires_in)
    content = {"access_token": value, "expires_in": expires_in, "token_type": "Bearer"}
    return json_answer(
        200, {name: each for name, each in content.items() if each is not None}, NO_STORE
    )


def _minimal(value: str, expires_in: object) -> SandboxAnswer:
    """Write two strings, with a space before each colon, as the real endpoint was seen to do."""
    members = {"access_token": value} | (
        {} if expires_in is None else {"expires_in": str(expires_in)}
    )
    written = ", ".join(f'"{name}" : "{each}"' for name, each in members.items())
    return SandboxAnswer(200, f"{{{written}}}".encode(), JSON_TYPE, NO_STORE)


def _refusal(sandbox: Sandbox, call: Call) -> tuple[PublishedError, str] | None:
    """Which error answers the call, and why; None for a good login."""
    if call.method != "POST":
        return NO_SUCH_PATH, "the token endpoint takes POST only"
    return _wrong_client(sandbox, call) or _wrong_login(sandbox, call)


def _wrong_client(sandbox: Sandbox, call: Call) -> tuple[PublishedError, str] | None:
    client = _basic_credentials(call)
    if client is None:
        return (
            NO_BASIC,
            "there must be one Authorization header: Basic and Base64 of client_id:client_secret",
        )
    if client[0] != sandbox.credentials.client_id:
        return UNKNOWN_CLIENT, "the client_id is not the sandbox's"
    if client[1] != sandbox.credentials.client_secret:
        return WRONG_SECRET, "the client_secret is not the sandbox's"
    return None


def _wrong_login(sandbox: Sandbox, call: Call) -> tuple[PublishedError, str] | None:
    if (call.first("Content-Type") or "").partition(";")[0].strip().lower() != _FORM_TYPE:
        return NO_GRANT_TYPE, _NOT_A_FORM
    form = _form(call.body)
    if form is None:
        return NO_GRANT_TYPE, _UNREADABLE_FORM
    known = sandbox.credentials
    unknown_scopes = set(form.get("scope", "").split()) - set(
        sandbox.settings.allowed_scopes.split()
    )
    checks = (
        (form.get("grant_type") == "password", NO_GRANT_TYPE, "grant_type is not password"),
        (form.get("username") == known.username, WRONG_USER, "the username is not the sandbox's"),
        (form.get("password") == known.password, WRONG_USER, "the password is not the sandbox's"),
        (not unknown_scopes, WRONG_SCOPE, "the scope is not among the setting allowed_scopes"),
    )
    return next(((error, note) for good, error, note in checks if not good), None)


def _basic_credentials(call: Call) -> tuple[str, str] | None:
    """Return client id and secret (RFC 7617 section 2) of the only Authorization field, or None."""
    values = call.all("Authorization")
    if len(values) != 1:
        return None
    scheme, _, encoded = values[0].partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        return None
    client_id, colon, client_secret = decoded.partition(":")
    return (client_id, client_secret) if scheme.lower() == "basic" and colon else None


def _form(body: bytes) -> dict[str, str] | None:
    """Read the form; None when it is not one. RFC 6749 section 3.2 forbids a parameter twice."""
    try:
        text = body.decode()
        pairs = (
            parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict")
            if text
            else []
        )
    except ValueError:
        return None
    form = dict(pairs)
    return None if _BROKEN_ESCAPE.search(text) or len(form) < len(pairs) else form


def bearer_token(call: Call) -> str | None:
    """Return the token of the first Authorization field, as a gateway does; None without Bearer."""
    scheme, _, value = (call.first("Authorization") or "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def logout(sandbox: Sandbox, call: Call) -> SandboxAnswer:
    """Answer a call of logout: the token it carries is ended."""
    value = bearer_token(call)
    shape = sandbox.settings.error_shape
    if call.method != "GET":
        return error_answer(NO_SUCH_PATH, shape, "logout takes GET only")
    if value is None:
        return error_answer(LOGOUT_NO_BEARER, shape)
    if sandbox.token_state(value) != "valid":
        return error_answer(LOGOUT_WRONG_TOKEN, shape)
    sandbox.log_out(value)
    return SandboxAnswer(200, b"OK!", "text/plain")
