"""The answer to an application that logs in by itself.

To whom, in which form, and with what in it.
"""

from __future__ import annotations

import json
import re

import pytest

from proxy.clients.login import MADE_UP_TOKEN, LoginAnswer, answers
from proxy.settings import Settings, load

_CREDENTIALS = {
    f"TELENOR_PROXY_OAUTH__{name}": "made-up-credential"
    for name in ("CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD")
}
TOKEN, LOGOUT = b"/oauth/v2/token", b"/oauth/v2/logout"


def configured(**values: str) -> Settings:
    """Return settings with these values, as `section__key`."""
    return load(
        None,
        _CREDENTIALS | {f"TELENOR_PROXY_{name.upper()}": value for name, value in values.items()},
    )


def answered(method: bytes, path: bytes) -> LoginAnswer:
    """Return the answer that there is."""
    return answers(configured(listen__answer_login="true"))[method, path]


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        (b"POST", TOKEN, "token"),
        (b"GET", LOGOUT, "logout"),
        (b"GET", TOKEN, None),
        (b"PUT", TOKEN, None),
        (b"HEAD", LOGOUT, None),
        (b"POST", LOGOUT, None),
        (b"POST", TOKEN + b"/", None),
        (b"POST", TOKEN.upper(), None),
        (b"POST", b"/oauth/v1/token", None),
        (b"POST", b"/oauth/v2/toke%6E", None),
        (b"GET", b"/corporate-accounts/v2/accounts", None),
    ],
)
def test_two_calls_are_answered_and_no_other(method: bytes, path: bytes, asked: str | None) -> None:
    """POST on the token path and GET on the logout path, spelled as the settings have them."""
    answer = answers(configured(listen__answer_login="true")).get((method, path))
    assert (None if answer is None else answer.asked) == asked


def test_by_default_nothing_is_answered() -> None:
    """An operator has to ask for it."""
    assert answers(configured()) == {}


def test_the_paths_are_those_of_the_settings() -> None:
    """A login moves with `oauth.token_path` and `oauth.logout_path`."""
    moved = configured(
        listen__answer_login="true", oauth__token_path="/v3/token", oauth__logout_path="/v3/out"
    )
    assert set(answers(moved)) == {(b"POST", b"/v3/token"), (b"GET", b"/v3/out")}


def test_the_token_has_the_members_that_a_strict_binder_knows() -> None:
    """Two members, both strings, as the real answer was for years, and spelled so.

    A space before each colon.
    """
    content = answered(b"POST", TOKEN).content
    assert re.fullmatch(rb'\{"access_token" : "[A-Za-z0-9]+", "expires_in" : "[0-9]+"\}', content)
    assert json.loads(content) == {"access_token": MADE_UP_TOKEN.decode(), "expires_in": "3600"}
    assert len(MADE_UP_TOKEN) == 28


def test_the_logout_is_the_plain_text_of_the_real_one() -> None:
    """`OK!`, without a line end."""
    assert answered(b"GET", LOGOUT).content == b"OK!"


@pytest.mark.parametrize(
    ("method", "path", "media_type"),
    [(b"POST", TOKEN, b"application/json"), (b"GET", LOGOUT, b"text/plain")],
)
def test_the_fields_are_field_lines(method: bytes, path: bytes, media_type: bytes) -> None:
    """Each line is a whole one; no cache keeps the answer (RFC 6749 section 5.1)."""
    fields = answered(method, path).fields
    assert re.fullmatch(rb"(?:[A-Za-z-]+: [!-~][ -~]*\r\n)+", fields)
    assert fields.startswith(b"Content-Type: " + media_type + b"\r\n")
    assert b"Cache-Control: no-store\r\n" in fields
