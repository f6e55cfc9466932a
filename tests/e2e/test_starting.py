"""What the log says when the proxy starts, and when it has been led in a circle."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

import aiohttp
import pytest

import proxy
from tests.e2e.process import ACCOUNTS, DEADLINE, Api, Starter, configuration


async def test_the_first_line_says_what_runs(start: Starter, api: Api) -> None:
    """Version and configuration file stand in the first event, before anything else can go wrong."""
    running = await start.ready(configuration(api.url))
    first = running.events()[0]
    assert (first["event"], first["level"], first["version"]) == ("proxy.started", "info", proxy.__version__)
    assert first["configuration"] == str(start.directory / "config-0.yaml")
    assert running.events("listener.open_to_network") == []


async def test_an_open_listener_is_warned_of(start: Starter, api: Api) -> None:
    """A listener on all addresses without a client key is told of at the start, and with a key it is not."""
    listen = {"host": "0.0.0.0", "port": 0}
    running = await start.ready(configuration(api.url, listen=listen))
    told = await running.event("listener.open_to_network")
    assert (told["level"], told["host"]) == ("warning", "0.0.0.0")
    assert "listen.client_key" in told["detail"]
    keyed = await start.ready(configuration(api.url, listen={**listen, "client_key": "made-up-key"}))
    assert keyed.events("listener.open_to_network") == []


async def test_a_proxy_that_logs_in_to_a_proxy_says_so(start: Starter, api: Api) -> None:
    """Where that is not certain before, it shows at the first login: no credential is suspected, for Telenor has seen none."""
    other = await start.ready(configuration(api.url))
    running = await start("serve", configuration(await other.url()))
    failed = await running.event("token.renewal_failed")
    assert (failed["reason"], failed["code"]) == ("proxy_answered", None)
    assert "upstream.url" in failed["detail"]
    assert api.counter("token_calls") == 1


#: Sends itself a signal while it reads its configuration: later than the interpreter starts, earlier than anything is ready.
_SIGNALLED = """
import os, signal, sys
from proxy import cli
load = cli._load
def read(arguments):
    cli._load = load
    os.kill(os.getpid(), signal.{name})
    return load(arguments)
cli._load = read
sys.exit(cli.main())
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@posix
async def test_a_hangup_before_it_is_ready_ends_nothing(start: Starter, api: Api) -> None:
    """SIGHUP that comes while the proxy starts is no reason to die; SIGTERM ends it with 0 afterwards."""
    program = ("-c", _SIGNALLED.format(name="SIGHUP"))
    running = await start.ready(configuration(api.url), program=program)
    assert await running.stop() == 0


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_a_signal_to_stop_before_it_is_ready_ends_it(start: Starter, api: Api, name: str) -> None:
    """It ends with 0, as it was told to, and without a word, let alone a traceback."""
    running = await start("serve", configuration(api.url), program=("-c", _SIGNALLED.format(name=name)))
    assert await running.ended() == 0
    assert running.output + running.errors == ""
    assert api.counter("token_calls") == 0


#: Starts with so few files that the default settings do not fit.
_FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from proxy.cli import main
sys.exit(main())
"""


@posix
async def test_too_few_descriptors_are_no_end(start: Starter, api: Api, http: aiohttp.ClientSession) -> None:
    """A hundred clients under `ulimit -Hn 64`: probes are answered, it is told twice in all, and calls are served when they have gone."""
    running = await start.ready(configuration(api.url), program=("-c", _FEW_FILES))
    told = await running.event("descriptors.short")
    assert "20 clients" in told["detail"]
    async with http.get(await running.admin_url("/status")) as answer:
        limits = (await answer.json())["limits"]
    assert limits == {"descriptors": 64, "clients": 20, "upstream": 20, "detail": told["detail"]}
    port = (await running.event("listener.started"))["port"]
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE))
        for _ in range(5):
            async with http.get(await running.admin_url("/liveness")) as answer:
                assert answer.status == 200
        await running.event("listener.out_of_descriptors")
    async with asyncio.timeout(DEADLINE):
        while (await _status_of_a_call(http, await running.url(ACCOUNTS))) != 200:  # noqa: ASYNC110 # nothing tells when it is
            await asyncio.sleep(0.05)
    assert await running.stop() == 0
    assert len(running.events("listener.out_of_descriptors")) == 1
    assert running.events("library") == []


async def _status_of_a_call(http: aiohttp.ClientSession, url: str) -> int | None:
    try:
        async with http.get(url) as answer:
            return answer.status
    except aiohttp.ClientError:  # turned away without an answer
        return None
