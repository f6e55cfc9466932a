"""Orders that are tried again, with the command as a process that is killed and asked."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.e2e.process import DEADLINE, ORDER, ORDERS, Api, Running, Starter, configuration
from tests.orders.servers import RedisServer, needs_redis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: `make soak` asks for more.
PLACED = max(160, int(os.environ.get("TELENOR_PROXY_SOAK_ORDERS", "0")))
AT_A_TIME = 40
PROBLEM = "urn:telenor-proxy:problem:"


async def place(
    running: Running | str, key: str, reference: str = "", *, wait: float = DEADLINE
) -> tuple[int, dict[str, Any], Mapping[str, str]]:
    """Place an order with a key, at a proxy or a URL; return status, content and fields."""
    timeout = aiohttp.ClientTimeout(total=wait)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.post(
            running if isinstance(running, str) else await running.url(ORDERS),
            json=ORDER | {"reference": reference or key},
            headers={"Idempotency-Key": key},
        ) as answer,
    ):
        return answer.status, json.loads(await answer.read()), answer.headers


async def beside(running: Running, config: dict[str, Any]) -> dict[str, Any]:
    """Make the configuration by which a command finds the admin listener of a running proxy."""
    port = (await running.event("admin.started"))["port"]
    return config | {"admin": {**config.get("admin", {}), "port": port}}


@pytest.mark.parametrize("store", ["memory", "file"])
async def test_operators_see_and_forget_orders(
    start: Starter, api: Api, tmp_path: Path, store: str
) -> None:
    """`orders list` shows what is unknown, `orders forget` lets it be placed again.

    The store decides who is asked.
    """
    named = "memory" if store == "memory" else str(tmp_path / "orders.db")
    config = configuration(api.url, orders={"store": named})
    running = await start.ready(config)
    api.sandbox.fault("api_drop", None, 1)
    assert (await place(running, "k"))[1]["outcome"] == "unknown"
    status, problem, _ = await place(running, "k")
    assert (status, problem["type"]) == (409, f"{PROBLEM}order-unknown")
    config = await beside(running, config)
    listing = await start(["orders", "list", "--unknown", "--json"], config)
    assert await listing.ended() == 0
    (line,) = listing.output.splitlines()
    order = json.loads(line)
    assert (order["method"], order["path"], order["outcome"], order["key"]) == (
        "POST",
        ORDERS,
        "unknown",
        "k",
    )
    table = await start(["orders", "list"], config)
    assert await table.ended() == 0
    assert order["id"] in table.output
    assert order["request_id"] in table.output
    forget = await start(["orders", "forget", order["id"]], config)
    assert await forget.ended() == 0, forget.errors
    again = await start(["orders", "forget", order["id"]], config)
    assert await again.ended() == 1
    assert "no order" in again.errors
    assert (await place(running, "k"))[0] == 201
    assert await running.stop() == 0
    none = await start(["orders", "list", "--unknown"], config)
    assert await none.ended() == (1 if store == "memory" else 0)
    assert ("Check that it runs" in none.errors) == (store == "memory")


async def test_the_admin_listener_shows_orders(start: Starter, api: Api) -> None:
    """`/orders` and `/status`; a web page, and what is no order, get no further."""
    running = await start.ready(configuration(api.url, orders={"store": "memory"}))
    api.sandbox.fault("api_drop", None, 1)
    await place(running, "k")
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        async with http.get(await running.admin_url("/orders?unknown=1")) as answer:
            (order,) = (await answer.json())["orders"]
        url = await running.admin_url(f"/orders/{order['id']}")
        async with http.delete(url, headers={"Origin": "http://127.0.0.1"}) as answer:
            assert answer.status == 403
        async with http.delete(url + "0") as answer:
            assert answer.status == 404
        async with http.delete(url) as answer:
            assert answer.status == 200
        async with http.get(await running.admin_url("/orders")) as answer:
            assert (await answer.json())["orders"] == []
        async with http.get(await running.admin_url("/status")) as answer:
            assert (await answer.json())["orders"]["away"] is None
    assert await running.stop() == 0


@pytest.mark.parametrize(
    ("orders", "why"),
    [
        ({"store": "/proc/nowhere/orders.db"}, "cannot be written"),
        ({"store": "here.txt"}, "no store of this proxy"),
    ],
)
async def test_a_store_that_cannot_be_used(
    start: Starter, api: Api, tmp_path: Path, orders: dict[str, object], why: str
) -> None:
    """78 with words, before anything listens, from `serve` and from `orders list`."""
    if orders["store"] == "here.txt":
        place_of_it = tmp_path / "here.txt"
        place_of_it.write_text("words\n" * 100, encoding="utf-8")
        orders = {"store": str(place_of_it)}
    config = configuration(api.url, orders=orders)
    serve = await start("serve", config)
    assert await serve.ended() == 78
    assert why in serve.errors
    assert serve.events("listener.started") == []
    listing = await start(["orders", "list"], config)
    assert await listing.ended() == 78


@pytest.mark.skipif(sys.platform == "win32", reason="limits and removes files as POSIX does")
@pytest.mark.parametrize("fault", ["full", "locked", "removed"])
async def test_nothing_is_sent_that_is_not_remembered(
    start: Starter, api: Api, tmp_path: Path, fault: str
) -> None:
    """A disk that is full, a file that is locked or removed: 503 `not_sent`; all else is served."""
    import resource  # noqa: PLC0415 # not on Windows

    path = tmp_path / "orders.db"
    running = await start.ready(configuration(api.url, orders={"store": str(path)}))
    assert (await place(running, "before"))[0] == 201
    unlimited = resource.prlimit(running.pid, resource.RLIMIT_FSIZE)
    other = sqlite3.connect(path, isolation_level=None)
    away = path.with_suffix(".away")
    if fault == "full":
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (4096, unlimited[1]))
    elif fault == "locked":
        other.execute("BEGIN IMMEDIATE")
    else:
        path.rename(away)
    status, problem, _ = await place(running, "k")
    assert (status, problem["type"], problem["outcome"]) == (
        503,
        f"{PROBLEM}order-store-away",
        "not_sent",
    )
    assert [order.body["reference"] for order in api.sandbox.orders] == ["before"]
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE)) as http,
        http.post(await running.url(ORDERS), json=ORDER) as answer,
    ):
        assert answer.status == 201
    if fault == "full":
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, unlimited)
    elif fault == "locked":
        other.execute("ROLLBACK")
    else:
        away.rename(path)
    other.close()
    assert (await place(running, "k"))[0] == 201
    assert (await place(running, "k"))[2]["Idempotency-Replayed"] == "true"
    assert await running.stop() == 0


async def test_without_a_store_there_is_nothing_to_list(start: Starter, api: Api) -> None:
    """1, and which setting to set."""
    config = configuration(api.url)
    for words in (["orders", "list"], ["orders", "forget", "0"]):
        command = await start(words, config)
        assert await command.ended() == 1
        assert "orders.store" in command.errors


@needs_redis
async def test_a_redis_that_is_away_at_the_start(start: Starter, api: Api, tmp_path: Path) -> None:
    """The proxy starts, says so, serves all else, and uses it as soon as it is there."""
    server = RedisServer(tmp_path)
    running = await start.ready(configuration(api.url, orders={"store": server.url}))
    await running.event("orders.store_away")
    status, problem, fields = await place(running, "k")
    assert (status, problem["type"], problem["outcome"]) == (
        503,
        f"{PROBLEM}order-store-away",
        "not_sent",
    )
    assert "Retry-After" in fields
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        async with http.post(await running.url(ORDERS), json=ORDER) as answer:
            assert answer.status == 201
        async with http.get(await running.admin_url("/readiness")) as answer:
            assert answer.status == 200
            assert "cannot be reached" in (await answer.json())["detail"]
    server.start()
    try:
        await running.event("orders.store_back")
        assert (await place(running, "k"))[0] == 201
        assert (await place(running, "k"))[2]["Idempotency-Replayed"] == "true"
        assert await running.stop() == 0
    finally:
        server.stop()


class Shop:
    """Places orders with impatient clients that try again, and records the answers."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.answers: dict[str, set[str]] = {}
        self.unknown: set[str] = set()
        self.replayed = 0
        self.kills = 0

    def report(self) -> str:
        """Return what became of the orders, for the page on reliability."""
        told = f"{len(self.answers)} answered, {len(self.unknown)} unknown"
        return f"{told}, {self.replayed} answers replayed, {self.kills} kills"

    async def buy(self, urls: list[str], key: str) -> None:
        """Place one, at most four times, until it is answered."""
        for _ in range(4):
            patience = self.chance.choice([0.02, DEADLINE])
            try:
                status, content, fields = await place(self.chance.choice(urls), key, wait=patience)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.01)
                continue
            if status == 201:
                self.answers.setdefault(key, set()).add(content["orderId"])
                self.replayed += "Idempotency-Replayed" in fields
                if self.chance.random() < 0.9:
                    return
            elif content.get("type") == f"{PROBLEM}order-unknown":
                self.unknown.add(key)
                return


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
@pytest.mark.parametrize("kind", ["file", pytest.param("redis", marks=needs_redis)])
async def test_each_order_is_placed_once_at_most(
    start: Starter, api: Api, tmp_path: Path, kind: str
) -> None:
    """Clients that give up, an API that breaks off, and a proxy that is killed again and again."""
    chance = random.Random(20261129)  # noqa: S311 # the same run each time
    server = RedisServer(tmp_path).start() if kind == "redis" else None
    store = str(tmp_path / "orders.db") if server is None else server.url
    config = configuration(api.url, orders={"store": store})
    shop = Shop(chance)
    try:
        for turn in range(PLACED // AT_A_TIME):
            proxies = [await start.ready(config) for _ in range(1 if server is None else 2)]
            urls = [await running.url(ORDERS) for running in proxies]
            api.sandbox.fault("api_drop_after", None, 5)
            buying = [
                asyncio.create_task(shop.buy(urls, f"{turn}-{number}"))
                for number in range(AT_A_TIME)
            ]
            await asyncio.sleep(chance.uniform(0.02, 0.2))
            if server is not None and turn % 3 == 2:
                server.stop()
                server.start()
            for running in proxies:
                running.send(signal.SIGKILL)
                shop.kills += 1
            await asyncio.gather(*buying)
            for running in proxies:
                await running.close()
        last = await start.ready(config)
        keys = {f"{turn}-{n}" for turn in range(PLACED // AT_A_TIME) for n in range(AT_A_TIME)}
        while undecided := keys - shop.answers.keys() - shop.unknown:
            for key in sorted(undecided):
                await shop.buy([await last.url(ORDERS)], key)
            # What a killed replica had sent is under way until its lease ends.
            await asyncio.sleep(1.0 if server is not None else 0.0)
        sys.stdout.write(f"{kind}: {shop.report()}\n")
        assert max(order.count for order in api.sandbox.orders) == 1
        assert all(len(answers) == 1 for answers in shop.answers.values())
        assert shop.answers.keys().isdisjoint(shop.unknown)
        assert len(keys) == PLACED // AT_A_TIME * AT_A_TIME
        assert shop.unknown
        assert shop.replayed
        listing = await start(["orders", "list", "--unknown", "--json"], await beside(last, config))
        assert await listing.ended() == 0
        listed = {json.loads(line)["key"] for line in listing.output.splitlines()}
        assert shop.unknown <= listed
        assert await last.stop() == 0
    finally:
        if server is not None:
            server.stop()
