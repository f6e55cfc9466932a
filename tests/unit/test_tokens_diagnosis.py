"""From an error body to a code, and from a code to words."""

import gzip
import json
import time
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped] # it has no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tokens import codes, diagnosis

SHAPES: list[tuple[object, str | None]] = [
    ({"code": 40105}, "40105"),
    ({"code": "40105"}, "40105"),
    ({"code": 40105.0}, "40105"),
    ({"errorCode": "20", "message": "Invalid credentials"}, "20"),
    ({"error_code": 20}, "20"),
    ({"ErrorCode": "invalid_client", "Error": "ClientId is Invalid"}, "invalid_client"),
    ({"error": "invalid_grant", "error_description": "no"}, "invalid_grant"),
    ({"error": "invalid_client", "code": 22}, "22"),
    ({"error": {"code": 40106, "message": "expired"}}, "40106"),
    ({"fault": {"faultstring": "x", "detail": {"errorcode": "40106"}}}, "40106"),
    ({"errors": [{"code": "40101"}, {"code": "40102"}]}, "40101"),
    ({"errors": ["40105: Invalid access token"]}, "40105"),
    ([{"errorCode": 23}], "23"),
    ({"code": 401, "error": {"code": "40105"}}, "40105"),  # the status outside
    ({"code": "GW-9", "details": {"code": 40105}}, "40105"),  # known before unknown
    ({"code": "SVC0001"}, "SVC0001"),
    ({"code": "00020"}, "20"),
    ({"status": 401, "error": "Unauthorized", "path": "/x"}, None),
    *(({"code": code}, None) for code in (401, 1.5, "", "x" * 200, "<script>")),
    ({"code": None, "error": True}, None),
    ({"error": "something went wrong"}, None),
    ({"message": "Unauthorized"}, None),
    ({}, None),
    ([], None),
    (40105, None),
]


@pytest.mark.parametrize(("body", "code"), SHAPES)
def test_a_code_is_found_in_any_shape(body: object, code: str | None) -> None:
    """By likely names, as number or string, at any depth; an echo of the status is none."""
    assert diagnosis.error_code(json.dumps(body).encode()) == code


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><h1>401 Authorization Required</h1></html>",
        b'{"code": 40105',
        b"\xff\xfe\x00",
        b"[" * 60_000,
        b'{"code":' + b"9" * 60_000 + b"}",
        b'{"code":20,"pad":"' + b"x" * 70_000 + b'"}',
        b'{"code":1e999}',
        b'{"x":[' + b"0," * 600 + b'{"code":20}]}',
    ],
    ids=lambda body: str(body[:20]),
)
def test_a_body_without_a_readable_code_names_none(body: bytes) -> None:
    """HTML, nothing, broken or absurd JSON; but a byte order mark and bad bytes are ignored."""
    assert diagnosis.error_code(body) is None
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
    """A code is short printable ASCII, or there is none."""
    code = diagnosis.error_code(json.dumps(value).encode())
    assert code is None or (code.isascii() and code.isprintable() and len(code) <= 80)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("1", ["oauth.client_id", "developer.telenor.no"]),
        ("20", ["oauth.username", "oauth.password", "Min Bedrift"]),
        ("22", ["oauth.client_id", "oauth.client_secret", "developer.telenor.no"]),
        ("23", ["username", "client_id", "Min Bedrift"]),
        ("8", ["oauth.scope"]),
        (None, ["oauth.client_id", "oauth.password", "Telenor ID, formerly Connect ID"]),
    ],
)
def test_a_refusal_names_the_credential_and_its_place(code: str | None, names: list[str]) -> None:
    """Which of the four is meant, and where the right one is found."""
    advice = diagnosis.diagnose(code).advice
    assert [name for name in names if name not in advice] == []


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
    """It explains the answer; code 2 has a meaning for each status."""
    assert words in diagnosis.diagnose(None, status).meaning
    assert words in diagnosis.diagnose("GW-9", status).meaning
    assert "grant_type" in diagnosis.diagnose("2", 400).meaning
    assert "internal error" in diagnosis.diagnose("2", 500).meaning


def test_codes_about_credentials() -> None:
    """They mean a refusal even inside a 200; other codes, or none, do not."""
    about = {"1", "8", "20", "21", "22", "23", "40108", "invalid_client", "invalid_grant"}
    assert about <= diagnosis.CREDENTIAL_CODES
    assert not {"2", "16", "40105", "42901", "50001", "server_error"} & diagnosis.CREDENTIAL_CODES


# --- A 401 of the API --------------------------------------------------------------------------

RIGHTS = b'{"code":"40104","message":"not authorized to use given MSISDN"}'
DEAD = b'{"code":"40105","message":"Invalid access token"}'
NO_CODE = b'{"message":"Unauthorized"}'


#: The value of Content-Encoding, and what is done to the content.
COMPRESSED: list[tuple[bytes | None, Callable[[bytes], bytes]]] = [
    (None, bytes),
    (b"GZIP", gzip.compress),
    (b"deflate, gzip", lambda content: gzip.compress(zlib.compress(content))),
    (b"identity, br", brotli.compress),
    # Named, but not compressed: a middlebox decoded it.
    *((coding, bytes) for coding in (b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip, gzip")),
]


@pytest.mark.parametrize(("coding", "compress"), COMPRESSED)
def test_a_401_is_judged_in_whatever_coding_it_comes(
    coding: bytes | None, compress: Callable[[bytes], bytes]
) -> None:
    """Rights need no renewal; a dead token or no code does; the log has the code."""
    for content, code, helps in (
        (RIGHTS, "40104", False),
        (DEAD, "40105", True),
        (NO_CODE, None, True),
    ):
        body = compress(content)
        assert diagnosis.rejected_token(401, [], body, coding) is helps
        assert diagnosis.error_code_of(body, coding) == code


@pytest.mark.parametrize(
    "body",
    (
        b"<error><code>%b</code></error>|"
        b"<Error>\n  <errorCode>%b</errorCode>\n</Error>|"
        b'<e><code type="int"> %b </code></e>|'
        b'<error code="%b" status="401">no</error>|'
        b"<error status='401' code='%b'/>|<html><h1>%b: Not authorized</h1></html>|"
        b"%b not authorized to use given MSISDN|Error code: %b.|"
        b'{"code": "%b", "message": '
    ).split(b"|"),
)
def test_what_is_no_json_is_searched_for_known_codes(body: bytes) -> None:
    """XML, HTML, text and broken JSON."""
    for code, helps in ((b"40104", False), (b"40106", True)):
        assert diagnosis.error_code_of(body % code) == code.decode()
        assert diagnosis.rejected_token(401, [], body % code) is helps


@pytest.mark.parametrize(
    "body",
    (
        b"|<html><h1>401 Authorization Required</h1></html>|"
        b"<html><style>.a{width:40104px}</style>Error 2</html>|"
        b"<code>int main(void)</code>|\x0b\x02\x80|[]|"
        b'{"code": 401, "error": "Unauthorized"}'
    ).split(b"|"),
)
@pytest.mark.parametrize("coding", [None, b"gzip", b"deflate", b"br", b"zstd"])
def test_a_401_that_names_no_code_calls_for_a_new_token(body: bytes, coding: bytes | None) -> None:
    """Most gateways answer a dead token with the status alone."""
    assert diagnosis.error_code_of(body, coding) is None
    assert diagnosis.rejected_token(401, [], body, coding)


def test_a_401_too_large_to_be_looked_at_names_no_code() -> None:
    """Of a compressed one the beginning is read."""
    pad = b'{"code":40104,"pad":"' + b"x" * diagnosis.MOST_ERROR_BYTES + b'"}'
    for content in (None, pad):
        assert diagnosis.error_code_of(content) is None
        assert diagnosis.rejected_token(401, [], content)
    for coding, body in ((b"gzip", gzip.compress(pad)), (b"br", brotli.compress(pad))):
        assert diagnosis.error_code_of(body, coding) == "40104"
        assert not diagnosis.rejected_token(401, [], body, coding)


def test_an_unknown_code_is_for_the_client() -> None:
    """It is not about the token, and not shown; nor is a credential."""
    assert not diagnosis.rejected_token(401, [], b'{"code": "SVC0001"}')
    assert diagnosis.error_code_of(b'{"code": "SVC0001"}') is None
    assert diagnosis.error_code_of(b'{"code": 50004}') == "50004"
    assert diagnosis.error_code_of(b'{"error": "GlzFVXYOvAhFCEqw"}') is None
    assert diagnosis.error_code_of(b'{"code": 40104}', None, ["40104"]) is None


CHALLENGES = [
    ([b'Bearer error="invalid_token"'], True),
    ([b"bearer realm=x, error=invalid_token"], True),
    ([b'Basic realm="x"', b'Bearer error = "invalid_token"'], True),
    ([b'Basic realm="x", Bearer error="invalid_token"'], True),
    ([b'Bearer error="insufficient_scope"'], False),
    ([b'Bearer realm="x"'], False),
    ([b'Basic error="invalid_token"'], False),
    ([b"Bearer " + b"x" * 2000 + b' error="invalid_token"'], False),
    ([], False),
]


@pytest.mark.parametrize(("challenge", "says"), CHALLENGES)
def test_a_challenge_that_says_invalid_token_counts(challenge: list[bytes], *, says: bool) -> None:
    """RFC 6750, section 3.1, whatever the body says; to HEAD, which has none, nothing else does."""
    assert diagnosis.rejected_token(401, challenge, RIGHTS) is says
    assert diagnosis.rejected_token(401, challenge, DEAD)
    assert diagnosis.rejected_token(401, challenge, b"")
    for content in (b"", None):
        assert diagnosis.rejected_token(401, challenge, content, is_head=True) is says


@pytest.mark.parametrize("status", [200, 400, 403, 404, 407, 429, 500, 503])
def test_only_a_401_is_about_the_token(status: int) -> None:
    """Whatever another answer says."""
    assert not diagnosis.rejected_token(status, [b'Bearer error="invalid_token"'], DEAD)


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
        b"<" + b"code " * 13_000,
        b"code>" + b" " * 65_000,
        b"code>" * 13_000,
        b">" * 65_536,
        b"code=" * 13_000,
        b"<a>" + b"error=" + b"a" * 65_000,
        pytest.param(gzip.compress(b"") * 3_000, id="empty-members"),
        pytest.param(gzip.compress(b"x" * 10_000_000), id="gzip-bomb"),
        brotli.compress(b"x" * 10_000_000),
        b"bearer error " * 5_000,
    ],
)
def test_judging_is_cheap(body: bytes) -> None:
    """The largest body takes little time and memory."""
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
    """The text does not repeat it; names of machine users are none."""
    words = diagnosis.looks_like_person(username)
    assert words is not None
    assert "Min Bedrift" in words
    assert username not in words
    for machine in ("api7813371375", "API1000XYZ", "machine-user", "1234567", ""):
        assert diagnosis.looks_like_person(machine) is None
