"""The page before its first answer, and the zone of its times."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from proxy.admin import page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.page.browser import Tab
    from tests.page.staged import Stage


@asynccontextmanager
async def hesitating() -> AsyncIterator[str]:
    """Serve the page from a proxy that never answers for its status; gives the address."""
    never = asyncio.Event()

    async def document(_: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": page.POLICY}
        return web.Response(
            body=page.CONTENT, content_type="text/html", charset="utf-8", headers=headers
        )

    async def status(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/", document)
    app.router.add_get("/status", status)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("languages", "asking", "live", "none"),
    [
        ("en-GB,en", "Asking", "Live", "None since the start: the API answered each call itself."),
        (
            "nb-NO,nb",
            "Spør",
            "Direkte",
            "Ingen siden starten: API-et har selv svart på hvert kall.",
        ),
    ],
)
async def test_nothing_is_claimed_before_the_first_answer(
    tab: Tab, stage: Stage, languages: str, asking: str, live: str, none: str
) -> None:
    """The page says that it asks; "no failures" only after an answer without any."""
    await tab.emulate(languages=languages)
    async with hesitating() as url:
        await tab.goto(url)
        assert await tab.text("#live-words") == asking
        assert none not in await tab.text("main")
    await tab.goto(stage.url)
    await tab.until("document.getElementById('version').textContent")
    assert await tab.text("#live-words") == live
    assert none in await tab.text("main")


@pytest.mark.parametrize(
    ("languages", "zone", "words"),
    [
        (
            "en-GB,en",
            "Europe/Oslo",
            r"Times here: Europe/Oslo \(GMT\+0[12]:00\)\. In the log: UTC\.",
        ),
        (
            "nb-NO,nb",
            "America/St_Johns",
            r"Tider her: America/St_Johns \(GMT.0[23]:30\)\. I loggen: UTC\.",
        ),
        ("en", "UTC", r"Times here: UTC \(GMT\+00:00\)\. In the log: UTC\."),
    ],
)
async def test_the_zone_of_the_times_is_named(
    tab: Tab, stage: Stage, languages: str, zone: str, words: str
) -> None:
    """The page's times are local, and the log's are UTC."""
    await tab.emulate(languages=languages, zone=zone)
    await tab.goto(stage.url)
    assert re.fullmatch(words, await tab.text("#zone"))
