"""`log.level: debug` shows how long each step to the API took, and which one failed."""

import asyncio
import socket

import pytest
from structlog.testing import capture_logs

from proxy.network import dialer, tls
from proxy.settings import Origin
from tests.ports import held_port

TIMINGS = {"dns_ms", "connect_ms", "tls_ms"}


async def test_a_connection_logs_its_timing() -> None:
    """Address, and milliseconds of each step."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with capture_logs() as logged:
        await dialer.Dialer(Origin("http", "127.0.0.1", port), None).dial(asyncio.Protocol)
    server.close()
    (event,) = logged
    assert {event.pop(name) >= 0 for name in TIMINGS} == {True}
    assert (event.pop("log_level"), event.pop("event")) == ("debug", "upstream.connected")
    assert event == {"host": "127.0.0.1", "address": "127.0.0.1", "port": port}


async def test_a_refused_connection_names_its_step() -> None:
    """The last timing is of the step that failed."""
    with held_port() as closed:
        origin = Origin("http", "127.0.0.1", closed.getsockname()[1])
        with capture_logs() as logged, pytest.raises(ConnectionRefusedError):
            await dialer.Dialer(origin, None).dial(asyncio.Protocol)
    (event,) = logged
    assert (event["event"], event["reason"]) == ("upstream.connect_failed", "Connection refused")
    assert event.keys() & TIMINGS == {"dns_ms", "connect_ms"}


async def test_a_name_that_is_not_found_names_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the lookup has a timing."""

    async def not_found(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "a text of the system's")

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", not_found)
    with capture_logs() as logged, pytest.raises(socket.gaierror):
        await dialer.Dialer(Origin("http", "api.example", 80), None).dial(asyncio.Protocol)
    (event,) = logged
    assert (event["reason"], event.keys() & TIMINGS) == ("gaierror", {"dns_ms"})


async def test_giving_up_in_the_handshake_names_its_step() -> None:
    """The API accepts and stays silent, until the proxy waits no longer."""
    begun, over = asyncio.Event(), asyncio.Event()

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        begun.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(stay_silent, "127.0.0.1", 0)
    async with server:
        origin = Origin("https", "127.0.0.1", server.sockets[0].getsockname()[1])
        way = dialer.Dialer(origin, tls.client_context(None))
        with capture_logs() as logged:
            dialling = asyncio.create_task(way.dial(asyncio.Protocol))
            await begun.wait()
            dialling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialling
        over.set()
    (event,) = logged
    assert (event["event"], event["reason"]) == ("upstream.connect_failed", "CancelledError")
    assert event.keys() & TIMINGS == TIMINGS
