"""What api.telenor.no is known to answer: the published errors, and the shapes they may come in.

Statuses, codes and meanings are Telenor's. The JSON shape of an error is not published, so it is a
choice (`SHAPES`); the likely one is `gateway`, which old code of Telenor's calls its default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import orjson

from proxy.sandbox.messages import SandboxAnswer, UsageError

JSON_TYPE: Final = "application/json"
#: RFC 6749 section 5.1: whatever holds a token must not be cached.
NO_STORE: Final = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))


@dataclass(frozen=True, slots=True)
class PublishedError:
    """One row of Telenor's error tables. oauth: the nearest name in RFC 6749 and RFC 6750."""

    status: int
    code: int | None
    words: str
    oauth: str

    @property
    def name(self) -> str:
        """`401/20`: a code alone can be ambiguous, as 2 is at the token endpoint."""
        return f"{self.status}/{self.code}"


def _table(*rows: tuple[int, int, str, str]) -> tuple[PublishedError, ...]:
    return tuple(PublishedError(*row) for row in rows)


TOKEN_ERRORS: Final = _table(
    (400, 2, "The grant type is missing or not supported", "unsupported_grant_type"),
    (401, 1, "The client id is not valid", "invalid_client"),
    (401, 4, "The authorization code is not valid", "invalid_grant"),
    (401, 5, "Not allowed to create an access token", "unauthorized_client"),
    (401, 6, "The Authorization header is missing or unreadable", "invalid_client"),
    (401, 7, "The refresh token is not valid", "invalid_grant"),
    (401, 9, "The client's data is not valid", "invalid_client"),
    (401, 20, "The resource owner's credentials are not valid", "invalid_grant"),
    (401, 21, "The grant type is not permitted", "unauthorized_client"),
    (401, 22, "Basic authentication failed", "invalid_client"),
    (401, 23, "The user's and the client's credentials do not belong together", "invalid_grant"),
    (403, 8, "The scope is not valid or not granted", "invalid_scope"),
    (403, 12, "The redirect URI is not valid", "invalid_request"),
    (403, 15, "The response type is not valid", "unsupported_response_type"),
    (500, 2, "Internal server error", "server_error"),
    (500, 16, "The application's attributes are not valid", "server_error"),
)

LOGOUT_ERRORS: Final = _table(
    (401, 2, "The access token is not valid", "invalid_token"),
    (401, 6, "The Authorization header is missing or unreadable", "invalid_request"),
    (500, 2, "Internal server error", "server_error"),
)

GATEWAY_ERRORS: Final = _table(
    (400, 40001, "The end-user id is missing or not valid", "invalid_request"),
    (401, 40101, "The resource is not valid", "invalid_request"),
    (401, 40102, "The Authorization header is missing", "invalid_request"),
    (401, 40103, "No API product was found", "unauthorized_client"),
    (401, 40104, "Not allowed to use this MSISDN", "access_denied"),
    (401, 40105, "The access token is not valid", "invalid_token"),
    (401, 40106, "The access token has expired", "invalid_token"),
    (401, 40107, "Basic authentication is not allowed", "invalid_request"),
    (401, 40108, "The client id or secret of Basic authentication is not valid", "invalid_client"),
    (403, 40301, "The scope is not valid", "insufficient_scope"),
    (404, 40401, "There is no such path or method", "not_found"),
    (404, 4042000, "The back end knows no such path or method", "not_found"),
    (429, 42901, "The rate limit's quota is used up", "too_many_requests"),
    (429, 42902, "Too many calls at once: spike arrest", "too_many_requests"),
    (500, 50001, "Internal error", "server_error"),
    (500, 50002, "The acr could not be validated", "server_error"),
    (500, 50003, "The subscription could not be validated", "server_error"),
)


def find_error(table: Sequence[PublishedError], wanted: object) -> PublishedError:
    """Find the first row of that code (`20`), or of status and code (`500/2`)."""
    for error in table:
        if str(wanted) in {str(error.code), error.name}:
            return error
    raise UsageError(f"no such error code; known: {', '.join(error.name for error in table)}")


class SandboxRefusal(Exception):
    """Ends a call with the error of that name. note: why, for the sandbox's own log."""

    def __init__(self, table: Sequence[PublishedError], name: str, note: str = "") -> None:
        super().__init__(name)
        self.error = find_error(table, name)
        self.note = note


def plain_error(status: int, words: str = "") -> PublishedError:
    """Make an error to which Telenor has published no code."""
    oauth = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request"
    return PublishedError(status, None, words or HTTPStatus(status).phrase, oauth)


def _contents(error: PublishedError) -> dict[str, dict[str, object] | str]:
    """Return JSON or HTML by shape, each named by the field that holds the code.

    Clients have to be ready for all of them. `oauth`, `html` and `empty` name no code.
    """
    code, words = None if error.code is None else str(error.code), error.words
    phrase = HTTPStatus(error.status).phrase
    heading = f"{error.status} {phrase}"
    title = f"<h1>{heading}</h1>"
    return {
        "code-number": {"code": error.code, "message": words},
        "code-string": {"code": code, "message": words},
        "errorCode": {"errorCode": code, "errorMessage": words},
        "error": {"error": code, "message": words},
        "oauth": {"error": error.oauth, "error_description": words},
        "gateway": {
            "httpStatus": error.status,
            "httpMessage": phrase,
            "description": words,
            "errorCode": error.code,
            "resourceId": "sandbox",
            "origin": "sandbox",
        },
        "fault": {"fault": {"faultstring": words, "detail": {"errorcode": code}}},
        "html": f"<html><head><title>{heading}</title></head><body>{title}</body></html>\n",
        "empty": "",
    }


SHAPES: Final = tuple(_contents(TOKEN_ERRORS[0]))


def error_answer(error: PublishedError, shape: str, note: str = "") -> SandboxAnswer:
    """Put the error into an answer, in the shape of that name."""
    content = _contents(error)[shape]
    if isinstance(content, str):
        content_type, body = "text/html" if content else None, content.encode()
    else:
        given = {name: value for name, value in content.items() if value is not None}
        content_type, body = JSON_TYPE, orjson.dumps(given)
    return SandboxAnswer(error.status, body, content_type, code=error.code, note=note)


def json_answer(
    status: int, content: object, fields: tuple[tuple[str, str], ...] = ()
) -> SandboxAnswer:
    """Make an answer with JSON content."""
    return SandboxAnswer(status, orjson.dumps(content), JSON_TYPE, fields)
