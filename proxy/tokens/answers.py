"""What an answer of the token endpoint means: a grant, refused credentials, or a passing fault.

Pure. Answers are read as tolerantly as is safe (RFC 6749, section 5; the shape of Telenor's error
bodies is published nowhere). No message repeats what a peer sent, except a quotable error code.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from proxy.errors import CredentialsRefused, TokenError, TokenUnavailable
from proxy.secret import Secret
from proxy.tokens import timing
from proxy.tokens.codes import quotable
from proxy.tokens.diagnosis import CREDENTIAL_CODES, code_in, diagnose, error_code, read_json
from proxy.tokens.values import Grant

#: RFC 6750, section 2.1: the characters of a token that can stand in a field, and cannot end it.
_B64TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)
#: A field longer than 8 KiB is refused by common gateways, so such a token could never be used.
_MOST_TOKEN_CHARS: Final = 8_000

#: `Proxy-Status` of what a telenor-proxy answers itself (RFC 9209): it passes no login on.
_OURS: Final = re.compile(r"\s*telenor-proxy\b", re.ASCII)

#: The credentials, or the right to use them, are refused: these are tried again slowly.
_REFUSALS: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
)


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """An answer. fields: by lower-case name. whole: False if the body broke off or was too long."""

    status: int
    fields: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    whole: bool = True


def read_grant(answer: EndpointAnswer, credentials: Iterable[str] = ()) -> Grant:
    """Return the grant in an answer; raise `CredentialsRefused` or `TokenUnavailable` without one.

    credentials: values that no error may repeat, even if the answer gives one as its error code.
    """
    if _OURS.match(answer.fields.get("proxy-status", "")):
        raise TokenUnavailable(
            "proxy_answered",
            "A telenor-proxy answered the login, this one or another: upstream.url leads back to"
            " it. Set upstream.url to Telenor's API, https://api.telenor.no.",
        )
    if not _is_success(answer.status):
        raise _failure(answer, error_code(answer.body), credentials)
    content = read_json(answer.body) if answer.whole else None
    if not isinstance(content, dict):
        raise TokenUnavailable(
            "unreadable",
            f"The token endpoint answered {answer.status} with {_what_came(answer)} instead of a"
            " JSON object. See that upstream.url and oauth.token_path lead to Telenor; a login page"
            " or a filter may stand between.",
        )
    token = content.get("access_token")
    if not isinstance(token, str) or not token:
        raise _failure(answer, code_in(content), credentials)
    if len(token) > _MOST_TOKEN_CHARS or not _B64TOKEN.fullmatch(token):
        raise TokenUnavailable(
            "illegal_token",
            "The token endpoint gave an access token that cannot be sent in a header field"
            " (RFC 6750). Contact Telenor if it lasts.",
        )
    # Optional with this API. Apigee, which Telenor seems to use, writes "BearerToken".
    kind = content.get("token_type")
    if isinstance(kind, str) and kind and not kind.lower().startswith("bearer"):
        raise TokenUnavailable(
            "wrong_token_type",
            "The token endpoint gave a token that is no bearer token; the proxy can use no other."
            " Contact Telenor if it lasts.",
        )
    seconds, note = timing.lifetime_of(content.get("expires_in"))
    return Grant(Secret(token), seconds, note)


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _what_came(answer: EndpointAnswer) -> str:
    if not answer.whole:
        return "a body that was too long or broke off"
    if not answer.body.strip():
        return "an empty body"
    if answer.fields.get("content-encoding", "identity").lower() != "identity":
        return "a compressed body, although asked not to compress,"
    return "a web page" if answer.body.lstrip().startswith(b"<") else "something else"


def _failure(answer: EndpointAnswer, found: str | None, credentials: Iterable[str]) -> TokenError:
    """Return what an answer without a token means. found: the error code in its body."""
    status, asked = answer.status, timing.asked_wait(answer.fields)
    code = quotable(found, credentials)
    cited = str(status) if code is None else f"{status}, code {code}"
    said = diagnose(found, status)
    if status in _REFUSALS or (_is_success(status) and found in CREDENTIAL_CODES):
        return CredentialsRefused(
            "refused",
            f"The token endpoint refused the credentials with {cited}: {said.meaning}."
            f" {said.advice}",
            code=code,
            retry_after=asked,
        )
    if _is_success(status):
        named = "" if code is None else f", but the error code {code} ({diagnose(found).meaning})"
        return TokenUnavailable(
            "no_token",
            f"The token endpoint answered {status} without an access token{named}."
            " Contact Telenor if it lasts.",
            code=code,
        )
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return TokenUnavailable(
            "redirected",
            f"The token endpoint answered with a redirect ({status}), which is never followed: the"
            " password would go elsewhere. See that upstream.url and oauth.token_path are the ones"
            " in Telenor's reference.",
            code=code,
            retry_after=asked,
        )
    return TokenUnavailable(
        "rate_limited" if status == HTTPStatus.TOO_MANY_REQUESTS else f"http_{status}",
        f"The token endpoint answered {cited}: {said.meaning}.{_patience(asked)} {said.advice}",
        code=code,
        retry_after=asked,
    )


def _patience(asked: float | None) -> str:
    if asked is None:
        return ""
    most = timing.LONGEST_RETRY_AFTER
    limit = f"; the proxy waits {most:.0f} at most" if asked > most else ""
    return f" It asked to wait {asked:.0f} seconds{limit}."
