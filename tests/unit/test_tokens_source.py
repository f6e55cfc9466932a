"""The source of tokens on a clock of the test's: renewals, waits, failures, rejections.

What many calls at one time and days of faults come to is in tests/reliability, with real sockets.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from unittest.mock import ANY, Mock

import pytest
from structlog.testing import capture_logs

from proxy.errors import CredentialsRefused, TokenError, TokenUnavailable
from proxy.secret import Secret
from proxy.tokens.source import TokenSource
from proxy.tokens.values import (
    AccessToken,
    Cause,
    Grant,
    TokenEvent,
    TokenFailure,
    TokenState,
    TokenStatus,
)
from tests.clock import FakeClock

HOUR = 3600.0
REFUSED = CredentialsRefused("refused", "The credentials are wrong.", code="20")
FAULT = TokenUnavailable("http_503", "The token endpoint is down.")


class Login:
    """A token endpoint in memory: a new token at each call, unless it fails or waits.

    failures: one a call; when they are used up, calls succeed again. answering: calls are answered
    only while it is set. calls: when each was made, in seconds since the start.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.start = clock.now()
        self.lifetime = HOUR
        self.note: str | None = None
        self.failures: Iterator[BaseException] = iter([])
        self.answering = asyncio.Event()
        self.answering.set()
        self.calls: list[float] = []
        self._lock = asyncio.Lock()

    async def __call__(self) -> Grant:
        """Answer one call."""
        self.calls.append(self.clock.now() - self.start)
        assert not self._lock.locked(), "two fetches at a time"
        async with self._lock:
            await self.answering.wait()
        for failure in self.failures:
            raise failure
        return Grant(Secret(f"token-{len(self.calls)}"), self.lifetime, self.note)


class House:
    """A source and all around it; its task runs from `start` on. events: what it observed."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.login = Login(self.clock)
        self.events: list[TokenEvent] = []
        self.jitter = 0.0
        self.source = TokenSource(
            self.login,
            clock=self.clock,
            random=lambda: self.jitter,
            refresh_ahead_seconds=300,
            wait_seconds=10,
            observe=self.events.append,
        )

    async def start(self) -> None:
        """Start the background task, and let it make its first attempt."""
        self.task = asyncio.create_task(self.source.run())
        await self.clock.settle()

    async def token(self) -> AccessToken:
        """Return the token in force; there must be one."""
        await self.clock.settle()
        token = self.source.usable()
        assert token is not None
        return token

    async def advance_to(self, instant: float) -> None:
        """Let time pass until so many seconds after the start."""
        await self.clock.advance(self.login.start + instant - self.clock.now())


@pytest.fixture
async def cold() -> AsyncIterator[House]:
    """Give a house that the test starts."""
    house = House()
    yield house
    house.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await house.task


@pytest.fixture
async def house(cold: House) -> House:
    """Give a house with its first token in force."""
    await cold.start()
    return cold


# --- Renewal -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("lifetime", "every"), [(HOUR, 3300.0), (60, 30.0)])
async def test_a_day_of_renewals(cold: House, lifetime: float, every: float) -> None:
    """Five minutes ahead, or at half of a short life; no request waits."""
    cold.login.lifetime = lifetime
    await cold.start()
    for _ in range(24 * 60):
        assert cold.source.usable() is not None
        assert cold.source.status().state is TokenState.FRESH
        await cold.clock.advance(60)
    assert cold.login.calls == [number * every for number in range(int(24 * HOUR / every) + 1)]
    status = cold.source.status()
    assert status.renewals == status.generation == len(cold.login.calls)


async def test_a_life_begins_before_the_request_is_sent(cold: House) -> None:
    """A slow answer shortens it."""
    cold.login.answering.clear()
    await cold.start()
    await cold.clock.advance(8)
    cold.login.answering.set()
    token = await cold.token()
    assert token.expires_at - cold.clock.now() == HOUR - 8
    assert token.usable_until == token.expires_at - 5


async def test_a_stale_token_serves_while_it_is_renewed(house: House) -> None:
    """Until it expires."""
    token = await house.token()
    house.login.answering.clear()
    await house.advance_to(3300)
    assert house.source.status().state is TokenState.STALE
    assert await house.source.get() is token
    await house.advance_to(3594.9)
    assert house.source.usable() is token
    await house.advance_to(3595)
    assert house.source.usable() is None
    assert house.source.status().state is TokenState.EXPIRED
    assert len(house.login.calls) == 2


async def test_a_token_that_is_dead_on_arrival_is_a_failure(cold: House) -> None:
    """It is not installed, and the next fetch has a pause."""
    cold.login.lifetime = 2
    cold.login.answering.clear()
    await cold.start()
    await cold.clock.advance(3)
    cold.login.answering.set()
    await cold.clock.settle()
    assert cold.source.status().state is TokenState.EMPTY
    assert cold.events == [TokenEvent("renewal_failed", "startup", reason="expired_on_arrival")]
    await cold.clock.advance(0.5)
    assert cold.source.status().state is TokenState.FRESH


async def test_a_suspension_of_the_host_expires_the_token(house: House) -> None:
    """A new one is fetched within ten seconds, without any request."""
    house.clock.suspend(2 * HOUR)
    assert house.source.usable() is None
    await house.clock.advance(10)
    assert (await house.token()).generation == 2
    assert house.events[-1][:2] == ("renewed", "expired")


# --- Waiting -----------------------------------------------------------------------------------


async def test_a_cancelled_waiter_cancels_nothing_else(cold: House) -> None:
    """Neither the fetch nor the other waiters."""
    cold.login.answering.clear()
    await cold.start()
    waiters = [asyncio.create_task(cold.source.get()) for _ in range(10)]
    await cold.clock.settle()
    for waiter in waiters[:5]:
        waiter.cancel()
    await cold.clock.settle()
    cold.login.answering.set()
    await cold.clock.settle()
    assert all(waiter.cancelled() for waiter in waiters[:5])
    assert {waiter.result() for waiter in waiters[5:]} == {cold.source.usable()}
    assert len(cold.login.calls) == 1


async def test_a_failure_ends_a_wait_only_without_hope(cold: House) -> None:
    """A request gets the token of the next attempt, if that is near; a success ends the backoff."""
    cold.login.failures = iter([FAULT, FAULT, FAULT])
    await cold.start()
    waiter = asyncio.create_task(cold.source.get())
    await cold.clock.advance(3.4)
    assert not waiter.done()
    await cold.clock.advance(0.1)
    assert (await waiter).generation == 1
    cold.login.failures = iter([FAULT])
    await cold.advance_to(2 * HOUR)
    assert cold.login.calls == [0, 0.5, 1.5, 3.5, 3303.5, 3304, 6604]


async def test_a_wait_in_vain_is_not_waited(cold: House) -> None:
    """If the next attempt lies beyond the wait, requests fail at once, each with its own error.

    `retry_after` is in whole seconds, rounded up, and at least one.
    """
    cold.login.answering.clear()
    cold.login.failures = itertools.repeat(REFUSED)
    await cold.start()
    early = asyncio.create_task(cold.source.get())
    await cold.advance_to(2)
    cold.login.answering.set()
    await cold.clock.settle()
    assert early.done()
    found = await asyncio.gather(early, cold.source.get(), return_exceptions=True)
    assert found[0] is not found[1]  # a shared error's traceback would grow without end
    for error in found:
        assert isinstance(error, CredentialsRefused)
        assert str(error) == "The credentials are wrong. The next attempt is in 30 seconds."
        assert (error.code, error.retry_after) == ("20", 30)
    cold.login.answering.clear()
    await cold.advance_to(21.9)
    with pytest.raises(TokenError) as raised:
        await cold.source.get()
    assert raised.value.retry_after == 11
    await cold.advance_to(32)
    waiter = asyncio.create_task(cold.source.get())
    await cold.clock.advance(10)
    with pytest.raises(TokenError, match="The next attempt is under way") as raised:
        await waiter
    assert raised.value.retry_after == 1


# --- Trying again ------------------------------------------------------------------------------


async def test_passing_faults_back_off_with_jitter(cold: House) -> None:
    """Many proxies that failed together do not come back together."""
    cold.login.failures, cold.jitter = itertools.repeat(FAULT), 1.0
    await cold.start()
    await cold.clock.advance(61)
    assert cold.login.calls == [0, 1, 3, 7, 15, 31, 61]


async def test_a_surprise_does_not_end_the_renewals(cold: House) -> None:
    """An unexpected exception is a passing fault; its type is shown, not its text."""
    cold.login.failures = iter([RuntimeError("hunter2")])
    with capture_logs() as logs:
        await cold.start()
    failure = cold.source.status().last_failure
    assert failure is not None
    assert (failure.reason, failure.refused) == ("unexpected", False)
    assert "RuntimeError (test_tokens_source.py, line " in failure.detail
    assert "hunter2" not in f"{failure}{logs}"
    await cold.clock.advance(0.5)
    assert cold.source.status().state is TokenState.FRESH


async def test_a_log_that_cannot_be_written_does_not_end_the_renewals(cold: House) -> None:
    """An observer that raises changes nothing."""
    cold.source._observe = Mock(side_effect=BrokenPipeError)
    cold.login.failures = iter([FAULT])
    await cold.start()
    await cold.advance_to(24 * HOUR)
    assert not cold.task.done()
    assert cold.login.calls[:3] == [0, 0.5, 3300.5]


# --- New credentials ---------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["credentials_changed", "asked"])
async def test_the_cause_of_a_renewal_is_observed(house: House, cause: Cause) -> None:
    """Once; the next renewal has its own cause."""
    house.source.renew_now(cause)
    await house.advance_to(4000)
    assert [event.cause for event in house.events] == ["startup", cause, "ahead"]


async def test_there_is_hope_while_new_credentials_are_tried(cold: House) -> None:
    """A request waits for that fetch, however long the old pause; good ones end the pauses."""
    cold.login.failures = iter([REFUSED])
    await cold.start()
    cold.login.answering.clear()
    cold.source.renew_now()
    await cold.clock.settle()
    assert cold.source.status().next_attempt_in_seconds == 0
    waiter = asyncio.create_task(cold.source.get())
    await cold.clock.advance(1)
    cold.login.answering.set()
    cold.source.invalidate(await waiter)
    assert (await cold.token()).generation == 2
    assert cold.login.calls == [0, 0, 1]


async def test_the_old_token_serves_while_new_credentials_are_tried(house: House) -> None:
    """Also if these are refused."""
    token = await house.token()
    house.login.answering.clear()
    house.source.renew_now()
    await house.clock.settle()
    assert house.source.usable() is token
    house.login.failures = itertools.repeat(REFUSED)
    house.login.answering.set()
    await house.clock.settle()
    assert house.source.usable() is token
    assert house.source.status().state is TokenState.FRESH
    assert house.events[-1] == TokenEvent("renewal_failed", "credentials_changed", reason="refused")


async def test_credentials_that_change_during_a_fetch_are_tried_after_it(cold: House) -> None:
    """That fetch still uses the old ones."""
    cold.login.answering.clear()
    cold.login.failures = iter([CredentialsRefused("refused", "", retry_after=200), REFUSED])
    await cold.start()
    cold.source.renew_now()
    await cold.clock.settle()
    assert cold.login.calls == [0]
    cold.login.answering.set()
    await cold.advance_to(30)
    assert cold.login.calls == [0, 0, 30]


# --- Rejections --------------------------------------------------------------------------------


async def test_a_rejection_during_a_renewal_joins_it(house: House) -> None:
    """At any time: it costs no further login. Alone it waits for five seconds to pass."""
    house.login.lifetime = 4
    assert house.source.invalidate(await house.token())
    token = await house.token()
    assert not house.source.invalidate(token)
    assert house.source.usable() is token
    house.login.answering.clear()
    await house.clock.advance(2)
    assert house.source.invalidate(token)
    assert house.source.usable() is None
    house.login.answering.set()
    assert (await house.token()).generation == 3
    assert house.login.calls == [0, 0, 2]


async def test_a_rejection_does_not_hasten_a_renewal_that_was_put_off(house: House) -> None:
    """The token is out of force, without a further attempt."""
    token = await house.token()
    house.login.failures = itertools.repeat(REFUSED)
    await house.advance_to(3310)
    assert house.source.invalidate(token)
    with pytest.raises(CredentialsRefused):
        await house.source.get()
    await house.advance_to(3329)
    assert house.login.calls == [0, 3300]


async def test_another_login_is_suspected_at_the_second_loss(house: House) -> None:
    """It is reported at once, slowed down from the third on, and over after five quiet minutes."""
    with capture_logs() as logs:
        assert house.source.invalidate(await house.token())
        assert not house.source.status().contended
        await house.clock.advance(5)
        token = await house.token()
        second = house.clock.wall()
        assert house.source.invalidate(token)
        await house.clock.advance(5)
        assert house.source.invalidate(await house.token())
        status = house.source.status()
        assert (status.contended, status.contended_since) == (True, second)
    assert house.events.count(TokenEvent("contended")) == 2
    said = [entry for entry in logs if entry["event"] == "token.contended"]
    assert [(entry["losses"], entry["log_level"]) for entry in said] == [(2, "error"), (3, "error")]
    assert [entry["next_renewal_in"] for entry in said] == [5, 10]
    await house.clock.advance(300)
    assert house.source.invalidate(await house.token())
    status = house.source.status()
    assert (status.contended, status.contended_since) == (False, None)


# --- Reporting ---------------------------------------------------------------------------------


async def test_the_status_shows_what_happened(cold: House) -> None:
    """State, age, last failure, next attempt and counts; never the token."""
    assert cold.source.status() == TokenStatus(
        TokenState.EMPTY, 0, None, None, None, 0, 0, 0, 0, contended=False
    )
    renewed_at = cold.clock.wall()
    await cold.start()
    cold.login.failures = itertools.repeat(REFUSED)
    await cold.advance_to(3310)
    failure = TokenFailure("refused", "20", str(REFUSED), refused=True, at=renewed_at + 3300)
    assert cold.source.status() == TokenStatus(
        TokenState.STALE, 1, 290, renewed_at, failure, 20, 1, 1, 0, contended=False
    )
    assert "token-1" not in repr(cold.source.status())
    cold.login.failures = iter([])
    await cold.advance_to(3330)
    assert cold.source.status().last_failure is None


async def test_renewals_and_rejections_are_logged_and_counted(cold: House) -> None:
    """Each once, without the token, also for the observer; only refusals are errors."""
    cold.login.failures = iter([REFUSED, FAULT])
    cold.login.note = "No lifetime was given."
    with capture_logs() as logs:
        await cold.start()
        await cold.clock.advance(60)
        token = await cold.token()
        await cold.clock.advance(12)
        cold.source.invalidate(token)
        await cold.token()
    failed = {"event": "token.renewal_failed", "next_attempt_in": 30.0, "state": "empty"}
    refusal = {"log_level": "error", "reason": "refused", "code": "20", "detail": str(REFUSED)}
    down = {"log_level": "warning", "reason": "http_503", "code": None, "detail": str(FAULT)}
    renewed = {"event": "token.renewed", "log_level": "info", "expires_in": 3600, "seconds": 0.0}
    clamped = {"event": "token.lifetime_clamped", "log_level": "warning", "expires_in": 3600}
    invalidated = {"event": "token.invalidated", "generation": 1, "age_seconds": 12, "detail": ANY}
    assert logs == [
        failed | refusal | {"cause": "startup"},
        failed | down | {"cause": "startup"},
        renewed | {"generation": 1, "cause": "startup"},
        clamped | {"detail": cold.login.note},
        invalidated | {"log_level": "warning"},
        renewed | {"generation": 2, "cause": "rejected"},
        clamped | {"detail": cold.login.note},
    ]
    assert cold.events == [
        TokenEvent("renewal_failed", "startup", reason="refused"),
        TokenEvent("renewal_failed", "startup", reason="http_503"),
        TokenEvent("renewed", "startup"),
        TokenEvent("invalidated"),
        TokenEvent("renewed", "rejected"),
    ]
    assert cold.source.status().invalidations == 1
