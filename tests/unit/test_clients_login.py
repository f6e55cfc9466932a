"""The answer to an application that logs in by itself (`listen.answer_login`)."""

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


def test_the_answers_look_like_the_real_ones() -> None:
    """Not to be cached (RFC 6749 section 5.1); both members are strings, as they were for years."""
    token, logout = ANSWERS[b"POST", TOKEN], ANSWERS[b"GET", LOGOUT]
    assert token.fields.split(b"\r\n") == [
        b"Content-Type: application/json",
        b"Cache-Control: no-store",
        b"Pragma: no-cache",
        b"",
    ]
    assert token.content == b'{"access_token" : "%b", "expires_in" : "3600"}' % MADE_UP_TOKEN
    assert re.fullmatch(rb"[A-Za-z]{28}", MADE_UP_TOKEN)
    assert logout.fields == b"Content-Type: text/plain\r\nCache-Control: no-store\r\n"
    assert logout.content == b"OK!"
