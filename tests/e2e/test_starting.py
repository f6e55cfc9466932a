"""What the log says when the proxy starts, and when it has been led in a circle."""

from __future__ import annotations

import proxy
from tests.e2e.process import Api, Starter, configuration


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
