"""From an error body to a code, and from a code to words."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from typing import TYPE_CHECKING

import brotli  # type: ignore[import-untyped] # it has no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tokens import codes, diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable

#: The codes of Telenor's developer pages, for the token endpoint and for the gateway before the
#: API.
TOKEN_ENDPOINT_CODES = [
    "1",
    "2",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "12",
    "15",
    "16",
    "20",
    "21",
    "22",
    "23",
]
CREDENTIALS = {"oauth.client_id", "oauth.client_secret", "oauth.username", "oauth.password"}

SHAPES = [
    pytest.param({"code": 40105}, "40105", id="number"),
    pytest.param({"code": "40105"}, "40105", id="string"),
    pytest.param({"code": 40105.0}, "40105", id="float"),
    pytest.param({"errorCode": "20", "message": "Invalid credentials"}, "20", id="camel-case"),
    pytest.param({"error_code": 20}, "20", id="snake-case"),
    pytest.param(
        {"ErrorCode": "invalid_client", "Error": "ClientId is Invalid"},
        "invalid_client",
        id="pascal-case",
    ),
    pytest.param(
        {"error": "invalid_grant", "error_description": "no"}, "invalid_grant", id="oauth"
    ),
    pytest.param({"error": "invalid_client", "code": 22}, "22", id="code-before-error"),
    pytest.param({"error": {"code": 40106, "message": "expired"}}, "40106", id="nested"),
    pytest.param(
        {"fault": {"faultstring": "x", "detail": {"errorcode": "40106"}}}, "40106", id="fault"
    ),
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
    """The error code is found by likely names, as number or string, at any depth.

    A mere echo of the status is none.
    """
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
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["code", "error", "fault", "x"]), inner)
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


@pytest.mark.parametrize(
    "code", [None, "2", "16", "40105", "42901", "50001", "GW-9", "server_error"]
)
def test_other_codes_do_not_condemn_the_credentials(code: str | None) -> None:
    """A code about something else, or none, does not."""
    assert not diagnosis.concerns_credentials(code)


# --- A 401 of the API --------------------------------------------------------------------------

RIGHTS = b'{"code":"40104","message":"not authorized to use given MSISDN"}'
DEAD = b'{"code":"40105","message":"Invalid access token"}'
NO_CODE = b'{"message":"Unauthorized"}'


def raw_deflate(content: bytes) -> bytes:
    """Compress as some servers do that say `deflate`: without the header that it should have."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


#: How a body may come: the value of Content-Encoding, and what is done to the content.
COMPRESSED: list[tuple[bytes | None, Callable[[bytes], bytes]]] = [
    (None, bytes),
    (b"", bytes),
    (b"identity", bytes),
    (b"none", bytes),
    (b"gzip", gzip.compress),
    (b"GZIP", gzip.compress),
    (b"x-gzip", gzip.compress),
    (b"deflate", zlib.compress),
    (b"deflate", raw_deflate),
    (b"br", brotli.compress),
    (b"deflate, gzip", lambda content: gzip.compress(zlib.compress(content))),
    (b"identity, gzip", gzip.compress),
    (b"deflate", gzip.compress),
    (b"gzip", zlib.compress),
    # Named, but not done: a middlebox undid it, or it never was.
    (b"gzip", bytes),
    (b"deflate", bytes),
    (b"br", bytes),
    (b"zstd", bytes),
    (b"x-made-up", bytes),
    (b"gzip, gzip, gzip", bytes),
    (b"utf-8", bytes),
]


@pytest.mark.parametrize(("coding", "compress"), COMPRESSED)
def test_a_401_is_judged_in_whatever_coding_it_comes(
    coding: bytes | None, compress: Callable[[bytes], bytes]
) -> None:
    """About rights: no renewal. A dead token, or no code: one. And the log learns the code."""
    for content, code, helps in (
        (RIGHTS, "40104", False),
        (DEAD, "40105", True),
        (NO_CODE, None, True),
    ):
        body = compress(content)
        assert diagnosis.rejected_token(401, [], body, coding) is helps
        assert diagnosis.error_code_of(body, coding) == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"<error><code>%b</code></error>", "40104", id="element"),
        pytest.param(
            b"<Error>\n  <errorCode>%b</errorCode>\n</Error>", "40104", id="element-inside"
        ),
        pytest.param(b'<e><code type="int"> %b </code></e>', "40104", id="element-with-attribute"),
        pytest.param(b'<error code="%b" status="401">no</error>', "40104", id="attribute"),
        pytest.param(b"<error status='401' code='%b'/>", "40104", id="second-attribute"),
        pytest.param(b"<html><h1>%b: Not authorized</h1></html>", "40104", id="leading"),
        pytest.param(b"%b not authorized to use given MSISDN", "40104", id="text"),
        pytest.param(b"Error code: %b.", "40104", id="prose"),
        pytest.param(b'{"code": "%b", "message": ', "40104", id="broken-json"),
    ],
)
def test_what_is_no_json_is_searched_for_known_codes(body: bytes, code: str) -> None:
    """XML, HTML, text and broken JSON: a code of the gateway is found where a code would stand."""
    rights, dead = body.replace(b"%b", code.encode()), body.replace(b"%b", b"40106")
    assert diagnosis.error_code_of(rights) == code
    assert not diagnosis.rejected_token(401, [], rights)
    assert diagnosis.error_code_of(dead) == "40106"
    assert diagnosis.rejected_token(401, [], dead)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html><h1>401 Authorization Required</h1></html>", id="html"),
        pytest.param(
            b"<html><style>.a{width:40104px}</style>Error 2</html>", id="html-with-numbers"
        ),
        pytest.param(b"<code>int main(void)</code>", id="other-code"),
        pytest.param(b"\x0b\x02\x80", id="no-text"),
        pytest.param(b"[]", id="empty-list"),
        pytest.param(b'{"code": 401, "error": "Unauthorized"}', id="status-echo"),
    ],
)
@pytest.mark.parametrize("coding", [None, b"gzip", b"deflate", b"br", b"zstd"])
def test_a_401_that_names_no_code_calls_for_a_new_token(body: bytes, coding: bytes | None) -> None:
    """As the contract says: most gateways answer a dead token with no more than the status."""
    assert diagnosis.error_code_of(body, coding) is None
    assert diagnosis.rejected_token(401, [], body, coding)


def test_a_401_too_large_to_be_looked_at_names_no_code() -> None:
    """So is one whose content is larger than anything that a gateway says.

    Of a compressed one the beginning is read.
    """
    pad = b'{"code":40104,"pad":"' + b"x" * diagnosis.MOST_ERROR_BYTES + b'"}'
    for content in (None, pad):
        assert diagnosis.error_code_of(content) is None
        assert diagnosis.rejected_token(401, [], content)
    for coding, body in ((b"gzip", gzip.compress(pad)), (b"br", brotli.compress(pad))):
        assert diagnosis.error_code_of(body, coding) == "40104"
        assert not diagnosis.rejected_token(401, [], body, coding)


@pytest.mark.parametrize("code", sorted(codes.GATEWAY))
def test_of_the_gateways_codes_two_call_for_a_new_token(code: str) -> None:
    """40105 and 40106, and no other."""
    body = json.dumps({"code": code}).encode()
    assert diagnosis.rejected_token(401, [], body) is (code in {"40105", "40106"})


@pytest.mark.parametrize(
    ("word", "helps"),
    [
        ("keymanagement.service.access_token_expired", True),
        ("keymanagement.service.invalid_access_token", True),
        ("keymanagement.service.access_token_not_approved", True),
        ("keymanagement.service.apiproduct_doesnot_exist", False),
        ("keymanagement.service.InvalidAPICallAsNoApiProductMatchFound", False),
        ("oauth.v2.InvalidApiKey", False),
    ],
)
def test_the_gateway_softwares_own_faults(word: str, helps: bool) -> None:  # noqa: FBT001 # a table's column
    """A token that has expired, is unknown or was revoked is cured by a new one.

    A missing right is not.
    """
    body = json.dumps({"fault": {"faultstring": "x", "detail": {"errorcode": word}}}).encode()
    assert diagnosis.rejected_token(401, [], body) is helps
    assert diagnosis.error_code_of(body) == word


def test_an_unknown_code_is_for_the_client() -> None:
    """A 401 with a code that nobody knows is not about the token, and the code is not shown."""
    assert not diagnosis.rejected_token(401, [], b'{"code": "SVC0001"}')
    assert diagnosis.error_code_of(b'{"code": "SVC0001"}') is None
    assert diagnosis.error_code_of(b'{"code": 50004}') == "50004"


CHALLENGES = [
    pytest.param([b'Bearer error="invalid_token"'], True, id="quoted"),
    pytest.param([b"bearer realm=x, error=invalid_token"], True, id="bare"),
    pytest.param([b'Basic realm="x"', b'Bearer error = "invalid_token"'], True, id="second-field"),
    pytest.param([b'Basic realm="x", Bearer error="invalid_token"'], True, id="second-challenge"),
    pytest.param([b'Bearer error="insufficient_scope"'], False, id="scope"),
    pytest.param([b'Bearer realm="x"'], False, id="no-error"),
    pytest.param([b'Basic error="invalid_token"'], False, id="other-scheme"),
    pytest.param([b"Bearer " + b"x" * 2000 + b' error="invalid_token"'], False, id="too-long"),
    pytest.param([], False, id="none"),
]


@pytest.mark.parametrize(("challenge", "says"), CHALLENGES)
def test_a_challenge_that_says_invalid_token_counts(challenge: list[bytes], says: bool) -> None:  # noqa: FBT001 # a table's column
    """RFC 6750, section 3.1, whatever the body says; any other challenge changes nothing."""
    assert diagnosis.rejected_token(401, challenge, RIGHTS) is says
    assert diagnosis.rejected_token(401, challenge, DEAD)
    assert diagnosis.rejected_token(401, challenge, b"")


@pytest.mark.parametrize(("challenge", "says"), CHALLENGES)
def test_a_401_to_head_needs_such_a_challenge(challenge: list[bytes], says: bool) -> None:  # noqa: FBT001 # a table's column
    """An answer to HEAD has no body that could name a code, so its silence says nothing."""
    for content in (b"", None):
        assert diagnosis.rejected_token(401, challenge, content, is_head=True) is says


@pytest.mark.parametrize("status", [200, 400, 403, 404, 407, 429, 500, 503])
def test_only_a_401_is_about_the_token(status: int) -> None:
    """Whatever else another answer says."""
    assert not diagnosis.rejected_token(status, [b'Bearer error="invalid_token"'], DEAD)


def test_a_body_that_repeats_a_credential_shows_nothing() -> None:
    """The code of an answer that is, or contains, a value in force is not given to the log."""
    body = b'{"error": "GlzFVXYOvAhFCEqw"}'
    assert diagnosis.error_code_of(body) is None
    assert diagnosis.error_code_of(b'{"code": 40104}', None, ["40104"]) is None


@given(
    st.binary(max_size=400),
    st.none() | st.sampled_from([b"gzip", b"deflate", b"br", b"deflate, br"]),
)
def test_judging_never_fails(content: bytes, coding: bytes | None) -> None:
    """Whatever bytes come in whatever coding."""
    code = diagnosis.error_code_of(content, coding)
    assert code is None or codes.quotable(code) == code
    assert isinstance(diagnosis.rejected_token(401, [content], content, coding), bool)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<" + b"code " * 13_000, id="code"),
        pytest.param(b"code>" + b" " * 65_000, id="spaces"),
        pytest.param(b"code>" * 13_000, id="elements"),
        pytest.param(b">" * 65_536, id="ends"),
        pytest.param(b"code=" * 13_000, id="attributes"),
        pytest.param(b"<a>" + b"error=" + b"a" * 65_000, id="word"),
        pytest.param(gzip.compress(b"") * 3_000, id="empty-members"),
        pytest.param(gzip.compress(b"x" * 10_000_000), id="gzip-bomb"),
        pytest.param(brotli.compress(b"x" * 10_000_000), id="brotli-bomb"),
        pytest.param(b"bearer error " * 5_000, id="challenge"),
    ],
)
def test_judging_is_cheap(body: bytes) -> None:
    """The largest body that is looked at takes a moment and little memory, whatever is in it."""
    began = time.process_time()
    for coding in (None, b"gzip", b"br"):
        diagnosis.error_code_of(body, coding)
        diagnosis.rejected_token(401, [body], body, coding)
    assert time.process_time() - began < 2


# --- Logins of persons -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "username",
    ["someone@example.com", "99885577", "+47 998 85 577", "0047-99885577", "(+47) 99885577"],
)
def test_a_persons_login_is_recognized(username: str) -> None:
    """An e-mail address or a phone number is a person's login.

    The words say what is needed instead, and do not repeat it.
    """
    words = diagnosis.looks_like_person(username)
    assert words is not None
    assert "Min Bedrift" in words
    assert username not in words


@pytest.mark.parametrize("username", ["api7813371375", "API1000XYZ", "machine-user", "1234567", ""])
def test_a_machine_user_is_not_taken_for_a_person(username: str) -> None:
    """The name of a machine user, or of anything that is no phone number, raises no suspicion."""
    assert diagnosis.looks_like_person(username) is None
