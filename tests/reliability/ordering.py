"""Orders that are placed all the time, while something is changed under the proxy."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

from tests.gateway.client import Client, until

#: Clients that place orders all the time: on kept connections, and on a new one each time.
KEPT, NEW = 3, 2
#: Between two orders of a client. The machine is not full, but an order is always under way.
PAUSE: Final = 0.01  # seconds


class Orders:
    """raw: the next order, as bytes. statuses: of the answers."""

    def __init__(self, port: int, raw: bytes) -> None:
        self.raw = raw
        self.statuses: Counter[int] = Counter()
        self._address = ("127.0.0.1", port)
        self._over = asyncio.Event()

    @contextlib.asynccontextmanager
    async def placed(self) -> AsyncIterator[None]:
        """Place orders for the time of the block."""
        async with asyncio.TaskGroup() as clients:
            for number in range(KEPT + NEW):
                clients.create_task(self._on_and_on(kept=number < KEPT))
            yield
            self._over.set()

    async def _on_and_on(self, *, kept: bool) -> None:
        client = await Client.connect(self._address)
        while not self._over.is_set():
            self.statuses[(await client.ask(self.raw, method=b"POST")).status] += 1
            await asyncio.sleep(PAUSE)
            if not kept:
                client.close()
                client = await Client.connect(self._address)
        client.close()

    async def more(self) -> None:
        """Wait until every client has had some more answers."""
        so_far = self.statuses.total()
        await until(lambda: self.statuses.total() >= so_far + 5 * (KEPT + NEW))
