"""How clients are served: each request is read, judged, forwarded and answered, one after the other on each connection.

There are two ways for a request. The short way is for what needs no waiting, nearly all of them: it came whole, a token and an idle
connection to the API are at hand, and the answer comes in one piece. It runs from within `data_received`, here and in `short.py`, and no
task sleeps meanwhile. Everything else is served by a task, which can take over at any point of the short way.

Laws
1. Requests of one connection are served one after the other, in the order they came.
2. A refused request ends its connection: nobody can know where the next one begins.
3. Every wait for a client has a deadline; none costs another client anything.
4. A client that has only ended its sending side is answered. One that is gone is not waited for, but an order of its that may have been
   placed is followed to its end.
5. One access record per request, whatever became of it.
6. The short way decides nothing: it asks the same guard, and leaves everything as it was when it hands over.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from proxy import errors
from proxy.errors import NOT_SENT, UNKNOWN, Failed, Problem, Refused
from proxy.forward import guard, rewrite
from proxy.forward.attempt import ClientLeft, ClientSlow
from proxy.forward.closing import is_readable
from proxy.forward.exchange import CLIENT_LEFT, Exchange
from proxy.http1 import grammar
from proxy.http1.grammar import EMPTY_LINE, is_secret
from proxy.network.message import Body
from proxy.network.stream import Gone, Stream
from proxy.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.errors import Outcome
    from proxy.forward.short import Begun, Caller
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
#: So many request heads are remembered with what was decided on them, if they are not longer than this.
MAX_REMEMBERED: Final = 256
MAX_REMEMBERED_HEAD: Final = 1024  # bytes

_SHUT_DOWN: Final = {
    NOT_SENT: "The proxy shut down before it could send the request. Send it again.",
    UNKNOWN: "The proxy shut down before the answer came. An order may or may not have been placed: look it up before sending it again.",
}

log = structlog.get_logger("proxy.forward")


class Forwards(Protocol):
    """Whoever forwards calls and answers them; see `Forwarder`."""

    def begin(self, exchange: Exchange, content: bytes, caller: Caller) -> Begun | None:
        """Send a call that came whole, if nothing has to be waited for."""
        ...

    async def forward(self, exchange: Exchange, begun: Begun | None = None) -> None:
        """Forward and answer one call, or one that has begun."""
        ...


class ClientConnection(Stream):
    """One client's connection.

    exchange: the request being served. begun: set while that is on the short way. task: set while a task serves the connection.
    """

    __slots__ = ("_service", "begun", "exchange", "task")

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._service = service
        self.exchange: Exchange | None = None
        self.begun: Begun | None = None
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, if there is room."""
        super().connection_made(transport)
        self._service.welcome(self)

    def data_received(self, data: bytes) -> None:
        """Take the short way with a request that came whole; buffer anything else for the task."""
        if self.task is None and self.exchange is None:
            if self._service.begin(self, data):
                return
            self._service.take_over(self)
        super().data_received(data)

    def eof_received(self) -> bool:
        """Note that no more will come."""
        if self.task is None and self.exchange is None:
            self._service.take_over(self)
        return super().eof_received()

    def silent(self) -> None:
        """Have the connection closed, if it was quiet for too long."""
        if self.task is None and self.exchange is None:
            self._service.take_over(self, patience=0.0)

    def answered(self) -> None:
        """Go on after an answer that was given on the short way."""
        if self.clogged:
            self._service.take_over(
                self
            )  # `begun` stays: it keeps a task that has not started from being cancelled
            return
        self.begun = None
        self._service.go_on(self)

    def take_over(self) -> None:
        """Let a task go on with a call that has begun on the short way."""
        self._service.take_over(self)

    def is_quiet(self) -> bool:
        """Whether nothing of the next request is there, neither here nor in the kernel."""
        return self.lost or not (self.buffer or is_readable(self.transport.get_extra_info("socket")))

    def can_rest(self) -> bool:
        """Whether nothing is to be done for the client until it sends something."""
        return not (self.buffer or self.clogged or self.ended or self.lost or self._reading_paused)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what nobody waits for any more; an order that may have been placed goes on."""
        super().connection_lost(exc)
        self._service.lost(self)


class Service:
    """Serves all clients of one listener, by one set of rules."""

    def __init__(self, settings: Settings, forwarder: Forwards, observe: Callable[[Record], None]) -> None:
        limits = settings.limits
        self._rules = guard.Rules.of(settings)
        self._judged: dict[bytes, guard.Request] = {}
        self._seen: set[int] = set()
        self._head_timeout = limits.request_head_timeout_seconds
        self._idle_timeout = limits.idle_timeout_seconds
        self._write_timeout = limits.body_timeout_seconds
        self._max_connections = limits.max_connections
        self._forwarder = forwarder
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._turned_away: set[asyncio.Task[None]] = set()
        self._draining = False
        self._closing = False
        self._finished: list[tuple[Exchange, float]] = []
        self.clients: set[ClientConnection] = set()
        self._ids = (
            b"%b-%x" % (prefix, number)
            for prefix in [secrets.token_hex(6).encode()]
            for number in itertools.count(1)
        )

    def judge_by(self, settings: Settings) -> None:
        """From the next request on, these settings say what may pass."""
        self._rules = guard.Rules.of(settings)
        self._judged.clear()

    def welcome(self, client: ClientConnection) -> None:
        """Begin to serve a new client, or turn it away."""
        if len(self.clients) < self._max_connections:
            self.clients.add(client)
            client.postpone(self._idle_timeout)
            return
        client.task = self._loop.create_task(
            self._turn_away(client, silently=len(self._turned_away) >= MAX_TURNED_AWAY)
        )
        self._turned_away.add(client.task)
        client.task.add_done_callback(self._turned_away.discard)

    def lost(self, client: ClientConnection) -> None:
        """Note that a client has gone."""
        if client.exchange is None:
            if client.task is None:
                self.clients.discard(client)
        elif client.task is None:
            self.take_over(client)
        elif (
            not client.exchange.committed and client.begun is None
        ):  # a task that has not started would never do so
            client.task.cancel()

    def drain(self) -> None:
        """From now on every answer ends its connection, and says so."""
        self._draining = True
        for client in self.clients:
            if client.exchange is not None and not client.exchange.answered:
                client.exchange.keep_alive = False

    async def finish(self, grace_seconds: float) -> int:
        """Let the requests in flight finish within the grace period, then end them. Return how many were cut short."""
        self._closing = True
        self._idle_timeout = min(self._idle_timeout, QUIET_SECONDS)
        for client in self.clients:
            if client.task is None:
                self.take_over(client)
            elif client.exchange is None and not client.buffer:
                client.postpone(self._idle_timeout)
        tasks = {client.task for client in self.clients if client.task is not None} | self._turned_away
        if not tasks:
            return 0
        _, unfinished = await asyncio.wait(tasks, timeout=grace_seconds)
        cut_short = sum(client.exchange is not None for client in self.clients if client.task in unfinished)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        return cut_short

    # The short way.

    def begin(self, client: ClientConnection, data: bytes) -> bool:
        """Forward a request if it is all of what came, and nothing has to be waited for. If not, nothing has happened."""
        rules = self._rules
        end = data.find(EMPTY_LINE) + len(EMPTY_LINE)
        if not len(EMPTY_LINE) <= end <= rules.max_head:
            return False
        began = time.perf_counter()
        head = data[:end]
        request = self._judged.get(head)
        if request is None:
            try:
                request = guard.judge(guard.parse(head, rules), rules)
            except Refused:
                return False
            self._remember(head, request)
        if request.framing != len(data) - end:
            return False
        exchange = Exchange(
            request,
            Body.whole(client, request.framing),
            client,
            request.request_id or next(self._ids),
            began,
            keep_alive=request.keep_alive and not self._draining,
        )
        try:
            client.begun = begun = self._forwarder.begin(exchange, data[end:], client)
        except Exception:  # noqa: BLE001 # a mistake of ours: the task meets it again, and tells of it
            return False
        if begun is None:
            return False
        client.exchange = exchange
        return True

    def _remember(self, head: bytes, request: guard.Request) -> None:
        """Remember what became of a head that comes a second time, within bounds. Secrets are not remembered."""
        fingerprint = hash(head)
        if fingerprint not in self._seen:
            if len(self._seen) >= MAX_REMEMBERED:
                self._seen.clear()
            self._seen.add(fingerprint)
        elif (
            len(head) <= MAX_REMEMBERED_HEAD
            and b"?" not in request.target
            and not any(is_secret(name) for _, name, _ in request.lines)
        ):
            if len(self._judged) >= MAX_REMEMBERED:
                self._judged.clear()
            self._judged[head] = request

    def go_on(self, client: ClientConnection) -> None:
        """Finish an exchange of the short way and see what comes next."""
        exchange = client.exchange
        assert exchange is not None  # noqa: S101 # it was answered a moment ago
        client.exchange = None
        self._note(exchange)
        if not client.can_rest():
            self.take_over(client, ended=not exchange.keep_alive)
        elif exchange.keep_alive:
            client.postpone(self._idle_timeout)
        else:
            client.close()
            client.postpone(self._write_timeout)

    def _note(self, exchange: Exchange) -> None:
        """Report a finished exchange at the end of this turn of the event loop: together they cost less."""
        self._finished.append((exchange, time.perf_counter()))
        if len(self._finished) == 1:
            self._loop.call_soon(self.report)

    def report(self) -> None:
        """Report what has finished and was not reported yet."""
        finished, self._finished = self._finished, []
        for exchange, at in finished:
            try:
                self._observe(_outcome(exchange, at))
            except Exception:
                log.exception(
                    "request.unreported",
                    request_id=exchange.request_id.decode(),
                    detail="The proxy made a mistake while it noted what became of a request, which was served all the same: it may be missing "
                    "in this log, in the metrics or on the status page. Report it to the project, with this line.",
                )

    # The task.

    def take_over(
        self, client: ClientConnection, *, patience: float | None = None, ended: bool = False
    ) -> None:
        """Let a task serve the client from where it stands. patience: how long it may wait for a request; ended: it may ask no more."""
        if client.begun is not None:
            client.begun.leave()
        client.task = self._loop.create_task(self._serve(client, patience, ended=ended))

    async def _turn_away(self, client: ClientConnection, *, silently: bool) -> None:
        if silently:
            client.abort()
            return
        full = Failed(
            errors.OVERLOADED,
            "Too many clients are connected. Let them keep or close their connections, or raise limits.max_connections.",
            outcome=NOT_SENT,
            retry_after=1,
        )
        client.write(rewrite.problem(full, next(self._ids)))
        await self._linger(client)

    async def _serve(self, client: ClientConnection, patience: float | None, *, ended: bool) -> None:
        """Serve a client until it can rest, or to its end."""
        try:
            if ended:
                await self._finish(client, whole=True)
            elif await self._serve_requests(client, patience):
                client.task = None
                client.postpone(self._idle_timeout)
                return
            with contextlib.suppress(TimeoutError):
                await client.gone(self._write_timeout)
        except BaseException:
            self.clients.discard(client)
            if not (
                client.lost or client.transport.is_closing()
            ):  # else a reset would overtake its last answer
                client.abort()
            raise
        self._part(client)

    def _part(self, client: ClientConnection) -> None:
        self.clients.discard(client)
        if not client.lost:
            client.abort()

    async def _serve_requests(self, client: ClientConnection, patience: float | None) -> bool:
        """Serve a client's requests, one after the other. Return true if it can rest now, false at its end."""
        while (exchange := client.exchange or await self._next(client, patience)) is not None:
            client.exchange = exchange
            try:
                await self._forward(exchange, client)
            finally:
                client.exchange = None
                self._note(exchange)
            if not exchange.keep_alive or not exchange.body.done or client.lost:
                await self._finish(client, whole=exchange.body.done)
                return False
            if client.clogged:
                await self._flush(client)
            if client.can_rest() and not self._closing:
                return True
            patience = None
        return False

    async def _next(self, client: ClientConnection, patience: float | None) -> Exchange | None:
        """Return the client's next request; None when it has no more, or may ask no more."""
        request_id = next(self._ids)
        data: bytes | None = None
        head: grammar.RequestHead | None = None
        began = time.perf_counter()
        try:
            data = await self._read_head(client, patience)
            if data is None:
                client.close()
                return None
            began = time.perf_counter()
            request = self._judged.get(data)
            if request is None:
                head = guard.parse(data, self._rules)
                request = guard.judge(head, self._rules)
        except Refused as error:
            # HEAD gets no content, however early it is refused.
            is_head = (data or client.buffer).startswith(b"HEAD ")
            client.write(rewrite.problem(error, request_id, method=b"HEAD" if is_head else b"GET"))
            self.report()
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

    async def _read_head(self, client: ClientConnection, patience: float | None) -> bytes | None:
        """Return the next request head; None if the client has no more to ask. Raises `Refused`."""
        loop = self._loop
        deadline = loop.time() + (self._idle_timeout if patience is None else patience)
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
                    f"The request head was not whole after {self._head_timeout:g} s (limits.request_head_timeout_seconds). Check the client and the network.",
                ) from None
            except Gone:
                if client.lost:
                    return None
                raise Refused(
                    errors.MALFORMED,
                    "The request head ended before it was whole. Check why the client closed its side so early.",
                ) from None
        return client.take(size)

    async def _forward(self, exchange: Exchange, client: ClientConnection) -> None:
        """Forward the call; answer, or cut the connection, if that fails."""
        begun, client.begun = client.begun, None
        try:
            if exchange.answered:  # on the short way, but the client does not keep up
                await self._until_read(client)
            else:
                await self._forwarder.forward(exchange, begun)
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
            log.exception(
                "request.crashed",
                request_id=exchange.request_id.decode(),
                detail="The proxy made a mistake. Report it to the project, with this line.",
            )
            outcome = UNKNOWN if exchange.attempts else NOT_SENT
            self._give_up(
                exchange,
                Failed(
                    errors.INTERNAL,
                    "The proxy made a mistake. Report it to the project, with the event request.crashed of the log.",
                    outcome=outcome,
                ),
            )
            del error

    async def _until_read(self, client: Stream) -> None:
        try:
            await client.drain(self._write_timeout)
        except TimeoutError:
            raise ClientSlow from None
        except Gone:
            raise ClientLeft from None

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
            if not exchange.refused:
                _take_what_is_there(exchange.body)
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
        deadline = self._loop.time() + LINGER_SECONDS
        with contextlib.suppress(
            Gone, OSError
        ):  # a TimeoutError is one; so is a reset that nobody has noticed yet
            if not client.lost and not client.transport.is_closing():
                client.transport.write_eof()
            while True:
                client.buffer.clear()
                await client.more(max(0.0, deadline - self._loop.time()))
        client.close()


def _take_what_is_there(body: Body) -> None:
    """Take the content that has arrived of a request that was not sent, so that the connection can go on behind it."""
    with contextlib.suppress(grammar.Malformed):
        while not body.done and body.ready():
            pass


def _skip_empty_line(buffer: bytearray) -> bool:
    """Drop one empty line before a request (RFC 9112 section 2.2); say whether anything else is there."""
    if buffer.startswith(b"\r\n"):
        del buffer[:2]
    return bool(buffer) and buffer != b"\r"


def _path(target: bytes) -> str | None:
    """Return the path for the log: no query, and nothing of an absolute form, which may hold a password."""
    return target.partition(b"?")[0].decode("ascii") if target.startswith(b"/") else None


def _refusal(request_id: bytes, head: grammar.RequestHead | None, error: Refused, seconds: float) -> Record:
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


def _outcome(exchange: Exchange, ended: float) -> Record:
    request = exchange.request
    return Record(
        exchange.request_id.decode("ascii"),
        request.method.decode("ascii"),
        request.path,
        exchange.status or (CLIENT_LEFT if exchange.error == "client_left" else 0),
        ended - exchange.started,
        exchange.body.size,
        exchange.bytes_out,
        exchange.upstream_seconds,
        exchange.token_seconds,
        exchange.attempts,
        exchange.error,
        exchange.refused,
        exchange.outcome,
        request.trace,
    )
