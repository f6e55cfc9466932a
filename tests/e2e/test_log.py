"""The log that `serve` writes: its events and their fields, its formats, its levels."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from datetime import datetime
from typing import Any

import aiohttp
import pytest

from tests.e2e.process import ACCOUNTS, DEADLINE, ORDER, ORDERS, Api, Starter, configuration
from tests.ports import free_port

#: What whoever reads the log may rely on.
FIELDS = {
    "proxy.started": {"version", "configuration"},
    "listener.started": {"port"},
    "admin.started": {"port"},
    "token.renewed": {"expires_in"},
    "token.renewal_failed": {"reason", "code", "next_attempt_in"},
    "token.invalidated": set(),
    "request.completed": {
        "request_id",
        "method",
        "path",
        "status",
        "duration_ms",
        "bytes_in",
        "bytes_out",
        "upstream_ms",
        "attempts",
        "error",
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
    async with http.post(await proxy.url(f"{ORDERS}?secret=1"), json=ORDER) as answer:
        assert answer.status == 201
        size = len(await answer.read())
    async with http.get(await proxy.url("/elsewhere")) as answer:
        assert answer.status == 403
    assert await proxy.stop() == 0
    assert not proxy.errors
    events = proxy.events()
    assert {event["event"] for event in events} == FIELDS.keys()
    for event in events:
        assert FIELDS[event["event"]] <= event.keys(), event
        assert event["level"] in {"info", "warning"}
        assert datetime.fromisoformat(event["timestamp"]).tzinfo is not None
    order, refusal = proxy.events("request.completed")
    assert (
        order.items()
        >= {
            "method": "POST",
            "path": ORDERS,
            "status": 201,
            "bytes_out": size,
            "attempts": 2,
            "error": None,
        }.items()
    )
    assert order["bytes_in"] > 0
    assert order["duration_ms"] >= order["upstream_ms"] > 0
    assert (
        refusal.items()
        >= {"status": 403, "attempts": 0, "error": "path-not-allowed", "upstream_ms": None}.items()
    )


async def test_console_lines_are_for_people(start: Starter, api: Api) -> None:
    """With `log.format: console` each event is a line of words, without colours in a pipe."""
    proxy = await start("serve", configuration(api.url, log={"format": "console"}))
    line = (await proxy.text(r"(?m)^.*token\.renewed.*$"))[0]
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} info +token\.renewed .*expires_in=3599.*", line)
    assert "\x1b" not in proxy.output
    assert await proxy.stop() == 0


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


#: What `log.level: debug` adds where the token endpoint and the API answer.
_DETAILS = {("debug", "token.endpoint_answered"), ("debug", "upstream.connected")}


@pytest.mark.parametrize(
    ("level", "least"), [("debug", "info"), ("warning", "warning"), ("error", "error")]
)
async def test_lesser_events_are_left_out(start: Starter, api: Api, level: str, least: str) -> None:
    """`log.level` leaves out what is less severe and nothing else."""
    port = free_port()
    path = start.directory / "listener"
    listen = {"port": None, "unix_socket": str(path)}
    config = configuration(api.url, listen=listen, admin={"port": port}, log={"level": level})
    proxy = await start("serve", config)
    assert await (await start(["healthcheck", "--wait", "15"], config)).ended() == 0
    reader, writer = await asyncio.open_unix_connection(str(path))
    api.sandbox.fault("api_error", 40105, 1)
    api.sandbox.fault("api_drop_after", None, 1)
    writer.write(
        f"POST {ACCOUNTS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    )
    assert (await reader.read()).startswith(b"HTTP/1.1 502 ")
    writer.close()
    assert await proxy.stop() == 0
    severity = ["info", "warning", "error"]
    expected = [
        ("info", "proxy.started"),
        ("info", "admin.started"),
        ("info", "listener.started"),
        ("info", "token.renewed"),
        ("warning", "token.invalidated"),
        ("info", "token.renewed"),
        ("warning", "request.completed"),
        ("info", "shutdown.started"),
        ("info", "shutdown.completed"),
    ]
    events = [(event["level"], event["event"]) for event in proxy.events()]
    details = {event for event in events if event[0] == "debug"}
    assert details == (_DETAILS if level == "debug" else set())
    shown = [event for event in events if event not in details]
    assert shown == [each for each in expected if severity.index(each[0]) >= severity.index(least)]


def _fill(pipe: int) -> None:
    """Write lines until nothing more goes in."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 4095 + b"\n")
    os.set_blocking(pipe, True)


async def _ready(http: aiohttp.ClientSession, port: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with http.get(f"http://127.0.0.1:{port}/readiness") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.02)


async def _log_status(http: aiohttp.ClientSession, port: int) -> dict[str, Any]:
    async with http.get(f"http://127.0.0.1:{port}/status") as answer:
        status: dict[str, Any] = await answer.json()
        log: dict[str, Any] = status["log"]
        return log


async def test_a_log_that_is_not_read_stops_nothing(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """Standard output is a full pipe: calls, probes and SIGTERM go on, and no line is lost."""
    port, admin = free_port(), free_port()
    reading, writing = os.pipe()
    try:
        _fill(writing)
        config = configuration(api.url, listen={"port": port}, admin={"port": admin})
        proxy = await start("serve", config, stdout=writing)
        os.close(writing)
        await _ready(http, admin)
        for number in range(300):
            url = f"http://127.0.0.1:{port}{ACCOUNTS}"
            async with http.get(url, headers={"X-Request-Id": f"id-{number}"}) as answer:
                assert answer.status == 200
        assert await _log_status(http, admin) == {"lost": 0, "reason": None, "since": None}
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
    """The proxy ends with 0 in spite of it, and says on standard error that lines are lost."""
    port, admin = free_port(), free_port()
    reading, writing = os.pipe()
    try:
        _fill(writing)
        config = configuration(api.url, listen={"port": port}, admin={"port": admin})
        proxy = await start("serve", config, stdout=writing)
        os.close(writing)
        await _ready(http, admin)
        for _ in range(30):
            async with http.get(f"http://127.0.0.1:{port}{ACCOUNTS}") as answer:
                assert answer.status == 200
        assert await proxy.stop() == 0
        assert "log lines are lost" in proxy.errors
    finally:
        os.close(reading)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")  # noqa: PTH110 # a device
async def test_a_full_disk_is_reported(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """Calls go on; scrape, `/status` and standard error say how many lines are lost and why."""
    port, admin = free_port(), free_port()
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        config = configuration(api.url, listen={"port": port}, admin={"port": admin})
        proxy = await start("serve", config, stdout=full)
    finally:
        os.close(full)
    await _ready(http, admin)
    for _ in range(3):
        async with http.get(f"http://127.0.0.1:{port}{ACCOUNTS}") as answer:
            assert answer.status == 200
    # The start, the token and the calls: seven lines, which a thread writes.
    async with asyncio.timeout(DEADLINE):
        while (told := await _log_status(http, admin))["lost"] < 7:  # noqa: ASYNC110 # nothing tells when
            await asyncio.sleep(0.02)
    assert told["reason"] == "No space left on device"
    asked = await start("status", config)
    assert await asked.ended() == 1
    assert asked.output.startswith(
        "Working, but the log loses lines. Standard output cannot be written: No space"
    )
    async with http.get(f"http://127.0.0.1:{admin}/metrics") as answer:
        lost = re.search(r"(?m)^telenor_proxy_log_lines_lost_total (\S+)", await answer.text())
    assert lost is not None
    assert float(lost[1]) >= 7
    assert await proxy.stop() == 0
    assert proxy.errors.count("No space left on device") == 1
