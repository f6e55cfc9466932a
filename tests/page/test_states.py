"""The page in front of a real proxy and the sandbox, in both languages."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from proxy.sandbox.server import running
from proxy.sandbox.state import Sandbox
from tests.e2e.process import (
    ACCOUNTS,
    CREDENTIALS,
    ORDER,
    ORDERS,
    Api,
    Running,
    Starter,
    configuration,
)
from tests.page.conftest import SCREENSHOTS

if TYPE_CHECKING:
    import aiohttp

    from tests.page.browser import Tab

ENGLISH, NORWEGIAN = "en-GB,en", "nb-NO,nb"


async def opened(tab: Tab, url: str, languages: str, headline: str) -> str:
    """Open the page, wait for that headline, and return sentence, facts and step."""
    await tab.emulate(languages=languages)
    await tab.goto(url)
    await tab.look(f"document.getElementById('headline').textContent === {headline!r}")
    return f"{await tab.text('#sentence')} {await tab.text('#facts')} {await tab.text('#step')}"


async def call(
    http: aiohttp.ClientSession, proxy: Running, path: str = ACCOUNTS, **fields: str
) -> tuple[int, str]:
    """Call the API through the proxy; give status and request id."""
    async with http.get(await proxy.url(path), headers=fields) as answer:
        await answer.read()
        return answer.status, answer.headers["X-Request-Id"]


def quiet(tab: Tab, url: str) -> None:
    """Check that the browser has no complaints and asked only the proxy."""
    assert tab.complaints == []
    assert {request for request in tab.requests if not request.startswith(("data:", "about:"))} == {
        url,
        f"{url}status?history=1",
    }


async def test_working(tab: Tab, api: Api, start: Starter, http: aiohttp.ClientSession) -> None:
    """The token counts down, charts have the calls, failures have their request ids."""
    proxy = await start.ready(configuration(api.url))
    url = await proxy.admin_url("/")
    for _ in range(3):
        assert (await call(http, proxy))[0] == 200
    assert (await call(http, proxy, f"{ORDERS}/unknown"))[0] == 404
    status, refused_id = await call(http, proxy, "/contacts/v1/contacts")
    assert status == 403
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
    assert refused_id in row
    assert "This path may not be called" in row
    assert await tab.evaluate("document.querySelectorAll('#token-strip .good').length") == 1
    await tab.screenshot(SCREENSHOTS / "state-working.png")
    said = await opened(tab, url, NORWEGIAN, "Virker")
    assert said.strip() == "Kall går gjennom til Telenor med et gyldig tilgangstoken."
    assert "Denne stien er ikke tillatt" in await tab.text("#failures-rows")
    quiet(tab, url)


async def test_renewing(tab: Tab, api: Api, start: Starter, http: aiohttp.ClientSession) -> None:
    """While a rejected token is fetched anew calls wait, and then all works."""
    proxy = await start.ready(configuration(api.url))
    url = await proxy.admin_url("/")
    api.sandbox.revoke()
    api.sandbox.fault("token_slow", 60, 1)
    waiting = asyncio.create_task(call(http, proxy))
    await api.waiting.wait()
    said = await opened(tab, url, NORWEGIAN, "Venter på et token")
    assert said.strip() == "Et nytt tilgangstoken hentes. Kall venter på det."
    said = await opened(tab, url, ENGLISH, "Waiting for a token")
    assert said.strip() == "A new access token is being fetched. Calls wait for it."
    assert await tab.text("#token-next") == "under way"
    await tab.screenshot(SCREENSHOTS / "state-renewing.png")
    api.let_go.set()
    assert (await waiting)[0] == 200
    await tab.look("document.getElementById('headline').textContent === 'Working'")
    assert await tab.text("#token-invalidations") == "1"
    quiet(tab, url)


async def test_refused(tab: Tab, api: Api, start: Starter) -> None:
    """Reason, time, advice, and when the next attempt is."""
    api.sandbox.fault("token_error", "20")
    proxy = await start("serve", configuration(api.url))
    await proxy.event("token.renewal_failed")
    url = await proxy.admin_url("/")
    said = await opened(tab, url, ENGLISH, "Not working")
    assert said.startswith("The token endpoint refused the credentials with ")
    assert "401, code 20: username or password of the machine user is wrong." in said
    assert " Next attempt at " in said
    assert said.endswith(", or as soon as the credentials change.")
    assert (await tab.text("#again")).startswith("next attempt in 0:2")
    assert await tab.text("#token-left-words") == "no usable token"
    await tab.screenshot(SCREENSHOTS / "state-refused.png")
    said = await opened(tab, url, NORWEGIAN, "Virker ikke")
    assert said.startswith("Telenor avviste brukernavnet eller passordet kl. ")
    assert "(kode 20). Siden " in said
    assert " Sjekk maskinbrukeren i Min Bedrift, under APIs" in said
    assert " Neste forsøk kl. " in said
    assert said.endswith(", eller så snart påloggingsopplysningene endres.")
    quiet(tab, url)


async def test_upstream_down(tab: Tab, start: Starter, http: aiohttp.ClientSession) -> None:
    """The token is good, but the API's host refuses connections.

    The page says so after the first call, with its request id.
    """
    async with running(Sandbox(CREDENTIALS)) as api_url:
        proxy = await start.ready(configuration(api_url))
    url = await proxy.admin_url("/")
    status, request_id = await call(http, proxy)
    assert status == 502
    said = await opened(tab, url, NORWEGIAN, "Virker ikke")
    assert "API-ets vert avviste forbindelsen" in said
    said = await opened(tab, url, ENGLISH, "Not working")
    assert said.startswith("Every call fails: the API's host refused the connection. Since ")
    assert said.endswith("Check upstream.url, the network and the firewall.")
    assert request_id in await tab.text("#failures-rows")
    await tab.screenshot(SCREENSHOTS / "state-upstream-down.png")
    quiet(tab, url)


async def test_every_call_refused(
    tab: Tab, api: Api, start: Starter, http: aiohttp.ClientSession
) -> None:
    """45 calls of 45 get 401 with 40103: not working, what it means, what to do.

    And after one success, in part.
    """
    proxy = await start.ready(configuration(api.url))
    url = await proxy.admin_url("/")
    api.sandbox.fault("api_error", "40103")
    for _ in range(45):
        assert (await call(http, proxy))[0] == 401
    said = await opened(tab, url, ENGLISH, "Not working")
    assert said.startswith("Telenor answers every call with 401, code 40103: no API product found.")
    assert "45 of the last 45 calls failed." in said
    await tab.screenshot(SCREENSHOTS / "state-every-call-refused.png")
    await opened(tab, url, NORWEGIAN, "Virker ikke")
    api.sandbox.fault("api_error", "40103", 0)
    assert (await call(http, proxy))[0] == 200
    await opened(tab, url, ENGLISH, "Working in part")
    quiet(tab, url)


async def test_draining(tab: Tab, api: Api, start: Starter, http: aiohttp.ClientSession) -> None:
    """While calls finish, and after the end, which is no alarm."""
    proxy = await start.ready(configuration(api.url))
    url = await proxy.admin_url("/")
    api.sandbox.fault("api_slow", 60, 1)
    async with asyncio.TaskGroup() as tasks:
        order = tasks.create_task(_place(http, await proxy.url(ORDERS)))
        await api.waiting.wait()
        os.kill(proxy.pid, signal.SIGTERM)
        await proxy.event("shutdown.started")
        said = await opened(tab, url, NORWEGIAN, "Avslutter")
        assert said.startswith(
            "Proxyen gjør kallene som pågår, ferdig, og så avslutter den. Siden "
        )
        said = await opened(tab, url, ENGLISH, "Shutting down")
        assert said.startswith("The proxy finishes the calls in flight, and then it ends. Since ")
        await tab.screenshot(SCREENSHOTS / "state-draining.png")
        quiet(tab, url)
        api.let_go.set()
    assert order.result() < 300
    assert await proxy.ended() == 0
    await tab.look("document.getElementById('headline').textContent === 'Shut down'")
    assert (await tab.text("#sentence")).startswith(
        "It finished its calls and ended, last seen at "
    )
    await tab.screenshot(SCREENSHOTS / "state-ended.png")


async def _place(http: aiohttp.ClientSession, url: str) -> int:
    async with http.post(url, json=ORDER) as answer:
        await answer.read()
        return answer.status
