"""The whole way of a call in one event loop, between a scripted token endpoint and a scripted API.

    house.open()                              # the source begins to log in
    answer = await house.ask(order())         # time passes while the call waits for it
    house.login.usual = [Act.WHOLE, ...]      # what the token endpoint answers from now on

Listener, forwarder, token source, token endpoint and sockets are real. The time is a fake clock's,
and moves only while no part is at work: fetches and calls take no time, and counts are exact. The
checks of `tests.gateway.conftest.Lab` hold here too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import orjson
from structlog.testing import capture_logs

from proxy.admin.history import History
from proxy.admin.metrics import Metrics
from proxy.admin.report import Report
from proxy.network.dialer import Dialer
from proxy.secret import Secret
from proxy.settings import Origin
from proxy.tokens.endpoint import TokenEndpoint
from proxy.tokens.source import TokenSource
from proxy.tokens.values import AccessToken, Credentials, Grant
from tests.clock import FakeClock
from tests.gateway.client import PATIENCE, Answer, until
from tests.gateway.conftest import Gateway, Lab
from tests.scripted import Act, Received, ScriptedServer, Step, reply

HOUR: Final = 3600.0
LOGIN_PATH: Final = "/oauth/v2/token"
#: Each easy to find where it must not be.
CREDENTIALS: Final = Credentials(
    "made-up-client-id", Secret("made-up-client-secret"), "api1", Secret("made-up-password")
)
_SECRETS: Final = (b"made-up-client-secret", b"made-up-password", b"token-of-the-test-")

_GLANCE: Final = 0.001  # seconds between two looks, while sockets are at work


class Keeper(TokenSource):
    """The real source, with the count that the lab's audit asks for."""

    def __init__(self, house: House) -> None:
        super().__init__(
            house.fetch,
            clock=house.clock,
            random=lambda: 0.0,
            refresh_ahead_seconds=300,
            wait_seconds=10,
        )
        self._house = house
        self.waiting = 0

    async def get(self) -> AccessToken:
        """Count the callers that wait."""
        self.waiting += 1
        try:
            return await super().get()
        finally:
            self.waiting -= 1

    @property
    def issued(self) -> int:
        """How many tokens there have been."""
        return self._house.granted


class House:
    """One proxy, its token endpoint (`login`) and its API (`gateway.upstream`).

    lifetime: of granted tokens, seconds. granted: how many there were. ends: when each ends, on the
    clock. calls: fetches begun so far. credentials: of the fetches. logs: every log event.
    """

    gateway: Gateway
    endpoint: TokenEndpoint

    def __init__(self, lab: Lab, login: ScriptedServer, logs: list[Any]) -> None:
        self.clock = FakeClock()
        self.login = login
        self._logs = logs
        self.credentials = CREDENTIALS
        self.lifetime = HOUR
        self.granted = 0
        self.ends: dict[bytes, float] = {}
        self.calls = 0
        self.calls_at: list[float] = []
        self.is_fetching = False
        self.source = Keeper(self)
        self._lab = lab
        self._task: asyncio.Task[None] | None = None
        self._began = self.clock.now()
        login.usual = self.grant

    async def build(self, **changes: Any) -> None:
        """Build the parts; `changes` are settings, as `section__key=value`."""
        self.gateway = await self._lab.gateway(tokens=self.source, **changes)
        await self.log_in_at()
        self.report = Report(
            self.gateway.settings,
            self.clock,
            Metrics(),
            History(self.clock.now()),
            token_status=self.source.status,
        )

    async def log_in_at(
        self,
        origin: str | Origin | None = None,
        *,
        timeout_seconds: float = 5,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """From now on, log in there (None: at `login`), with that timeout."""
        there = origin or f"http://127.0.0.1:{self.login.port}"
        there = Origin.parse(there) if isinstance(there, str) else there
        self.endpoint = TokenEndpoint(
            Dialer(there, tls), LOGIN_PATH, "/oauth/v2/logout", timeout_seconds=timeout_seconds
        )

    async def fetch(self) -> Grant:
        """Log in once, and count it."""
        self.calls += 1
        self.calls_at.append(self.clock.now() - self._began)
        self.is_fetching = True
        try:
            return await self.endpoint.fetch(self.credentials)
        finally:
            self.is_fetching = False

    def grant(self, seen: Received) -> Sequence[Step]:
        """Answer a login with a new token: the usual script of `login`."""
        assert b"Basic " in seen.values(b"authorization")[0]
        self.granted += 1
        token = f"token-of-the-test-{self.granted}"
        self.ends[token.encode()] = self.clock.now() + self.lifetime
        return [
            Act.WHOLE,
            reply(200, orjson.dumps({"access_token": token, "expires_in": self.lifetime})),
        ]

    def open(self) -> None:
        """Let the source begin."""
        self._task = asyncio.get_running_loop().create_task(self.source.run())

    async def opened(self) -> None:
        """Let it begin, and wait for the first token."""
        self.open()
        await self.until(lambda: self.source.usable() is not None)

    @property
    def ready(self) -> bool:
        """What the readiness probe says."""
        return self.report.not_ready() is None

    @property
    def bearers(self) -> list[bytes]:
        """The tokens that the API saw, in order."""
        return [
            seen.values(b"authorization")[0].split()[-1] for seen in self.gateway.upstream.requests
        ]

    @property
    def logs(self) -> list[Any]:
        """The log events at the default level."""
        return [entry for entry in self._logs if entry["log_level"] != "debug"]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log events of that name."""
        return [entry for entry in self.logs if entry["event"] == name]

    async def until(self, condition: Callable[[], object]) -> None:
        """Let time pass, but not during a fetch or a call, until the condition holds."""
        async with asyncio.timeout(PATIENCE):
            while True:
                await self.clock.settle()
                if condition():
                    return
                due = self.clock.next_due()
                if (
                    self.is_fetching
                    or due is None
                    or self.gateway.listener.in_flight > self.source.waiting
                ):
                    await asyncio.sleep(_GLANCE)
                else:
                    await self.clock.advance(due)

    async def ask(self, *pieces: bytes, method: bytes = b"POST") -> Answer:
        """Make one call, in so many pieces, and let time pass until it is answered."""
        before = len(self.gateway.records)
        asking = asyncio.get_running_loop().create_task(self.gateway.ask(*pieces, method=method))
        await until(lambda: self.gateway.listener.in_flight or asking.done())
        await self.until(asking.done)
        await self.until(lambda: len(self.gateway.records) > before)
        return await asking

    async def close(self) -> None:
        """End the source and the endpoint, and see that nothing secret was logged."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            assert self._task.cancelled(), "the source has ended by itself"
        logged = repr(self._logs).encode()
        assert not [secret for secret in _SECRETS if secret in logged]


@contextlib.asynccontextmanager
async def house_of(lab: Lab, **changes: Any) -> AsyncIterator[House]:
    """Build a house, and tear it down after the block."""
    with capture_logs() as logs:
        house = House(lab, await lab.upstream(), logs)
        await house.build(**changes)
        try:
            yield house
        finally:
            await house.close()
