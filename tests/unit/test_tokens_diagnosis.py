"""From an error body to a code, and from a code to words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tokens import diagnosis

#: The codes of Telenor's developer pages, for the token endpoint and for the gateway before the API.
TOKEN_ENDPOINT_CODES = ["1", "2", "4", "5", "6", "7", "8", "9", "12", "15", "16", "20", "21", "22", "23"]
CREDENTIALS = {"oauth.client_id", "oauth.client_secret", "oauth.username", "oauth.password"}

SHAPES = [
    pytest.param({"code": 40105}, "40105", id="number"),
    pytest.param({"code": "40105"}, "40105", id="string"),
    pytest.param({"code": 40105.0}, "40105", id="float"),
    pytest.param({"errorCode": "20", "message": "Invalid credentials"}, "20", id="camel-case"),
    pytest.param({"error_code": 20}, "20", id="snake-case"),
    pytest.param(
        {"ErrorCode": "invalid_client", "Error": "ClientId is Invalid"}, "invalid_client", id="pascal-case"
    ),
    pytest.param({"error": "invalid_grant", "error_description": "no"}, "invalid_grant", id="oauth"),
    pytest.param({"error": "invalid_client", "code": 22}, "22", id="code-before-error"),
    pytest.param({"error": {"code": 40106, "message": "expired"}}, "40106", id="nested"),
    pytest.param({"fault": {"faultstring": "x", "detail": {"errorcode": "40106"}}}, "40106", id="fault"),
    pytest.param({"errors": [{"code": "40101"}, {"code": "40102"}]}, "40101", id="list"),
    pytest.param({"errors": ["40105: Invalid access token"]}, "40105", id="list-of-strings"),
    pytest.param([{"errorCode": 23}], "23", id="list-on-top"),
    pytest.param({"code": 401, "error": {"code": "40105"}}, "40105", id="status-outside"),
    pytest.param({"code": "GW-9", "details": {"code": 40105}}, "40105", id="known-before-unknown"),
    pytest.param({"code": "SVC0001"}, "SVC0001", id="unknown"),
    pytest.param({"code": "00020"}, "20", id="leading-zeros"),
    pytest.param({"message": "Unauthorized"}, None, id="no-code"),
    pytest.param({"status": 401, "error": "Unauthorized", "path": "/x"}, None, id="status-echo"),
    pytest.param({"code": 401}, None, id="status-as-code"),
    pytest.param({"code": None, "error": True}, None, id="nothing-in-it"),
    pytest.param({"code": 1.5}, None, id="fraction"),
    pytest.param({"code": ""}, None, id="empty-string"),
    pytest.param({"error": "something went wrong"}, None, id="prose"),
    pytest.param({"code": "x" * 200}, None, id="endless-word"),
    pytest.param({"code": "<script>"}, None, id="markup"),
    pytest.param({}, None, id="empty-object"),
    pytest.param([], None, id="empty-list"),
    pytest.param(40105, None, id="bare-number"),
]


@pytest.mark.parametrize(("body", "code"), SHAPES)
def test_a_code_is_found_in_any_shape(body: object, code: str | None) -> None:
    """The error code is found by likely names, as number or string, at any depth; a mere echo of the status is none."""
    assert diagnosis.error_code(json.dumps(body).encode()) == code


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html><h1>401 Authorization Required</h1></html>", id="html"),
        pytest.param(b'{"code": 40105', id="broken"),
        pytest.param(b"\xff\xfe\x00", id="no-text"),
        pytest.param(b"[" * 60_000, id="deep"),
        pytest.param(b'{"code":' + b"9" * 60_000 + b"}", id="endless-number"),
        pytest.param(b'{"code":20,"pad":"' + b"x" * 70_000 + b'"}', id="too-long"),
        pytest.param(b'{"code":1e999}', id="infinite"),
        pytest.param(b'{"x":[' + b"0," * 600 + b'{"code":20}]}', id="too-many-values"),
    ],
)
def test_a_body_without_a_readable_code_names_none(body: bytes) -> None:
    """HTML, nothing, broken or absurd JSON names no code, and is no error."""
    assert diagnosis.error_code(body) is None


def test_a_byte_order_mark_and_bad_bytes_do_not_hide_a_code() -> None:
    """A byte order mark before the JSON and bytes that are no UTF-8 inside its texts are overlooked."""
    assert diagnosis.error_code(b'\xef\xbb\xbf{"code":20,"message":"Tilgang p\xe5 nei"}') == "20"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["code", "error", "fault", "x"]), inner)
        ),
    )
)
def test_reading_a_code_never_fails(value: object) -> None:
    """Whatever JSON comes, a code is short printable ASCII, or there is none."""
    code = diagnosis.error_code(json.dumps(value).encode())
    assert code is None or (code.isascii() and code.isprintable() and len(code) <= 80)


@pytest.mark.parametrize("code", TOKEN_ENDPOINT_CODES)
def test_every_documented_code_has_words(code: str) -> None:
    """Each code of the token endpoint is explained, with a next step in whole sentences."""
    said = diagnosis.diagnose(code)
    assert said != diagnosis.diagnose(None)
    assert not said.meaning.endswith(".")
    assert said.advice.endswith(".")


@pytest.mark.parametrize(
    ("code", "concerns", "place"),
    [
        ("1", {"oauth.client_id"}, "developer.telenor.no"),
        ("20", {"oauth.username", "oauth.password"}, "Min Bedrift"),
        ("22", {"oauth.client_id", "oauth.client_secret"}, "developer.telenor.no"),
        ("23", {"oauth.username", "oauth.client_id"}, "Min Bedrift"),
        ("8", {"oauth.scope"}, "oauth.scope"),
        ("invalid_grant", {"oauth.username", "oauth.password"}, "Min Bedrift"),
        (None, CREDENTIALS, "Telenor ID, formerly Connect ID"),
    ],
)
def test_a_refusal_names_the_credential_and_its_place(
    code: str | None, concerns: set[str], place: str
) -> None:
    """The person learns which of the four credentials is meant, and where the right one is found."""
    said = diagnosis.diagnose(code)
    assert set(said.concerns) == concerns
    assert place in said.advice


def test_the_code_with_two_meanings_is_told_apart_by_status() -> None:
    """Code 2 is about the request in a 400, and an internal error in a 500."""
    assert "grant_type" in diagnosis.diagnose("2", 400).meaning
    assert "internal error" in diagnosis.diagnose("2", 500).meaning


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "no reason was given"),
        (404, "no token endpoint at this address"),
        (418, "no answer that a token endpoint gives"),
        (429, "too many calls"),
        (500, "internal error"),
        (503, "internal error"),
    ],
)
def test_without_a_known_code_the_status_speaks(status: int, words: str) -> None:
    """An answer that names no code that is known is explained by its status."""
    assert words in diagnosis.diagnose(None, status).meaning
    assert words in diagnosis.diagnose("GW-9", status).meaning


@pytest.mark.parametrize(
    "code", ["1", "8", "20", "21", "22", "23", "40108", "invalid_client", "invalid_grant"]
)
def test_codes_about_credentials_are_known_as_such(code: str) -> None:
    """A code about the credentials means that they are refused, even inside a 200."""
    assert diagnosis.concerns_credentials(code)


@pytest.mark.parametrize("code", [None, "2", "16", "40105", "42901", "50001", "GW-9", "server_error"])
def test_other_codes_do_not_condemn_the_credentials(code: str | None) -> None:
    """A code about something else, or none, does not."""
    assert not diagnosis.concerns_credentials(code)


@pytest.mark.parametrize(
    ("code", "concerns"),
    [
        ("40105", True),
        ("40106", True),
        ("invalid_token", True),
        ("keymanagement.service.access_token_expired", True),
        ("40101", False),
        ("40102", False),
        ("40103", False),
        ("40104", False),
        ("40107", False),
        ("40108", False),
        ("SVC0001", False),
        (None, False),
    ],
)
def test_only_a_rejected_token_calls_for_a_new_one(code: str | None, concerns: bool) -> None:  # noqa: FBT001 # a table's column
    """Of the gateway's codes, only 40105 and 40106, or words to that effect, mean that a new token helps."""
    assert diagnosis.concerns_token(code) == concerns


@pytest.mark.parametrize(
    "code", ["20", "40105", "7654321", "access_denied", "steps.oauth.v2.InvalidApiKey", None]
)
def test_a_code_that_is_a_number_or_plain_words_may_be_quoted(code: str | None) -> None:
    """Numbers and plain words may stand in logs and messages."""
    assert diagnosis.quotable(code) == code


@pytest.mark.parametrize("code", ["hq0Tvfc00l8F33", "GW-9x", "p4ss"])
def test_a_code_that_could_be_a_secret_is_not_quoted(code: str) -> None:
    """A server may echo a password where its code should be: such a word goes nowhere."""
    assert diagnosis.quotable(code) is None


@pytest.mark.parametrize(
    "username", ["someone@example.com", "99885577", "+47 998 85 577", "0047-99885577", "(+47) 99885577"]
)
def test_a_persons_login_is_recognized(username: str) -> None:
    """An e-mail address or a phone number is a person's login; the words say what is needed instead, and do not repeat it."""
    words = diagnosis.looks_like_person(username)
    assert words is not None
    assert "Min Bedrift" in words
    assert username not in words


@pytest.mark.parametrize("username", ["api7813371375", "API1000XYZ", "machine-user", "1234567", ""])
def test_a_machine_user_is_not_taken_for_a_person(username: str) -> None:
    """The name of a machine user, or of anything that is no phone number, raises no suspicion."""
    assert diagnosis.looks_like_person(username) is None
