"""Many calls that want a token, or come back without one: the token endpoint gets one login.

Logins are counted at a real token endpoint behind the real listener.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import pytest
from structlog.testing import capture_logs

from proxy.admin.metrics import Metrics
from proxy.network.dialer import Dialer
from proxy.sandbox.server import running
from proxy.sandbox.state import Sandbox, SandboxCredentials
from proxy.settings import Origin
from proxy.tokens.endpoint import TokenEndpoint
from proxy.tokens.source import TokenSource
from tests.clock import FakeClock
from tests.gateway.client import order, request, until
from tests.gateway.conftest import Lab
from tests.reliability.figures import show
from tests.reliability.house import CREDENTIALS, HOUR, LOGIN_PATH, House, house_of
from tests.scripted import Act, Received, Step, reply

#: The default of `limits.max_connections`.
CROWD: Final = 1000
CROWD_OF_REJECTED: Final = 200
REJECTED: Final = reply(401, b'{"code": 40105}')


async def test_a_thousand_orders_that_wait_for_a_token_make_one_call(lab: Lab) -> None:
    """One login, and each order arrives once."""
    async with house_of(lab, upstream__connect_timeout_seconds=60) as house:
        let_go = asyncio.Event()
        house.login.usual = lambda seen: [Act.WHOLE, let_go, *house.grant(seen)[1:]]
        house.open()
        asking = [
            asyncio.create_task(house.gateway.ask(order(b"X-Request-Id: order-%d" % number)))
            for number in range(CROWD)
        ]
        await until(lambda: house.source.waiting == CROWD)
        assert not house.gateway.upstream.connections
        let_go.set()
        answers = await asyncio.gather(*asking)
        assert [answer.status for answer in answers] == [200] * CROWD
        assert len(house.login.requests) == 1
        arrived = [seen.values(b"x-request-id")[0] for seen in house.gateway.upstream.whole]
        assert sorted(arrived) == sorted(b"order-%d" % number for number in range(CROWD))


@pytest.mark.parametrize("kept", [False, True], ids=["new connections", "kept connections"])
async def test_two_hundred_rejections_of_one_token_make_one_login(lab: Lab, *, kept: bool) -> None:
    """Each of the two hundred calls with a 401 is sent once more."""
    async with house_of(lab, upstream__max_connections=CROWD_OF_REJECTED) as house:
        await house.opened()
        if kept:
            await keep_connections(house, CROWD_OF_REJECTED)
        let_go = asyncio.Event()

        def script(seen: Received) -> Sequence[Step]:
            old = seen.values(b"authorization")[0].endswith(b"-1")
            return [Act.WHOLE, let_go, REJECTED] if old else [Act.WHOLE, reply(200)]

        house.gateway.upstream.usual = script
        house.gateway.upstream.requests.clear()
        asking = [asyncio.create_task(house.gateway.ask(order())) for _ in range(CROWD_OF_REJECTED)]
        await until(lambda: len(house.gateway.upstream.whole) == CROWD_OF_REJECTED)
        let_go.set()
        assert [answer.status for answer in await asyncio.gather(*asking)] == [
            200
        ] * CROWD_OF_REJECTED
        assert len(house.login.requests) == 2
        first, second = b"token-of-the-test-1", b"token-of-the-test-2"
        assert sorted(house.bearers) == [first] * CROWD_OF_REJECTED + [second] * CROWD_OF_REJECTED


async def keep_connections(house: House, count: int) -> None:
    """Make so many calls at one time that so many connections to the API are kept."""
    let_go = asyncio.Event()
    house.gateway.upstream.usual = [Act.WHOLE, let_go, reply(200)]
    asking = [asyncio.create_task(house.gateway.ask(request())) for _ in range(count)]
    await until(lambda: len(house.gateway.upstream.whole) == count)
    let_go.set()
    assert [answer.status for answer in await asyncio.gather(*asking)] == [200] * count
    await until(lambda: house.gateway.pool.connections == (0, count))


async def test_a_late_rejection_makes_no_login(house: House) -> None:
    """A 401 for a token that was replaced meanwhile: the call is sent with the new one."""
    await house.opened()
    let_go = asyncio.Event()
    house.gateway.upstream.scripts.append([Act.WHOLE, let_go, REJECTED])
    asking = asyncio.create_task(house.gateway.ask(order()))
    await until(lambda: house.gateway.upstream.whole)
    await house.clock.advance(house.lifetime - 300)
    await until(lambda: house.granted == 2)
    await house.clock.settle()
    let_go.set()
    assert (await asking).status == 200
    assert house.bearers == [b"token-of-the-test-1", b"token-of-the-test-2"]
    assert len(house.login.requests) == 2


async def test_an_api_that_rejects_everything_gets_a_login_in_five_seconds_at_most(
    house: House,
) -> None:
    """Twenty 401s a second for ten minutes: logins are 5 s apart, and clients get every 401."""
    await house.opened()
    house.gateway.upstream.usual = [Act.WHOLE, REJECTED]
    client = await house.gateway.connect()
    statuses = set()
    for _ in range(600):
        for _ in range(4):
            await client.send(order())
            statuses.add((await client.answer()).status)
        await house.clock.advance(1)
        await house.until(lambda: not house.is_fetching)
    assert statuses == {401}
    logins = house.calls_at[1:]
    pauses = [later - sooner for sooner, later in itertools.pairwise(logins)]
    show(
        calls_rejected=len(house.gateway.records),
        seconds=600,
        logins=len(logins),
        shortest_pause=min(pauses),
    )
    assert min(pauses) >= 5
    # Slowed down to one a minute, once it is seen to be of no use.
    assert len(logins) <= 3 + 600 // 60 + 4


class Sidecar:
    """One of two proxies that fight over the machine user's session. served: its good calls."""

    def __init__(
        self, url: str, clock: FakeClock, sandbox: Sandbox, random: Callable[[], float]
    ) -> None:
        endpoint = TokenEndpoint(
            Dialer(Origin.parse(url), None), LOGIN_PATH, "/logout", timeout_seconds=5
        )
        self._sandbox = sandbox
        self.metrics = Metrics()
        self.served = 0
        self.source = TokenSource(
            lambda: endpoint.fetch(CREDENTIALS),
            clock=clock,
            random=random,
            refresh_ahead_seconds=300,
            wait_seconds=10,
            observe=self.metrics.on_token,
        )

    def call(self) -> None:
        """Make one call of the API with the token in force, if there is one."""
        token = self.source.usable()
        if token is None:
            return
        if self._sandbox.token_state(token.reveal()) == "valid":
            self.served += 1
        else:
            self.source.invalidate(token)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_two_proxies_that_end_each_others_tokens_settle(seed: int) -> None:
    """Some 60 logins an hour each, both are served, and log, metric and status report it."""
    clock = FakeClock()
    sandbox = Sandbox(
        SandboxCredentials(
            CREDENTIALS.client_id,
            CREDENTIALS.client_secret.reveal(),
            CREDENTIALS.username,
            CREDENTIALS.password.reveal(),
        ),
        now=clock.now,
    )
    sandbox.settings.single_session = True
    async with running(sandbox) as url:
        random = Random(seed).random  # noqa: S311 # jitter, not secrets
        both = [Sidecar(url, clock, sandbox, random) for _ in range(2)]
        tasks = [asyncio.create_task(each.source.run()) for each in both]
        with capture_logs() as logs:
            for _ in range(int(HOUR)):
                await clock.advance(1)
                await until(lambda: not any(each.source._fetching for each in both))
                await clock.settle()
                for each in both:
                    each.call()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    logins = [each.source.status().renewals for each in both]
    served = [each.served for each in both]
    contentions = [entry for entry in logs if entry["event"] == "token.contended"]
    name = "telenor_proxy_token_contentions_total"
    counted = [each.metrics.registry.get_sample_value(name) or 0 for each in both]
    show(logins_in_an_hour=logins, calls_served_of_3600_each=served, contentions=counted)
    assert max(logins) <= 70
    assert sum(logins) == sandbox.shown()["counters"]["token_calls"]  # type: ignore[index]
    # The one that logged in last is served until the other does: between them hardly a second is
    # lost.
    assert sum(served) >= 0.95 * HOUR
    assert min(served) >= 0.05 * HOUR
    assert all(each.source.status().contended for each in both)
    assert min(counted) > 0
    assert sum(counted) == len(contentions)
    assert all("another program" in entry["detail"] for entry in contentions)
