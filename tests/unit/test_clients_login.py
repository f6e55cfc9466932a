"""The answer to an application that logs in by itself (`listen.answer_login`)."""

from __future__ import annotations

import json
import re

import pytest

from proxy.clients.login import MADE_UP_TOKEN, answers
from tests.unit.made import settings

TOKEN, LOGOUT = b"/oauth/v2/token", b"/oauth/v2/logout"
ANSWERS = answers(settings(listen={"answer_login": True}))


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
    """POST on the token path and GET on the logout path, spelled as in the settings."""
    answer = ANSWERS.get((method, path))
    assert (None if answer is None else answer.asked) == asked


def test_the_settings_decide_what_is_answered() -> None:
    """Nothing by default; the paths are `oauth.token_path` and `oauth.logout_path`."""
    assert answers(settings()) == {}
    paths = {"token_path": "/v3/token", "logout_path": "/v3/out"}
    moved = settings(listen={"answer_login": True}, oauth=paths)
    assert set(answers(moved)) == {(b"POST", b"/v3/token"), (b"GET", b"/v3/out")}


@pytest.mark.parametrize(
    ("method", "path", "media_type", "content"),
    [
        (
            b"POST",
            TOKEN,
            b"application/json",
            rb'\{"access_token" : "[A-Za-z0-9]+", "expires_in" : "[0-9]+"\}',
        ),
        (b"GET", LOGOUT, b"text/plain", rb"OK!"),
    ],
)
def test_an_answer_looks_like_the_real_one(
    method: bytes, path: bytes, media_type: bytes, content: bytes
) -> None:
    """Whole field lines, no caching (RFC 6749 section 5.1), and content for strict parsers."""
    answer = ANSWERS[method, path]
    assert re.fullmatch(rb"(?:[A-Za-z-]+: [!-~][ -~]*\r\n)+", answer.fields)
    assert answer.fields.startswith(b"Content-Type: " + media_type + b"\r\n")
    assert b"Cache-Control: no-store\r\n" in answer.fields
    assert re.fullmatch(content, answer.content)


def test_the_token_is_made_up() -> None:
    """Both members are strings, as they were in the real answer for years."""
    token = json.loads(ANSWERS[b"POST", TOKEN].content)
    assert token == {"access_token": MADE_UP_TOKEN.decode(), "expires_in": "3600"}
    assert len(MADE_UP_TOKEN) == 28
