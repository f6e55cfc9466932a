"""Connections to the API: opened when needed, kept for the next call, used by one call at a time.

Laws
1. A connection is used for a call only if nothing waits to be read on it: bytes on an idle
   connection answer no request.
2. A connection is kept only after a whole answer to a whole request and not a byte more; in doubt
   it is aborted. None is used that was idle for longer than `idle_timeout`, also if the host slept
   meanwhile: the API has forgotten it, and an order on it would be lost. None is kept past
   `max_age`, so that a changed DNS entry is noticed.
3. At most `max_connections` are in use. Calls that wait for one are served in the order they came,
   and their wait is bounded.

The state is three collections and a number: `_idle` (kept, last used at the end), `_open` (all),
`_waiting` (calls), `_in_use`. Only `_assign` hands capacity to waiting calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from proxy import faults
from proxy.clock import Clock, SystemClock
from proxy.errors import NOT_SENT, Failed
from proxy.network.dialer import Dialer
from proxy.network.stream import Stream
from proxy.problems import ProblemKind

#: How soon a connection is opened when there is none; long enough that an API that aborts
#: connections is not flooded.
WARM_PAUSE: Final = 2.0  # seconds
#: The longest pause between two attempts while they fail.
LONGEST_WARM_PAUSE: Final = 60.0  # seconds

#: Attempts for one call, if the API closes a new connection or sends something first.
_DIALS: Final = 2


class UpstreamConnection(Stream):
    """One connection to the API. in_use: a call owns it. calls: how many it has served.

    is_wanted: whether another call waits for one.
    """

    __slots__ = ("_forget", "calls", "idle_since", "in_use", "is_wanted", "opened_at")

    half_close = False  # after the API has ended its side, nothing of ours would be answered

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        forget: Callable[[UpstreamConnection], None],
        is_wanted: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(loop)
        self.is_wanted = is_wanted
        self.in_use = True
        self.calls = 0
        self.opened_at = 0.0
        self.idle_since = 0.0
        self._forget = forget

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop offering the connection."""
        super().connection_lost(exc)
        self._forget(self)

    def is_usable(self) -> bool:
        """Whether a call may use it: open, and nothing to read, neither here nor in the kernel."""
        if self.lost or self.ended or self.buffer or self.transport.is_closing():
            return False
        return not self.is_readable()

    def __repr__(self) -> str:
        """Show the state."""
        return (
            f"{super().__repr__()[:-1]}, {'in use' if self.in_use else 'idle'}, {self.calls} calls>"
        )


class Pool:
    """The connections to one origin. Built inside a running event loop.

    max_age: seconds, 0 for no bound.
    """

    def __init__(
        self,
        dialer: Dialer,
        *,
        max_connections: int,
        connect_timeout: float,
        idle_timeout: float,
        max_age: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        self.dialer = dialer
        self._loop = asyncio.get_running_loop()
        self._max = max_connections
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._max_age = max_age
        self._now = (clock or SystemClock()).now
        self._idle: deque[UpstreamConnection] = deque()
        self._open: set[UpstreamConnection] = set()
        self._in_use = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def connections(self) -> tuple[int, int]:
        """How many are in use and how many idle."""
        return len(self._open) - len(self._idle), len(self._idle)

    @property
    def free(self) -> int:
        """How many more connections may be in use now."""
        return self._max - self._in_use

    def reuse(self) -> UpstreamConnection | None:
        """Return an idle connection for one call, if there is one and no call waits for it.

        Give it back with `release` or `discard`.
        """
        if self._in_use >= self._max or self._waiting:
            return None
        connection = self._take_idle()
        if connection is not None:
            self._in_use += 1
        return connection

    async def acquire(self, *, fresh: bool = False) -> UpstreamConnection:
        """Return a connection for one call, a new one if `fresh`. Give it back as above.

        Raises `Failed`, always `not_sent`.
        """
        if self._in_use < self._max and not self._waiting:
            self._in_use += 1
        else:
            await self._capacity()
        try:
            connection = None if fresh else self._take_idle()
            return connection or await self._connect()
        except BaseException:
            self._in_use -= 1
            self._assign()
            raise

    def release(self, connection: UpstreamConnection, *, reusable: bool) -> None:
        """Take a connection back after a whole answer.

        `reusable` if the request was whole too and the API does not want to end it.
        """
        self._in_use -= 1
        connection.resume_reading()  # so that EOF or a reset is noticed while idle
        unfit = (
            connection.buffer or connection.lost or connection.ended or connection.fault is not None
        )
        if not reusable or self._closed or unfit or self._is_old(connection):
            connection.close()
        else:
            connection.calls += 1
            self._keep(connection)
        self._assign()

    def discard(self, connection: UpstreamConnection) -> None:
        """Abort a connection, so that a truncated message cannot pass for a complete one."""
        self._in_use -= 1
        connection.abort()
        self._assign()

    async def keep_warm(self) -> None:
        """Keep one connection open, so that no first call waits for a handshake. Endless."""
        pause = WARM_PAUSE
        while True:
            if self._in_use < self._max and not self._open:
                try:
                    connection = await self.acquire(fresh=True)
                except Failed:
                    pause = min(2 * pause, LONGEST_WARM_PAUSE)
                else:
                    pause = WARM_PAUSE
                    self.release(connection, reusable=True)
            await asyncio.sleep(pause)

    def adopt(self, connection: UpstreamConnection) -> None:
        """Take in a connection that no call uses."""
        self._open.add(connection)
        connection.opened_at = self._now()
        self._keep(connection)

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.close()

    # Capacity.

    def _assign(self) -> None:
        """Hand free capacity to the calls that wait, in the order they came."""
        while self._waiting and self._in_use < self._max:
            waiting = self._waiting.popleft()
            if not waiting.done():  # else its call is ending at this very moment
                self._in_use += 1
                waiting.set_result(None)

    async def _capacity(self) -> None:
        """Wait until one more connection may be in use; it counts as such from then on.

        Raises `Failed`.
        """
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(self._connect_timeout):
                await waiting
        except BaseException as error:
            if waiting.done() and not waiting.cancelled():
                self._in_use -= 1  # it was assigned in the moment of giving up: pass it on
                self._assign()
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
            if not isinstance(error, TimeoutError):
                raise
            raise Failed(
                ProblemKind.NO_CONNECTION,
                f"All {self._max} connections to the API were in use for "
                f"{self._connect_timeout:g} s. Send it again; if this is the rule, raise "
                "upstream.max_connections.",
                outcome=NOT_SENT,
                retry_after=1,
            ) from None

    # Connections.

    def _take_idle(self) -> UpstreamConnection | None:
        """Take the idle connection that was used last, as long as it is quiet.

        Abort those that are not, or that slept with the host.
        """
        while self._idle:
            connection = self._idle.pop()
            is_recent = self._now() < connection.idle_since + self._idle_timeout
            if connection.is_usable() and is_recent and not self._is_old(connection):
                connection.in_use = True
                return connection
            connection.abort()
        return None

    def _is_old(self, connection: UpstreamConnection) -> bool:
        return 0 < self._max_age <= self._now() - connection.opened_at

    async def _connect(self) -> UpstreamConnection:
        if self._idle and len(self._open) >= self._max:
            self._idle.popleft().close()
        until = self._loop.time() + self._connect_timeout
        try:
            for _ in range(_DIALS):
                connection = UpstreamConnection(self._loop, self._forget, self._is_wanted)
                left = max(0.0, until - self._loop.time())
                # mypy 1.18 cannot infer the lambda's type
                await self.dialer.dial(lambda made=connection: made, left)  # type: ignore[misc]
                if self._is_fit(connection):
                    connection.opened_at = self._now()
                    self._open.add(connection)
                    return connection
                connection.abort()
        except (OSError, UnicodeError) as error:  # TimeoutError and ssl.SSLError are OSErrors
            raise faults.connect_failure(error) from None
        raise Failed(
            ProblemKind.TERMINATED,
            "The API ends its connections, or speaks, before it is asked anything. Check what "
            "stands in between: run telenor-proxy check.",
            outcome=NOT_SENT,
        )

    def _is_fit(self, connection: UpstreamConnection) -> bool:
        """Whether a new connection is open and silent.

        On TLS the kernel may hold session tickets, so only what has arrived here counts.
        """
        if self.dialer.tls is None:
            return connection.is_usable()
        return not (connection.buffer or connection.lost or connection.ended)

    def _is_wanted(self) -> bool:
        """Whether a call waits for a connection."""
        return bool(self._waiting)

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
