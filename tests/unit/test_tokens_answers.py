"""What an answer of the token endpoint means."""

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
    given = CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()})
    return EndpointAnswer(status, given, body, whole)


def failure(given: EndpointAnswer) -> TokenError:
    """Return the error that an answer stands for."""
    with pytest.raises(TokenError) as raised:
        read_grant(given)
    return raised.value


@pytest.mark.parametrize(
    ("others", "lifetime"),
    [
        ({"expires_in": 3599}, 3599),
        ({"expires_in": "3600", "token_type": "Bearer"}, 3600),
        ({"expires_in": "1799", "token_type": "BearerToken", "status": "approved"}, 1799),
        ({"expires_in": 60, "token_type": "bearer", "refresh_token": None}, 60),
        ({"expires_in": 60, "token_type": None, "code": 0}, 60),
        ({}, 600),
    ],
)
def test_a_grant_is_read(others: dict[str, object], lifetime: float) -> None:
    """Whatever other members there are; a missing lifetime becomes the default, with a note."""
    given = answer(200, {"access_token": SECRET, **others})
    assert SECRET not in repr(given)
    grant = read_grant(given)
    assert grant.secret.reveal() == SECRET
    assert grant.lifetime == lifetime
    assert (grant.note is None) == bool(others)


@pytest.mark.parametrize("status", [200, 401, 403, 421, 503])
def test_a_proxy_that_answers_itself_is_no_refusal(status: int) -> None:
    """Telenor has never seen these credentials."""
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
    """Other proxies' `Proxy-Status` does not count."""
    assert failure(answer(401, {"code": 20}, Proxy_Status=field)).reason == "refused"


@pytest.mark.parametrize(
    ("given", "reason", "words"),
    [
        (answer(200, b""), "unreadable", "an empty body"),
        (answer(204), "unreadable", "an empty body"),
        (answer(200, b"<html>Log in</html>"), "unreadable", "a web page"),
        (answer(200, b'{"access_token": "x"'), "unreadable", "something else"),
        (answer(200, ["x"]), "unreadable", "something else"),
        (answer(200, b"\x1f\x8b\x08", Content_Encoding="gzip"), "unreadable", "a compressed body"),
        (answer(200, {"access_token": "x"}, whole=False), "unreadable", "too long"),
        (answer(200, {"access_token": ""}), "no_token", "without an access token"),
        (answer(200, {"access_token": 7}), "no_token", "without an access token"),
        (answer(200, {"code": 50001}), "no_token", "error code 50001 (an internal error"),
        *(
            (answer(200, {"access_token": token}), "illegal_token", "RFC 6750")
            for token in ("a b", "a\r\nX: y", "tøken", "abc\n", "a" * 8001)
        ),
        (answer(200, {"access_token": "x", "token_type": "mac"}), "wrong_token_type", "no bearer"),
    ],
)
def test_an_unusable_success_is_a_passing_fault(
    given: EndpointAnswer, reason: str, words: str
) -> None:
    """A 200 without a usable token has a reason and words of its own."""
    error = failure(given)
    assert isinstance(error, TokenUnavailable)
    assert error.reason == reason
    assert words in error.detail


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("content", [b"", b"<html>Forbidden</html>", {"a": 1}, {"code": "GW-9"}])
def test_refusals_are_refusals_whatever_their_body(status: int, content: object) -> None:
    """400, 401 and 403, with or without a readable body."""
    error = failure(answer(status, content))
    assert isinstance(error, CredentialsRefused)
    assert (error.reason, error.code) == ("refused", None)
    assert f"refused the credentials with {status}: " in error.detail
    assert "Min Bedrift" in error.detail


def test_a_refusal_names_its_code_and_the_credential() -> None:
    """With its meaning and the settings to compare."""
    error = failure(answer(401, {"fault": {"detail": {"errorcode": "22"}}}))
    assert error.code == "22"
    assert "refused the credentials with 401, code 22: " in error.detail
    assert "oauth.client_secret" in error.detail


@pytest.mark.parametrize(
    "content", [{"error": "invalid_client"}, {"code": "20"}, {"errors": [{"code": 23}]}]
)
def test_a_refusal_inside_a_success_is_a_refusal(content: object) -> None:
    """It is not tried again at once."""
    assert isinstance(failure(answer(200, content)), CredentialsRefused)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        *((status, "redirected") for status in (301, 302, 307, 308)),
        *((status, f"http_{status}") for status in (101, 404, 405, 408, 500, 502, 503)),
        (429, "rate_limited"),
    ],
)
def test_other_statuses_are_passing_faults(status: int, reason: str) -> None:
    """Each has a reason of its own."""
    error = failure(answer(status, b"<html>", Location="https://login.example/here"))
    assert isinstance(error, TokenUnavailable)
    assert error.reason == reason
    assert "login.example" not in error.detail


def test_the_wish_to_wait_is_passed_on() -> None:
    """`Retry-After` of any failed answer counts; beyond the longest pause it is mentioned."""
    for status in (302, 401, 429, 500, 503):
        assert failure(answer(status, Retry_After="17")).retry_after == 17
    absurd = failure(answer(429, Retry_After="86400")).detail
    assert "It asked to wait 86400 seconds; the proxy waits 300 at most." in absurd
    assert "It asked to wait 7 seconds." in failure(answer(503, Retry_After="7")).detail


@pytest.mark.parametrize("key", ["code", "error", "message", "error_description"])
def test_no_words_of_the_peer_are_repeated(key: str) -> None:
    """They may be a secret that it echoes."""
    for status in (200, 401, 500):
        error = failure(answer(status, {key: "hq0Tvfc00l8F33adAmCd"}))
        assert "hq0Tvfc00l8F33adAmCd" not in f"{error} {error.detail} {error.code} {error!r}"
