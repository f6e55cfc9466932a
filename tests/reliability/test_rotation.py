"""Credentials and configuration change under a running proxy.

No call fails, no login is made without need, and what cannot change says so.

How each kind of change is noticed is in tests/integration/test_rotation.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tests.e2e.process import CREDENTIALS, ORDERS, Api, Running, Starter, configuration
from tests.gateway.client import ORDER, Client, request, until
from tests.integration.test_rotation import NEW_PASSWORD, Mount, rewrite
from tests.reliability.figures import show

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: Clients that place orders all the time: on kept connections, and on a new one each time.
KEPT, NEW = 3, 2
#: Between two orders of a client. All of them together do not fill the machine, but there is always
#: one under way or about to be.
PAUSE: Final = 0.01  # seconds

PLACE: Final = request(b"POST", ORDERS.encode(), b"Content-Type: application/json", content=ORDER)


@contextlib.asynccontextmanager
async def ordering(proxy: Running) -> AsyncIterator[Counter[int]]:
    """Place orders for the time of the block; give the answers' statuses."""
    address = ("127.0.0.1", (await proxy.event("listener.started"))["port"])
    statuses: Counter[int] = Counter()
    over = asyncio.Event()

    async def order_on_and_on(*, kept: bool) -> None:
        client = await Client.connect(address)
        while not over.is_set():
            await client.send(PLACE)
            statuses[(await client.answer(b"POST")).status] += 1
            await asyncio.sleep(PAUSE)
            if not kept:
                client.close()
                client = await Client.connect(address)
        client.close()

    async with asyncio.TaskGroup() as clients:
        for number in range(KEPT + NEW):
            clients.create_task(order_on_and_on(kept=number < KEPT))
        yield statuses
        over.set()


async def more_of(statuses: Counter[int]) -> None:
    """Wait until every client has had some more answers."""
    so_far = statuses.total()
    await until(lambda: statuses.total() >= so_far + 5 * (KEPT + NEW))


async def test_no_order_fails_whatever_is_changed(start: Starter, api: Api, tmp_path: Path) -> None:
    """A new password, a broken file, a change that needs a restart, a wrong password, the right one, SIGHUP: every order is placed, and each login has a reason."""
    mount = Mount(tmp_path / "secrets", CREDENTIALS.password)
    config = configuration(api.url)
    config["oauth"] |= {"password": None, "password_file": str(mount.path)}
    proxy = await start.ready(config)
    async with ordering(proxy) as statuses:
        # New credentials are tried first; the token that the old ones gave serves on.
        api.sandbox.credentials = replace(CREDENTIALS, password=NEW_PASSWORD)
        mount.put(NEW_PASSWORD)
        assert (await proxy.event("token.renewed", 2))["cause"] == "credentials_changed"

        # The rest is told by SIGHUP, which is sooner than a look at the files.
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
        await more_of(statuses)
        mount.put(NEW_PASSWORD)
        proxy.send(signal.SIGHUP)
        assert (await proxy.event("token.renewed", 4))["cause"] == "credentials_changed"
        await more_of(statuses)
    show(orders=statuses.total(), logins=api.counter("token_calls_by_status"))
    assert set(statuses) == {201}
    assert api.counter("orders") == statuses.total()
    assert api.counter("token_calls_by_status") == {"200": 4, "401": 1}
    assert api.counter("api_calls_by_status") == {"201": statuses.total()}
    assert await proxy.stop() == 0
