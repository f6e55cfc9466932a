"""What is lost when a proxy under load is told to stop: nothing that it has accepted.

The command runs as a process of its own, and is told to stop by SIGTERM in the middle of 200
requests a second: half of them on connections of their own, half on kept-alive ones, some with
answers that take seconds. Every request is accounted for by the client, by the API, and by the
access log. `DRAIN_CYCLES=20` does it twenty times (the default is 3); the counts are printed,
`pytest -s` shows them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.process import DEADLINE, Starter, configuration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

CYCLES: Final = int(os.environ.get("DRAIN_CYCLES", "3"))
PATH: Final = b"/corporate-mobile-subscriptions/v2/orders"
#: Seconds that the API takes for the slow answers.
SLOW: Final = 2.0
NEW_CONNECTIONS_PER_SECOND: Final = 100
#: Kept-alive connections: so many seconds between two requests, on the average, and so many
#: connections. 100 requests a second all in all.
KEPT_ALIVE: Final = {0.1: 5, 0.2: 6, 1.0: 20}
#: Requests in flight, with answers that take their time, when the signal comes.
SLOW_UNDER_WAY: Final = 20
#: In one drain, of some dozens of connections that are used about once a second.
MOST_LOST_KEPT_ALIVE: Final = 1
OK: Final = 200

NEW: Final = "new connection"
USED: Final = "kept-alive connection"
UNANNOUNCED: Final = "answered after SIGTERM without Connection: close"


class Api:
    """A stand-in for the API that does nothing but count.

    It answers each order with its own number.
    """

    def __init__(self) -> None:
        self.orders: Counter[bytes] = Counter()
        self.url = ""
        self._slow = 0
        self._news = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Api]:
        """Run it."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def slow_ones(self, count: int) -> None:
        """Wait until so many slow answers are under way."""
        async with asyncio.timeout(DEADLINE), self._news:
            await self._news.wait_for(lambda: self._slow >= count)

    async def _answer(self, order: bytes) -> None:
        """Take the time that the answer to an order takes."""
        if order.startswith(b"slow"):
            self._slow += 1
            async with self._news:
                self._news.notify_all()
            await asyncio.sleep(SLOW)  # the load needs real time: it is what the test is about
            self._slow -= 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(length_of(head))
                if head.startswith(b"POST /oauth"):
                    answer = b'{"access_token": "made-up", "expires_in": 3600}'
                else:
                    self.orders[body] += 1
                    await self._answer(body)
                    answer = body
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer))
        writer.close()


def length_of(head: bytes) -> int:
    """Give the Content-Length of a head."""
    return next(
        (
            int(line[15:])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )


class Lost(Exception):
    """A request went out on an open connection, and no whole answer came back."""


class Connection:
    """One client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def ended(self) -> bool:
        """Whether the proxy has closed it, as far as one can see here."""
        return self._reader.at_eof()

    async def order(self, body: bytes) -> bool:
        """Place an order; tell whether the answer announced the end of the connection.

        Raises `Lost`.
        """
        try:
            head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
            self._writer.write(head % (PATH, len(body)) + body)
            head = await self._reader.readuntil(b"\r\n\r\n")
            answer = await self._reader.readexactly(length_of(head))
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise Lost(str(error)) from None
        assert (head[:12], answer) == (b"HTTP/1.1 200", body)
        return b"\r\nConnection: close\r\n" in head

    async def close(self) -> None:
        """Close it."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Load:
    """The clients. What becomes of their requests is counted by kind."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers = 0
        self._random = random.Random(7)  # noqa: S311 # not for secrets
        self._tasks: set[asyncio.Task[None]] = set()
        self.stopping = False
        self.counts: Counter[str] = Counter()
        self.answered: set[bytes] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Let the clients come, until told to stop; then wait for those who are there."""
        for every, clients in KEPT_ALIVE.items():
            for _ in range(clients):
                self._start(self._keep_asking(every, stop))
        while not stop.is_set():
            self._start(self._ask_once())
            await asyncio.sleep(self._random.uniform(0, 2 / NEW_CONNECTIONS_PER_SECOND))
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*self._tasks)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _connect(self) -> Connection | None:
        try:
            return Connection(*await asyncio.open_connection("127.0.0.1", self._port))
        except ConnectionError:
            self.counts["refused to connect"] += 1
            return None

    async def _ask_once(self) -> None:
        connection = await self._connect()
        if connection is not None:
            await self._order(connection, NEW)
            await connection.close()

    async def _keep_asking(self, every: float, stop: asyncio.Event) -> None:
        connection = None
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._random.uniform(0, 2 * every)):
                    await stop.wait()
            if connection is not None and connection.ended:
                self.counts["found a kept-alive connection closed before asking"] += 1
                await connection.close()
                connection = None
            kind = NEW if connection is None else USED
            connection = connection or await self._connect()
            if connection is None:
                return
            if not await self._order(connection, kind):
                await connection.close()
                connection = None
        if connection is not None:
            await connection.close()

    async def _order(self, connection: Connection, kind: str) -> bool:
        """Place one order, every tenth of them a slow one.

        Tell whether the connection may be used again.
        """
        self._numbers += 1
        slow = self._random.random() < 0.1
        body = b"%b %d" % (b"slow" if slow else b"fast", self._numbers)
        stopping = self.stopping
        try:
            ends = await connection.order(body)
        except Lost:
            self.counts[f"lost on a {kind}"] += 1
            return False
        self.answered.add(body)
        self.counts[f"answered{' after SIGTERM' if stopping else ''}"] += 1
        if stopping and not ends:
            self.counts[UNANNOUNCED] += 1
        return not ends


@pytest.mark.timeout(60 + 10 * CYCLES)
async def test_nothing_accepted_is_lost(tmp_path: Path) -> None:
    """Under load, every request on a connection that the proxy had accepted, or was about to, is answered whole, and so is every order.

    A kept-alive connection that is quiet has to be closed at some moment, and HTTP/1.1 cannot ask a client first: a request that a client
    writes in that very moment is lost. It is none as a rule; this is the bound.
    """
    total: Counter[str] = Counter()
    for _ in range(CYCLES):
        async with Api().serving() as api:
            total += await one_drain(tmp_path, api)
    table = "".join(f"\n{count:7} {kind}" for kind, count in sorted(total.items()))
    print(table)  # noqa: T201 # who asks for more cycles wants to see them
    assert total[f"lost on a {NEW}"] == 0
    assert total[f"lost on a {USED}"] <= MOST_LOST_KEPT_ALIVE * CYCLES
    assert total[UNANNOUNCED] == 0


async def one_drain(directory: Path, api: Api) -> Counter[str]:
    """Start a proxy, put it under load, stop it; give the counts."""
    start = Starter(directory)
    try:
        proxy = await start.ready(configuration(api.url))
        load, stop = Load((await proxy.event("listener.started"))["port"]), asyncio.Event()
        clients = asyncio.create_task(load.run(stop))
        await api.slow_ones(SLOW_UNDER_WAY)
        proxy.send(signal.SIGTERM)
        assert (await proxy.event("shutdown.started"))["in_flight"] >= SLOW_UNDER_WAY
        load.stopping = True
        assert await proxy.ended() == 0
        stop.set()
        await clients
    finally:
        await start.close()
    answered = {
        line["request_id"] for line in proxy.events("request.completed") if line["status"] == OK
    }
    assert len(answered) == len(load.answered) == len(api.orders)
    assert set(api.orders) == load.answered
    assert set(api.orders.values()) == {1}
    return load.counts
