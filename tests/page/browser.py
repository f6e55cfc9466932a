"""A real Chromium without a window, over its DevTools protocol and aiohttp's WebSocket.

One process for all tests, one fresh profile for each tab.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

#: Seconds. What the page does takes a fraction of it, even on a busy machine.
DEADLINE = 20.0
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # Chromium's own sandbox does not run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--metrics-recording-only",
    "--no-default-browser-check",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--use-mock-keychain",
)


def find() -> str | None:
    """Give the path of a Chromium, if one is installed."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Chromium:
    """The process. Close it with `close`."""

    def __init__(self, program: str, profile: Path) -> None:
        self._process = subprocess.Popen(
            [program, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Port and path, once it listens.
        told, deadline = profile / "DevToolsActivePort", time.monotonic() + DEADLINE
        while not (told.exists() and "/" in told.read_text("ascii")):
            assert time.monotonic() < deadline, "Chromium did not start"
            time.sleep(0.02)
        port, path = told.read_text("ascii").split()
        self.endpoint = f"ws://127.0.0.1:{port}{path}"

    def close(self) -> None:
        """End it and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Tab:
    """One page in its own profile, with its console's messages and all URLs that it asked for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._session: str | None = None
        self._loaded = asyncio.Event()
        # The answer to requests that `Fetch.enable` intercepts; they hang without one.
        self.answer_in_its_place: dict[str, object] = {}
        self._errands: set[asyncio.Task[dict[str, Any]]] = set()
        self.complaints: list[str] = []
        self.requests: list[str] = []

    async def begin(self) -> None:
        """Open the tab."""
        context = await self.call("Target.createBrowserContext", disposeOnDetach=True)
        target = await self.call("Target.createTarget", url="about:blank", **context)
        session = await self.call("Target.attachToTarget", **target, flatten=True)
        self._session = session["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            await self.call(f"{domain}.enable")
        # A headless window has no focus by itself.
        await self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    async def read(self) -> None:
        """Take what the browser sends, until it ends."""
        async for message in self._socket:
            content = json.loads(message.data)
            if "id" in content:
                self._answers.pop(content["id"]).set_result(content)
            else:
                self._take(content["method"], content["params"])

    def _take(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Log.entryAdded":
            entry = params["entry"]
            self.complaints.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"{params['type']}: {params['args']}")
        elif method == "Fetch.requestPaused" and self.answer_in_its_place:
            held = {"requestId": params["requestId"]} | self.answer_in_its_place
            errand = asyncio.create_task(self.call("Fetch.fulfillRequest", **held))
            self._errands.add(errand)
            errand.add_done_callback(self._errands.discard)
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(f"exception: {params['exceptionDetails']}")

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command of the protocol; give its result."""
        number = next(self._numbers)
        command: dict[str, object] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            command["sessionId"] = self._session
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send_json(command)
        async with asyncio.timeout(DEADLINE):
            content = await answer
        assert "error" not in content, f"{method}: {content['error']}"
        result: dict[str, Any] = content["result"]
        return result

    async def emulate(
        self,
        *,
        languages: str = "en-GB,en",
        dark: bool = False,
        size: tuple[int, int, float] = (1200, 900, 1),
        zone: str = "Europe/Oslo",
    ) -> None:
        """Set what the next pages see. size: width, height, and pixels of the device for each."""
        agent = (await self.call("Browser.getVersion"))["userAgent"]
        await self.call("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=languages)
        await self.call("Emulation.setTimezoneOverride", timezoneId=zone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme, still])
        width, height, scale = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics, mobile=width < 600)

    async def goto(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(DEADLINE):
            await self._loaded.wait()

    async def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page, awaited if it is a promise."""
        options = {"awaitPromise": True, "returnByValue": True}
        result = await self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until an expression in the page is true; give its value."""
        look = (
            "new Promise((resolve) => { const look = () => { const value = (%s);"
            " if (value) resolve(value); else setTimeout(look, 20); }; look(); })"
        )
        try:
            async with asyncio.timeout(DEADLINE):
                return await self.evaluate(look % expression)
        except TimeoutError:
            shown = await self.evaluate("document.body.innerText")
            message = f"it did not become true: {expression}\nThe page shows:\n{shown}"
            raise AssertionError(message) from None

    async def look(self, expression: str) -> Any:
        """Wait until an expression is true, while the page asks the proxy at once."""
        ask = "document.dispatchEvent(new Event('visibilitychange'))"
        return await self.until(f"({ask}, {expression})")

    async def text(self, selector: str) -> str:
        """Give the text of an element as it is shown."""
        shown = await self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
        return str(shown).replace("\u00a0", " ")

    async def press(self, key: str) -> None:
        """Press a key and let it go."""
        codes = {"Tab": 9, "Enter": 13}
        key_code = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **key_code, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **key_code)

    async def screenshot(self, path: Path) -> None:
        """Take a picture of the whole page."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        taken = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(taken["data"]))  # noqa: ASYNC240 # nothing else runs


@asynccontextmanager
async def tab(chromium: Chromium) -> AsyncIterator[Tab]:
    """Open a tab; it is gone, with its profile, when the context ends."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(chromium.endpoint, max_msg_size=0, compress=0) as socket,
    ):
        opened = Tab(socket)
        reading = asyncio.create_task(opened.read())
        try:
            await opened.begin()
            await opened.emulate()
            yield opened
        finally:
            await socket.close()
            await reading
