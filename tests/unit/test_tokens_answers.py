"""What an answer of the token endpoint means."""

from __future__ import annotations

import json

import pytest
from multidict import CIMultiDict

from proxy.errors import CredentialsRefused, TokenError, TokenUnavailable
from proxy.tokens.answers import EndpointAnswer, read_grant

SECRET = "hQ.x-9_~+/a=="


def answer(
    status: int, content: object = b"", /, *, whole: bool = True, **fields: str
) -> EndpointAnswer:
    """Make an answer with that content: bytes as they are, anything else as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return EndpointAnswer(
        status,
        CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()}),
        body,
        whole,
    )


def failure(given: EndpointAnswer) -> TokenError:
    """Give the error that an answer amounts to."""
    with pytest.raises(TokenError) as raised:
        read_grant(given)
    return raised.value


@pytest.mark.parametrize(
    ("content", "lifetime"),
    [
        ({"access_token": SECRET, "expires_in": 3599}, 3599),
        ({"access_token": SECRET, "expires_in": "3600", "token_type": "Bearer"}, 3600),
        (
            {
                "access_token": SECRET,
                "expires_in": "1799",
                "token_type": "BearerToken",
                "status": "approved",
            },
            1799,
        ),
        (
            {
                "access_token": SECRET,
                "expires_in": 60,
                "token_type": "bearer",
                "refresh_token": None,
            },
            60,
        ),
        ({"access_token": SECRET, "expires_in": 60, "token_type": None, "code": 0}, 60),
    ],
)
def test_a_grant_is_read(content: object, lifetime: float) -> None:
    """A token with a lifetime, as number or string, is a grant, whatever stands beside it."""
    grant = read_grant(answer(200, content))
    assert grant.secret.reveal() == SECRET
    assert (grant.lifetime, grant.note) == (lifetime, None)


def test_a_grant_without_lifetime_says_so() -> None:
    """A missing lifetime becomes the default, with a note for the log."""
    grant = read_grant(answer(200, {"access_token": SECRET}))
    assert grant.lifetime == 600
    assert grant.note is not None


@pytest.mark.parametrize("status", [200, 401, 403, 421, 503])
def test_a_proxy_that_answers_itself_is_no_refusal(status: int) -> None:
    """An answer that a telenor-proxy made is told as what it is, and not as a refusal of credentials that Telenor has never seen."""
    error = failure(
        answer(status, {"code": 20}, Proxy_Status="telenor-proxy; error=http_request_denied")
    )
    assert isinstance(error, TokenUnavailable)
    assert (error.reason, error.code) == ("proxy_answered", None)
    assert "upstream.url" in error.detail


@pytest.mark.parametrize(
    "field", ["", "another-proxy; error=dns_error", "telenor-proxies", "x, telenor-proxy"]
)
def test_another_proxys_word_changes_nothing(field: str) -> None:
    """What other proxies on the way say of themselves is theirs."""
    assert failure(answer(401, {"code": 20}, Proxy_Status=field)).reason == "refused"


@pytest.mark.parametrize(
    ("given", "reason", "words"),
    [
        pytest.param(answer(200, b""), "unreadable", "an empty body", id="nothing"),
        pytest.param(answer(204), "unreadable", "an empty body", id="no-content"),
        pytest.param(answer(200, b"<html>Log in</html>"), "unreadable", "a web page", id="html"),
        pytest.param(
            answer(200, b'{"access_token": "x"'), "unreadable", "something else", id="broken-json"
        ),
        pytest.param(answer(200, ["x"]), "unreadable", "something else", id="no-object"),
        pytest.param(answer(200, b"null"), "unreadable", "something else", id="null"),
        pytest.param(
            answer(200, b"\x1f\x8b\x08", Content_Encoding="gzip"),
            "unreadable",
            "a compressed body",
            id="gzip",
        ),
        pytest.param(
            answer(200, {"access_token": "x"}, whole=False), "unreadable", "too long", id="cut"
        ),
        pytest.param(
            answer(200, {"expires_in": 3599}), "no_token", "without an access token", id="no-token"
        ),
        pytest.param(
            answer(200, {"access_token": ""}),
            "no_token",
            "without an access token",
            id="empty-token",
        ),
        pytest.param(
            answer(200, {"access_token": 7}),
            "no_token",
            "without an access token",
            id="token-is-a-number",
        ),
        pytest.param(
            answer(200, {"code": 50001}),
            "no_token",
            "error code 50001 (an internal error",
            id="error-in-200",
        ),
        pytest.param(answer(200, {"access_token": "a b"}), "illegal_token", "RFC 6750", id="space"),
        pytest.param(
            answer(200, {"access_token": "a\r\nX: y"}),
            "illegal_token",
            "RFC 6750",
            id="field-injection",
        ),
        pytest.param(
            answer(200, {"access_token": "tøken"}), "illegal_token", "RFC 6750", id="not-ascii"
        ),
        pytest.param(
            answer(200, {"access_token": "abc\n"}),
            "illegal_token",
            "RFC 6750",
            id="newline-at-the-end",
        ),
        pytest.param(
            answer(200, {"access_token": "a" * 8001}), "illegal_token", "RFC 6750", id="endless"
        ),
        pytest.param(
            answer(200, {"access_token": "x", "token_type": "mac"}),
            "wrong_token_type",
            "no bearer",
            id="other-type",
        ),
    ],
)
def test_an_unusable_success_is_a_passing_fault(
    given: EndpointAnswer, reason: str, words: str
) -> None:
    """A 200 without a token that can be used is a passing fault, told apart by reason and words."""
    error = failure(given)
    assert isinstance(error, TokenUnavailable)
    assert error.reason == reason
    assert words in error.detail


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    "content", [{"code": 20}, b"", b"<html>Forbidden</html>", {"a": 1}, {"code": "GW-9"}]
)
def test_refusals_are_refusals_whatever_their_body(status: int, content: object) -> None:
    """400, 401 and 403 mean refused credentials, with or without a body that can be read."""
    error = failure(answer(status, content))
    assert isinstance(error, CredentialsRefused)
    assert error.reason == "refused"
    assert str(status) in error.detail
    assert "Min Bedrift" in error.detail


def test_a_refusal_names_its_code_and_the_credential() -> None:
    """The words of a refusal hold the code, what it means, and which settings to compare with what."""
    error = failure(answer(401, {"fault": {"detail": {"errorcode": "22"}}}))
    assert error.code == "22"
    assert error.detail.startswith("The token endpoint refused the credentials with 401, code 22: ")
    assert "oauth.client_secret" in error.detail


@pytest.mark.parametrize(
    "content", [{"error": "invalid_client"}, {"code": "20"}, {"errors": [{"code": 23}]}]
)
def test_a_refusal_inside_a_success_is_a_refusal(content: object) -> None:
    """A 200 whose body is an error about the credentials counts as refused, so that it is not tried again at once."""
    assert isinstance(failure(answer(200, content)), CredentialsRefused)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (301, "redirected"),
        (302, "redirected"),
        (307, "redirected"),
        (308, "redirected"),
        (404, "http_404"),
        (405, "http_405"),
        (408, "http_408"),
        (429, "rate_limited"),
        (500, "http_500"),
        (502, "http_502"),
        (503, "http_503"),
        (101, "http_101"),
    ],
)
def test_other_statuses_are_passing_faults(status: int, reason: str) -> None:
    """Everything but a success or a refusal may pass by itself, and has a reason of its own."""
    error = failure(answer(status, b"<html>", Location="https://login.example/here"))
    assert isinstance(error, TokenUnavailable)
    assert error.reason == reason
    assert "login.example" not in error.detail


@pytest.mark.parametrize("status", [302, 401, 429, 500, 503])
def test_the_wish_to_wait_is_passed_on(status: int) -> None:
    """`Retry-After` of any failed answer reaches whoever plans the next attempt."""
    assert failure(answer(status, Retry_After="17")).retry_after == 17


def test_an_absurd_wish_to_wait_is_mentioned() -> None:
    """A `Retry-After` beyond the longest pause is told to the person, with the pause that is made instead."""
    assert (
        "It asked to wait 86400 seconds; the proxy waits 300 at most."
        in failure(answer(429, Retry_After="86400")).detail
    )
    assert "It asked to wait 7 seconds." in failure(answer(503, Retry_After="7")).detail


@pytest.mark.parametrize("key", ["code", "error", "message", "error_description"])
def test_no_words_of_the_peer_are_repeated(key: str) -> None:
    """What the answer says, a secret perhaps that it echoes, stands in no message."""
    for status in (200, 401, 500):
        error = failure(answer(status, {key: "hq0Tvfc00l8F33adAmCd"}))
        assert "hq0Tvfc00l8F33adAmCd" not in f"{error} {error.detail} {error.code} {error!r}"


def test_an_answer_shows_no_body() -> None:
    """The answer holds a token, so its repr shows the status and no more."""
    assert SECRET not in repr(answer(200, {"access_token": SECRET}))
