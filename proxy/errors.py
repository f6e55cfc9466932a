"""What can go wrong, as types. Each carries words for a person and what the listener answers.

    ProxyError
    ├── ConfigError              the settings are wrong: exit status 78
    ├── StartError               this machine cannot start on right settings: exit status 1
    ├── TokenError               no access token could be had; `.reason` says why in a word
    │   ├── CredentialsRefused   the token endpoint answered and means it: slow retry
    │   └── TokenUnavailable     a passing fault: retry with backoff
    └── Problem                  an answer of the listener: status, RFC 9209 error type, words
        ├── Refused              the client's request may not pass (4xx, 501, 505)
        └── Failed               it could not be forwarded (502, 503, 504, 429); `.outcome`

Foreign exceptions (OSError, ssl.SSLError, aiohttp.ClientError) are translated into these where they
arise. No message holds a secret, a token, or a byte that a peer sent.
"""

from typing import Final, Literal

from proxy.problems import ProblemKind

Outcome = Literal["not_sent", "unknown"]

#: Nothing that could have an effect left the proxy: the request is safe to send again. So it is for
#: every failure before an attempt (token, permit, connection), and after a 401.
NOT_SENT: Final = "not_sent"
#: The upstream may have acted on the request: every failure from the first byte of an attempt on.
UNKNOWN: Final = "unknown"
#: Exit status for settings that cannot be used: EX_CONFIG of sysexits.h.
BAD_CONFIGURATION: Final = 78


class ProxyError(Exception):
    """The root of the tree; never raised itself."""


class ConfigError(ProxyError):
    """The configuration cannot be used. `problems` are sentences, each with the setting's path."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class StartError(ProxyError):
    """The proxy cannot start here and now: a port in use, a socket that may not be made."""


class TokenError(ProxyError):
    """A fetch of an access token failed.

    reason: a short fixed word for logs and metrics, such as `refused`, `timeout`, `http_500`.
    detail: one or two sentences: what happened and what to do. code: the error code in Telenor's
    answer, as text, if any. retry_after: seconds that the token endpoint asked to wait, if it did.
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
    """The token endpoint refused the credentials (400, 401, 403); a soon retry may lock them."""


class TokenUnavailable(TokenError):
    """The token endpoint could not be reached, or gave no usable answer: a passing fault."""


class Problem(ProxyError):
    """An answer of the proxy's own: what kind, and a detail in words for the client's operator.

    next_hop, received_status: `host:port` of the company's proxy, and the status with which it
    answered CONNECT; for `Proxy-Status` (RFC 9209 sections 2.1.2 and 2.1.5).
    """

    def __init__(self, kind: ProblemKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retry_after: float | None = None
        self.outcome: Outcome | None = None
        self.next_hop: str | None = None
        self.received_status: int | None = None


class Refused(Problem):
    """The request may not pass (4xx, 501, 505); it did not go upstream, or not all of it."""


class Failed(Problem):
    """The request could not be forwarded. `outcome`: whether the upstream may have acted on it."""

    def __init__(
        self, kind: ProblemKind, detail: str, *, outcome: Outcome, retry_after: float | None = None
    ) -> None:
        super().__init__(kind, detail)
        self.outcome = outcome
        self.retry_after = retry_after
