"""The log that `serve` writes: its events and their fields, its formats, its levels."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.e2e.process import ACCOUNTS, DEADLINE, ORDER, ORDERS, Api, Starter, configuration

if TYPE_CHECKING:
    import aiohttp

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


async def test_every_event_has_its_fields(start: Starter, api: Api, http: aiohttp.ClientSession) -> None:
    """Each event is one JSON object a line with time, level, name and the fields that it is known by; nothing else is written."""
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
    """With `log.format: console` each event is a line of words; without a terminal it has no colours."""
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


@pytest.mark.parametrize(
    ("level", "least"),
    [("debug", "info"), ("warning", "warning"), ("error", "error")],
)
async def test_lesser_events_are_left_out(start: Starter, api: Api, level: str, least: str) -> None:
    """`log.level` leaves out what is less severe and nothing else."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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
    shown = [(event["level"], event["event"]) for event in proxy.events()]
    assert shown == [each for each in expected if severity.index(each[0]) >= severity.index(least)]
