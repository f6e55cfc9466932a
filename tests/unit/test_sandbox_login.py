"""The sandbox's token endpoint and logout.

Every request that Telenor's pages call wrong gets the error that they publish for it.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from proxy.sandbox.gateway import reply
from proxy.sandbox.login import LOGOUT_PATH, TOKEN_PATH
from proxy.sandbox.messages import Call, SandboxAnswer
from proxy.sandbox.published import SHAPES, TOKEN_ERRORS
from proxy.sandbox.state import DEFAULT_CREDENTIALS, Sandbox, SandboxCredentials

FORM_TYPE = "application/x-www-form-urlencoded"


def basic(client_id: str, client_secret: str) -> str:
    """Write an Authorization value as a client does."""
    return "Basic " + base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()


def login_call(known: SandboxCredentials = DEFAULT_CREDENTIALS, **changes: Any) -> Call:
    """Make a correct call of the token endpoint, then change what the test wants to be wrong."""
    form: dict[str, str | None] = {
        "grant_type": "password",
        "username": known.username,
        "password": known.password,
    }
    form |= changes.pop("form", {})
    given: dict[str, Any] = {
        "method": "POST",
        "authorization": basic(known.client_id, known.client_secret),
        "content_type": FORM_TYPE,
        "body": urlencode(
            {name: value for name, value in form.items() if value is not None}
        ).encode(),
    } | changes
    named = (("Authorization", given["authorization"]), ("Content-Type", given["content_type"]))
    fields = [(name, value) for name, value in named if value is not None]
    return Call(given["method"], TOKEN_PATH, tuple(fields), given["body"])


def answer(sandbox: Sandbox, call: Call) -> SandboxAnswer:
    """Have the call answered as the server does."""
    return reply(sandbox, call).answer


def content(made: SandboxAnswer) -> Any:
    """Read the answer's JSON."""
    assert made.content_type == "application/json"
    return orjson.loads(made.body)


def test_a_good_login_gets_a_token() -> None:
    """The answer holds a token that is valid, its lifetime in seconds and its type, and must not be cached."""
    sandbox = Sandbox()
    made = answer(sandbox, login_call())
    token = content(made)
    assert made.status == 200
    assert ("Cache-Control", "no-store") in made.fields
    assert token.keys() == {"access_token", "expires_in", "token_type"}
    assert (token["expires_in"], token["token_type"]) == (3599, "Bearer")
    assert sandbox.token_state(token["access_token"]) == "valid"


def test_credentials_may_hold_any_character() -> None:
    """Everything that needs escaping in a form or a header arrives as it was meant."""
    awkward = SandboxCredentials(
        "id&+=%/ ø", "secret: with : colons ø", "api1 +%", "a&b+c=d%e/f øæå%20"
    )
    assert answer(Sandbox(awkward), login_call(awkward)).status == 200


def test_a_content_type_may_have_parameters() -> None:
    """The form's media type is compared without case and parameters."""
    call = login_call(content_type="Application/X-WWW-Form-Urlencoded; charset=UTF-8")
    assert answer(Sandbox(), call).status == 200


def test_a_permitted_scope_is_accepted() -> None:
    """A scope from the setting passes, and none at all does as well."""
    assert answer(Sandbox(), login_call(form={"scope": "accounts orders"})).status == 200


PASSWORD_TWICE = urlencode(
    [("grant_type", "password"), ("username", "u"), ("password", "p"), ("password", "q")]
)


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        pytest.param({"method": "GET"}, 404, 40401, id="wrong method"),
        pytest.param({"authorization": None}, 401, 6, id="no Authorization"),
        pytest.param({"authorization": "Bearer x"}, 401, 6, id="Bearer instead of Basic"),
        pytest.param({"authorization": "Basic ?"}, 401, 6, id="not Base64"),
        pytest.param({"authorization": "Basic /w=="}, 401, 6, id="not UTF-8"),
        pytest.param({"authorization": "Basic YWJj"}, 401, 6, id="no colon"),
        pytest.param({"authorization": basic("nobody", "x")}, 401, 1, id="unknown client id"),
        pytest.param(
            {"authorization": basic(DEFAULT_CREDENTIALS.client_id, "x")},
            401,
            22,
            id="wrong client secret",
        ),
        pytest.param({"content_type": None}, 400, 2, id="no Content-Type"),
        pytest.param({"content_type": "application/json"}, 400, 2, id="JSON instead of a form"),
        pytest.param({"body": b""}, 400, 2, id="empty form"),
        pytest.param({"body": b"grant_type"}, 400, 2, id="not a form"),
        pytest.param({"body": b"grant_type=password&x=%zz"}, 400, 2, id="broken percent-encoding"),
        pytest.param(
            {"body": b"grant_type=password&x=%ff"}, 400, 2, id="escaped bytes that are not UTF-8"
        ),
        pytest.param(
            {"body": b"grant_type=password&x=\xff"}, 400, 2, id="bytes that are not UTF-8"
        ),
        pytest.param({"body": PASSWORD_TWICE.encode()}, 400, 2, id="a parameter twice"),
        pytest.param({"form": {"grant_type": None}}, 400, 2, id="no grant type"),
        pytest.param(
            {"form": {"grant_type": "client_credentials"}}, 400, 2, id="another grant type"
        ),
        pytest.param({"form": {"username": None}}, 401, 20, id="no username"),
        pytest.param({"form": {"username": "somebody"}}, 401, 20, id="wrong username"),
        pytest.param({"form": {"password": None}}, 401, 20, id="no password"),
        pytest.param({"form": {"password": "guess"}}, 401, 20, id="wrong password"),
        pytest.param({"form": {"scope": "orders everything"}}, 403, 8, id="illegal scope"),
    ],
)
def test_a_wrong_login_gets_the_published_error(
    changes: dict[str, Any], status: int, code: int
) -> None:
    """Each mistake is answered with the status and the code that the tables give it, and no token is issued."""
    sandbox = Sandbox()
    made = answer(sandbox, login_call(**changes))
    assert (made.status, content(made)["code"]) == (status, code)
    assert sandbox.issued == []


def test_two_authorization_fields_are_refused() -> None:
    """A login that could be read two ways is not read at all."""
    call = login_call()
    doubled = replace(call, fields=call.fields + call.fields[:1])
    assert answer(Sandbox(), doubled).code == 6


@pytest.mark.parametrize("error", TOKEN_ERRORS, ids=lambda error: error.name)
def test_every_published_error_can_be_switched_on(error: Any) -> None:
    """Whatever the tables list, a good login gets it when the fault says so."""
    sandbox = Sandbox()
    sandbox.fault("token_error", error.name)
    made = answer(sandbox, login_call())
    assert (made.status, content(made)["code"]) == (error.status, error.code)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("number", {"expires_in": 3599}),
        ("string", {"expires_in": "3599"}),
        ("missing", {}),
        ("absurd", {"expires_in": 10**15}),
        ("negative", {"expires_in": -1}),
        ("words", {"expires_in": "soon"}),
    ],
)
def test_expires_in_takes_every_form(kind: str, expected: dict[str, object]) -> None:
    """The member can be a number, a text, absent or nonsense.

    The token's true life stays the same.
    """
    sandbox = Sandbox()
    sandbox.settings.expires_in = kind
    token = content(answer(sandbox, login_call()))
    assert {name: value for name, value in token.items() if name == "expires_in"} == expected


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("number", ', "expires_in" : "3599"'),
        ("absurd", f', "expires_in" : "{10**15}"'),
        ("missing", ""),
    ],
)
def test_the_minimal_answer_is_what_the_real_one_was_seen_to_be(kind: str, written: str) -> None:
    """Two strings with a space before the colon, no token_type, whatever `expires_in` says."""
    sandbox = Sandbox()
    sandbox.settings.change({"token_answer": "minimal", "expires_in": kind})
    made = answer(sandbox, login_call())
    (token,) = sandbox.issued
    assert made.body.decode() == f'{{"access_token" : "{token.value}"{written}}}'
    assert content(made)["access_token"] == token.value
    assert ("Cache-Control", "no-store") in made.fields


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("code-number", {"code": 20, "message": "?"}),
        ("code-string", {"code": "20", "message": "?"}),
        ("errorCode", {"errorCode": "20", "errorMessage": "?"}),
        ("error", {"error": "20", "message": "?"}),
        ("oauth", {"error": "invalid_grant", "error_description": "?"}),
        (
            "gateway",
            {
                "httpStatus": 401,
                "httpMessage": "Unauthorized",
                "description": "?",
                "errorCode": 20,
                "resourceId": "sandbox",
                "origin": "sandbox",
            },
        ),
        ("fault", {"fault": {"faultstring": "?", "detail": {"errorcode": "20"}}}),
        ("html", None),
        ("empty", None),
    ],
)
def test_an_error_takes_every_shape(shape: str, expected: object) -> None:
    """The unpublished shape of an error's content is a setting.

    Status and meaning stay the same.
    """
    sandbox = Sandbox()
    sandbox.settings.error_shape = shape
    made = answer(sandbox, login_call(form={"password": "guess"}))
    words = "The resource owner's credentials are not valid"
    assert (made.status, made.code) == (401, 20)
    if expected is not None:
        assert orjson.loads(made.body.replace(words.encode(), b"?")) == expected
    elif shape == "html":
        assert (made.content_type, b"<h1>401 Unauthorized</h1>" in made.body) == ("text/html", True)
    else:
        assert (made.content_type, made.body) == (None, b"")


def test_the_table_of_shapes_is_complete() -> None:
    """No shape is left out of the test above."""
    marks = test_an_error_takes_every_shape.pytestmark  # type: ignore[attr-defined]
    assert [row[0] for row in marks[0].args[1]] == list(SHAPES)


def test_calls_are_counted_with_their_code() -> None:
    """Each call of the token endpoint is remembered with its status and its code."""
    sandbox = Sandbox()
    answer(sandbox, login_call())
    answer(sandbox, login_call(form={"password": "guess"}))
    sandbox.fault("token_drop", count=1)
    reply(sandbox, login_call())
    assert [(call.outcome, call.code) for call in sandbox.token_calls] == [
        ("200", None),
        ("401", 20),
        ("dropped", None),
    ]


def logout_call(authorization: str | None, method: str = "GET") -> Call:
    """Make a call of logout."""
    fields = () if authorization is None else (("Authorization", authorization),)
    return Call(method, LOGOUT_PATH, fields)


def test_logout_ends_the_token() -> None:
    """A logout is answered with the plain text OK! and ends the token.

    The token is worth nothing after that, not even for a logout.
    """
    sandbox = Sandbox()
    token, _ = sandbox.log_in("api1")
    made = answer(sandbox, logout_call(f"Bearer {token}"))
    assert (made.status, made.content_type, made.body) == (200, "text/plain", b"OK!")
    assert sandbox.token_state(token) == "unknown"
    assert answer(sandbox, logout_call(f"Bearer {token}")).code == 2


@pytest.mark.parametrize(
    ("authorization", "method", "status", "code"),
    [
        (None, "GET", 401, 6),
        ("Basic YTpi", "GET", 401, 6),
        ("Bearer unknown", "GET", 401, 2),
        ("Bearer unknown", "POST", 404, 40401),
    ],
)
def test_a_wrong_logout_gets_the_published_error(
    authorization: str | None, method: str, status: int, code: int
) -> None:
    """Each mistake of a logout is answered with its status and code."""
    made = answer(Sandbox(), logout_call(authorization, method))
    assert (made.status, content(made)["code"]) == (status, code)


def test_an_expired_token_cannot_log_out() -> None:
    """A token whose time is over is no valid one for logout."""
    sandbox = Sandbox()
    sandbox.settings.token_lifetime_seconds = 0
    token, _ = sandbox.log_in("api1")
    assert answer(sandbox, logout_call(f"Bearer {token}")).code == 2


@pytest.mark.parametrize(
    ("value", "status", "code"), [("2", 401, 2), ("6", 401, 6), ("500/2", 500, 2)]
)
def test_every_published_logout_error_can_be_switched_on(
    value: str, status: int, code: int
) -> None:
    """A good logout fails as the fault says, and its token lives on."""
    sandbox = Sandbox()
    token, _ = sandbox.log_in("api1")
    sandbox.fault("logout_error", value)
    made = answer(sandbox, logout_call(f"Bearer {token}"))
    assert (made.status, made.code, sandbox.token_state(token)) == (status, code, "valid")
