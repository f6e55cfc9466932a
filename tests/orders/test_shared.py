"""A real Redis between two replicas: it goes away, hangs, refuses, and ends leases."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis import Redis
from structlog.testing import capture_logs

from proxy.clock import SystemClock
from proxy.orders import shared
from proxy.orders.desk import Desk, Order, Replay
from proxy.orders.keeper import Keeper
from proxy.orders.opening import open_store
from proxy.orders.shared import SharedStore
from proxy.orders.states import Answer, State
from proxy.orders.store import ClaimLost, StoreAway
from proxy.secret import Secret
from proxy.settings import load_orders
from tests.orders.made import ANSWER, placed, record
from tests.orders.servers import RedisServer, needs_redis

pytestmark = needs_redis


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run one server for all tests here."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    """Give it empty."""
    running.clear()
    return running


@pytest.fixture
async def replica(server: RedisServer) -> AsyncIterator[Callable[..., SharedStore]]:
    """Give what opens the store of a replica, by its name."""
    async with contextlib.AsyncExitStack() as closing:

        def opened(owner: str, **options: Any) -> SharedStore:
            store = SharedStore(server.url, None, owner, **options)
            closing.push_async_callback(store.close)
            return store

        yield opened


@pytest.fixture
def store(replica: Callable[..., SharedStore]) -> SharedStore:
    """Give a store of one replica."""
    return replica("aa")


async def test_it_survives_a_restart_of_the_server(store: SharedStore, server: RedisServer) -> None:
    """While it is down each call fails at once; when it is back, what was remembered is there."""
    order, other = await placed(store), record("aa", "l")
    server.stop()
    for _ in range(2):
        with pytest.raises(StoreAway, match="cannot be reached"):
            await store.reserve(other)
    server.start()
    found = await store.reserve(record("bb", "k"))
    assert found is not None
    assert found.state is State.SENT
    await store.enter(order, State.ANSWERED, ANSWER)
    assert await store.reserve(other) is None


async def test_a_connection_that_is_lost_while_it_is_written_to() -> None:
    """Uvloop raises RuntimeError then, which is no mistake of ours."""

    async def lost() -> None:
        raise RuntimeError("unable to perform operation; the handler is closed")

    with pytest.raises(StoreAway, match="cannot be reached"):
        await shared._translated(lost())


async def test_a_server_that_hangs_holds_no_caller(
    store: SharedStore, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call ends within its patience, however many wait."""
    monkeypatch.setattr(shared, "_PATIENCE", 0.2)
    await store.upkeep()
    server.freeze()
    began = asyncio.get_running_loop().time()
    orders = [record("aa", f"k{number}") for number in range(40)]
    try:
        results = await asyncio.gather(*map(store.reserve, orders), return_exceptions=True)
    finally:
        server.thaw()
    assert asyncio.get_running_loop().time() - began < 3  # the client itself waits 4
    assert all(isinstance(result, StoreAway) for result in results)
    monkeypatch.setattr(shared, "_PATIENCE", 10.0)
    for order in orders:  # what may have been made is taken back
        await store.release(order)
    assert (await store.upkeep()).held == 0


async def test_one_of_many_replicas_reserves(replica: Callable[..., SharedStore]) -> None:
    """The same key at the same moment on several replicas: one sends."""
    stores = [replica(f"{number:02x}") for number in range(5)]
    for turn in range(20):
        orders = [record(store.owner, f"k{turn}") for store in stores]
        found = await asyncio.gather(
            *(store.reserve(order) for store, order in zip(stores, orders, strict=True))
        )
        assert sum(one is None for one in found) == 1


async def test_a_lease_that_ended_ends_claims(
    replica: Callable[..., SharedStore], server: RedisServer
) -> None:
    """A replica that could not reach the server for too long does not send what it had reserved.

    What it had sent is unknown to others, and it may still tell how that ended.
    """
    slow, other = replica("aa"), replica("bb")
    reserved = await placed(slow, "reserved", State.RESERVED)
    sent = await placed(slow, "sent")
    with Redis(port=server.port) as client:
        client.delete("{telenor-proxy}:owner:aa")  # as when its time is over
    assert (await other.upkeep()).unknown == 1
    mine = record("bb", "reserved")
    assert await other.reserve(mine) is None
    with pytest.raises(ClaimLost):
        await slow.enter(reserved, State.SENT)
    await slow.enter(sent, State.ANSWERED, ANSWER)
    found = await other.look_up(sent.id)
    assert found is not None
    assert found.answer == ANSWER
    assert (await other.upkeep()).unknown == 0


async def test_a_lease_is_kept_while_its_process_lives(
    replica: Callable[..., SharedStore], server: RedisServer
) -> None:
    """Upkeep renews it; a command that only looks holds none."""
    store, looking = replica("aa", lease=0.5), replica("cc", places_orders=False)
    await placed(store)
    for _ in range(6):
        await store.upkeep()
        await asyncio.sleep(0.15)
        (found,) = await looking.listing(unknown=False)
        assert found.state is State.SENT
    with Redis(port=server.port) as client:
        assert client.keys("*owner*") == [b"{telenor-proxy}:owner:aa"]
    await asyncio.sleep(0.6)
    assert [found.state for found in await looking.listing(unknown=True)] == [State.UNKNOWN]


async def test_records_end_with_their_time(store: SharedStore, server: RedisServer) -> None:
    """The server drops them by itself, and no index keeps them."""
    order = await placed(store, lifetime=0.1)
    await asyncio.sleep(0.2)
    assert (await store.upkeep()).held == 1  # under way: it has no end
    await store.enter(order, State.ANSWERED, ANSWER)
    await asyncio.sleep(0.2)
    assert await store.look_up(order.id) is None
    assert (await store.upkeep()).held == 0
    with Redis(port=server.port) as client:
        assert client.keys("*") == [b"{telenor-proxy}:owner:aa"]


async def test_it_is_bounded(replica: Callable[..., SharedStore]) -> None:
    """No more records than it may hold; what was remembered stays."""
    store = replica("aa", most=3)
    for number in range(3):
        assert await store.reserve(record("aa", f"k{number}")) is None
    with pytest.raises(StoreAway, match="as many orders"):
        await store.reserve(record("aa", "one more"))
    assert await store.reserve(record("bb", "k0")) is not None


@pytest.mark.parametrize(
    ("options", "password", "why"),
    [
        (("--requirepass", "right"), "wrong", "refuses the user or the password"),
        (("--requirepass", "right"), None, "refuses the user or the password"),
        (("--maxmemory", "1"), None, "takes no writes"),
        (("--min-replicas-to-write", "1"), None, "takes no writes"),
        (("--user", "default", "on", "nopass", "~none*", "+@all"), None, "does not permit"),
    ],
)
async def test_a_server_that_refuses(
    tmp_path: Path, options: tuple[str, ...], password: str | None, why: str
) -> None:
    """In words of what it refuses, and without the password."""
    with RedisServer(tmp_path, *options).start() as server:
        store = SharedStore(server.url, None if password is None else Secret(password), "aa")
        with pytest.raises(StoreAway, match=why) as raised:
            await store.reserve(record("aa"))
        assert "wrong" not in f"{raised.value} {store!r} {vars(store)}"
        await store.close()


async def test_a_server_with_tls_and_a_password(tmp_path: Path) -> None:
    """The URL names the authority, without which it is not trusted; a file has the password."""
    (tmp_path / "password").write_text("right\n", encoding="utf-8")
    server = RedisServer(tmp_path, "--requirepass", "right", authority=trustme.CA()).start()
    environ = {
        "TELENOR_PROXY_ORDERS__STORE": server.url.replace("rediss", "valkeys"),
        "TELENOR_PROXY_ORDERS__STORE_PASSWORD_FILE": str(tmp_path / "password"),
    }
    store = open_store(load_orders(None, environ), SystemClock())
    assert isinstance(store, SharedStore)
    stranger = SharedStore(server.url.partition("?")[0], Secret("right"), "bb")
    with server:
        order = await placed(store, state=State.RESERVED)
        server.stop()
        with pytest.raises(StoreAway, match="cannot be reached"):
            await store.enter(order, State.SENT)
        server.start()
        await store.enter(order, State.SENT)
        assert [found.state for found in await store.listing(unknown=False)] == [State.SENT]
        with pytest.raises(StoreAway, match=r"certificate .* is not trusted"):
            await stranger.upkeep()
        await store.close()
        await stranger.close()


async def test_a_server_that_drops_keys_is_logged(store: SharedStore, server: RedisServer) -> None:
    """One that may forget orders by itself is worth a warning."""
    with Redis(port=server.port) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        with capture_logs() as logged:
            await store.upkeep()
            await store.upkeep()
        client.config_set("maxmemory-policy", "noeviction")
    assert [line["event"] for line in logged] == ["orders.store_forgets"]


async def test_two_desks_share_it(replica: Callable[..., SharedStore]) -> None:
    """An order that one replica sent is replayed by the other one; the same moment sends one."""
    desks = [
        Desk(
            Keeper(replica(owner), SystemClock(), lambda _: None),
            remember_seconds=60,
            guard_seconds=0,
        )
        for owner in ("aa", "bb")
    ]

    async def begin(desk: Desk) -> Order | Replay:
        return await desk.begin(
            client="app",
            method=b"POST",
            path="/orders",
            key="k",
            fingerprint=b"digest",
            request_id=b"one",
        )

    results = await asyncio.gather(*map(begin, desks), return_exceptions=True)
    (order,) = [result for result in results if isinstance(result, Order)]
    await order.sent()
    await order.answered(Answer(201, b"A: b\r\n", b"\x00\xff"))
    for desk in desks:
        assert await begin(desk) == Replay(201, b"A: b\r\n", b"\x00\xff", "one")
