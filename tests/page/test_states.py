"""The page in front of a real proxy and the sandbox, in both languages."""

import asyncio
import os
import signal

import aiohttp

from tests.e2e.process import ACCOUNTS, ORDERS, Api, Starter, call, configuration, order
from tests.page.browser import Tab

ENGLISH, NORWEGIAN = "en-GB,en", "nb-NO,nb"


async def opened(tab: Tab, url: str, languages: str, headline: str) -> str:
    """Open the page, wait for that headline, and return sentence, facts and step."""
    await tab.emulate(languages=languages)
    await tab.goto(url)
    await tab.look(f"document.getElementById('headline').textContent === {headline!r}")
    return f"{await tab.text('#sentence')} {await tab.text('#facts')} {await tab.text('#step')}"


def quiet(tab: Tab, url: str) -> None:
    """Check that the browser has no complaints and asked only the proxy."""
    assert tab.complaints == []
    asked = {request for request in tab.requests if not request.startswith(("data:", "about:"))}
    assert asked == {url, f"{url}status?history=1"}


async def test_working(tab: Tab, api: Api, start: Starter, http: aiohttp.ClientSession) -> None:
    """The token counts down, charts have the calls, failures have their request ids."""
    proxy = await start.ready(configuration(api.url))
    url = await proxy.admin_url("/")
    for _ in range(3):
        assert (await call(http, await proxy.url(ACCOUNTS))).status == 200
    assert (await call(http, await proxy.url(f"{ORDERS}/unknown"))).status == 404
    refused = await call(http, await proxy.url("/contacts/v1/contacts"))
    assert refused.status == 403
    said = await opened(tab, url, ENGLISH, "Working")
    assert said.strip() == "Calls go through to Telenor with a valid access token."
    assert await tab.text("#token-state") == "valid"
    left = await tab.text("#token-left")
    assert left.startswith(("59:", "58:"))
    await tab.until(f"document.getElementById('token-left').textContent !== {left!r}")
    bars = (
        "[...document.querySelectorAll('#calls-plot rect')].map((bar) => bar.getAttribute('class'))"
    )
    assert sorted(await tab.evaluate(bars)) == ["fill-2xx", "fill-4xx", "fill-refused"]
    assert await tab.evaluate("document.querySelectorAll('#latency-plot .dot').length") == 4
    assert "5 calls in the last hour" in await tab.text("#calls")
    assert "ms" in await tab.text("#latency-legend")
    row = await tab.text("#failures-rows")
    assert refused.fields["X-Request-Id"] in row
    assert "This path may not be called" in row
    assert await tab.evaluate("document.querySelectorAll('#token-strip .good').length") == 1
    said = await opened(tab, url, NORWEGIAN, "Virker")
    assert said.strip() == "Kall går gjennom til Telenor med et gyldig tilgangstoken."
    assert "Denne stien er ikke tillatt" in await tab.text("#failures-rows")
    quiet(tab, url)


async def test_draining(tab: Tab, api: Api, start: Starter, http: aiohttp.ClientSession) -> None:
    """While calls finish, and after the end, which is no alarm."""
    proxy = await start.ready(configuration(api.url))
    url = await proxy.admin_url("/")
    api.sandbox.fault("api_slow", 60, 1)
    async with asyncio.TaskGroup() as tasks:
        placing = tasks.create_task(order(http, await proxy.url(ORDERS)))
        await api.waiting.wait()
        os.kill(proxy.pid, signal.SIGTERM)
        await proxy.event("shutdown.started")
        said = await opened(tab, url, NORWEGIAN, "Avslutter")
        assert said.startswith(
            "Proxyen gjør kallene som pågår, ferdig, og så avslutter den. Siden "
        )
        said = await opened(tab, url, ENGLISH, "Shutting down")
        assert said.startswith("The proxy finishes the calls in flight, and then it ends. Since ")
        quiet(tab, url)
        api.let_go.set()
    assert placing.result().status == 201
    assert await proxy.ended() == 0
    await tab.look("document.getElementById('headline').textContent === 'Shut down'")
    sentence = await tab.text("#sentence")
    assert sentence.startswith("It finished its calls and ended, last seen at ")
