"""The sandbox's token endpoint and logout: each mistake gets the error that Telenor publishes."""

import base64
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from proxy.sandbox.gateway import reply
from proxy.sandbox.login import LOGOUT_PATH, TOKEN_PATH
from proxy.sandbox.messages import Call, SandboxAnswer
from proxy.sandbox.published import SHAPES
from proxy.sandbox.state import DEFAULT_CREDENTIALS, Sandbox, SandboxCredentials

FORM_TYPE = "application/x-www-form-urlencoded"


def basic(client_id: str, client_secret: str) -> str:
    """Write an Authorization value as a client does."""
    return "Basic " + base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()


def login_call(known: SandboxCredentials = DEFAULT_CREDENTIALS, **changes: Any) -> Call:
    """Make a correct call of the token endpoint with these changes."""
    form = {"grant_type": "password", "username": known.username, "password": known.password}
    form |= changes.pop("form", {})
    given: dict[str, Any] = {
        "method": "POST",
        "authorization": basic(known.client_id, known.client_secret),
        "content_type": FORM_TYPE,
        "body": urlencode({name: form[name] for name in form if form[name]}).encode(),
    } | changes
    named = (("Authorization", given["authorization"]), ("Content-Type", given["content_type"]))
    fields = tuple((name, value) for name, value in named if value is not None)
    return Call(given["method"], TOKEN_PATH, fields, given["body"])


def answer(sandbox: Sandbox, call: Call) -> SandboxAnswer:
    """Answer the call as the server does."""
    return reply(sandbox, call).answer


def content(made: SandboxAnswer) -> Any:
    """Read the answer's JSON."""
    assert made.content_type == "application/json"
    return orjson.loads(made.body)


def test_a_good_login_gets_a_token() -> None:
    """It is valid, has a lifetime and a type, and must not be cached."""
    sandbox = Sandbox()
    made = answer(sandbox, login_call())
    token = content(made)
    assert made.status == 200
    assert ("Cache-Control", "no-store") in made.fields
    assert token.keys() == {"access_token", "expires_in", "token_type"}
    assert (token["expires_in"], token["token_type"]) == (3599, "Bearer")
    assert sandbox.token_state(token["access_token"]) == "valid"


def test_unusual_logins_are_accepted() -> None:
    """Any character, a media type with parameters, and a permitted scope."""
    awkward = SandboxCredentials(
        "id&+=%/ ø", "secret: with : colons ø", "api1 +%", "a&b+c=d%e/f øæå%20"
    )
    assert answer(Sandbox(awkward), login_call(awkward)).status == 200
    media_type = "Application/X-WWW-Form-Urlencoded; charset=UTF-8"
    call = login_call(content_type=media_type, form={"scope": "accounts orders"})
    assert answer(Sandbox(), call).status == 200


TWICE = b"grant_type=password&username=u&password=p&password=q"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"method": "GET"}, 404, 40401),
        ({"authorization": None}, 401, 6),
        ({"authorization": "Bearer x"}, 401, 6),
        ({"authorization": "Basic ?"}, 401, 6),  # not Base64
        ({"authorization": "Basic /w=="}, 401, 6),  # not UTF-8
        ({"authorization": "Basic YWJj"}, 401, 6),  # no colon
        ({"authorization": basic("nobody", "x")}, 401, 1),
        ({"authorization": basic(DEFAULT_CREDENTIALS.client_id, "x")}, 401, 22),
        ({"content_type": None}, 400, 2),
        ({"content_type": "application/json"}, 400, 2),
        *(
            ({"body": b"grant_type=password&x=" + value}, 400, 2)
            for value in (b"%zz", b"%ff", b"\xff")
        ),
        *(({"body": body}, 400, 2) for body in (b"", b"grant_type", TWICE)),
        ({"form": {"grant_type": ""}}, 400, 2),
        ({"form": {"grant_type": "client_credentials"}}, 400, 2),
        ({"form": {"username": ""}}, 401, 20),
        ({"form": {"username": "somebody"}}, 401, 20),
        ({"form": {"password": ""}}, 401, 20),
        ({"form": {"password": "guess"}}, 401, 20),
        ({"form": {"scope": "orders everything"}}, 403, 8),
    ],
)
def test_a_wrong_login_gets_the_published_error(
    changes: dict[str, Any], status: int, code: int
) -> None:
    """No token is issued; two Authorization fields are refused, too."""
    sandbox = Sandbox()
    made = answer(sandbox, login_call(**changes))
    assert (made.status, content(made)["code"]) == (status, code)
    assert sandbox.issued == []
    call = login_call()
    doubled = replace(call, fields=call.fields + call.fields[:1])
    assert answer(sandbox, doubled).code == 6


@pytest.mark.parametrize(
    ("kind", "expected", "minimal"),
    [
        ("number", {"expires_in": 3599}, ', "expires_in" : "3599"'),
        ("string", {"expires_in": "3599"}, ', "expires_in" : "3599"'),
        ("missing", {}, ""),
        ("absurd", {"expires_in": 10**15}, f', "expires_in" : "{10**15}"'),
        ("negative", {"expires_in": -1}, ', "expires_in" : "-1"'),
        ("words", {"expires_in": "soon"}, ', "expires_in" : "soon"'),
    ],
)
def test_expires_in_takes_every_form(kind: str, expected: dict[str, object], minimal: str) -> None:
    """The minimal answer has two strings, a space before each colon, and no token_type."""
    sandbox = Sandbox()
    sandbox.settings.expires_in = kind
    token = content(answer(sandbox, login_call()))
    assert {name: value for name, value in token.items() if name == "expires_in"} == expected
    sandbox.settings.token_answer = "minimal"
    made = answer(sandbox, login_call())
    issued = sandbox.issued[-1].value
    assert made.body.decode() == f'{{"access_token" : "{issued}"{minimal}}}'
    assert content(made)["access_token"] == issued
    assert ("Cache-Control", "no-store") in made.fields


WRONG = "The resource owner's credentials are not valid"
#: The content of an error by its shape.
ERRORS: dict[str, object] = {
    "code-number": {"code": 20, "message": WRONG},
    "code-string": {"code": "20", "message": WRONG},
    "errorCode": {"errorCode": "20", "errorMessage": WRONG},
    "error": {"error": "20", "message": WRONG},
    "oauth": {"error": "invalid_grant", "error_description": WRONG},
    "gateway": {
        "httpStatus": 401,
        "httpMessage": "Unauthorized",
        "description": WRONG,
        "errorCode": 20,
        "resourceId": "sandbox",
        "origin": "sandbox",
    },
    "fault": {"fault": {"faultstring": WRONG, "detail": {"errorcode": "20"}}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_an_error_takes_every_shape(shape: str) -> None:
    """Status and meaning stay the same."""
    sandbox = Sandbox()
    sandbox.settings.error_shape = shape
    made = answer(sandbox, login_call(form={"password": "guess"}))
    assert (made.status, made.code) == (401, 20)
    if shape == "html":
        assert (made.content_type, b"<h1>401 Unauthorized</h1>" in made.body) == ("text/html", True)
    elif shape == "empty":
        assert (made.content_type, made.body) == (None, b"")
    else:
        assert orjson.loads(made.body) == ERRORS[shape]


def test_calls_are_counted_by_outcome() -> None:
    """A status, or that the caller got nothing."""
    sandbox = Sandbox()
    answer(sandbox, login_call())
    answer(sandbox, login_call(form={"password": "guess"}))
    sandbox.fault("token_drop", count=1)
    answer(sandbox, login_call())
    counters: Any = sandbox.shown()["counters"]
    assert counters["token_calls_by_status"] == {"200": 1, "401": 1, "dropped": 1}


def logout_call(authorization: str | None, method: str = "GET") -> Call:
    """Make a call of logout."""
    fields = () if authorization is None else (("Authorization", authorization),)
    return Call(method, LOGOUT_PATH, fields)


def test_logout_ends_the_token() -> None:
    """With the plain text OK!; an ended or expired token is refused."""
    sandbox = Sandbox()
    token, _ = sandbox.log_in()
    made = answer(sandbox, logout_call(f"Bearer {token}"))
    assert (made.status, made.content_type, made.body) == (200, "text/plain", b"OK!")
    assert sandbox.token_state(token) == "unknown"
    assert answer(sandbox, logout_call(f"Bearer {token}")).code == 2
    sandbox.settings.token_lifetime_seconds = 0
    expired, _ = sandbox.log_in()
    assert answer(sandbox, logout_call(f"Bearer {expired}")).code == 2


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
    """Each mistake has its status and code."""
    made = answer(Sandbox(), logout_call(authorization, method))
    assert (made.status, content(made)["code"]) == (status, code)
