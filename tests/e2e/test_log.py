"""The log that `serve` writes: its events and their fields, its formats, its levels."""

import asyncio
import contextlib
import json
import os
import re
import signal
from datetime import datetime

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
from tests.ports import free_port

#: What readers of the log may rely on.
FIELDS: dict[str, set[str]] = {
    "proxy.started": {"version", "configuration"},
    "listener.started": {"port"},
    "admin.started": {"port"},
    "token.renewed": {"expires_in"},
    "token.renewal_failed": {"reason", "code", "next_attempt_in"},
    "token.invalidated": set(),
    "request.completed": {
        *("request_id", "method", "path", "status", "duration_ms", "upstream_ms"),
        *("bytes_in", "bytes_out", "attempts", "error"),
    },
    "shutdown.started": set(),
    "shutdown.completed": set(),
}


async def test_every_event_has_its_fields(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """Each event is one JSON object a line with time, level and its fields."""
    api.sandbox.fault("token_status", 503, 1)
    proxy = await start.ready(configuration(api.url))
    api.sandbox.revoke()
    answer = await order(http, await proxy.url(f"{ORDERS}?secret=1"))
    assert answer.status == 201
    assert (await call(http, await proxy.url("/elsewhere"))).status == 403
    assert await proxy.stop() == 0
    assert not proxy.errors
    events = proxy.events()
    assert {event["event"] for event in events} == FIELDS.keys()
    for event in events:
        assert FIELDS[event["event"]] <= event.keys(), event
        assert event["level"] in {"info", "warning"}
        assert datetime.fromisoformat(event["timestamp"]).tzinfo is not None
    placed, refusal = proxy.events("request.completed")
    expected = {"method": "POST", "path": ORDERS, "status": 201, "attempts": 2, "error": None}
    assert placed.items() >= (expected | {"bytes_out": len(answer.text)}).items()
    assert placed["bytes_in"] > 0
    assert placed["duration_ms"] >= placed["upstream_ms"] > 0
    expected = {"status": 403, "attempts": 0, "error": "path-not-allowed", "upstream_ms": None}
    assert refusal.items() >= expected.items()


async def test_on_a_terminal_the_log_is_for_people(start: Starter, api: Api) -> None:
    """With `log.format: auto` a terminal gets lines of words."""
    ours, theirs = os.openpty()
    try:
        await start("serve", configuration(api.url), stdout=theirs)
        os.close(theirs)
        seen = b""
        async with asyncio.timeout(DEADLINE):
            while b"token.renewed" not in seen:
                seen += await asyncio.to_thread(os.read, ours, 4096)
        assert b"listener.started" in seen
        assert not seen.lstrip().startswith(b"{")
    finally:
        os.close(ours)


def full_pipe() -> tuple[int, int]:
    """Return a pipe into which nothing more goes."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4095 + b"\n")
    os.set_blocking(writing, True)
    return reading, writing


class Blind:
    """A proxy whose log no test can read, at known ports."""

    def __init__(self, api: Api, http: aiohttp.ClientSession) -> None:
        port, admin = free_port(), free_port()
        self.config = configuration(api.url, listen={"port": port}, admin={"port": admin})
        self._http = http
        self._listener, self._admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}"

    async def start(self, start: Starter, log: int) -> Running:
        """Start it with that descriptor for its log, closed here, and wait until it is ready."""
        running = await start("serve", self.config, stdout=log)
        os.close(log)
        async with asyncio.timeout(DEADLINE):
            while True:
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    if (await self.page("/readiness")).status == 200:
                        return running
                await asyncio.sleep(0.02)

    async def page(self, path: str) -> Answer:
        """Ask its admin listener."""
        return await call(self._http, f"{self._admin}{path}")

    async def calls(self, count: int) -> None:
        """Make calls, which succeed."""
        for number in range(count):
            fields = {"X-Request-Id": f"id-{number}"}
            answer = await call(self._http, f"{self._listener}{ACCOUNTS}", headers=fields)
            assert answer.status == 200


async def test_lesser_events_are_left_out(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """`log.level` leaves out what is less severe, of events and of calls, and nothing else."""
    port, admin = free_port(), free_port()
    config = configuration(
        api.url, listen={"port": port}, admin={"port": admin}, log={"level": "warning"}
    )
    proxy = await start("serve", config)
    assert (await start.run("healthcheck", "--wait", "15", config=config)).status == 0
    url = f"http://127.0.0.1:{port}{ACCOUNTS}"
    assert (await call(http, url)).status == 200
    api.sandbox.fault("api_drop_after", None, 1)
    assert (await call(http, url, "POST")).status == 502
    assert await proxy.stop() == 0
    (left,) = proxy.events()
    assert (left["level"], left["event"], left["status"]) == ("warning", "request.completed", 502)


async def test_a_log_that_is_not_read_stops_nothing(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """Standard output is a full pipe: calls, probes and SIGTERM go on, and no line is lost."""
    reading, writing = full_pipe()
    blind = Blind(api, http)
    try:
        proxy = await blind.start(start, writing)
        await blind.calls(300)
        log = (await blind.page("/status")).json()["log"]
        assert log == {"lost": 0, "reason": None, "since": None}
        proxy.send(signal.SIGTERM)
        seen = b""
        while piece := await asyncio.to_thread(os.read, reading, 1 << 20):
            seen += piece
        assert await proxy.ended() == 0
    finally:
        os.close(reading)
    lines = [json.loads(line) for line in seen.splitlines() if line.startswith(b"{")]
    calls = [line["request_id"] for line in lines if line["event"] == "request.completed"]
    assert calls == [f"id-{number}" for number in range(300)]
    assert lines[-1]["event"] == "shutdown.completed"


async def test_a_log_that_is_never_read_does_not_hold_up_the_end(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """The proxy ends with 0, and says on standard error that lines are lost."""
    reading, writing = full_pipe()
    blind = Blind(api, http)
    try:
        proxy = await blind.start(start, writing)
        await blind.calls(30)
        assert await proxy.stop() == 0
        assert "log lines are lost" in proxy.errors
    finally:
        os.close(reading)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")  # noqa: PTH110 # a device
async def test_a_full_disk_is_reported(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """Calls go on; scrape, `/status` and standard error say how many lines are lost and why."""
    blind = Blind(api, http)
    proxy = await blind.start(start, os.open("/dev/full", os.O_WRONLY))
    await blind.calls(3)
    # The start, the token and the calls: seven lines, which a thread writes.
    async with asyncio.timeout(DEADLINE):
        while (log := (await blind.page("/status")).json()["log"])["lost"] < 7:  # noqa: ASYNC110 # no sign
            await asyncio.sleep(0.02)
    assert log["reason"] == "No space left on device"
    ended = await start.run("status", config=blind.config)
    assert ended.status == 1
    assert ended.output.startswith(
        "Working, but the log loses lines. Standard output cannot be written: No space"
    )
    text = (await blind.page("/metrics")).text
    lost = re.search(r"(?m)^telenor_proxy_log_lines_lost_total (\S+)", text)
    assert lost is not None
    assert float(lost[1]) >= 7
    assert await proxy.stop() == 0
    assert proxy.errors.count("No space left on device") == 1
