"""The page: hostile data, phones, keyboard, screen readers, colours, a proxy that is gone."""

import json
from typing import Any

import pytest

from proxy.settings import load
from proxy.tokens.values import TokenState
from tests.packaging.repository import ROOT
from tests.page.browser import Tab
from tests.page.staged import ENVIRONMENT, Stage, refused

WIDE, PHONE = (1120, 900, 1), (360, 740, 2)
ROWS = "document.querySelectorAll('#failures-rows tr').length"
HEADLINE = "document.getElementById('headline').textContent"


async def show(tab: Tab, stage: Stage) -> None:
    """Open the page and wait until it shows an answer."""
    await tab.goto(stage.url)
    await tab.until("document.getElementById('version').textContent")


def client(name: str, **changes: Any) -> dict[str, Any]:
    """Return what the status has of a named client."""
    return {"name": name, "calls": 0, "refused": 0, "last_call_at": None, "keys": [], **changes}


def each(selector: str, member: str) -> str:
    """Return an expression for a member of each element that a selector finds."""
    return f"[...document.querySelectorAll('{selector}')].map((each) => each.{member})"


# --- What it shows -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"size": WIDE}, {"size": PHONE, "languages": "nb-NO,nb"}])
async def test_an_hour_of_work(tab: Tab, stage: Stage, options: dict[str, Any]) -> None:
    """Sixty bars, four lines without a gap, failures with their ids."""
    stage.live_an_hour()
    await tab.emulate(**options)
    await show(tab, stage)
    bars = each("#calls-plot rect", "getAttribute('x')")
    assert await tab.evaluate(f"new Set({bars}).size") == 60
    pieces = each("#latency-plot .line", "getAttribute('d').split('M').length - 1")
    assert await tab.evaluate(pieces) == [1, 1, 1, 1]
    assert await tab.evaluate(ROWS) == 5
    assert "order-system-1caa" in await tab.text("#failures-rows")
    if "languages" not in options:  # for docs/images, with the usual address
        await tab.evaluate("document.getElementById('where').textContent = '127.0.0.1:9090'")
        await tab.screenshot(ROOT / "build/screenshots/status-page.png")
    assert tab.complaints == []


@pytest.mark.parametrize(
    ("changes", "english", "norwegian"),
    [
        (
            {"outcome": "unknown"},
            "may have been placed · sent once",
            "kan ha blitt bestilt · sendt én gang",
        ),
        (
            {"outcome": "unknown", "method": "DELETE", "attempts": 2},
            "may have been placed · sent 2 times",
            "kan ha blitt bestilt · sendt 2 ganger",
        ),
        ({"outcome": "unknown", "method": "GET"}, "sent once", "sendt én gang"),
        ({"outcome": "not_sent"}, "not sent", "ikke sendt"),
        ({"outcome": "not_sent", "attempts": 0}, "not sent", "ikke sendt"),
        ({"outcome": None}, "sent once", "sendt én gang"),
        ({"refused": True, "error": "client-timeout"}, "refused by the proxy", "avvist av proxyen"),
    ],
    ids=[
        "order",
        "sent again",
        "harmless",
        "broke off before",
        "not begun",
        "client left",
        "refused",
    ],
)
async def test_whether_a_failed_call_may_have_been_placed(
    tab: Tab, stage: Stage, changes: dict[str, Any], english: str, norwegian: str
) -> None:
    """The page says what the API got; an order that may have been placed stands out."""
    stage.call(**{"status": 502, "error": "connection_terminated", **changes})
    note = "document.querySelector('#failures-rows small')"
    quiet = "getComputedStyle(document.querySelector('#failures-none')).color"
    for languages, words in (("en", english), ("nb", norwegian)):
        await tab.emulate(languages=languages)
        await show(tab, stage)
        assert await tab.evaluate(f"{note}.textContent") == words
        stands_out = await tab.evaluate(f"getComputedStyle({note}).color !== {quiet}")
        assert stands_out == ("·" in words)


async def test_a_failed_call_says_who_called_and_why(tab: Tab, stage: Stage) -> None:
    """The client's name or address, the host of a network fault, the proxy's own sentence."""
    stage.call(503, error="connection_limit_reached", detail="All 100 connections are in use.")
    stage.call(502, error="dns_error", client_address="10.0.0.7")
    stage.call(502, error="company-proxy-denied", client="erp", client_address="10.0.0.8")
    proxied = ENVIRONMENT | {"TELENOR_PROXY_UPSTREAM__PROXY_URL": "http://proxy.example:3128"}
    stage.report.settings = load(None, proxied)
    await show(tab, stage)
    hosts = each("#failures-rows small:not(.caller):nth-of-type(2)", "textContent")
    assert await tab.evaluate(hosts) == [
        "host: proxy.example:3128",
        "host: api.telenor.no",
        "host: api.telenor.no",
    ]
    callers = each("#failures-rows small.caller", "textContent")
    assert await tab.evaluate(callers) == ["erp", "10.0.0.7"]
    notes = each("#failures-rows span[title]", "title")
    assert await tab.evaluate(notes) == ["All 100 connections are in use."]


async def test_the_token_has_a_card(tab: Tab, stage: Stage) -> None:
    """Its state, when the next attempt is, and how often the API rejected it."""
    empty = {"state": TokenState.EMPTY, "expires_in_seconds": None, "invalidations": 1}
    stage.token_is(last_failure=refused(), next_attempt_in_seconds=25.0, **empty)
    await show(tab, stage)
    assert await tab.text("#token-left-words") == "no usable token"
    assert (await tab.text("#again")).startswith("next attempt in 0:2")
    assert await tab.text("#token-invalidations") == "1"
    stage.token_is(last_failure=None, next_attempt_in_seconds=0.0)
    await show(tab, stage)
    assert await tab.text("#token-next") == "under way"


async def test_data_stays_text(tab: Tab, stage: Stage) -> None:
    """Markup in what the proxy reports is shown as text."""
    hostile = "<img src=x onerror=\"document.title='hit'\">"
    stage.call(502, error=hostile, method=hostile, request_id=hostile, detail=hostile)
    lost: dict[str, Any] = {
        "method": "PUT",
        "outcome": "unknown",
        "request_id": hostile,
        "path": f"/{hostile}",
    }
    stage.call(0, error=hostile, client=hostile, **lost)
    stage.clients["by_name"] = [client(hostile, calls=1)]
    stage.token_is(state=TokenState.EMPTY, last_failure=refused(hostile))
    await show(tab, stage)
    shown = await tab.text("#failures-rows")
    assert shown.count(hostile) == 6
    assert (await tab.text("#orders-rows")).count(hostile) >= 3
    assert hostile in await tab.text("#callers-rows")
    assert await tab.evaluate("document.images.length") == 0
    assert await tab.evaluate("document.title") != "hit"
    assert tab.complaints == []


async def test_the_pointer_reads_the_charts(tab: Tab, stage: Stage) -> None:
    """Over a minute, a note names it and its numbers; beside the chart there is none."""
    stage.live_an_hour()
    await show(tab, stage)
    place = "(({right, top, height}) => ({x: right - 40, y: top + height / 2}))"
    box = "document.getElementById('calls-plot').getBoundingClientRect()"
    point = await tab.evaluate(f"{place}({box})")
    await tab.call("Input.dispatchMouseEvent", type="mouseMoved", **point)
    assert await tab.until("!document.querySelector('#calls-plot .note').hidden")
    assert "2xx" in await tab.text("#calls-plot .note")
    await tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=5, y=5)
    assert await tab.until("document.querySelector('#calls-plot .note').hidden")


async def test_the_numbers_of_the_charts_are_a_table_as_well(tab: Tab, stage: Stage) -> None:
    """For readers without sight: the minutes with calls, newest first."""
    stage.call(200)
    stage.clock.suspend(120)
    stage.call(502, error="dns_error")
    stage.call(200)
    await show(tab, stage)
    await tab.evaluate("document.querySelector('#numbers summary').click()")
    await tab.until("document.querySelectorAll('#numbers-rows tr').length === 2")
    cells = await tab.evaluate(each("#numbers-rows tr:first-child > *", "textContent"))
    assert cells[1:7] == ["1", "0", "0", "0", "0", "1"]


async def test_settings_are_shown_without_secrets(tab: Tab, stage: Stage) -> None:
    """Every setting by its name; of credentials only that they are set, of keys their number."""
    clients = [
        {"name": "erp", "key": "Sentinel-Key-0005", "allowed_methods": ["GET", "POST"]},
        {"name": "shop", "key": "Sentinel-Key-0006", "requests_per_second": 2},
    ]
    environment = {**ENVIRONMENT, "TELENOR_PROXY_LISTEN__CLIENTS": json.dumps(clients)}
    stage.report.settings = load(None, environment)
    await show(tab, stage)
    await tab.evaluate("document.querySelector('#settings summary').click()")
    text = await tab.text("#settings")
    for words in (
        "url\thttps://api.telenor.no",
        "client_secret\tset",
        "client_key\tnot set",
        "logout_on_shutdown\tno",
        "erp (keys: 1, allowed_methods: GET POST)",
        "shop (keys: 1, requests_per_second: 2)",
    ):
        assert words in text
    assert "[object" not in text
    assert "Sentinel" not in await tab.evaluate("document.documentElement.outerHTML")


# --- Who uses it -------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [320, 360, 768])
async def test_nothing_is_wider_than_the_screen(tab: Tab, stage: Stage, width: int) -> None:
    """With everything open, with long ids and long sentences: no sideways scrolling."""
    stage.live_an_hour()
    stage.call(502, error="connection_refused", request_id="x" * 128)
    stage.token_is(state=TokenState.EMPTY, last_failure=refused("23"), next_attempt_in_seconds=30.0)
    await tab.emulate(size=(width, 900, 1), languages="nb")
    await show(tab, stage)
    await tab.evaluate(each("details", "open = true"))
    await tab.until("document.querySelectorAll('#numbers-rows tr').length > 50")
    assert await tab.evaluate("document.documentElement.scrollWidth") <= width


async def test_the_keyboard_reaches_everything_in_order(tab: Tab, stage: Stage) -> None:
    """Folds, table and links, each with a visible ring; Enter opens a fold."""
    await show(tab, stage)
    visited = []
    for _ in range(5):
        await tab.press("Tab")
        visited.append(await tab.evaluate("document.activeElement.textContent"))
        ring = "getComputedStyle(document.activeElement).outlineStyle"
        assert await tab.evaluate(ring) == "solid"
    folds = ["The numbers by minute", "Effective settings"]
    assert visited == [*folds, "/status", "/metrics", "/readiness"]
    await tab.evaluate("document.querySelector('#numbers summary').focus()")
    await tab.press("Enter")
    assert await tab.until("document.getElementById('numbers').open")
    await tab.press("Tab")
    assert await tab.evaluate("document.activeElement.className") == "scroll"


async def test_screen_readers_find_names_for_everything(tab: Tab, stage: Stage) -> None:
    """Headings, pictures and tables have names, and the language is set."""
    stage.live_an_hour()
    await tab.emulate(languages="nb")
    await show(tab, stage)
    assert await tab.evaluate("document.documentElement.lang") == "nb"
    nodes = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
    names: dict[str, list[str]] = {}
    for node in nodes:
        if not node["ignored"]:
            name = node.get("name", {}).get("value", "")
            names.setdefault(node["role"]["value"], []).append(name)
    assert names["heading"].count("telenor-proxy") == 1
    parts = {"Tilgangstoken", "Kall per minutt", "Tid per kall", "Forbindelser", "Siste feil"}
    assert parts <= set(names["heading"])
    for role in ("image", "table", "region", "link", "DisclosureTriangle"):
        assert all(names[role]), f"{role}: {names[role]}"
    chart = "Tid per kall den siste timen. Hele kallet: median "
    assert any(name.startswith(chart) for name in names["image"])
    assert "status" in names
    assert "main" in names


async def test_the_verdict_is_announced_only_when_it_changes(tab: Tab, stage: Stage) -> None:
    """Countdowns and answers leave the live region alone."""
    for _ in range(3):
        stage.call(401, code="40103")
    await show(tab, stage)
    await tab.evaluate(
        "window.changes = 0; new MutationObserver(() => { window.changes += 1; })"
        ".observe(document.querySelector('[aria-live]'),"
        " { subtree: true, childList: true, characterData: true })"
    )
    stage.call(401, code="40103")
    await tab.look("document.getElementById('facts').textContent.startsWith('Since 10:12. 4 of')")
    assert await tab.evaluate("window.changes") == 0
    stage.report.draining = True
    await tab.look(f"{HEADLINE} === 'Shutting down'")
    assert await tab.evaluate("window.changes") > 0


async def test_the_system_decides_about_colours_and_motion(tab: Tab, stage: Stage) -> None:
    """Dark where the system is dark; still where it wants no motion."""
    await show(tab, stage)
    ground = "getComputedStyle(document.body).backgroundColor"
    pulse = "getComputedStyle(document.querySelector('.pulse')).animationName"
    assert await tab.evaluate(ground) == "rgb(245, 246, 248)"
    assert await tab.evaluate(pulse) == "none"
    await tab.emulate(dark=True)
    assert await tab.evaluate(ground) == "rgb(14, 17, 22)"
    await tab.call("Emulation.setEmulatedMedia", features=[])
    assert await tab.evaluate(pulse) == "pulse"


# --- Orders to look up, and who calls ----------------------------------------------------------


def broken_off(stage: Stage, orders: int, **changes: Any) -> None:
    """Let so many orders break off after they were sent."""
    for number in range(orders):
        stage.clock.suspend(2)
        path = "/corporate-mobile-subscriptions/v2/orders"
        failed = {"error": "connection_terminated", "outcome": "unknown", "path": path, **changes}
        stage.call(502, request_id=f"order-system-{7000 + number:x}", **failed)


@pytest.mark.parametrize("options", [{"size": WIDE, "languages": "nb-NO,nb"}, {"size": PHONE}])
async def test_orders_to_look_up_come_first(
    tab: Tab, stage: Stage, options: dict[str, Any]
) -> None:
    """All are listed, with a banner not to send them again."""
    stage.live_an_hour()
    broken_off(stage, 111)
    broken_off(stage, 1, client_address="10.0.0.7")
    broken_off(stage, 1, client="erp", client_address="10.0.0.8")
    for _ in range(20):
        stage.call(403, error="client-key", refused=True)
    stage.call()
    await tab.emulate(**options)
    await show(tab, stage)
    title, banner = "114 orders to look up", "Do not send these again before"
    if "languages" in options:
        title, banner = "114 bestillinger å slå opp", "Ikke send disse på nytt før"
    assert await tab.text("#orders-title") == title
    assert (await tab.text("#orders .banner")).startswith(banner)
    assert await tab.evaluate("document.querySelectorAll('#orders-rows tr').length") == 114
    row = await tab.text("#orders-rows tr")
    assert "order-system-1b58" in row
    assert "POST /corporate-mobile-subscriptions/v2/orders" in row
    assert "erp" in row
    assert "10.0.0.7" in await tab.text("#orders-rows tr:nth-child(2)")
    text = await tab.text("main")
    assert "tries again" not in text
    assert "prøver igjen" not in text
    assert await tab.evaluate("document.documentElement.scrollWidth") <= options["size"][0]
    assert tab.complaints == []


async def test_without_orders_to_look_up_there_is_no_list(tab: Tab, stage: Stage) -> None:
    """Nor one of clients without names; a call that changes nothing is no order."""
    stage.call(502, error="connection_terminated", outcome="unknown", method="GET")
    await show(tab, stage)
    assert await tab.evaluate("document.getElementById('orders').hidden")
    assert await tab.evaluate("document.getElementById('callers').hidden")


@pytest.mark.parametrize("options", [{"size": WIDE}, {"size": PHONE, "languages": "nb"}])
async def test_every_call_refused(tab: Tab, stage: Stage, options: dict[str, Any]) -> None:
    """The page is red, the tab says so, and notes and clients stand where they belong."""
    stage.live_an_hour()
    stage.clock.suspend(60)
    for _ in range(45):
        stage.call(401, code="40103", client="erp")
    stage.log["lost"] = 12
    now = stage.clock.wall()
    keys = [{"position": 1, "last_used_at": None}, {"position": 2, "last_used_at": now - 3}]
    stage.clients["by_name"] = [
        client("erp", calls=1200, last_call_at=now, keys=keys),
        client("web-shop", refused=3),
    ]
    await tab.emulate(**options)
    await show(tab, stage)
    assert await tab.evaluate("document.getElementById('verdict').dataset.level") == "bad"
    assert "40103" in await tab.text("#sentence")
    title = "Virker ikke" if "languages" in options else "Not working"
    assert await tab.evaluate("document.title") == f"{title} · telenor-proxy"
    assert "12" in await tab.text("#notes")
    rows = await tab.text("#callers-rows")
    assert "web-shop" in rows
    assert ("1: aldri" if "languages" in options else "1: never") in rows
    assert await tab.evaluate("document.documentElement.scrollWidth") <= options["size"][0]
    assert tab.complaints == []
