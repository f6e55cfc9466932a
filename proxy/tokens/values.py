"""The frozen values of tokens. No `str`, `repr` or `format` shows a secret in here."""

import enum
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from proxy.secret import Secret  # a field's type, which may be resolved at run time

#: Why a token was fetched; a label of metrics, so a short closed list. asked: by a person, with
#: SIGHUP.
Cause = Literal["startup", "ahead", "expired", "rejected", "credentials_changed", "asked"]


class TokenEvent(NamedTuple):
    """What a token source does, to be counted.

    renewed: a fetch gave a token, after so many `seconds`. renewal_failed: a fetch did not;
    `reason` is that of the `TokenError`. invalidated: the API rejected a token. contended: one of
    several rejections in a row, so another login seems to end this proxy's tokens.
    """

    name: Literal["renewed", "renewal_failed", "invalidated", "contended"]
    cause: Cause | None = None
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The four values that Telenor gave to a company, and the optional scope."""

    client_id: str
    client_secret: Secret
    username: str
    password: Secret
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A successful answer of the token endpoint (RFC 6749, section 5.1), read and judged.

    lifetime: seconds, counted from before the request was sent.
    note: why that is not the `expires_in` of the answer, as a sentence; None when it is.
    """

    secret: Secret
    lifetime: float
    note: str | None = None


class TokenState(enum.StrEnum):
    """What a request meets: with an empty or expired one it waits, bounded."""

    EMPTY = "empty"
    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"

    @property
    def is_usable(self) -> bool:
        """Whether a request goes on at once."""
        return self in {TokenState.FRESH, TokenState.STALE}


@dataclass(frozen=True, slots=True, eq=False)
class AccessToken:
    """One access token. Instants are on `Clock.now`.

    generation: counts the tokens of this process from 1, and tells two tokens apart.
    fetched_at: just before the request for it was sent, so its life began later. renew_at: from
    here on it is stale. usable_until: from here on it is expired and no longer sent, a little
    before `expires_at`, when the token endpoint ends it.
    """

    secret: Secret = field(repr=False)
    generation: int
    fetched_at: float
    renew_at: float
    usable_until: float
    expires_at: float

    def state(self, now: float) -> TokenState:
        """Fresh, stale or expired at that moment."""
        if now < self.renew_at:
            return TokenState.FRESH
        return TokenState.STALE if now < self.usable_until else TokenState.EXPIRED

    def reveal(self) -> str:
        """Give the token's characters: only for the field that carries it, also at logout."""
        return self.secret.reveal()


@dataclass(frozen=True, slots=True)
class TokenFailure:
    """A fetch that failed. refused: the token endpoint means it. at: seconds since the epoch."""

    reason: str
    code: str | None
    detail: str
    refused: bool
    at: float


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """What operators see. Counts are since the start; instants are seconds since the epoch.

    expires_in_seconds: None without a token, 0 after its end. last_failure: None
    once a later fetch has succeeded. next_attempt_in_seconds: 0 while a fetch is under way.
    contended: another login seems to end this proxy's tokens. contended_since: when that was first
    seen, None unless `contended`.
    """

    state: TokenState
    generation: int
    expires_in_seconds: float | None
    last_renewed_at: float | None
    last_failure: TokenFailure | None
    next_attempt_in_seconds: float
    renewals: int
    failures: int
    invalidations: int
    contended: bool
    contended_since: float | None = None
