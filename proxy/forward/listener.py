"""Clients' connections: one task each, which reads a request, has it judged and forwarded, and goes on to the next.

Laws
1. Requests of one connection are served one after the other, in the order they came.
2. A refused request ends its connection: nobody can know where the next one begins.
3. Every wait for a client has a deadline; none costs another client anything.
4. A client that has only ended its sending side is answered. One that is gone is not waited for, but an order of its that may have been
   placed is followed to its end.
5. One access record per request, whatever became of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import aiofastnet
import structlog

from proxy import errors
from proxy.errors import NOT_SENT, UNKNOWN, Failed, Problem, Refused
from proxy.forward import guard, rewrite
from proxy.forward.attempt import ClientLeft, ClientSlow
from proxy.forward.body import Body
from proxy.forward.closing import SocketFile, is_readable, stop_listening
from proxy.forward.exchange import CLIENT_LEFT, Exchange
from proxy.forward.stream import Gone, Stream
from proxy.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.errors import Outcome
    from proxy.forward import wire
    from proxy.settings import Settings

#: After an answer that ends a connection, the client may still be sending. What comes is read and dropped for this long, so that the
#: answer is not lost in a reset (RFC 9112 section 9.6).
LINGER_SECONDS: Final = 2.0
#: When the proxy stops, a connection between two requests is closed after this much quiet. So a client that uses it more often than four
#: times a second reads `Connection: close` in an answer, and does not send its next request into a closed connection. NGINX has
#: `keepalive_min_timeout` for the same purpose.
QUIET_SECONDS: Final = 0.25
#: Connections over the limit that may be told so at one time; more are cut without a word.
MAX_TURNED_AWAY: Final = 100
_BACKLOG: Final = 1024

_SHUT_DOWN: Final = {
    NOT_SENT: "The proxy shut down before it could send the request. Send it again.",
    UNKNOWN: "The proxy shut down before the answer came. An order may or may not have been placed: look it up before sending it again.",
}

log = structlog.get_logger("proxy.forward")


class Forwards(Protocol):
    """Whoever forwards a call and answers it; see `Forwarder.forward`."""

    async def forward(self, exchange: Exchange) -> None:
        """Forward and answer one call."""
        ...


class ClientConnection(Stream):
    """One client's connection and the task that serves it."""

    __slots__ = ("_listener", "exchange", "task")

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._listener = listener
        self.exchange: Exchange | None = None
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, if there is room."""
        super().connection_made(transport)
        self.task = self._listener.welcome(self)

    def is_quiet(self) -> bool:
        """Whether nothing of the next request is there, neither here nor in the kernel."""
        return self.lost or not (self.buffer or is_readable(self.transport.get_extra_info("socket")))

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what nobody waits for any more; an order that may have been placed goes on."""
        super().connection_lost(exc)
        if self.exchange is not None and self.task is not None and not self.exchange.committed:
            self.task.cancel()


class Listener:
    """The port that clients use. `start`, `drain`, `close`."""

    def __init__(self, settings: Settings, forwarder: Forwards, observe: Callable[[Record], None]) -> None:
        limits = settings.limits
        self._rules = guard.Rules.of(settings)
        self._head_timeout = limits.request_head_timeout_seconds
        self._idle_timeout = limits.idle_timeout_seconds
        self._write_timeout = limits.body_timeout_seconds
        self._max_connections = limits.max_connections
        self._forwarder = forwarder
        self._observe = observe
        self._clients: set[ClientConnection] = set()
        self._turned_away: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._file: SocketFile | None = None
        self._draining = False
        self._ids = (
            b"%b-%x" % (prefix, number)
            for prefix in [secrets.token_hex(6).encode()]
            for number in itertools.count(1)
        )

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    @property
    def in_flight(self) -> int:
        """How many requests are being served."""
        return sum(client.exchange is not None for client in self._clients)

    def judge_by(self, settings: Settings) -> None:
        """From the next request on, these settings say what may pass."""
        self._rules = guard.Rules.of(settings)

    async def start(self, host: str, port: int) -> int:
        """Listen on TCP; return the port. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._server = await aiofastnet.create_server(
            loop, lambda: ClientConnection(self, loop), host, port, backlog=_BACKLOG
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def start_unix(self, path: str, mode: int = 0o660) -> None:
        """Listen on a Unix socket that owner and group may use. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        listening = bind_unix(path, mode)
        self._file = SocketFile.of(path)
        self._server = await aiofastnet.create_unix_server(
            loop, lambda: ClientConnection(self, loop), sock=listening, backlog=_BACKLOG
        )

    def drain(self) -> None:
        """From now on every answer ends its connection, and says so."""
        self._draining = True
        for client in self._clients:
            if client.exchange is not None and not client.exchange.answered:
                client.exchange.keep_alive = False

    async def close(self, grace_seconds: float) -> int:
        """Accept no more; let the requests in flight finish within the grace period, then end them. Return how many were cut short."""
        self.drain()
        server, self._server = self._server, None
        if server is not None:
            await stop_listening(server, self._file)
        self._idle_timeout = min(self._idle_timeout, QUIET_SECONDS)
        for client in self._clients:
            if client.exchange is None and not client.buffer:
                client.postpone(self._idle_timeout)
        tasks = {client.task for client in self._clients if client.task is not None} | self._turned_away
        if not tasks:
            return 0
        _, unfinished = await asyncio.wait(tasks, timeout=grace_seconds)
        cut_short = sum(client.exchange is not None for client in self._clients if client.task in unfinished)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        return cut_short

    def welcome(self, client: ClientConnection) -> asyncio.Task[None]:
        """Start the task that serves a new client, or the one that turns it away."""
        loop = asyncio.get_running_loop()
        if len(self._clients) < self._max_connections:
            self._clients.add(client)
            return loop.create_task(self._serve(client))
        task = loop.create_task(self._turn_away(client, silently=len(self._turned_away) >= MAX_TURNED_AWAY))
        self._turned_away.add(task)
        task.add_done_callback(self._turned_away.discard)
        return task

    async def _turn_away(self, client: ClientConnection, *, silently: bool) -> None:
        if silently:
            client.abort()
            return
        full = Failed(
            errors.OVERLOADED,
            "Too many clients are connected (limits.max_connections).",
            outcome=NOT_SENT,
            retry_after=1,
        )
        client.write(rewrite.problem(full, next(self._ids)))
        await self._linger(client)

    async def _serve(self, client: ClientConnection) -> None:
        """Serve a client's requests, one after the other."""
        try:
            while (exchange := await self._next(client)) is not None:
                client.exchange = exchange
                try:
                    await self._forward(exchange)
                finally:
                    client.exchange = None
                    self._observe(_outcome(exchange))
                if not exchange.keep_alive or not exchange.body.done or client.lost:
                    await self._finish(client, whole=exchange.body.done)
                    break
                if client.clogged:
                    await self._flush(client)
            with contextlib.suppress(TimeoutError):
                await client.gone(self._write_timeout)
        finally:
            self._clients.discard(client)
            if not client.lost:
                client.abort()

    async def _next(self, client: ClientConnection) -> Exchange | None:
        """Return the client's next request; None when it has no more, or may ask no more."""
        request_id = next(self._ids)
        data: bytes | None = None
        head: wire.RequestHead | None = None
        began = time.perf_counter()
        try:
            data = await self._read_head(client)
            if data is None:
                client.close()
                return None
            began = time.perf_counter()
            head = guard.parse(data, self._rules)
            request = guard.judge(head, self._rules)
        except Refused as error:
            # HEAD gets no content, however early it is refused.
            is_head = (data or client.buffer).startswith(b"HEAD ")
            client.write(rewrite.problem(error, request_id, method=b"HEAD" if is_head else b"GET"))
            self._observe(_refusal(request_id, head, error, time.perf_counter() - began))
            await self._linger(client)
            return None
        return Exchange(
            request,
            Body(client, request.framing),
            client,
            request.request_id or request_id,
            began,
            keep_alive=request.keep_alive and not self._draining,
        )

    async def _read_head(self, client: ClientConnection) -> bytes | None:
        """Return the next request head; None if the client has no more to ask. Raises `Refused`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._idle_timeout
        late = False
        while not _skip_empty_line(client.buffer):
            try:
                await client.more(max(0.0, deadline - loop.time()))
            except Gone:
                return None
            except TimeoutError:
                if late or client.is_quiet():
                    return None
                late, deadline = (
                    True,
                    deadline + QUIET_SECONDS,
                )  # it came in the very moment in which the patience ended
        deadline = loop.time() + self._head_timeout
        scanned = 0
        while not (size := guard.measure_head(client.buffer, scanned, self._rules)):
            scanned = len(client.buffer)
            try:
                await client.more(max(0.0, deadline - loop.time()))
            except TimeoutError:
                raise Refused(
                    errors.CLIENT_SILENT,
                    f"The request head was not whole after {self._head_timeout:g} s (limits.request_head_timeout_seconds).",
                ) from None
            except Gone:
                if client.lost:
                    return None
                raise Refused(errors.MALFORMED, "The request head ended before it was whole.") from None
        return client.take(size)

    async def _forward(self, exchange: Exchange) -> None:
        """Forward the call; answer, or cut the connection, if that fails."""
        client = exchange.client
        try:
            await self._forwarder.forward(exchange)
        except Problem as error:
            self._give_up(exchange, error)
        except ClientLeft:
            exchange.error = "client_left"
            client.abort()
        except ClientSlow:
            exchange.error = "client_slow"
            client.abort()
        except asyncio.CancelledError:
            if client.lost:
                exchange.error = "client_left"
            else:  # the grace period is over
                outcome: Outcome = UNKNOWN if exchange.attempts else NOT_SENT
                self._give_up(
                    exchange,
                    Failed(errors.DRAINING, _SHUT_DOWN[outcome], outcome=outcome),
                )
                client.close()
            raise
        except Exception as error:
            log.exception("request.crashed", request_id=exchange.request_id.decode())
            outcome = UNKNOWN if exchange.attempts else NOT_SENT
            self._give_up(
                exchange,
                Failed(errors.INTERNAL, "The proxy made a mistake; its log says more.", outcome=outcome),
            )
            del error

    def _give_up(self, exchange: Exchange, error: Problem) -> None:
        """Answer with problem details, or cut an answer that has begun."""
        exchange.refused = isinstance(error, Refused)
        exchange.error = _word(error)
        exchange.outcome = error.outcome
        client = exchange.client
        if exchange.answered:
            exchange.keep_alive = False
            client.abort()
        elif not client.lost:
            exchange.status = error.kind.status
            exchange.keep_alive = exchange.keep_alive and exchange.body.done and not exchange.refused
            client.write(
                rewrite.problem(
                    error,
                    exchange.request_id,
                    minor=exchange.request.minor,
                    keep_alive=exchange.keep_alive,
                    method=exchange.request.method,
                )
            )

    async def _flush(self, client: ClientConnection) -> None:
        try:
            await client.drain(self._write_timeout)
        except (Gone, TimeoutError):
            client.abort()

    async def _finish(self, client: ClientConnection, *, whole: bool) -> None:
        """End a connection after its last answer."""
        if client.lost:
            return
        if whole and not client.buffer:
            client.close()
        else:
            await self._linger(client)

    async def _linger(self, client: ClientConnection) -> None:
        """End our side, and drop what the client is still sending, so that it gets to read the answer."""
        deadline = asyncio.get_running_loop().time() + LINGER_SECONDS
        with contextlib.suppress(
            Gone, OSError
        ):  # a TimeoutError is one; so is a reset that nobody has noticed yet
            if not client.lost and not client.transport.is_closing():
                client.transport.write_eof()
            while True:
                client.buffer.clear()
                await client.more(max(0.0, deadline - asyncio.get_running_loop().time()))
        client.close()


def _skip_empty_line(buffer: bytearray) -> bool:
    """Drop one empty line before a request (RFC 9112 section 2.2); say whether anything else is there."""
    if buffer.startswith(b"\r\n"):
        del buffer[:2]
    return bool(buffer) and buffer != b"\r"


def _path(target: bytes) -> str | None:
    """Return the path for the log: no query, and nothing of an absolute form, which may hold a password."""
    return target.partition(b"?")[0].decode("ascii") if target.startswith(b"/") else None


def _refusal(request_id: bytes, head: wire.RequestHead | None, error: Refused, seconds: float) -> Record:
    method = head.method.decode("ascii") if head is not None and head.method in guard.METHODS else None
    path = _path(head.target) if head is not None else None
    return Record(
        request_id.decode("ascii"),
        method,
        path,
        error.kind.status,
        seconds,
        error=_word(error),
        refused=True,
    )


def _word(error: Problem) -> str:
    """Name the problem in logs and metrics: a refusal by our own name for it, a failure by RFC 9209's finer one."""
    return error.kind.name if isinstance(error, Refused) else error.kind.proxy_error


def _outcome(exchange: Exchange) -> Record:
    status = exchange.status or (CLIENT_LEFT if exchange.error == "client_left" else 0)
    return Record(
        exchange.request_id.decode("ascii"),
        exchange.request.method.decode("ascii"),
        _path(exchange.request.target),
        status,
        time.perf_counter() - exchange.started,
        exchange.body.size,
        exchange.bytes_out,
        exchange.upstream_seconds,
        exchange.token_seconds,
        exchange.attempts,
        exchange.error,
        exchange.refused,
        exchange.outcome,
    )


def bind_unix(path: str, mode: int) -> socket.socket:
    """Bind a Unix socket with these permissions from the first moment on; a stale one of an earlier run is replaced. Raises `OSError`."""
    with contextlib.suppress(FileNotFoundError):
        if Path(path).is_socket():
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    Path(path).unlink()
    listening = socket.socket(socket.AF_UNIX)
    previous = os.umask(0o777 & ~mode)
    try:
        listening.bind(path)
    except BaseException:
        listening.close()
        raise
    finally:
        os.umask(previous)
    listening.setblocking(False)
    return listening
