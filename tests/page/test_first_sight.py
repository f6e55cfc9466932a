"""The page before its first answer, without answers, and the zone of its times."""

import re

import pytest

from tests.page import staged
from tests.page.browser import Tab
from tests.page.staged import Stage

HEADLINE = "document.getElementById('headline').textContent"


async def opened(tab: Tab, stage: Stage) -> None:
    """Open the page and wait until it shows an answer."""
    await tab.goto(stage.url)
    await tab.until("document.getElementById('version').textContent")


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
    await tab.call("Fetch.enable", patterns=[{"urlPattern": "*/status*"}])  # never answered
    await tab.goto(stage.url)
    assert await tab.text("#live-words") == asking
    assert none not in await tab.text("main")
    await tab.call("Fetch.disable")
    await tab.goto(stage.url)
    await tab.until("document.getElementById('version').textContent")
    assert await tab.text("#live-words") == live
    assert none in await tab.text("main")


@pytest.mark.parametrize(
    ("languages", "zone", "words"),
    [
        ("en-GB,en", "Europe/Oslo", "Times here: Europe/Oslo (GMT+01:00). In the log: UTC."),
        ("nb", "America/St_Johns", "Tider her: America/St_Johns (GMT\u221203:30). I loggen: UTC."),
        ("en", "UTC", "Times here: UTC (GMT+00:00). In the log: UTC."),
    ],
)
async def test_the_zone_of_the_times_is_named(
    tab: Tab, stage: Stage, languages: str, zone: str, words: str
) -> None:
    """The page's times are local, and the log's are UTC."""
    await tab.emulate(languages=languages, zone=zone)
    await tab.goto(stage.url)
    # Summer time is an hour more, and the sign may be a hyphen.
    shown = await tab.text("#zone")
    assert re.sub(r"GMT.0[0-3]", "GMT", shown) == re.sub(r"GMT.0[0-3]", "GMT", words)


async def test_a_proxy_that_is_gone_and_comes_back(tab: Tab) -> None:
    """The page says since when, greys old data out, and continues when answers come."""
    stage = Stage()
    stage.live_an_hour()
    async with staged.serving(stage):
        await opened(tab, stage)
    port = int(stage.url.rsplit(":", 1)[1].rstrip("/"))
    await tab.look(f"{HEADLINE} === 'The proxy does not answer'")
    assert await tab.text("#sentence") == "Its last answer came at 10:12."
    assert "No answer as of 10:12:2" in " ".join((await tab.text("#live")).split())
    assert await tab.evaluate("getComputedStyle(document.getElementById('cards')).opacity") == "0.6"
    async with staged.serving(stage, port):
        await tab.look(f"{HEADLINE} === 'Working'")
        assert await tab.text("#live-words") == "Live"


PACE = """
    window.pauses = [];
    const setTimeoutBefore = window.setTimeout;
    window.setTimeout = (work, pause) => {
        if (pause >= 1000) window.pauses.push(pause);
        return setTimeoutBefore(work, pause >= 1000 ? 10 : pause);
    };
"""


HIDDEN = """
    let hidden = true;
    Object.defineProperty(document, "hidden", { get: () => hidden });
    window.reveal = () => {
        hidden = false;
        document.dispatchEvent(new Event("visibilitychange"));
    };
"""


async def test_it_asks_less_often_when_there_is_no_answer(tab: Tab) -> None:
    """Every two seconds; without an answer more and more seldom, up to fifteen."""
    await tab.call("Page.addScriptToEvaluateOnNewDocument", source=PACE)
    stage = Stage()
    async with staged.serving(stage):
        await opened(tab, stage)
        await tab.until("window.pauses.length > 3")
        assert await tab.evaluate("[...new Set(window.pauses)]") == [2000]
        await tab.evaluate("window.pauses = []")
    await tab.until("window.pauses.includes(15000)")
    pauses = await tab.evaluate("window.pauses")
    assert pauses == sorted(pauses)
    assert set(pauses) == {2000, 4000, 6000, 8000, 10_000, 12_000, 14_000, 15_000}


async def test_a_hidden_tab_asks_less_often(tab: Tab, stage: Stage) -> None:
    """A hidden tab asks every fifteen seconds, and at once when it is shown again."""
    await tab.call("Page.addScriptToEvaluateOnNewDocument", source=PACE + HIDDEN)
    await opened(tab, stage)
    await tab.until("window.pauses.length > 2")
    assert await tab.evaluate("[...new Set(window.pauses)]") == [15_000]
    await tab.evaluate("window.pauses = []; window.reveal()")
    await tab.until("window.pauses.includes(2000)")


async def test_an_error_for_an_answer_is_no_answer(tab: Tab, stage: Stage) -> None:
    """A web page or a 502 of something in between counts as no answer."""
    await tab.call("Fetch.enable", patterns=[{"urlPattern": "*/status*"}])
    tab.answer_in_its_place = {"responseCode": 502, "body": ""}
    await tab.goto(stage.url)
    await tab.until(f"{HEADLINE} === 'The proxy does not answer'")
    assert await tab.text("#sentence") == "It has not answered since this page was opened."
