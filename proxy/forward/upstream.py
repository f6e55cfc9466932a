"""Connections to the API: opened when needed, kept for the next call, never shared by two calls at once.

Laws
1. Connections go to the configured origin only, and on TLS only to who proves to be it.
2. A connection is used for a call only if nothing is waiting to be read on it: what an idle connection says answers nobody's request.
3. A connection is kept only after a whole answer to a whole request, with not a byte more; in doubt it is cut. None is used that was idle
   for longer than `idle_timeout`, also if the host slept meanwhile: its other end has long been forgotten, and an order on it would be lost.
4. At most `max_connections` exist; who waits for one is served in turn, and not for ever.
"""

from __future__ import annotations

import asyncio
import functools
import select
from collections import deque
from typing import TYPE_CHECKING, Final

from proxy import errors, faults
from proxy.clock import SystemClock
from proxy.errors import NOT_SENT, Failed
from proxy.network.dialer import Dialer
from proxy.network.stream import Stream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.forward.short import Begun
    from proxy.settings import Origin

#: How soon a connection is opened when there is none; so long that an API that cuts connections is not besieged.
WARM_PAUSE: Final = 2.0  # seconds
#: How seldom that is tried while it fails, at the least.
LONGEST_WARM_PAUSE: Final = 60.0  # seconds

#: How often a new connection is tried that ends, or speaks, before it is used.
_DIALS: Final = 2


class UpstreamConnection(Stream):
    """One connection to the API.

    in_use: a call owns it. begun: that call, if it is on the short way. calls: how many it has served. is_wanted: whether another call
    waits for one.
    """

    __slots__ = ("_forget", "_poll", "begun", "calls", "idle_since", "in_use", "is_wanted")

    half_close = False  # after the API has ended its side nothing of ours would be answered

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        forget: Callable[[UpstreamConnection], None],
        is_wanted: Callable[[], bool] = bool,
    ) -> None:
        super().__init__(loop)
        self.is_wanted = is_wanted
        self.in_use = True
        self.begun: Begun | None = None
        self.calls = 0
        self.idle_since = 0.0
        self._forget = forget
        self._poll: select.poll | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Get ready to look at the socket."""
        super().connection_made(transport)
        if hasattr(select, "poll"):  # not on Windows
            self._poll = select.poll()
            self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Let a call on the short way be answered; buffer what is for a task."""
        if self.begun is None or not self.begun.data_received(data):
            super().data_received(data)

    def eof_received(self) -> bool:
        """Note that no more will come."""
        if self.begun is not None:
            self.begun.interrupted()
        return super().eof_received()

    def silent(self) -> None:
        """End the patience with a call on the short way."""
        if self.begun is not None:
            self.begun.interrupted(silent=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop offering the connection."""
        super().connection_lost(exc)
        if self.begun is not None:
            self.begun.interrupted()
        self._forget(self)

    def is_quiet(self) -> bool:
        """Whether a call may use it: open, and nothing to read, neither here nor in the kernel."""
        if self.lost or self.ended or self.buffer or self.transport.is_closing():
            return False
        return self._poll is None or not self._poll.poll(0)


class Upstream:
    """The pool of connections to one origin. Built inside a running event loop."""

    def __init__(
        self,
        origin: Origin,
        context: ssl.SSLContext | None,
        *,
        max_connections: int,
        connect_timeout: float,
        idle_timeout: float,
        clock: Clock | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.dialer = Dialer(origin, context)
        self._context = context
        self._max = max_connections
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._now = (clock or SystemClock()).now
        self._idle: deque[UpstreamConnection] = deque()
        self._open: set[UpstreamConnection] = set()
        self._free = max_connections
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def connections(self) -> tuple[int, int]:
        """How many are in use and how many idle."""
        return len(self._open) - len(self._idle), len(self._idle)

    def reuse(self) -> UpstreamConnection | None:
        """Return an idle connection for one call, if there is one and nobody waits for it. Give it back with `release` or `discard`."""
        if not self._free:
            return None
        connection = self._quiet()
        if connection is not None:
            self._free -= 1
        return connection

    async def acquire(self, *, fresh: bool = False) -> UpstreamConnection:
        """Return a connection for one call, a new one if `fresh`. Give it back as above. Raises `Failed`, always `not_sent`."""
        if self._free:
            self._free -= 1
        else:
            await self._turn()
        try:
            connection = None if fresh else self._quiet()
            return connection or await self._connect()
        except BaseException:
            self._give_turn()
            raise

    def _quiet(self) -> UpstreamConnection | None:
        """Take the connection that was used last, as long as it is quiet; cut those that are not, or that slept with the host."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet() and self._now() < connection.idle_since + self._idle_timeout:
                connection.in_use = True
                return connection
            connection.abort()
        return None

    def release(self, connection: UpstreamConnection, *, reusable: bool) -> None:
        """Take a connection back after a whole answer; `reusable` if the request was whole too and the API does not want to end it."""
        if self._waiting:
            self._give_turn()
        else:
            self._free += 1
        connection.resume_reading()  # its end is to be seen, whoever brings it about
        unfit = connection.buffer or connection.lost or connection.ended or connection.fault is not None
        if not reusable or self._closed or unfit:
            connection.close()
            return
        connection.calls += 1
        self._keep(connection)

    def discard(self, connection: UpstreamConnection) -> None:
        """Take a connection back and cut it: what was under way on it is not to look whole."""
        self._give_turn()
        connection.abort()

    async def keep_warm(self) -> None:
        """Keep one connection open while there is nothing to do, so that a first call does not wait for a handshake; until cancelled."""
        pause = WARM_PAUSE
        while True:
            if self._free and not self._open:
                try:
                    connection = await self.acquire(fresh=True)
                except Failed:
                    pause = min(2 * pause, LONGEST_WARM_PAUSE)
                else:
                    pause = WARM_PAUSE
                    self.release(connection, reusable=True)
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.close()

    async def _turn(self) -> None:
        """Wait for the right to use one connection; in the order of coming."""
        turn = self._loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._connect_timeout):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._give_turn()  # it came in the moment of leaving: pass it on
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if not isinstance(error, TimeoutError):
                raise
            raise Failed(
                errors.NO_CONNECTION,
                f"All {self._max} connections to the API were in use for {self._connect_timeout:g} s. Send it again; if this is the rule, raise upstream.max_connections.",
                outcome=NOT_SENT,
                retry_after=1,
            ) from None

    def _give_turn(self) -> None:
        """Hand the right to use one connection to whoever waits longest, or keep it for the next to come."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else whoever waited is leaving at this very moment
                turn.set_result(None)
                return
        self._free += 1

    async def _connect(self) -> UpstreamConnection:
        if self._idle and len(self._open) >= self._max:
            self._idle.popleft().close()
        try:
            async with asyncio.timeout(self._connect_timeout):
                for _ in range(_DIALS):
                    connection = UpstreamConnection(self._loop, self._forget, self._is_wanted)
                    await self.dialer.dial(functools.partial(_same, connection))
                    if self._is_fit(connection):
                        self._open.add(connection)
                        return connection
                    connection.abort()
        except (OSError, UnicodeError) as error:  # TimeoutError and ssl.SSLError are OSErrors
            raise faults.connect_failure(error) from None
        raise Failed(
            errors.TERMINATED,
            "The API ends its connections, or speaks, before it is asked anything. Check what stands in between: run telenor-proxy check.",
            outcome=NOT_SENT,
        )

    def _is_fit(self, connection: UpstreamConnection) -> bool:
        """Whether a new connection is open and silent. On TLS the kernel may hold session tickets, so only what has arrived here counts."""
        if self._context is None:
            return connection.is_quiet()
        return not (connection.buffer or connection.lost or connection.ended)

    def _is_wanted(self) -> bool:
        """Whether somebody waits for a connection."""
        return bool(self._waiting)

    def adopt(self, connection: UpstreamConnection) -> None:
        """Take over a connection that nobody uses."""
        self._open.add(connection)
        self._keep(connection)

    def _keep(self, connection: UpstreamConnection) -> None:
        connection.in_use = False
        connection.idle_since = self._now()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._idle_timeout, self._close_idle)

    def _forget(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        if not connection.in_use and connection in self._idle:
            self._idle.remove(connection)

    def _close_idle(self) -> None:
        self._sweep = None
        while self._idle:
            left = self._idle[0].idle_since + self._idle_timeout - self._now()
            if left > 0:
                self._sweep = self._loop.call_later(left, self._close_idle)
                return
            self._idle.popleft().close()


def _same(connection: UpstreamConnection) -> UpstreamConnection:
    return connection
