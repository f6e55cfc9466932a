"""The token endpoint and logout: which login is accepted, and which published error refuses one.

RFC 6749 section 4.3 (password grant), with Basic authentication of the client. Telenor does not say
in which order it checks; here: Authorization field, client, form, grant type, user, scope.
"""

import base64
import contextlib
import re
from typing import Final
from urllib.parse import parse_qsl

from proxy.sandbox.messages import Call, SandboxAnswer
from proxy.sandbox.published import (
    GATEWAY_ERRORS,
    JSON_TYPE,
    LOGOUT_ERRORS,
    NO_STORE,
    TOKEN_ERRORS,
    SandboxRefusal,
    json_answer,
)
from proxy.sandbox.settings import EXPIRES_IN, MINIMAL
from proxy.sandbox.state import Sandbox

TOKEN_PATH: Final = "/oauth/v2/token"  # noqa: S105 # a path
LOGOUT_PATH: Final = "/oauth/v2/logout"

_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def token(sandbox: Sandbox, call: Call) -> SandboxAnswer:
    """Answer a call of the token endpoint. Raises SandboxRefusal."""
    if call.method != "POST":
        raise SandboxRefusal(GATEWAY_ERRORS, "404/40401", "the token endpoint takes POST only")
    known = sandbox.credentials
    client_id, client_secret = _basic_credentials(call)
    _require(
        (client_id == known.client_id, "401/1", "the client_id is not the sandbox's"),
        (client_secret == known.client_secret, "401/22", "the client_secret is not the sandbox's"),
    )
    form, allowed = _form(call), sandbox.settings.allowed_scopes.split()
    scopes = set(form.get("scope", "").split())
    _require(
        (form.get("grant_type") == "password", "400/2", "grant_type is not password"),
        (form.get("username") == known.username, "401/20", "the username is not the sandbox's"),
        (form.get("password") == known.password, "401/20", "the password is not the sandbox's"),
        (scopes <= set(allowed), "403/8", "the scope is not among the setting allowed_scopes"),
    )
    value, seconds = sandbox.log_in()
    content: dict[str, object] = {"access_token": value}
    expires_in = EXPIRES_IN[sandbox.settings.expires_in](seconds)
    if expires_in is not None:
        content["expires_in"] = expires_in
    if sandbox.settings.token_answer == MINIMAL:
        # With a space before each colon, as the real endpoint was seen to write it.
        written = ", ".join(f'"{name}" : "{each}"' for name, each in content.items())
        return SandboxAnswer(200, f"{{{written}}}".encode(), JSON_TYPE, NO_STORE)
    return json_answer(200, content | {"token_type": "Bearer"}, NO_STORE)


def _require(*rules: tuple[bool, str, str]) -> None:
    """Refuse the login by the first rule that does not hold, with its error and note."""
    for holds, error, note in rules:
        if not holds:
            raise SandboxRefusal(TOKEN_ERRORS, error, note)


def _basic_credentials(call: Call) -> tuple[str, str]:
    """Return client id and secret (RFC 7617 section 2) of the only Authorization field."""
    values = call.all("Authorization")
    scheme, _, encoded = (values[0] if len(values) == 1 else "").partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        decoded = ""
    client_id, colon, client_secret = decoded.partition(":")
    words = "there must be one Authorization header: Basic and Base64 of client_id:client_secret"
    _require((scheme.lower() == "basic" and bool(colon), "401/6", words))
    return client_id, client_secret


def _form(call: Call) -> dict[str, str]:
    """Read the form. RFC 6749 section 3.2 forbids a parameter twice."""
    kind = (call.first("Content-Type") or "").partition(";")[0].strip().lower()
    _require((kind == _FORM_TYPE, "400/2", f"the Content-Type is not {_FORM_TYPE}"))
    with contextlib.suppress(ValueError):
        text = call.body.decode()
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict")
        if not _BROKEN_ESCAPE.search(text) and len(dict(pairs)) == len(pairs):
            return dict(pairs)
    words = "the form is not UTF-8, badly percent-encoded, or names a parameter twice"
    raise SandboxRefusal(TOKEN_ERRORS, "400/2", words)


def bearer_token(call: Call) -> str | None:
    """Return the token of the first Authorization field, as a gateway does; None without Bearer."""
    scheme, _, value = (call.first("Authorization") or "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def logout(sandbox: Sandbox, call: Call) -> SandboxAnswer:
    """Answer a call of logout: the token it carries is ended. Raises SandboxRefusal."""
    if call.method != "GET":
        raise SandboxRefusal(GATEWAY_ERRORS, "404/40401", "logout takes GET only")
    value = bearer_token(call)
    if value is None:
        raise SandboxRefusal(LOGOUT_ERRORS, "401/6")
    if sandbox.token_state(value) != "valid":
        raise SandboxRefusal(LOGOUT_ERRORS, "401/2")
    sandbox.log_out(value)
    return SandboxAnswer(200, b"OK!", "text/plain")
