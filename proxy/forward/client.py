"""Serves clients: one coroutine per connection.

    loop { head; judge; forward; finish }

Each step is tried at once, and awaited only if it has to wait: for the rest of a head, a token, a
connection, the answer.

Laws
1. The requests of one connection are served one after the other, in the order they came.
2. A refused request ends its connection: where the next one begins is not known.
3. Every wait for a client has a deadline; no client delays another.
4. A client that has only ended its sending side is answered. A client that has disconnected is not
   waited for, but an order that may have been placed is followed to its end.
5. Whatever goes wrong between the first byte of a request and the last byte of its answer, the
   client gets an answer or a cut connection, and there is exactly one access record.
"""

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from proxy.clients.login import LoginAnswer
from proxy.clients.roster import Roster
from proxy.clock import SystemClock
from proxy.errors import NOT_SENT, Failed, Problem, Refused
from proxy.forward import local, policy, rewrite
from proxy.forward.attempt import Bounds, ClientDisconnected, ClientSlow
from proxy.forward.connection import QUIET_SECONDS, ClientConnection
from proxy.forward.exchange import Exchange
from proxy.forward.forwarder import Forwarder
from proxy.network.message import Body
from proxy.network.stream import Gone
from proxy.problems import ProblemKind
from proxy.records import Record
from proxy.settings import Settings

#: Connections over the limit that are answered at one time; more are cut without an answer.
MAX_TURNED_AWAY: Final = 100

log = structlog.get_logger("proxy.forward")


class ClientService:
    """Serves all clients of one listener, by one set of rules."""

    def __init__(
        self,
        settings: Settings,
        forwarder: Forwarder[Any],
        observe: Callable[[Record], None],
        roster: Roster | None = None,
    ) -> None:
        limits = settings.limits
        self._roster = roster or Roster(settings, SystemClock(), secrets.token_bytes(32))
        self._rules = policy.Rules.of(settings)
        self._head_timeout = limits.request_head_timeout_seconds
        self._idle_timeout = limits.idle_timeout_seconds
        self._write_timeout = limits.body_timeout_seconds
        self._bounds = Bounds.of(settings)
        self._max_connections = limits.max_connections
        self._forwarder = forwarder
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._draining = False
        self._unreported: list[tuple[Exchange, float]] = []
        self.clients: set[ClientConnection] = set()
        self.turned_away: set[ClientConnection] = set()
        prefix = secrets.token_hex(6).encode()
        self._ids = (b"%b-%x" % (prefix, number) for number in itertools.count(1))

    def follow(self, settings: Settings) -> None:
        """Judge requests by these settings from now on."""
        self._roster.follow(settings)
        self._rules = policy.Rules.of(settings)

    def welcome(self, client: ClientConnection) -> None:
        """Begin to serve a new client, or turn it away."""
        if len(self.clients) < self._max_connections:
            self.clients.add(client)
            client.task = self._loop.create_task(self._serve(client))
        elif len(self.turned_away) < MAX_TURNED_AWAY:
            self.turned_away.add(client)
            client.task = self._loop.create_task(self._turn_away(client))
        else:
            # Not at once: aiofastnet goes on with the connection behind this call.
            self._loop.call_soon(client.abort)

    def drain(self) -> None:
        """From now on every answer ends its connection, and says so."""
        self._draining = True
        for client in self.clients:
            if client.exchange is not None and not client.exchange.answered:
                client.exchange.keep_alive = False

    async def finish(self, grace_seconds: float) -> int:
        """Let the requests in flight finish within the grace period, then end them.

        Return how many were cut short.
        """
        self._idle_timeout = min(self._idle_timeout, QUIET_SECONDS)
        for client in self.clients:
            if client.exchange is None and not client.buffer:
                client.postpone(self._idle_timeout)
        tasks = {
            client.task for client in self.clients | self.turned_away if client.task is not None
        }
        if not tasks:
            return 0
        _, unfinished = await asyncio.wait(tasks, timeout=grace_seconds)
        cut_short = sum(
            client.exchange is not None for client in self.clients if client.task in unfinished
        )
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        return cut_short

    async def _serve(self, client: ClientConnection) -> None:
        """Serve a client to its end."""
        try:
            while client.has_next() or await client.next_begins(self._idle_timeout):
                exchange = await self._answer(client)
                if not _goes_on(client, exchange):
                    await self._close_after_answer(client, exchange)
                    break
                if client.clogged:
                    await client.drain(self._write_timeout)
            with contextlib.suppress(TimeoutError):
                await client.gone(self._write_timeout)
        except (Gone, TimeoutError):  # it does not read an answer that is out
            pass
        finally:
            self.clients.discard(client)
            # A last answer that is still on its way would be lost in a reset.
            if not client.lost and not (_is_cancelled() and client.transport.is_closing()):
                client.abort()

    async def _answer(self, client: ClientConnection) -> Exchange:
        """Serve one request; return what became of it."""
        exchange = Exchange(client, next(self._ids), time.perf_counter())
        exchange.client_address = client.address
        data: bytes | None = b""
        leaves_record = True
        try:
            data = self._head(client) or await self._read_head(client)
            if data is None:
                leaves_record = False
                client.close()
                return exchange
            self._judge(client, exchange, data)
            if exchange.request.login is not None:
                await self._answer_login(exchange, exchange.request.login)
            elif exchange.request.max_forwards == 0:
                local.answer_options(exchange)
            else:
                await self._forwarder.forward(exchange)
        except Problem as error:
            if exchange.method is None and (data or client.buffer).startswith(b"HEAD "):
                exchange.method = b"HEAD"  # it gets no content, however early it is refused
            self._answer_problem(exchange, error)
        except (ClientDisconnected, ClientSlow) as error:
            exchange.error = error.word
            client.abort()
        except asyncio.CancelledError:
            self._cancelled(client, exchange)
            raise
        except Exception:
            log.exception(
                "request.crashed",
                request_id=exchange.request_id.decode(),
                detail="The proxy made a mistake. Report it to the project, with this line.",
            )
            self._crashed(exchange)
        finally:
            client.exchange = None
            if leaves_record:
                self._note(exchange)
        return exchange

    def _head(self, client: ClientConnection) -> bytes:
        """Return the request's head if all of it is there, else b"". Raises `Refused`."""
        return client.take(policy.measure_head(client.buffer, 0, self._rules))

    async def _read_head(self, client: ClientConnection) -> bytes | None:
        """Wait for the end of the request's head; return the head, None if the client is gone.

        Raises `Refused`.
        """
        deadline = self._loop.time() + self._head_timeout
        buffer, size = client.buffer, 0
        while not size:
            scanned = len(buffer)
            try:
                await client.more(max(0.0, deadline - self._loop.time()))
            except TimeoutError:
                raise Refused(
                    ProblemKind.CLIENT_SILENT,
                    f"The request head was not whole after {self._head_timeout:g} s "
                    "(limits.request_head_timeout_seconds). Check the client and the network.",
                ) from None
            except Gone:
                if client.lost:
                    return None
                raise Refused(
                    ProblemKind.MALFORMED,
                    "The request head ended before it was whole. Check why the client closed its "
                    "side so early.",
                ) from None
            size = policy.measure_head(buffer, scanned, self._rules)
        return client.take(size)

    def _judge(self, client: ClientConnection, exchange: Exchange, data: bytes) -> None:
        """Judge the request, and fill in the exchange. Raises `Refused`."""
        exchange.started = time.perf_counter()
        rules = self._rules
        head = policy.parse(data, rules)
        exchange.request_id = policy.request_id(head) or exchange.request_id
        is_known = head.method in policy.METHODS or head.method in policy.NEVER_FORWARDED
        exchange.method = head.method if is_known else None
        exchange.path = _path(head.target)
        who = self._roster.register.identify(head.known.get(b"x-proxy-key", ()), client.names)
        if who is not None:
            exchange.client_name = who.name
        request = policy.judge(head, rules, who)
        exchange.admit(
            request,
            Body(client, request.framing),
            keep_alive=request.keep_alive and not self._draining,
        )
        client.exchange = exchange

    async def _answer_login(self, exchange: Exchange, login: LoginAnswer) -> None:
        """Answer an application's own login, and have it counted."""
        await local.answer_login(exchange, login, self._bounds)
        if self._roster.on_login is not None:
            self._roster.on_login(login.asked)

    def _answer_problem(self, exchange: Exchange, error: Problem) -> None:
        """Answer with problem details, or cut an answer that has begun."""
        exchange.fail(error)
        client = exchange.client
        if exchange.answered:
            exchange.keep_alive = False
            client.abort()
            return
        if client.lost:
            return
        exchange.status = error.kind.status
        minor = 1
        if exchange.refused or not exchange.admitted:
            exchange.keep_alive = False
        else:
            minor = exchange.request.minor
            local.drop_what_is_there(exchange.body)
            exchange.keep_alive = exchange.keep_alive and exchange.body.done
        client.write(
            rewrite.problem(
                error,
                exchange.request_id,
                minor=minor,
                keep_alive=exchange.keep_alive,
                method=exchange.method or b"GET",
            )
        )

    def _cancelled(self, client: ClientConnection, exchange: Exchange) -> None:
        """Note that the client has disconnected, or that the grace period of a shutdown is over."""
        if client.lost:
            exchange.error = "client_left"
            return
        outcome = exchange.outcome_so_far
        if outcome == NOT_SENT:
            detail = "The proxy shut down before it could send the request. Send it again."
        else:
            detail = "The proxy shut down before the answer came." + exchange.advice
        self._answer_problem(exchange, Failed(ProblemKind.DRAINING, detail, outcome=outcome))
        client.close()

    def _crashed(self, exchange: Exchange) -> None:
        """Answer after a mistake in the proxy's own code."""
        problem = Failed(
            ProblemKind.INTERNAL,
            "The proxy made a mistake. Report it to the project, with the event request.crashed "
            "of the log.",
            outcome=exchange.outcome_so_far,
        )
        exchange.keep_alive = False
        self._answer_problem(exchange, problem)

    async def _close_after_answer(self, client: ClientConnection, exchange: Exchange) -> None:
        """Close a connection after its last answer; linger first if the client may be sending."""
        if client.lost or client.transport.is_closing():
            return
        wants_close = exchange.admitted and exchange.body.done and not exchange.request.keep_alive
        if wants_close and client.has_nothing_to_read():
            client.close()
        else:
            await client.linger()

    async def _turn_away(self, client: ClientConnection) -> None:
        """Tell a client that there is no room."""
        full = Failed(
            ProblemKind.OVERLOADED,
            "Too many clients are connected. Let them keep or close their connections, or raise "
            "limits.max_connections.",
            outcome=NOT_SENT,
            retry_after=1,
        )
        try:
            client.write(rewrite.problem(full, next(self._ids)))
            await client.linger()
        finally:
            self.turned_away.discard(client)

    def _note(self, exchange: Exchange) -> None:
        """Report a finished exchange at the end of this turn of the event loop, with others."""
        self._unreported.append((exchange, time.perf_counter()))
        if len(self._unreported) == 1:
            self._loop.call_soon(self.report)

    def report(self) -> None:
        """Report the exchanges that have finished since the last report."""
        finished, self._unreported = self._unreported, []
        for exchange, ended in finished:
            try:
                self._observe(exchange.record(ended))
            except Exception:
                log.exception(
                    "request.unreported",
                    request_id=exchange.request_id.decode(),
                    detail="The request was served, but recording it failed: it may be missing in "
                    "this log, in the metrics or on the status page. Report it to the project, "
                    "with this line.",
                )


def _goes_on(client: ClientConnection, exchange: Exchange) -> bool:
    """Whether the connection serves another request."""
    return (
        exchange.keep_alive
        and exchange.body.done
        and not (client.lost or client.transport.is_closing())
    )


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _path(target: bytes) -> str | None:
    """Return the path for the log; None for an absolute form, which may hold a password."""
    return target.partition(b"?")[0].decode("ascii") if target.startswith(b"/") else None
