"""The source of tokens on a clock of the test's: renewals, waits, failures, rejections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from proxy.errors import CredentialsRefused, TokenError, TokenUnavailable
from proxy.secret import Secret
from proxy.tokens.source import TokenSource
from proxy.tokens.values import AccessToken, Cause, Grant, TokenEvent, TokenState
from tests.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


HOUR = 3600.0
DAY = 24 * HOUR


@dataclass
class Login:
    """A token endpoint in memory: a new token at each call, unless it fails or waits."""

    clock: FakeClock
    name: str = "token"
    lifetime: float = HOUR
    note: str | None = None
    #: Failures to raise, one a call; when they are used up, calls succeed again.
    failures: list[BaseException] = field(default_factory=list)
    #: Raised by every call while set.
    broken: BaseException | None = None
    #: Calls are answered only while it is set.
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    #: When each call was made, in seconds since the start.
    calls: list[float] = field(default_factory=list)
    under_way: int = 0

    def __post_init__(self) -> None:
        self.answering.set()
        self.start = self.clock.now()

    async def __call__(self) -> Grant:
        """Answer one call."""
        self.calls.append(self.clock.now() - self.start)
        self.under_way += 1
        assert self.under_way == 1, "two fetches at a time"
        try:
            await self.answering.wait()
        finally:
            self.under_way -= 1
        if self.broken is not None:
            raise self.broken
        if self.failures:
            raise self.failures.pop(0)
        return Grant(Secret(self.issued), self.lifetime, self.note)

    @property
    def issued(self) -> str:
        """The token of the newest call."""
        return f"{self.name}-{len(self.calls)}"

    def pauses(self) -> list[float]:
        """Return the seconds between the calls."""
        return [round(later - sooner, 6) for sooner, later in itertools.pairwise(self.calls)]


@dataclass
class Observer:
    """Notes what it observes."""

    events: list[tuple[object, ...]] = field(default_factory=list)

    def __call__(self, event: TokenEvent) -> None:
        """Note it."""
        last = {"renewed": (event.cause, event.seconds), "renewal_failed": event[1::2]}
        self.events.append((event.name, *last.get(event.name, ())))


@dataclass
class House:
    """A source and all around it; its task runs from `start` on."""

    clock: FakeClock
    login: Login
    source: TokenSource
    observer: Observer
    task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the background task."""
        self.task = asyncio.create_task(self.source.run())

    async def stop(self) -> None:
        """End it, as the end of the program does."""
        assert self.task is not None
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task

    async def token(self) -> AccessToken:
        """Return the token in force; there must be one."""
        await self.clock.settle()
        token = self.source.usable()
        assert token is not None
        return token

    async def under_demand(self, seconds: int) -> None:
        """Let so many seconds pass with a request in each."""

        async def request() -> None:
            with contextlib.suppress(TokenError):
                await self.source.get()

        async with asyncio.TaskGroup() as requests:
            for _ in range(seconds):
                requests.create_task(request())
                await self.clock.advance(1)
            await self.clock.advance(10)  # the last ones may wait so long

    async def advance_to(self, instant: float) -> None:
        """Let time pass until so many seconds after the start."""
        await self.clock.advance(self.login.start + instant - self.clock.now())


def refused(code: str | None = "20", retry_after: float | None = None) -> CredentialsRefused:
    """Make a refusal."""
    words = "The credentials are wrong."
    return CredentialsRefused("refused", words, code=code, retry_after=retry_after)


def fault(retry_after: float | None = None) -> TokenUnavailable:
    """Make a passing fault."""
    return TokenUnavailable("http_503", "The token endpoint is down.", retry_after=retry_after)


def build(clock: FakeClock, login: Login, *, jitter: float = 0.0) -> House:
    """Put a house together."""
    observer = Observer()
    source = TokenSource(
        login,
        clock=clock,
        random=lambda: jitter,
        refresh_ahead_seconds=300,
        wait_seconds=10,
        observe=observer,
    )
    return House(clock, login, source, observer)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """Give a house that the test starts."""
    clock = FakeClock()
    house = build(clock, Login(clock))
    yield house
    await house.stop()


# --- Renewal -----------------------------------------------------------------------------------


async def test_a_day_of_renewals(house: House) -> None:
    """Hour-long tokens are fetched every 55 minutes, and no request waits."""
    house.start()
    await house.clock.settle()
    for _ in range(24 * 60):
        assert house.source.usable() is not None
        assert house.source.status().state is TokenState.FRESH
        await house.clock.advance(60)
    assert house.login.calls == [number * 3300.0 for number in range(27)]
    assert house.source.status().renewals == house.source.status().generation == 27


async def test_a_short_token_is_renewed_at_half_of_its_life(house: House) -> None:
    """If its life is shorter than the lead of a renewal."""
    house.start()
    house.login.lifetime = 60
    await house.advance_to(299)
    assert house.login.calls == [number * 30.0 for number in range(10)]


async def test_a_life_begins_before_the_request_is_sent(house: House) -> None:
    """A slow answer shortens it."""
    house.start()
    house.login.answering.clear()
    await house.clock.advance(8)
    house.login.answering.set()
    token = await house.token()
    assert token.expires_at - house.clock.now() == HOUR - 8
    assert token.usable_until == token.expires_at - 5


async def test_a_stale_token_serves_while_it_is_renewed(house: House) -> None:
    """Until it expires."""
    house.start()
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


async def test_a_failed_renewal_keeps_the_token(house: House) -> None:
    """However it fails; the next success replaces it."""
    house.start()
    token = await house.token()
    house.login.failures = [fault(), refused(), KeyError("surprise")]
    for instant in (3300.0, 3300.5, 3330.5):
        await house.advance_to(instant)
        assert house.source.usable() is token
    await house.advance_to(3360.5)
    assert house.login.calls == [0, 3300, 3300.5, 3330.5, 3360.5]
    assert (await house.token()).generation == 2


async def test_a_token_that_is_dead_on_arrival_is_a_failure(house: House) -> None:
    """It is not installed, and the next fetch has a pause."""
    house.start()
    house.login.lifetime = 2
    house.login.answering.clear()
    await house.clock.advance(3)
    house.login.answering.set()
    await house.clock.settle()
    assert house.source.status().state is TokenState.EMPTY
    assert house.observer.events == [("renewal_failed", "startup", "expired_on_arrival")]
    await house.clock.advance(0.5)
    assert house.source.status().state is TokenState.FRESH


# --- Waiting -----------------------------------------------------------------------------------


async def test_a_thousand_waiters_make_one_call(house: House) -> None:
    """All get the same token."""
    house.start()
    house.login.answering.clear()
    async with asyncio.TaskGroup() as tasks:
        waiters = [tasks.create_task(house.source.get()) for _ in range(1000)]
        await house.clock.advance(5)
        assert not any(waiter.done() for waiter in waiters)
        house.login.answering.set()
    assert {waiter.result() for waiter in waiters} == {house.source.usable()}
    assert len(house.login.calls) == 1


async def test_a_cancelled_waiter_cancels_nothing_else(house: House) -> None:
    """Neither the fetch nor the other waiters."""
    house.start()
    house.login.answering.clear()
    waiters = [asyncio.create_task(house.source.get()) for _ in range(10)]
    await house.clock.settle()
    for waiter in waiters[:5]:
        waiter.cancel()
    await house.clock.settle()
    house.login.answering.set()
    await house.clock.settle()
    assert all(waiter.cancelled() for waiter in waiters[:5])
    assert {waiter.result() for waiter in waiters[5:]} == {house.source.usable()}
    assert len(house.login.calls) == 1


async def test_a_wait_ends_in_time_with_words(house: House) -> None:
    """After `wait_seconds` of silence, with the reason."""
    house.start()
    house.login.answering.clear()
    waiter = asyncio.create_task(house.source.get())
    await house.clock.advance(9.999)
    assert not waiter.done()
    await house.clock.advance(0.001)
    with pytest.raises(TokenUnavailable, match="has not answered yet") as raised:
        await waiter
    assert (raised.value.reason, raised.value.retry_after) == ("pending", 1)


async def test_a_failure_ends_a_wait_only_without_hope(house: House) -> None:
    """A request gets the token of the next attempt, if that is near; a success ends the backoff."""
    house.start()
    house.login.failures = [fault(), fault(), fault()]
    waiter = asyncio.create_task(house.source.get())
    await house.clock.advance(3.4)
    assert not waiter.done()
    await house.clock.advance(0.1)
    assert (await waiter).generation == 1
    house.login.failures = [fault()]
    await house.advance_to(2 * HOUR)
    assert house.login.calls == [0, 0.5, 1.5, 3.5, 3303.5, 3304, 6604]


async def test_a_wait_in_vain_is_not_waited(house: House) -> None:
    """If the next attempt lies beyond the wait, requests fail at once."""
    house.start()
    house.login.answering.clear()
    house.login.broken = refused()
    early = asyncio.create_task(house.source.get())
    await house.clock.advance(2)
    house.login.answering.set()
    await house.clock.settle()
    for waiter in (early, asyncio.create_task(house.source.get())):
        await house.clock.settle()
        assert waiter.done()
        with pytest.raises(CredentialsRefused) as raised:
            await waiter
        assert str(raised.value) == "The credentials are wrong. The next attempt is in 30 seconds."
        assert (raised.value.code, raised.value.retry_after) == ("20", 30)


async def test_the_wait_to_recommend_is_whole_seconds(house: House) -> None:
    """`retry_after` is rounded up, and at least one second."""
    house.start()
    house.login.broken = refused()
    await house.clock.settle()
    for instant, retry_after in ((12.3, 18), (19.9, 11)):
        await house.advance_to(instant)
        with pytest.raises(TokenError) as raised:
            await house.source.get()
        assert raised.value.retry_after == retry_after
    house.login.answering.clear()
    await house.advance_to(30)
    waiter = asyncio.create_task(house.source.get())
    await house.clock.advance(10)
    with pytest.raises(TokenError, match="The next attempt is under way") as raised:
        await waiter
    assert raised.value.retry_after == 1


async def test_each_waiter_gets_an_error_of_its_own(house: House) -> None:
    """A shared error's traceback would grow without end."""
    house.start()
    house.login.broken = refused()
    await house.clock.settle()
    both = (house.source.get(), house.source.get())
    first, second = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(first, CredentialsRefused)
    assert first is not second


# --- Trying again ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jitter", "pauses"),
    [(0.0, [0.5, 1, 2, 4, 8, 15, 15, 15]), (1.0, [1, 2, 4, 8, 16, 30, 30, 30])],
    ids=["least", "most"],
)
async def test_passing_faults_back_off(jitter: float, pauses: list[float]) -> None:
    """Pauses double, with jitter, from 0.5 s to 30 s."""
    clock = FakeClock()
    login = Login(clock)
    login.broken = fault()
    house = build(clock, login, jitter=jitter)
    house.start()
    await clock.advance(sum(pauses))
    assert login.pauses() == pauses
    await house.stop()


async def test_a_wish_to_wait_is_respected(house: House) -> None:
    """`Retry-After` lengthens a pause, to five minutes at most, refusals included."""
    house.start()
    house.login.failures = [fault(retry_after=17), fault(retry_after=0), fault(retry_after=1e9)]
    house.login.failures.append(refused(retry_after=45))
    await house.clock.settle()
    await house.under_demand(400)
    assert house.login.calls == [0, 17, 18, 318, 363]


async def test_refused_credentials_are_tried_slowly(house: House) -> None:
    """After 30, 60, 120, then every 300 seconds, however many requests come."""
    house.start()
    house.login.broken = refused()
    await house.clock.settle()
    await house.under_demand(3589)
    assert house.login.pauses()[:6] == [30, 60, 120, 300, 300, 300]
    assert len(house.login.calls) == 15


async def test_faults_between_refusals_do_not_quicken_the_pace(house: House) -> None:
    """A fault may hide another refusal; only a success ends the pace."""
    house.start()
    house.login.failures = [refused(), fault(), fault(), refused(), fault(), refused(), refused()]
    await house.advance_to(HOUR)
    assert house.login.pauses()[:7] == [30, 30, 30, 60, 60, 120, 300]


async def test_a_surprise_does_not_end_the_renewals(house: House) -> None:
    """An unexpected exception is a passing fault; its type is shown, not its text."""
    house.start()
    house.login.failures = [RuntimeError("hunter2")]
    with capture_logs() as logs:
        await house.clock.settle()
    failure = house.source.status().last_failure
    assert failure is not None
    assert (failure.reason, failure.refused) == ("unexpected", False)
    assert "RuntimeError (test_tokens_source.py, line " in failure.detail
    assert "hunter2" not in f"{failure}{logs}"
    await house.clock.advance(0.5)
    assert house.source.status().state is TokenState.FRESH


async def test_a_log_that_cannot_be_written_does_not_end_the_renewals(house: House) -> None:
    """An observer that raises changes nothing."""
    house.start()

    def fail(_event: TokenEvent) -> None:
        raise BrokenPipeError

    house.source._observe = fail
    house.login.failures = [fault()]
    await house.advance_to(DAY)
    assert house.task is not None
    assert not house.task.done()
    assert house.login.calls[:3] == [0, 0.5, 3300.5]


# --- New credentials ---------------------------------------------------------------------------


async def test_new_credentials_are_tried_at_once(house: House) -> None:
    """Waiting requests get their token."""
    house.start()
    house.login.failures = [refused(), refused(), refused()]
    await house.advance_to(100)
    house.source.renew_now()
    assert (await house.source.get()).generation == 1
    assert house.login.calls == [0, 30, 90, 100]


async def test_refused_new_credentials_have_the_short_pauses_again(house: House) -> None:
    """The old refusals do not count."""
    house.start()
    house.login.broken = refused()
    await house.advance_to(300)
    house.source.renew_now()
    await house.advance_to(400)
    assert house.login.calls == [0, 30, 90, 210, 300, 330, 390]


@pytest.mark.parametrize("cause", ["credentials_changed", "asked"])
async def test_the_cause_of_a_renewal_is_observed(house: House, cause: Cause) -> None:
    """Once; the next renewal has its own cause."""
    house.start()
    await house.clock.settle()
    house.source.renew_now(cause)
    await house.advance_to(4000)
    causes = [event[1] for event in house.observer.events if event[0] == "renewed"]
    assert causes == ["startup", cause, "ahead"]


async def test_there_is_hope_while_new_credentials_are_tried(house: House) -> None:
    """A request waits for that fetch, however long the old pause."""
    house.start()
    house.login.failures = [refused()]
    await house.clock.settle()
    house.login.answering.clear()
    house.source.renew_now()
    await house.clock.settle()
    assert house.source.status().next_attempt_in_seconds == 0
    waiter = asyncio.create_task(house.source.get())
    await house.clock.advance(1)
    house.login.answering.set()
    assert (await waiter).generation == 1


async def test_good_credentials_make_old_refusals_forgotten(house: House) -> None:
    """A rejected token is replaced at once."""
    house.start()
    house.login.failures = [refused()]
    await house.clock.settle()
    house.source.renew_now()
    house.source.invalidate(await house.token())
    assert (await house.token()).generation == 2
    assert house.login.calls == [0, 0, 0]


async def test_the_old_token_serves_while_new_credentials_are_tried(house: House) -> None:
    """Also if these are refused."""
    house.start()
    token = await house.token()
    house.login.answering.clear()
    house.source.renew_now()
    await house.clock.settle()
    assert house.source.usable() is token
    house.login.broken = refused()
    house.login.answering.set()
    await house.clock.settle()
    assert house.source.usable() is token
    assert house.source.status().state is TokenState.FRESH
    assert house.observer.events[-1] == ("renewal_failed", "credentials_changed", "refused")


async def test_credentials_that_change_during_a_fetch_are_tried_after_it(house: House) -> None:
    """That fetch still uses the old ones."""
    house.start()
    house.login.answering.clear()
    house.login.failures = [refused(retry_after=200), refused()]
    await house.clock.settle()
    house.source.renew_now()
    await house.clock.settle()
    assert house.login.calls == [0]
    house.login.answering.set()
    await house.advance_to(30)
    assert house.login.calls == [0, 0, 30]


# --- Rejections --------------------------------------------------------------------------------


async def test_two_hundred_rejections_make_one_renewal(house: House) -> None:
    """All get the new token."""
    house.start()
    token = await house.token()
    house.login.answering.clear()
    assert [house.source.invalidate(token) for _ in range(200)] == [True] * 200
    async with asyncio.TaskGroup() as tasks:
        waiters = [tasks.create_task(house.source.get()) for _ in range(200)]
        await house.clock.advance(1)
        house.login.answering.set()
    assert {waiter.result().generation for waiter in waiters} == {2}
    assert len(house.login.calls) == 2
    assert house.source.status().invalidations == 1


async def test_a_late_rejection_changes_nothing(house: House) -> None:
    """The rejected token has been replaced; the request may use the new one."""
    house.start()
    old = await house.token()
    await house.advance_to(3300)
    new = await house.token()
    assert house.source.invalidate(old)
    await house.clock.advance(60)
    assert house.source.usable() is new
    assert len(house.login.calls) == 2
    assert ("invalidated",) not in house.observer.events


async def test_forced_renewals_are_five_seconds_apart(house: House) -> None:
    """However often the API rejects; in between the token stays in force."""
    house.start()
    for _ in range(3000):
        token = await house.token()
        allowed = house.source.invalidate(token)
        assert (house.source.usable() is None) == allowed
        await house.clock.advance(0.1)
    forced = house.login.pauses()[1:]
    assert house.login.calls[:2] == [0, 0]
    assert min(forced) >= 5
    assert len(forced) <= 10


async def test_a_rejection_during_a_renewal_joins_it(house: House) -> None:
    """It makes no other fetch."""
    house.start()
    token = await house.token()
    house.login.answering.clear()
    await house.advance_to(3300)
    assert house.source.invalidate(token)
    assert house.source.usable() is None
    house.login.answering.set()
    assert (await house.token()).generation == 2
    assert len(house.login.calls) == 2
    assert not house.source.invalidate(await house.token())


async def test_joining_a_renewal_is_allowed_at_any_time(house: House) -> None:
    """It costs no further login."""
    house.start()
    house.login.lifetime = 4
    house.source.invalidate(await house.token())
    token = await house.token()
    house.login.answering.clear()
    await house.clock.advance(2)
    assert house.source.usable() is token
    assert house.source.invalidate(token)
    assert house.source.usable() is None
    house.login.answering.set()
    assert (await house.token()).generation == 3
    assert house.login.calls == [0, 0, 2]


async def test_a_rejection_does_not_hasten_a_renewal_that_was_put_off(house: House) -> None:
    """The token is out of force, without a further attempt."""
    house.start()
    token = await house.token()
    house.login.broken = refused()
    await house.advance_to(3310)
    assert house.source.invalidate(token)
    with pytest.raises(CredentialsRefused):
        await house.source.get()
    await house.advance_to(3329)
    assert house.login.calls == [0, 3300]


async def test_a_fight_over_tokens_settles() -> None:
    """Two proxies slow down to a login a minute each, and report it."""
    clock = FakeClock()
    logins = [Login(clock, name="one"), Login(clock, name="other")]
    houses = [build(clock, login) for login in logins]
    with capture_logs() as logs:
        for house in houses:
            house.start()
        for _ in range(4 * 900):
            await clock.advance(0.25)
            newest = max(logins, key=lambda login: login.calls[-1])
            for house in houses:
                token = house.source.usable()
                if token is not None and token.reveal() != newest.issued:
                    house.source.invalidate(token)
    for house in houses:
        calls = house.login.calls
        assert len(calls) <= 20
        assert sum(call > 600 for call in calls) <= 5
        assert house.source.status().contended
        assert ("contended",) in house.observer.events
        await house.stop()
    contended = [entry for entry in logs if entry["event"] == "token.contended"]
    assert contended[-1]["next_renewal_in"] == 60


async def test_a_fight_is_over_after_a_quiet_time(house: House) -> None:
    """After five minutes without a lost token."""
    house.start()
    for _ in range(4):
        assert house.source.invalidate(await house.token())
        await house.clock.advance(20)
    assert house.source.status().contended
    await house.clock.advance(280)
    assert (house.source.status().contended, house.source.status().contended_since) == (False, None)
    assert house.source.invalidate(await house.token())
    assert not house.source.status().contended


async def test_another_login_is_suspected_at_the_second_loss(house: House) -> None:
    """It is reported at once with its time, and not yet slowed down."""
    house.start()
    with capture_logs() as logs:
        assert house.source.invalidate(await house.token())
        assert not house.source.status().contended
        await house.clock.advance(5)
        token = await house.token()
        second = house.clock.wall()
        assert house.source.invalidate(token)
        status = house.source.status()
        assert (status.contended, status.contended_since) == (True, second)
        assert house.observer.events.count(("contended",)) == 1
        await house.clock.advance(5)
        assert house.source.invalidate(await house.token())
        assert house.source.status().contended_since == second
    said = [entry for entry in logs if entry["event"] == "token.contended"]
    assert [(entry["losses"], entry["log_level"]) for entry in said] == [(2, "error"), (3, "error")]
    assert said[0]["next_renewal_in"] == 5
    assert said[1]["next_renewal_in"] >= 10


# --- Time that jumps ---------------------------------------------------------------------------


async def test_a_suspension_of_the_host_expires_the_token(house: House) -> None:
    """A new one is fetched at the first request, or within ten seconds without any."""
    house.start()
    await house.token()
    for generation in (2, 3):
        await house.clock.advance(10)
        house.clock.suspend(2 * HOUR)
        assert house.source.usable() is None
        assert house.source.status().state is TokenState.EXPIRED
        if generation == 2:
            assert (await house.source.get()).generation == 2
            assert ("renewed", "expired", 0) in house.observer.events
    await house.clock.advance(10)
    assert (await house.token()).generation == 3


@pytest.mark.parametrize("step", [-10 * DAY, -60, 60, 10 * DAY])
async def test_a_step_of_the_wall_clock_changes_nothing(house: House, step: float) -> None:
    """It moves no renewal and ends no token."""
    house.start()
    token = await house.token()
    house.clock.step_wall(step)
    await house.advance_to(3299)
    assert house.source.usable() is token
    assert house.source.status().state is TokenState.FRESH
    await house.advance_to(3300)
    assert house.login.calls == [0, 3300]


# --- Telling -----------------------------------------------------------------------------------


async def test_the_status_shows_what_happened(house: House) -> None:
    """State, age, last failure, next attempt and counts; never the token."""
    house.start()
    status = house.source.status()
    assert (status.state, status.generation) == (TokenState.EMPTY, 0)
    assert (status.expires_in_seconds, status.last_renewed_at) == (None, None)
    assert (status.last_failure, status.contended) == (None, False)
    assert status.next_attempt_in_seconds == 0
    renewed_at = house.clock.wall()
    await house.token()
    house.login.broken = refused()
    await house.advance_to(3310)
    status = house.source.status()
    assert (status.state, status.generation) == (TokenState.STALE, 1)
    assert (status.expires_in_seconds, status.last_renewed_at) == (290, renewed_at)
    assert status.last_failure is not None
    assert (status.last_failure.code, status.last_failure.at) == ("20", renewed_at + 3300)
    assert status.next_attempt_in_seconds == 20
    assert (status.renewals, status.failures, status.invalidations) == (1, 1, 0)
    assert "token-1" not in repr(status)
    house.login.broken = None
    await house.advance_to(3330)
    assert house.source.status().last_failure is None


async def test_renewals_and_rejections_are_logged_and_counted(house: House) -> None:
    """Each once, without the token, also for the observer."""
    house.start()
    house.login.failures = [refused()]
    with capture_logs() as logs:
        await house.clock.advance(30)
        token = await house.token()
        await house.clock.advance(12)
        house.source.invalidate(token)
        await house.token()
    renewed = {"event": "token.renewed", "log_level": "info", "expires_in": 3600, "seconds": 0.0}
    assert logs == [
        {
            "event": "token.renewal_failed",
            "log_level": "error",
            "reason": "refused",
            "code": "20",
            "next_attempt_in": 30.0,
            "cause": "startup",
            "state": "empty",
            "detail": "The credentials are wrong.",
        },
        renewed | {"generation": 1, "cause": "startup"},
        {
            "event": "token.invalidated",
            "log_level": "warning",
            "generation": 1,
            "age_seconds": 12,
            "detail": "The API rejected the access token, so a new one is fetched. If this comes "
            "often, look for another program that logs in with the same machine user.",
        },
        renewed | {"generation": 2, "cause": "rejected"},
    ]
    assert house.observer.events == [
        ("renewal_failed", "startup", "refused"),
        ("renewed", "startup", 0.0),
        ("invalidated",),
        ("renewed", "rejected", 0.0),
    ]


async def test_a_passing_fault_is_a_warning(house: House) -> None:
    """Refused credentials, which need a person, are an error."""
    house.start()
    house.login.failures = [fault()]
    with capture_logs() as logs:
        await house.clock.settle()
    assert [(entry["log_level"], entry["reason"]) for entry in logs] == [("warning", "http_503")]


async def test_a_corrected_lifetime_is_logged_once(house: House) -> None:
    """A note on the lifetime is logged with its renewal."""
    house.start()
    house.login.note = "No lifetime was given."
    with capture_logs() as logs:
        await house.clock.advance(60)
    clamped = [entry for entry in logs if entry["event"] == "token.lifetime_clamped"]
    assert [entry["detail"] for entry in clamped] == ["No lifetime was given."]
