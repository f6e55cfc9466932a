"""Credentials and configuration change under load: no call fails, no login is made without need.

How each kind of change is noticed is in tests/unit/test_rotation.py.
"""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.e2e.process import CREDENTIALS, ORDERS, Api, Starter, configuration
from tests.gateway.client import ORDER, request
from tests.integration.test_rotation import NEW_PASSWORD, rewrite
from tests.mount import Mount
from tests.reliability.figures import show
from tests.reliability.ordering import Orders

PLACE: Final = request(b"POST", ORDERS.encode(), b"Content-Type: application/json", content=ORDER)


async def test_no_order_fails_whatever_is_changed(start: Starter, api: Api, tmp_path: Path) -> None:
    """Passwords, a broken file, a restart that is needed.

    Orders are placed, logins have a reason.
    """
    mount = Mount(tmp_path / "secrets", CREDENTIALS.password)
    config = configuration(api.url)
    config["oauth"] |= {"password": None, "password_file": str(mount.path)}
    proxy = await start.ready(config)
    orders = Orders((await proxy.event("listener.started"))["port"], PLACE)
    statuses = orders.statuses
    async with orders.placed():
        # New credentials are tried first; the token that the old ones gave serves on.
        api.sandbox.credentials = replace(CREDENTIALS, password=NEW_PASSWORD)
        mount.put(NEW_PASSWORD)
        assert (await proxy.event("configuration.reloaded"))["changed"] == ["oauth.password"]
        assert (await proxy.event("token.renewed", 2))["cause"] == "credentials_changed"

        # The rest is announced by SIGHUP, which is sooner than a look at the files.
        rewrite(start, "oauth: [")
        proxy.send(signal.SIGHUP)
        await proxy.event("configuration.refused")
        config["limits"] = {"max_connections": 7}
        rewrite(start, config)
        proxy.send(signal.SIGHUP)
        assert (await proxy.event("configuration.restart_needed"))["settings"] == [
            "limits.max_connections"
        ]
        assert (await proxy.event("token.renewed", 3))["cause"] == "asked"

        mount.put("wrong")
        proxy.send(signal.SIGHUP)
        failed = await proxy.event("token.renewal_failed")
        assert (failed["reason"], failed["state"]) == ("refused", "fresh")
        assert failed["next_attempt_in"] == 30.0
        await orders.more()
        mount.put(NEW_PASSWORD)
        proxy.send(signal.SIGHUP)
        assert (await proxy.event("token.renewed", 4))["cause"] == "credentials_changed"
        await orders.more()
    show(orders=statuses.total(), logins=api.counter("token_calls_by_status"))
    assert set(statuses) == {201}
    assert api.counter("orders") == statuses.total()
    assert api.counter("token_calls_by_status") == {"200": 4, "401": 1}
    assert api.counter("api_calls_by_status") == {"201": statuses.total()}
    assert await proxy.stop() == 0
    assert "Sentinel" not in proxy.output + proxy.errors  # as in NEW_PASSWORD
