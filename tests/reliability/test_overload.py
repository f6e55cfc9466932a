"""Overload of the real process: many slow, greedy and silent peers, and one well-behaved client.

500 clients that send their heads byte by byte, 20 that read a 200 MB answer slowly, one that
pipelines without reading, and 200 calls that the API never answers. Meanwhile one client places
orders, and a probe asks for readiness. Memory is read from /proc; `pytest -s` shows the figures.
"""

import asyncio
import resource
import statistics
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.process import Running, Starter, configuration
from tests.gateway.client import Client, order, request, until
from tests.reliability.conftest import BIG, HANGS
from tests.reliability.figures import show
from tests.scripted import ScriptedServer

SLOW_HEADS: Final = 500
SLOW_READERS: Final = 20
HUNG: Final = 200
#: Room for all of them and a few clients more.
MOST_CLIENTS: Final = SLOW_HEADS + SLOW_READERS + HUNG + 10
#: So many more come in the end, when there is hardly any room left. They get 503 at once, or
#: they wait in vain for this long.
OVER: Final = 60
PATIENCE: Final = 2.0  # seconds
#: Each of their calls holds a connection to the API; a client that expects that many allows for
#: them.
UPSTREAM_CONNECTIONS: Final = 250

#: How long the crowd is watched.
WATCHED: Final = 3.0  # seconds
#: Median of a probe's answer under all that, if the machine is not much busier than the probe
#: without it shows.
HEALTHY: Final = 100.0  # milliseconds
#: By so much may the memory grow: far less than 900 connections with full buffers would take, since
#: most have nothing in theirs. It was 21 MB.
MOST_GROWTH: Final = 64 * 1024 * 1024  # bytes

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc"),
    pytest.mark.usefixtures("many_files"),
]


class Crowd:
    """The clients that ask too much, until `leave`."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: list[Client] = []
        self.read = 0
        self.pipelined = 0

    async def _connect(self, *, receive_buffer: int | None = None) -> Client:
        client = await Client.connect(self._address, receive_buffer=receive_buffer)
        self._clients.append(client)
        return client

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def come(self) -> None:
        """Connect all of them, and let them begin."""
        heads = [await self._connect() for _ in range(SLOW_HEADS)]
        self._go_on(self._drip(heads))
        for _ in range(SLOW_READERS):
            client = await self._connect(receive_buffer=4096)
            await client.send(request(b"GET", BIG))
            self._go_on(self._sip(client))
        for _ in range(HUNG):
            client = await self._connect()
            await client.send(request(b"GET", HANGS))
        self._go_on(self._flood(await self._connect(receive_buffer=4096)))

    async def _drip(self, clients: list[Client]) -> None:
        """Send a byte of a head on each, again and again."""
        head = request(b"GET", b"/corporate-accounts/slow")
        for index in range(len(head) - 1):
            for client in clients:
                await client.send(head[index : index + 1])
            await asyncio.sleep(0.5)  # slowness is what this is about

    async def _sip(self, client: Client) -> None:
        """Read a little of the answer at a time."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(client._raw, 16_384):
            self.read += len(data)
            await asyncio.sleep(0.05)  # as above

    async def _flood(self, client: Client) -> None:
        """Send requests, and never read an answer, as long as any are taken."""
        requests = request(b"GET", b"/corporate-accounts/pipelined") * 100
        while True:
            await client.send(requests)
            self.pipelined += 100

    async def leave(self) -> None:
        """Go, all at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients:
            client.reset()


def memory(proxy: Running) -> int:
    """Return the resident memory of the process, in bytes."""
    fields = Path(f"/proc/{proxy.pid}/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * resource.getpagesize()


class Watch:
    """Makes a call again and again. times: seconds each."""

    def __init__(self, client: Client, raw: bytes) -> None:
        self._client = client
        self._raw = raw
        self.times: list[float] = []
        self.statuses: set[int] = set()

    async def once(self) -> None:
        """Do it once."""
        began = time.perf_counter()
        answer = await self._client.ask(self._raw)
        self.times.append(time.perf_counter() - began)
        assert answer.whole
        self.statuses.add(answer.status)

    async def keep_on(self, seconds: float) -> None:
        """Do it for so long."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            await self.once()
            await asyncio.sleep(0.02)

    @property
    def figures(self) -> list[float]:
        """The middle and the longest, in milliseconds."""
        return [round(1000 * time, 1) for time in (statistics.median(self.times), max(self.times))]


async def highest(proxy: Running, seconds: float) -> int:
    """Watch the memory for so long; return the most that there was."""
    most, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        most = max(most, memory(proxy))
        await asyncio.sleep(0.05)
    return most


async def test_a_well_behaved_client_among_hundreds_that_are_not(
    start: Starter, upstream: ScriptedServer
) -> None:
    """It gets every answer, probes are prompt, memory is bounded, and extra clients get 503."""
    config = configuration(
        f"http://127.0.0.1:{upstream.port}",
        limits={"max_connections": MOST_CLIENTS},
        upstream={"max_connections": UPSTREAM_CONNECTIONS},
    )
    proxy = await start.ready(config)
    address = ("127.0.0.1", (await proxy.event("listener.started"))["port"])
    good = await Client.connect(address)
    prober = await Client.connect(("127.0.0.1", (await proxy.event("admin.started"))["port"]))
    orders, health = Watch(good, order()), Watch(prober, request(b"GET", b"/readiness"))
    for watch in (orders, health):
        await watch.keep_on(0.5)
    quiet = [watch.figures[0] for watch in (orders, health)]
    base = memory(proxy)
    for watch in (orders, health):
        watch.times.clear()

    crowd = Crowd(address)
    await crowd.come()
    await until(lambda: len([seen for seen in upstream.requests if seen.target == HANGS]) == HUNG)
    peak, _, _ = await asyncio.gather(
        highest(proxy, WATCHED), orders.keep_on(WATCHED), health.keep_on(WATCHED)
    )
    waits = await asyncio.gather(*[turned_away(address) for _ in range(OVER)])
    over = [seconds for seconds in waits if seconds]
    await crowd.leave()
    await orders.once()
    show(
        orders=len(orders.times),
        order_ms=[quiet[0], *orders.figures],
        probe_ms=[quiet[1], *health.figures],
        turned_away=len(over),
        turned_away_ms=round(1000 * max(over, default=0), 1),
        read_of_big_answers_mb=round(crowd.read / 2**20),
        pipelined=crowd.pipelined,
        memory_mb=[round(value / 2**20) for value in (base, peak, memory(proxy))],
    )
    assert orders.statuses == health.statuses == {200}
    assert health.figures[0] < max(HEALTHY, 20 * quiet[1])
    assert peak - base < MOST_GROWTH
    assert len(over) >= OVER - (MOST_CLIENTS - SLOW_HEADS - SLOW_READERS - HUNG)
    good.close()
    prober.close()


async def turned_away(address: tuple[str, int]) -> float | None:
    """Connect; return the seconds until 503, or None if there was room."""
    began = time.perf_counter()
    client = await Client.connect(address)
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await client.answer()
    except TimeoutError:
        return None
    finally:
        client.close()
    assert (answer.status, answer.kind) == (503, "too-many-connections")
    assert answer.values(b"retry-after")
    return time.perf_counter() - began
