"""What can go wrong, as types. Each carries the words for a person and what the listener answers.

    ProxyError
    ├── ConfigError              the settings are wrong: exit status 78
    ├── StartError               the settings are right, but this machine cannot start on them: exit status 1
    ├── TokenError               no access token could be had; `.reason` says why in a word
    │   ├── CredentialsRefused   the token endpoint answered and means it: slow retry
    │   └── TokenUnavailable     a passing fault: retry with backoff
    └── Problem                  an answer of the listener: status, RFC 9209 error type, words
        ├── Refused              the client's request may not pass (4xx, 501, 505)
        └── Failed               it could not be forwarded (502, 503, 504, 429 of our own); `.outcome`

Foreign exceptions (OSError, ssl.SSLError, aiohttp.ClientError) are translated into these where they arise. No message holds a
secret, a token, or a byte that a peer sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Outcome = Literal["not_sent", "unknown"]

#: Nothing that could have an effect left the proxy: the request is safe to send again.
NOT_SENT: Final = "not_sent"
#: The upstream may have acted on the request.
UNKNOWN: Final = "unknown"


class ProxyError(Exception):
    """The root of the tree; never raised itself."""


class ConfigError(ProxyError):
    """The configuration cannot be used. `problems` are whole sentences, each with the setting's path."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class StartError(ProxyError):
    """The proxy cannot start here and now: a port in use, a socket that may not be made."""


class TokenError(ProxyError):
    """A fetch of an access token failed.

    reason: a short fixed word for logs and metrics, such as `refused`, `timeout`, `http_500`, `unreadable`.
    detail: one or two sentences for a person: what happened and what to do.
    code: the error code in Telenor's answer, as text, when one was found.
    retry_after: seconds that the token endpoint asked to wait, when it did.
    """

    def __init__(
        self, reason: str, detail: str, *, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.code = code
        self.retry_after = retry_after


class CredentialsRefused(TokenError):
    """The token endpoint refused the credentials (400, 401 or 403): trying again soon would only lock the user out."""


class TokenUnavailable(TokenError):
    """The token endpoint could not be reached, or gave no usable answer: a passing fault."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of answer that the proxy makes itself.

    name: what `type` of the problem details ends in, and the heading of its section in docs/troubleshooting.md.
    proxy_error: the proxy error type of RFC 9209 section 2.3 that `Proxy-Status` carries.
    """

    name: str
    status: int
    title: str
    proxy_error: str

    @property
    def is_company_proxy(self) -> bool:
        """Whether it is about the company's proxy, through which the API is reached."""
        return self.name.startswith("company-proxy-")

    @property
    def word(self) -> str:
        """The word for it in the log's `error` and in metrics: the type of RFC 9209 where that says enough."""
        return self.name if self.is_company_proxy else self.proxy_error


# The request may not pass.
MALFORMED: Final = Kind(
    "malformed-request", 400, "The request is not well-formed HTTP/1.1", "http_request_error"
)
AMBIGUOUS_TARGET: Final = Kind(
    "ambiguous-target", 400, "The request target could mean two things", "http_request_error"
)
PATH_NOT_ALLOWED: Final = Kind("path-not-allowed", 403, "This path may not be called", "http_request_denied")
CLIENT_KEY: Final = Kind("client-key", 403, "The client key is missing or wrong", "http_request_denied")
CLIENT_RIGHTS: Final = Kind(
    "client-not-allowed", 403, "This client may not make this call", "http_request_denied"
)
BROWSER: Final = Kind("browser-request", 403, "Web pages may not use this proxy", "http_request_denied")
ORDER_KEY: Final = Kind("order-key", 400, "The Idempotency-Key cannot be used", "http_request_error")
METHOD_NOT_ALLOWED: Final = Kind(
    "method-not-allowed", 405, "This method is not forwarded", "http_request_denied"
)
CLIENT_SILENT: Final = Kind(
    "client-timeout", 408, "The rest of the request did not come in time", "http_request_error"
)
ORDER_IN_FLIGHT: Final = Kind("order-in-flight", 409, "The same order is under way", "http_request_denied")
ORDER_UNKNOWN: Final = Kind("order-unknown", 409, "This order may already be placed", "http_request_denied")
ORDER_ANSWERED: Final = Kind("order-answered", 409, "This order was answered before", "http_request_denied")
LENGTH_REQUIRED: Final = Kind(
    "length-required", 411, "The request does not say how long its body is", "http_request_error"
)
CONTENT_TOO_LARGE: Final = Kind(
    "content-too-large", 413, "The request body is too large", "http_request_error"
)
TARGET_TOO_LONG: Final = Kind("target-too-long", 414, "The request target is too long", "http_request_error")
EXPECTATION: Final = Kind("unknown-expectation", 417, "This expectation cannot be met", "http_request_error")
HOST_NOT_ALLOWED: Final = Kind("host-not-allowed", 421, "This Host is not served here", "http_request_denied")
ORDER_KEY_REUSED: Final = Kind(
    "order-key-reused", 422, "The Idempotency-Key belongs to another order", "http_request_denied"
)
PACED: Final = Kind("too-many-requests", 429, "The proxy holds calls to the set rate", "http_request_denied")
CLIENT_RATE: Final = Kind("client-rate", 429, "This client's rate is used up", "http_request_denied")
HEAD_TOO_LARGE: Final = Kind("head-too-large", 431, "The request head is too large", "http_request_error")
METHOD_UNKNOWN: Final = Kind("method-unknown", 501, "This method is not known", "http_request_error")
VERSION: Final = Kind("http-version", 505, "This version of HTTP is not spoken here", "http_request_error")

# The request could not be forwarded.
DNS: Final = Kind("upstream-not-found", 502, "The API's host name could not be resolved", "dns_error")
REFUSED: Final = Kind("upstream-unreachable", 502, "No connection to the API", "connection_refused")
UNROUTABLE: Final = Kind("upstream-unreachable", 502, "No connection to the API", "destination_ip_unroutable")
CERTIFICATE: Final = Kind(
    "upstream-not-trusted", 502, "The API's certificate is not trusted", "tls_certificate_error"
)
TLS: Final = Kind("upstream-tls", 502, "No secure connection to the API", "tls_protocol_error")
TERMINATED: Final = Kind("upstream-broke-off", 502, "The API's connection broke off", "connection_terminated")
BAD_ANSWER: Final = Kind(
    "upstream-answer-unreadable", 502, "The API's answer is not valid HTTP", "http_protocol_error"
)
COMPANY_PROXY_DNS: Final = Kind(
    "company-proxy-not-found", 502, "The company's proxy could not be found by its name", "dns_error"
)
COMPANY_PROXY_REFUSED: Final = Kind(
    "company-proxy-unreachable", 502, "No connection to the company's proxy", "connection_refused"
)
COMPANY_PROXY_UNROUTABLE: Final = Kind(
    "company-proxy-unreachable", 502, "No connection to the company's proxy", "destination_ip_unroutable"
)
COMPANY_PROXY_CERTIFICATE: Final = Kind(
    "company-proxy-not-trusted",
    502,
    "The certificate of the company's proxy is not trusted",
    "tls_certificate_error",
)
COMPANY_PROXY_TLS: Final = Kind(
    "company-proxy-tls", 502, "No secure connection to the company's proxy", "tls_protocol_error"
)
COMPANY_PROXY_TERMINATED: Final = Kind(
    "company-proxy-broke-off",
    502,
    "The connection to the company's proxy broke off",
    "connection_terminated",
)
COMPANY_PROXY_ANSWER: Final = Kind(
    "company-proxy-answer-unreadable",
    502,
    "The company's proxy gave no readable answer",
    "http_protocol_error",
)
COMPANY_PROXY_LOGIN: Final = Kind(
    "company-proxy-login", 502, "The company's proxy asks for a login", "destination_unavailable"
)
COMPANY_PROXY_DENIED: Final = Kind(
    "company-proxy-denied", 502, "The company's proxy does not allow the API", "destination_unavailable"
)
COMPANY_PROXY_FAILED: Final = Kind(
    "company-proxy-failed", 502, "The company's proxy opened no tunnel", "destination_unavailable"
)
NO_TOKEN: Final = Kind("no-token", 503, "There is no usable access token", "destination_unavailable")
NO_CONNECTION: Final = Kind(
    "upstream-busy", 503, "All connections to the API are in use", "connection_limit_reached"
)
ORDER_STORE_AWAY: Final = Kind(
    "order-store-away", 503, "The order cannot be recorded", "proxy_internal_response"
)
OVERLOADED: Final = Kind(
    "too-many-connections", 503, "The proxy has no room for one more client", "proxy_internal_response"
)
DRAINING: Final = Kind("draining", 503, "The proxy is shutting down", "proxy_internal_response")
CONNECT_TIMEOUT: Final = Kind(
    "upstream-timeout", 504, "The API did not accept a connection in time", "connection_timeout"
)
COMPANY_PROXY_TIMEOUT: Final = Kind(
    "company-proxy-timeout", 504, "The company's proxy did not answer in time", "connection_timeout"
)
ANSWER_TIMEOUT: Final = Kind(
    "upstream-timeout", 504, "The API did not answer in time", "http_response_timeout"
)
WRITE_TIMEOUT: Final = Kind(
    "upstream-timeout", 504, "The API did not take the request in time", "connection_write_timeout"
)
INTERNAL: Final = Kind("internal-error", 500, "The proxy made a mistake", "proxy_internal_error")

#: Every kind there is, for the docs and for the metrics' labels.
KINDS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Kind))


class Problem(ProxyError):
    """An answer of the proxy's own: what kind, and a detail in words for whoever runs the client.

    next_hop, received_status: `host:port` of the company's proxy, and the status that it answered CONNECT with; for
    `Proxy-Status` (RFC 9209 sections 2.1.2 and 2.1.5).
    """

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retry_after: float | None = None
        self.outcome: Outcome | None = None
        self.next_hop: str | None = None
        self.received_status: int | None = None


class Refused(Problem):
    """The request may not pass (4xx, 501, 505); not a byte of it went upstream, or not all of it."""


class Failed(Problem):
    """The request could not be forwarded. `outcome` says whether the upstream may have acted on it."""

    def __init__(
        self, kind: Kind, detail: str, *, outcome: Outcome, retry_after: float | None = None
    ) -> None:
        super().__init__(kind, detail)
        self.outcome = outcome
        self.retry_after = retry_after
