"""A client's key is changed under load by its file: no call is refused, and the old key ends.

What the listener makes of each key is in tests/gateway/test_clients.py.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from tests.e2e.process import ORDERS, Api, Running, Starter, configuration
from tests.gateway.client import ORDER, Client, request
from tests.reliability.figures import show
from tests.reliability.ordering import Orders

OLD, NEXT = "old-key-of-the-erp", "next-key-of-the-erp"


def write(file: Path, *keys: str) -> None:
    """Put a new file in the old one's place, as `mv` does."""
    beside = file.with_suffix(".new")
    beside.write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")
    beside.replace(file)


def order(key: str) -> bytes:
    """Return an order that shows this key."""
    return request(b"POST", ORDERS.encode(), b"X-Proxy-Key: " + key.encode(), content=ORDER)


async def erp(proxy: Running) -> dict[str, Any]:
    """Give what `/status` says of the client."""
    admin = await Client.connect(("127.0.0.1", (await proxy.event("admin.started"))["port"]))
    answer = await admin.ask(request(b"GET", b"/status"))
    admin.close()
    (shown,) = orjson.loads(answer.content)["clients"]["by_name"]
    return dict(shown)


async def test_a_key_is_changed_under_load(start: Starter, api: Api, tmp_path: Path) -> None:
    """Add, switch, see the old key unused, remove it: all orders are placed, the old key ends."""
    file = tmp_path / "erp.key"
    write(file, OLD)
    clients = [{"name": "erp", "key_file": str(file)}]
    proxy = await start.ready(configuration(api.url, listen={"clients": clients}))
    address = ("127.0.0.1", (await proxy.event("listener.started"))["port"])
    orders = Orders(address[1], order(OLD))
    left_behind = await Client.connect(address)
    assert (await left_behind.ask(order(OLD), method=b"POST")).status == 201
    async with orders.placed():
        await orders.more()
        write(file, OLD, NEXT)
        await proxy.event("configuration.reloaded")
        orders.raw = order(NEXT)
        await orders.more()
        used = [key["last_used_at"] for key in (await erp(proxy))["keys"]]
        await orders.more()
        still = [key["last_used_at"] for key in (await erp(proxy))["keys"]]
        assert still[0] == used[0]
        assert still[1] > used[1]
        write(file, NEXT)
        await proxy.event("configuration.reloaded", 2)
        assert (await left_behind.ask(order(OLD), method=b"POST")).status == 403
        await orders.more()
    left_behind.close()
    await proxy.event("request.completed", orders.statuses.total() + 2)
    shown = await erp(proxy)
    show(orders=orders.statuses.total(), calls=shown["calls"])
    assert set(orders.statuses) == {201}
    assert api.counter("orders") == orders.statuses.total() + 1 == shown["calls"]
    assert (shown["refused"], [key["position"] for key in shown["keys"]]) == (0, [1])
    lines = Counter(
        (line.get("client"), line["client_address"], line["status"])
        for line in proxy.events("request.completed")
    )
    assert lines == {("erp", "127.0.0.1", 201): shown["calls"], (None, "127.0.0.1", 403): 1}
    assert OLD not in proxy.output
    assert NEXT not in proxy.output
    assert await proxy.stop() == 0
