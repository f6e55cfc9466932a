"""How `serve` ends: requests in flight, new clients, probes, and the exit status."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.e2e.process import (
    ACCOUNTS,
    DEADLINE,
    ORDERS,
    Answer,
    Api,
    Running,
    Starter,
    call,
    configuration,
    order,
)


@asynccontextmanager
async def order_in_flight(
    proxy: Running, api: Api, http: aiohttp.ClientSession
) -> AsyncIterator[asyncio.Task[Answer]]:
    """Place an order whose answer is held back until `api.let_go`."""
    api.sandbox.fault("api_slow", 60, 1)
    answered = asyncio.create_task(order(http, await proxy.url(ORDERS)))
    arrived = asyncio.create_task(api.waiting.wait())
    await asyncio.wait({answered, arrived}, timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
    assert arrived.done(), proxy.output
    try:
        yield answered
    finally:
        api.let_go.set()


async def page(http: aiohttp.ClientSession, proxy: Running, path: str) -> int:
    """Ask the admin listener for a page; return the status."""
    return (await call(http, await proxy.admin_url(path))).status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_what_is_in_flight_finishes(
    start: Starter, api: Api, http: aiohttp.ClientSession, number: signal.Signals
) -> None:
    """It is answered, readiness is 503, no connection is accepted, nothing logs out, with 0."""
    proxy = await start.ready(configuration(api.url))
    async with order_in_flight(proxy, api, http) as task:
        proxy.send(number)
        assert (await proxy.event("shutdown.started"))["in_flight"] == 1
        assert await page(http, proxy, "/readiness") == 503
        assert await page(http, proxy, "/liveness") == 200
        async with aiohttp.ClientSession() as another:
            with pytest.raises(aiohttp.ClientConnectorError):
                await another.get(await proxy.url(ACCOUNTS))
        assert not task.done()
        api.let_go.set()
        answer = await task
    assert (answer.status, answer.fields["Connection"]) == (201, "close")
    assert await proxy.ended() == 0
    assert proxy.events()[-1]["event"] == "shutdown.completed"
    assert len(api.sandbox.orders) == 1
    assert api.counter("logouts") == 0  # another instance may use the token


async def test_a_second_signal_ends_it_at_once(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """The status is 1, and the client in flight gets 503 with an unknown outcome."""
    proxy = await start.ready(configuration(api.url, shutdown={"grace_seconds": 3600}))
    async with order_in_flight(proxy, api, http) as task:
        proxy.send(signal.SIGTERM)
        await proxy.event("shutdown.started")
        assert await proxy.stop() == 1
        answer = await task
    assert answer.status == 503
    assert answer.json()["outcome"] == "unknown"
    assert (await proxy.event("request.completed"))["status"] == 503


async def test_the_grace_period_ends(start: Starter, api: Api, http: aiohttp.ClientSession) -> None:
    """A request that outlasts it gets 503 with an unknown outcome, and the status is 1."""
    proxy = await start.ready(configuration(api.url, shutdown={"grace_seconds": 0.2}))
    async with order_in_flight(proxy, api, http) as task:
        assert await proxy.stop() == 1
        answer = await task
    assert (answer.status, answer.json()["outcome"]) == (503, "unknown")
    assert (await proxy.event("shutdown.completed"))["cut_short"] == 1


async def test_during_the_delay_new_requests_are_served(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """Readiness is already 503; a second signal ends the delay."""
    proxy = await start.ready(configuration(api.url, shutdown={"delay_seconds": 3600}))
    proxy.send(signal.SIGTERM)
    await proxy.event("shutdown.started")
    assert await page(http, proxy, "/readiness") == 503
    answer = await call(http, await proxy.url(ACCOUNTS))
    assert (answer.status, answer.fields["Connection"]) == (200, "close")
    assert await proxy.stop() == 1


async def test_logout_comes_last(start: Starter, tls_api: Api, http: aiohttp.ClientSession) -> None:
    """`oauth.logout_on_shutdown` ends the token after the last request has its answer."""
    upstream = {"ca_file": str(tls_api.ca_file)}
    config = configuration(tls_api.url, upstream=upstream, oauth={"logout_on_shutdown": True})
    proxy = await start.ready(config)
    async with order_in_flight(proxy, tls_api, http) as task:
        proxy.send(signal.SIGTERM)
        await proxy.event("shutdown.started")
        assert tls_api.counter("tokens_valid") == 1
        tls_api.let_go.set()
        assert (await task).status == 201
    assert await proxy.ended() == 0
    assert tls_api.counter("tokens_valid") == 0
    assert tls_api.counter("logouts_by_status") == {"200": 1}


async def test_by_default_it_does_not_log_out(start: Starter, api: Api) -> None:
    """Another instance may use the token."""
    proxy = await start.ready(configuration(api.url))
    assert await proxy.stop() == 0
    assert api.counter("logouts") == 0
    assert api.counter("tokens_valid") == 1


async def test_a_failed_logout_does_not_fail_the_end(start: Starter, api: Api) -> None:
    """It is logged, and the exit status is 0."""
    api.sandbox.fault("logout_drop")
    proxy = await start.ready(configuration(api.url, oauth={"logout_on_shutdown": True}))
    assert await proxy.stop() == 0
    assert (await proxy.event("token.logged_out"))["ok"] is False


async def test_a_second_signal_does_not_wait_for_the_logout(start: Starter, api: Api) -> None:
    """A second signal while the logout is under way ends it at once, with 1."""
    api.sandbox.fault("logout_slow", 60)
    config = configuration(
        api.url, oauth={"logout_on_shutdown": True, "request_timeout_seconds": 3600}
    )
    proxy = await start.ready(config)
    proxy.send(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE):
        await api.waiting.wait()
    assert await proxy.stop() == 1


async def test_a_signal_before_the_first_token_ends_it(start: Starter, api: Api) -> None:
    """A signal that comes while the first token is still being fetched ends it with 0."""
    api.sandbox.fault("token_slow", 60, 1)
    proxy = await start("serve", configuration(api.url))
    async with asyncio.timeout(DEADLINE):
        await api.waiting.wait()
    assert await proxy.stop() == 0
