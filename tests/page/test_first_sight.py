"""The page before its first answer, and the zone of its times."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.page.browser import Tab
    from tests.page.staged import Stage


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
