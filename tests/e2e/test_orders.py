"""Orders that are tried again, with the command as a process that is killed and asked."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.conftest import Standing
from tests.e2e.process import (
    DEADLINE,
    ORDER,
    ORDERS,
    Answer,
    Api,
    Running,
    Starter,
    beside,
    call,
    configuration,
    order,
)
from tests.orders.servers import RedisServer, needs_redis

#: `make soak` asks for more.
PLACED = max(160, int(os.environ.get("TELENOR_PROXY_SOAK_ORDERS", "0")))
AT_A_TIME = 40
PROBLEM = "urn:telenor-proxy:problem:"


async def place(running: Running | str, key: str, *, wait: float = DEADLINE) -> Answer:
    """Place an order with a key, at a proxy or a URL."""
    url = running if isinstance(running, str) else await running.url(ORDERS)
    body, fields = ORDER | {"reference": key}, {"Idempotency-Key": key}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=wait)) as http:
        return await call(http, url, "POST", json=body, headers=fields)


def refusal(answer: Answer) -> tuple[int, str, str | None]:
    """Return status, kind and outcome of an answer of the proxy's own."""
    problem = answer.json()
    return answer.status, problem["type"].removeprefix(PROBLEM), problem.get("outcome")


AWAY = (503, "order-store-away", "not_sent")


@pytest.mark.parametrize("store", ["memory", "file"])
async def test_operators_see_and_forget_orders(
    start: Starter, api: Api, http: aiohttp.ClientSession, tmp_path: Path, store: str
) -> None:
    """`orders list` and `/status` show what is unknown until `orders forget`; then it is sent."""
    named = "memory" if store == "memory" else str(tmp_path / "orders.db")
    config = configuration(api.url, orders={"store": named})
    running = await start.ready(config)
    api.sandbox.fault("api_drop", None, 1)
    assert (await place(running, "k")).json()["outcome"] == "unknown"
    assert refusal(await place(running, "k"))[:2] == (409, "order-unknown")
    status = (await call(http, await running.admin_url("/status"))).json()
    assert (len(status["unknown_orders"]), status["orders"]["unknown"]) == (1, 1)
    config = await beside(running, config)
    # The commands need no credentials, and the admin listener only where the store is in memory.
    needed = ["orders", "admin"] if store == "memory" else ["orders"]
    config = {name: config[name] for name in needed}
    listing = await start.run("orders", "list", "--unknown", "--json", config=config)
    assert listing.status == 0, listing.errors
    listed = json.loads(listing.output)
    shown = {name: listed[name] for name in ("method", "path", "outcome", "key")}
    assert shown == {"method": "POST", "path": ORDERS, "outcome": "unknown", "key": "k"}
    table = await start.run("orders", "list", config=config)
    assert table.status == 0
    assert listed["id"] in table.output
    assert listed["request_id"] in table.output
    forget = await start.run("orders", "forget", listed["id"], config=config)
    assert forget.status == 0, forget.errors
    again = await start.run("orders", "forget", listed["id"], config=config)
    assert again.status == 1
    assert "no order" in again.errors
    status = (await call(http, await running.admin_url("/status"))).json()
    assert status["unknown_orders"] == []
    assert (status["orders"]["unknown"], status["orders"]["records"]) == (0, [])
    assert (await place(running, "k")).status == 201
    assert await running.stop() == 0
    none = await start.run("orders", "list", "--unknown", config=config)
    assert none.status == (1 if store == "memory" else 0)
    assert ("Check that the proxy runs" in none.errors) == (store == "memory")


@pytest.mark.asyncio(loop_scope="session")
async def test_the_admin_listener_shows_orders(standing: Standing) -> None:
    """`/orders` and `/status`; a web page, and what is no order, get no further."""
    running, api, http = standing
    api.sandbox.fault("api_drop", None, 1)
    await place(running, "shown")
    (listed,) = (await call(http, await running.admin_url("/orders?unknown=1"))).json()["orders"]
    url = await running.admin_url(f"/orders/{listed['id']}")
    web_page = {"Origin": "http://127.0.0.1"}
    assert (await call(http, url, "DELETE", headers=web_page)).status == 403
    assert (await call(http, url + "0", "DELETE")).status == 404
    assert (await call(http, url, "DELETE")).status == 200
    assert (await call(http, await running.admin_url("/orders"))).json()["orders"] == []
    assert (await call(http, await running.admin_url("/status"))).json()["orders"]["away"] is None


@pytest.mark.parametrize(
    ("store", "why"),
    [
        ("/proc/nowhere/orders.db", "its directory does not exist"),
        ("here.txt", "no store of this proxy"),
    ],
)
async def test_a_store_that_cannot_be_used(start: Starter, api: Api, store: str, why: str) -> None:
    """78 with the reason from `serve`, before anything listens, from `check` and `orders list`."""
    (start.directory / "here.txt").write_text("words\n" * 100, encoding="utf-8")
    config = configuration(api.url, orders={"store": str(start.directory / store)})
    serve = await start.run("serve", config=config)
    assert serve.status == 78
    assert why in serve.errors
    assert "listener.started" not in serve.output
    check = await start.run("check", config=config)
    assert check.status == 78
    assert why in check.output
    assert (await start.run("orders", "list", config=config)).status == 78


async def test_a_start_that_fails_leaves_no_owner(start: Starter, api: Api) -> None:
    """The file that shows that a proxy uses the store is removed, as the write-ahead log is."""
    store = {"store": str(start.directory / "orders.db")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = {"port": taken.getsockname()[1]}
        ended = await start.run("serve", config=configuration(api.url, orders=store, listen=listen))
    assert ended.status == 1
    assert list(start.directory.glob("orders.db-*")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits and removes files as POSIX does")
@pytest.mark.parametrize("fault", ["full", "locked", "removed"])
async def test_nothing_is_sent_that_is_not_remembered(
    start: Starter, api: Api, http: aiohttp.ClientSession, tmp_path: Path, fault: str
) -> None:
    """With a full disk, a locked or removed file: 503 `not_sent`; all else is served."""
    import resource  # noqa: PLC0415 # not on Windows

    path = tmp_path / "orders.db"
    running = await start.ready(configuration(api.url, orders={"store": str(path)}))
    assert (await place(running, "before")).status == 201
    unlimited = resource.prlimit(running.pid, resource.RLIMIT_FSIZE)
    other = sqlite3.connect(path, isolation_level=None)
    away = path.with_suffix(".away")
    faults: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "full": (
            lambda: resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (4096, unlimited[1])),
            lambda: resource.prlimit(running.pid, resource.RLIMIT_FSIZE, unlimited),
        ),
        "locked": (lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK")),
        "removed": (lambda: path.rename(away), lambda: away.rename(path)),
    }
    begin, end = faults[fault]
    begin()
    assert refusal(await place(running, "k")) == AWAY
    assert [order.body["reference"] for order in api.sandbox.orders] == ["before"]
    assert (await order(http, await running.url(ORDERS))).status == 201
    end()
    other.close()
    assert (await place(running, "k")).status == 201
    assert (await place(running, "k")).fields["Idempotency-Replayed"] == "true"
    assert await running.stop() == 0


@pytest.mark.parametrize(
    ("orders", "words", "status", "says"),
    [
        ({}, ["list"], 1, "orders.store is not set"),
        ({}, ["forget", "0"], 1, "orders.store is not set"),
        ({"store": "here.db"}, ["forget", "../0"], 1, "That is no id"),
        ({"stor": "here.db"}, ["list"], 78, "Did you mean orders.store?"),
        ({"store": "here.db"}, ["list"], 78, "there is no such file"),
    ],
)
async def test_what_the_commands_refuse(
    start: Starter, orders: dict[str, object], words: list[str], status: int, says: str
) -> None:
    """What is wrong about orders, and what to do; other settings do not matter."""
    ended = await start.run("orders", *words, config={"orders": orders, "oauth": {"nothing": 1}})
    assert (ended.status, ended.output) == (status, "")
    assert says in ended.errors
    assert "nothing" not in ended.errors


@needs_redis
async def test_a_redis_that_is_away_at_the_start(
    start: Starter, api: Api, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The proxy starts, says so, serves all else, and uses it as soon as it is there."""
    server = RedisServer(tmp_path)
    running = await start.ready(configuration(api.url, orders={"store": server.url}))
    await running.event("orders.store_away")
    answer = await place(running, "k")
    assert refusal(answer) == AWAY
    assert "Retry-After" in answer.fields
    assert (await order(http, await running.url(ORDERS))).status == 201
    readiness = await call(http, await running.admin_url("/readiness"))
    assert readiness.status == 200
    assert "cannot be reached" in readiness.json()["detail"]
    with server.start():
        await running.event("orders.store_back")
        assert (await place(running, "k")).status == 201
        assert (await place(running, "k")).fields["Idempotency-Replayed"] == "true"
        assert await running.stop() == 0


class Shop:
    """Places orders with impatient clients that try again, and records the answers."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.answers: dict[str, set[str]] = {}
        self.unknown: set[str] = set()
        self.replayed = 0
        self.kills = 0

    def report(self) -> str:
        """Return the counts of orders, for the page on reliability."""
        counts = f"{len(self.answers)} answered, {len(self.unknown)} unknown"
        return f"{counts}, {self.replayed} answers replayed, {self.kills} kills"

    async def buy(self, urls: list[str], key: str) -> None:
        """Place one, at most four times, until it is answered."""
        for _ in range(4):
            patience = self.chance.choice([0.02, DEADLINE])
            try:
                answer = await place(self.chance.choice(urls), key, wait=patience)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.01)
                continue
            if answer.status == 201:
                self.answers.setdefault(key, set()).add(answer.json()["orderId"])
                self.replayed += "Idempotency-Replayed" in answer.fields
                if self.chance.random() < 0.9:
                    return
            elif answer.json().get("type") == f"{PROBLEM}order-unknown":
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
    with server or contextlib.nullcontext():
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
        assert shop.unknown
        assert shop.replayed
        config = await beside(last, config)
        listing = await start.run("orders", "list", "--unknown", "--json", config=config)
        assert listing.status == 0
        listed = {json.loads(line)["key"] for line in listing.output.splitlines()}
        assert shop.unknown <= listed
        assert await last.stop() == 0
