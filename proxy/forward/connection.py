"""One client's connection: how it begins, waits for its next request, and ends.

What a client sends is only read here. `client.py` decides what becomes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from proxy.clients import peer
from proxy.forward.exchange import Exchange
from proxy.network.stream import Gone, Stream

#: After an answer that ends a connection, the client may still be sending. What comes is read and
#: dropped for this long, so that the answer is not lost in a reset (RFC 9112 section 9.6).
LINGER_SECONDS: Final = 2.0
#: When the proxy stops, a connection between two requests is closed after this much quiet. So a
#: client that uses it more often than four times a second reads `Connection: close` in an answer,
#: and does not send its next request into a closed connection. NGINX has `keepalive_min_timeout`
#: for the same purpose.
QUIET_SECONDS: Final = 0.25


class ClientConnection(Stream):
    """One client's connection.

    exchange: the request being served. task: the coroutine that serves the connection. address,
    names: where the client is, and the names in its certificate.
    """

    __slots__ = ("_welcome", "address", "exchange", "names", "task")

    def __init__(
        self, welcome: Callable[[ClientConnection], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(loop)
        self._welcome = welcome
        self.exchange: Exchange | None = None
        self.task: asyncio.Task[None] | None = None
        self.address: str | None = None
        self.names: tuple[str, ...] = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, if there is room."""
        super().connection_made(transport)
        self.address = peer.address(transport)
        self.names = peer.certificate_names(transport)
        self._welcome(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up a call that has had no effect yet; an order that may have been placed goes on."""
        super().connection_lost(exc)
        exchange = self.exchange
        if self.task is None or exchange is None:
            return
        if not exchange.committed:
            self.task.cancel()
        elif exchange.order is not None:
            exchange.order.left()

    def eof_received(self) -> bool:
        """Note that the client gave up on an order, as one does that closes its connection."""
        if self.exchange is not None and self.exchange.order is not None:
            self.exchange.order.left()
        return super().eof_received()

    def has_nothing_to_read(self) -> bool:
        """Whether nothing of the next request is there, neither here nor in the kernel."""
        return self.lost or not (self.buffer or self.is_readable())

    def has_next(self) -> bool:
        """Whether the first byte of a request is there. Drops empty lines before it."""
        buffer = self.buffer
        while buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2
            del buffer[:2]
        return bool(buffer) and buffer != b"\r"

    async def next_begins(self, seconds: float) -> bool:
        """Wait for the first byte of the next request.

        Return false, with the connection closed, if none comes for so many seconds. Empty lines do
        not move that deadline.
        """
        deadline = self._loop.time() + seconds
        late = False
        while True:
            try:
                await self.more(max(0.0, deadline - self._loop.time()))
            except Gone:
                self.close()
                return False
            except TimeoutError:
                if late or self.has_nothing_to_read():
                    self.close()
                    return False
                # It came in the very moment in which the deadline passed.
                late, deadline = True, deadline + QUIET_SECONDS
            if self.has_next():
                return True

    async def linger(self) -> None:
        """End the sending side and drop what the client still sends (RFC 9112 section 9.6).

        So the client gets to read the answer before the connection closes.
        """
        deadline = self._loop.time() + LINGER_SECONDS
        # TimeoutError is an OSError; so is a reset that is not noticed yet.
        with contextlib.suppress(Gone, OSError):
            self.end()
            while True:
                self.buffer.clear()
                await self.more(max(0.0, deadline - self._loop.time()))
        self.close()
