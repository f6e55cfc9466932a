"""The admin listener over a real report and history, in any state, without a proxy."""

import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from proxy.admin.history import History
from proxy.admin.metrics import Metrics
from proxy.admin.report import Report
from proxy.admin.server import create_app
from proxy.records import Record
from proxy.settings import load
from proxy.tokens.values import TokenFailure, TokenState, TokenStatus
from tests.clock import FakeClock

#: 2027-01-15 09:12:20 UTC, 10:12:20 in Oslo.
NOON = 1_800_004_340.0
#: Seconds. Three days and a bit.
UPTIME = 275_000.0
TOKEN = TokenStatus(
    state=TokenState.FRESH,
    generation=3,
    expires_in_seconds=2537.0,
    last_renewed_at=NOON - 1063,
    last_failure=None,
    next_attempt_in_seconds=2237.0,
    renewals=3,
    failures=0,
    invalidations=0,
    contended=False,
)
ENVIRONMENT = {
    "TELENOR_PROXY_OAUTH__CLIENT_ID": "SentinelClientId0001",
    "TELENOR_PROXY_OAUTH__CLIENT_SECRET": "Sentinel+Secret/0002",
    "TELENOR_PROXY_OAUTH__USERNAME": "api0000000003",
    "TELENOR_PROXY_OAUTH__PASSWORD": "Sentinel&Password 0004",
}


def refused(code: str | None = "20", *, at: float = NOON - 20) -> TokenFailure:
    """Make a refusal of the credentials."""
    return TokenFailure("refused", code, "English words for the log.", refused=True, at=at)


@dataclass
class Stage:
    """The state that the report shows; tests change it."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(wall=NOON - UPTIME))
    token: TokenStatus = TOKEN
    clients: dict[str, Any] = field(
        default_factory=lambda: {"connections": 4, "in_flight": 1, "by_name": []}
    )
    upstream: dict[str, int] = field(default_factory=lambda: {"in_use": 1, "idle": 5})
    configuration: dict[str, list[str]] = field(default_factory=dict)
    log: dict[str, object] = field(default_factory=dict)
    limits: dict[str, object] = field(default_factory=dict)
    certificates: list[dict[str, object]] = field(default_factory=list)
    watched: bool = False
    orders: Callable[[], dict[str, object]] | None = None
    url: str = ""

    def __post_init__(self) -> None:
        self.history = History(self.clock.now())
        self.metrics = Metrics()
        self.report = Report(
            load(None, ENVIRONMENT),
            self.clock,
            self.metrics,
            self.history,
            token_status=lambda: self.token,
            clients=lambda: self.clients,
            upstream=lambda: self.upstream,
            configuration=lambda: self.configuration,
            log=lambda: self.log,
            limits=lambda: self.limits,
            certificates=lambda: self.certificates,
            credentials_watched=lambda: self.watched,
            orders=self.orders,
        )
        self.clock.suspend(UPTIME)

    def token_is(self, **changes: Any) -> None:
        """Change the token's status."""
        self.token = replace(self.token, **changes)

    def call(self, status: int = 200, seconds: float = 0.05, **changes: Any) -> None:
        """Let a request end."""
        upstream = None if "error" in changes else seconds * 0.9
        record = Record(
            "staged-1", "POST", "/x", status, seconds, upstream_seconds=upstream, attempts=1
        )
        record = record._replace(**changes)
        self.metrics(record)
        self.report(record)

    def live_an_hour(self) -> None:
        """Simulate an hour of calls with a few mishaps."""
        chance = random.Random(7)  # noqa: S311 # not for secrets
        refusal = {"refused": True, "attempts": 0}
        mishaps: dict[int, dict[str, Any]] = {
            11: {"status": 403, "error": "path-not-allowed", "method": "GET", **refusal},
            26: {"status": 504, "error": "http_response_timeout", "outcome": "unknown"},
            27: {"status": 502, "error": "connection_terminated", "outcome": "unknown"},
            48: {"status": 400, "error": "malformed-request", "method": None, **refusal},
            55: {"status": 503, "error": "connection_limit_reached", "outcome": "not_sent"},
        }
        mishaps[26]["seconds"] = 4.0
        mishaps[27] |= {"method": "GET", "attempts": 2}
        mishaps[55]["attempts"] = 0
        start = self.clock.wall()
        self.clock.step_wall(-3600)
        for minute in range(60):
            calls = max(1, round(20 + 13 * math.sin(minute / 9) + chance.uniform(-5, 5)))
            for _ in range(calls):
                self.clock.suspend(60 / (calls + 1))
                (status,) = chance.choices((200, 404, 304, 500), (93, 4.5, 2, 0.5))
                busy = 2.2 if 24 <= minute <= 30 else 1
                self.call(status, busy * chance.lognormvariate(-2.75, 0.45))
            if minute in mishaps:
                number = f"order-system-{7000 + 13 * minute:x}"
                self.call(**{"request_id": number, **mishaps[minute]})
            self.clock.suspend(60 / (calls + 1))
            if minute == 42:
                self.history.renewed(self.clock.now())
        self.call()
        self.clock.step_wall(start - self.clock.wall())


@asynccontextmanager
async def serving(stage: Stage, port: int = 0) -> AsyncIterator[Stage]:
    """Serve the admin listener on loopback."""
    runner = web.AppRunner(create_app(stage.report), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        stage.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        yield stage
    finally:
        await runner.cleanup()
