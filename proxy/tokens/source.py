"""Which access token is in force, and when the next one is fetched.

The only mutable credential state.

Laws
1. One fetch at a time, made by `run` alone. A waiter that is cancelled cancels nothing else.
2. A fresh or stale token is handed out at once. Without one a request waits, bounded, and only if
   an attempt is due in that time.
3. A failed renewal never replaces or removes a token.
4. `invalidate` compares and swaps: it acts only on the token in force, and seldom.
5. No demand hastens an attempt that a refusal or a fault has put off; only new credentials do, and
   a person who asks for it.

All of it runs in one event loop and changes state only between awaits, so it needs no lock. Time is
`Clock.now`. No token, and no text of a foreign exception, reaches a log.
"""

import asyncio
import contextlib
import math
import traceback
from collections.abc import Awaitable, Callable
from pathlib import PurePath
from typing import Final

import structlog

from proxy.clock import Clock
from proxy.errors import CredentialsRefused, TokenError, TokenUnavailable
from proxy.tokens import timing
from proxy.tokens.values import (
    AccessToken,
    Cause,
    Grant,
    TokenEvent,
    TokenFailure,
    TokenState,
    TokenStatus,
)

#: The clock is looked at this often at least: while a host is suspended timers stand still, but
#: tokens age.
_LONGEST_SLEEP: Final = 10.0
#: A timer may end this little before its time; the attempt is then made.
_PUNCTUAL: Final = 0.001

_log = structlog.get_logger("proxy.tokens")


class TokenSource:
    """Keeps one access token usable, as long as `run` runs.

    fetch: one password grant, in bounded time; raises `TokenError`. random: 0 to 1, for jitter.
    refresh_ahead_seconds: see `timing.renew_after`. wait_seconds: the longest that `get` waits.
    observe: takes each event; must not block.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Grant]],
        *,
        clock: Clock,
        random: Callable[[], float],
        refresh_ahead_seconds: float,
        wait_seconds: float,
        observe: Callable[[TokenEvent], None] = lambda _event: None,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._random = random
        self._refresh_ahead_seconds = refresh_ahead_seconds
        self._wait_seconds = wait_seconds
        self._observe = observe

        # The token in force. None before the first one, and after a rejection until the next one.
        self._current: AccessToken | None = None
        self._generation = 0
        self._last_renewed_at: float | None = None

        # The next attempt. Faults and refusals count since the last success.
        self._fetching = False
        self._demanded: Cause | None = None
        self._failure: TokenFailure | None = None
        self._faults = 0
        self._refusals = 0
        self._put_off_until = -math.inf

        # Tokens lost to a 401, in a row without a quiet time between them.
        self._losses = 0
        self._lost_at = -math.inf
        self._forced_interval = 0.0
        self._contended_since: float | None = None

        self._failures = 0
        self._invalidations = 0

        # Ends the sleep of `run`.
        self._wake = asyncio.Event()
        # Ends the waits in `get`; each attempt sets it and replaces it by a new one.
        self._news = asyncio.Event()

    # --- For requests ---------------------------------------------------------------------------

    def usable(self) -> AccessToken | None:
        """Give the token in force if it may be sent now, at the cost of one look at the clock."""
        token = self._current
        return token if token is not None and self._clock.now() < token.usable_until else None

    async def get(self) -> AccessToken:
        """Give a token that may be sent now, waiting for one at most `wait_seconds`.

        Raises `TokenError` when none comes, and at once when the next attempt lies beyond that
        time; its `retry_after` is a whole number of seconds.
        """
        give_up_at = self._clock.now() + self._wait_seconds
        while (token := self.usable()) is None:
            now = self._clock.now()
            if now >= give_up_at or self._next_attempt_at() > give_up_at:
                raise self._why_none(now)
            # While the host was suspended, the token expired, but the sleep of `run` went on.
            self._wake.set()
            await self._clock.wait(self._news, give_up_at - now)
        return token

    def invalidate(self, rejected: AccessToken) -> bool:
        """Note that the upstream rejected a token with 401.

        True: it is no longer in force, and `get` gives another one or raises. False: tokens were
        rejected too often lately, so it stays in force, and the 401 is for the client.
        """
        token = self._current
        if token is None or token.generation != rejected.generation:
            return True
        now = self._clock.now()
        # A fetch under way may always serve as the renewal: it costs no further login.
        if not self._fetching and now < self._lost_at + self._forced_interval:
            return False
        self._losses = 1 if self._is_quiet(now) else self._losses + 1
        self._lost_at = now
        self._forced_interval = timing.forced_interval(self._losses, self._random())
        if self._losses == timing.CONTENDED_FROM:
            self._contended_since = self._clock.wall()
        self._current = None
        self._invalidations += 1
        self._wake.set()
        self._report_invalidated(token, now)
        return True

    # --- For operators --------------------------------------------------------------------------

    @property
    def state(self) -> TokenState:
        """What a request would meet now."""
        return TokenState.EMPTY if self._current is None else self._current.state(self._clock.now())

    def status(self) -> TokenStatus:
        """Give everything that operators may know."""
        now, token = self._clock.now(), self._current
        contended_since = self._contended_since if self._is_contended(now) else None
        return TokenStatus(
            state=self.state,
            generation=self._generation,
            expires_in_seconds=None if token is None else max(0.0, token.expires_at - now),
            last_renewed_at=self._last_renewed_at,
            last_failure=self._failure,
            next_attempt_in_seconds=self._next_attempt_in(now),
            renewals=self._generation,
            failures=self._failures,
            invalidations=self._invalidations,
            contended=contended_since is not None,
            contended_since=contended_since,
        )

    def renew_now(self, cause: Cause = "credentials_changed") -> None:
        """Fetch a token at once; one in force serves on meanwhile."""
        self._demanded = cause
        self._faults = self._refusals = 0
        self._wake.set()

    # --- The background task --------------------------------------------------------------------

    async def run(self) -> None:
        """Fetch the first token, renew it ahead, try again after failures; until cancelled."""
        while True:
            self._wake.clear()
            sleep = self._next_attempt_in(self._clock.now())
            if sleep > _PUNCTUAL:
                await self._clock.wait(self._wake, min(sleep, _LONGEST_SLEEP))
            else:
                await self._renew()

    async def _renew(self) -> None:
        cause = self._why_now()
        self._demanded = None
        # Before the request is sent: the token's life begins after this, never before.
        started = self._clock.now()
        try:
            grant = await self._ask()
            self._install(grant, started)
        except TokenError as error:
            self._put_off(error)
            # A log that cannot be written (a closed pipe) must not end the renewals.
            with contextlib.suppress(Exception):
                self._report_failed(error, cause)
        else:
            with contextlib.suppress(Exception):
                self._report_renewed(grant, cause, self._clock.now() - started)
        # Those who wait in `get` look again.
        self._news.set()
        self._news = asyncio.Event()

    async def _ask(self) -> Grant:
        self._fetching = True
        try:
            return await self._fetch()
        except TokenError:
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is, the next attempt may go well
            raise _surprise(error) from None
        finally:
            self._fetching = False

    def _install(self, grant: Grant, started: float) -> None:
        token = AccessToken(
            secret=grant.secret,
            generation=self._generation + 1,
            fetched_at=started,
            renew_at=started + timing.renew_after(grant.lifetime, self._refresh_ahead_seconds),
            usable_until=started + grant.lifetime - timing.safety_margin(grant.lifetime),
            expires_at=started + grant.lifetime,
        )
        if token.state(self._clock.now()) is TokenState.EXPIRED:
            raise TokenUnavailable(
                "expired_on_arrival",
                "The access token had expired when it arrived: it lives too short, or the host was"
                " suspended meanwhile. Contact Telenor if it lasts.",
            )
        self._current = token
        self._generation = token.generation
        self._last_renewed_at = self._clock.wall()
        self._failure = None
        self._faults = self._refusals = 0
        self._put_off_until = -math.inf

    def _put_off(self, error: TokenError) -> None:
        """Note the failure and set the time of the next attempt; a token in force stays."""
        refused, now = isinstance(error, CredentialsRefused), self._clock.now()
        self._failures += 1
        at = self._clock.wall()
        self._failure = TokenFailure(error.reason, error.code, error.detail, refused, at)
        # Credentials that have changed meanwhile are tried next, and start anew.
        if self._demanded is None:
            self._refusals += refused
            self._faults += not refused
            self._put_off_until = now + timing.pause(
                self._faults, self._refusals, error.retry_after, self._random()
            )

    # --- Judgements on the state ----------------------------------------------------------------

    def _next_attempt_at(self) -> float:
        """When the next fetch is due; long past while one is under way."""
        if self._fetching or self._demanded is not None:
            return -math.inf
        if self._failure is not None or self._current is None:
            return self._put_off_until
        return self._current.renew_at

    def _next_attempt_in(self, now: float) -> float:
        return max(0.0, self._next_attempt_at() - now)

    def _why_now(self) -> Cause:
        if self._demanded is not None:
            return self._demanded
        if self._current is None:
            return "rejected" if self._generation else "startup"
        return "expired" if self.state is TokenState.EXPIRED else "ahead"

    def _why_none(self, now: float) -> TokenError:
        """Say why a request gets no token; a new exception each, since tracebacks grow on it."""
        failure = self._failure
        pause = self._next_attempt_in(now)
        seconds = max(1, math.ceil(pause))  # 0 makes no sense to a client
        if failure is None:
            words = "The token endpoint has not answered yet. Try again in a moment."
            return TokenUnavailable("pending", words, retry_after=seconds)
        kind = CredentialsRefused if failure.refused else TokenUnavailable
        when = f"in {seconds} seconds" if pause else "under way"
        words = f"{failure.detail} The next attempt is {when}."
        return kind(failure.reason, words, code=failure.code, retry_after=seconds)

    def _is_quiet(self, now: float) -> bool:
        return now - self._lost_at >= timing.QUIET_SECONDS

    def _is_contended(self, now: float) -> bool:
        return self._losses >= timing.CONTENDED_FROM and not self._is_quiet(now)

    # --- Reporting ------------------------------------------------------------------------------

    def _report_renewed(self, grant: Grant, cause: Cause, seconds: float) -> None:
        self._observe(TokenEvent("renewed", cause, seconds=seconds))
        lifetime = round(grant.lifetime)
        _log.info(
            "token.renewed",
            expires_in=lifetime,
            generation=self._generation,
            cause=cause,
            seconds=round(seconds, 3),
        )
        if grant.note is not None:
            _log.warning("token.lifetime_clamped", expires_in=lifetime, detail=grant.note)

    def _report_failed(self, error: TokenError, cause: Cause) -> None:
        self._observe(TokenEvent("renewal_failed", cause, reason=error.reason))
        # Other failures fail no call while there is a token; refused credentials need an operator.
        (_log.error if isinstance(error, CredentialsRefused) else _log.warning)(
            "token.renewal_failed",
            reason=error.reason,
            code=error.code,
            next_attempt_in=round(self._next_attempt_in(self._clock.now()), 1),
            cause=cause,
            state=str(self.state),
            detail=error.detail,
        )

    def _report_invalidated(self, token: AccessToken, now: float) -> None:
        self._observe(TokenEvent("invalidated"))
        _log.warning(
            "token.invalidated",
            generation=token.generation,
            age_seconds=round(now - token.fetched_at),
            detail="The API rejected the access token, so a new one is fetched. If this comes"
            " often, look for another program that logs in with the same machine user.",
        )
        if self._is_contended(now):
            interval = self._forced_interval
            self._observe(TokenEvent("contended"))
            _log.error(
                "token.contended",
                losses=self._losses,
                next_renewal_in=round(interval, 1),
                detail="Each new token is soon rejected: another program may log in with the same"
                " machine user and end this proxy's tokens, or Telenor answers 401 for another"
                f" reason. A rejected token is now replaced only after {interval:.0f} seconds; 401s"
                " until then go to the client. Find the other program and stop it, or give it a"
                " machine user of its own.",
            )


def _surprise(error: Exception) -> TokenUnavailable:
    """Name an unforeseen exception by its type and place: its text could hold anything."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    place = f"{PurePath(frame.f_code.co_filename).name}, line {line}"
    return TokenUnavailable(
        "unexpected",
        f"The proxy made a mistake: {type(error).__name__} ({place}). Report it to the project; it"
        " tries again by itself.",
    )
