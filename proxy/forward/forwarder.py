"""One request in, one answer out: the order of the steps, and which failures are tried again.

    token -> (permit of the pacer) -> connection -> send -> head of the answer -> relay

After a 401 it may begin again, once, with a new token.

Laws
1. Only a token that the token source calls usable is sent, and only to the configured origin.
2. An order is sent again only after a 401, which the gateway decides before the order reaches a
   system behind it. A kept connection that has ended is skipped before anything is written.
3. Once an answer has begun, failure is an abort: no clean end, no second head. This raises, and the
   listener cuts the connection.
4. A connection to the API is kept after a whole answer to a whole request, and aborted in every
   other case.
"""

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Final, Generic, Protocol, TypeVar

import structlog

from proxy.clients.rates import Rates
from proxy.errors import NOT_SENT, UNKNOWN, Failed, TokenError
from proxy.forward import placing, rewrite
from proxy.forward.attempt import MAX_PEEK, Attempt, Bounds, ClientDisconnected
from proxy.forward.exchange import Exchange
from proxy.forward.pool import Pool, UpstreamConnection
from proxy.http1 import grammar
from proxy.network.stream import Gone
from proxy.orders.desk import Desk, Order
from proxy.orders.states import Answer
from proxy.problems import ProblemKind
from proxy.settings import Settings

_ERRORS: Final = 400
_UNAUTHORIZED: Final = 401
_TOO_MANY_REQUESTS: Final = 429

_KEY_IGNORED: Final = (
    "A client sends Idempotency-Key, which has no effect here without orders.store: an order that "
    "is sent again is placed again. Set orders.store, or leave the field out."
)

log = structlog.get_logger("proxy.forward")


class Token(Protocol):
    """An access token, as the forwarder sees it."""

    def reveal(self) -> str:
        """Return the secret."""
        ...


T = TypeVar("T", bound=Token)


class Tokens(Protocol[T]):
    """Where the token comes from."""

    def usable(self) -> T | None:
        """Return a token that may be sent now, or None."""
        ...

    async def get(self) -> T:
        """Wait for one, bounded. Raises `TokenError`."""
        ...

    def invalidate(self, rejected: T) -> bool:
        """Note that the API rejected this token; say whether asking for another one makes sense."""
        ...


class RejectsToken(Protocol):
    """Says whether an answer means that a new token would help."""

    def __call__(
        self,
        status: int,
        challenge: Sequence[bytes],
        content: bytes | None,
        coding: bytes,
        *,
        is_head: bool,
    ) -> bool:
        """Judge an answer. challenge: `WWW-Authenticate`; coding: `Content-Encoding`.

        content: as it came, None if it is too large.
        """
        ...


class Forwarder(Generic[T]):
    """Forwards calls; many at a time.

    Between calls it holds nothing but the current token's field line.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: Tokens[T],
        pool: Pool,
        *,
        error_code: Callable[[bytes | None, bytes], str | None],
        is_token_rejected: RejectsToken,
        rates: Rates | None = None,
        on_throttled: Callable[[str | None], None] | None = None,
        desk: Desk | None = None,
    ) -> None:
        self._desk = desk
        self._warned_of_key = False
        self._tokens = tokens
        self._pool = pool
        self._error_code = error_code
        self._is_token_rejected = is_token_rejected
        self._rates = rates
        self._on_throttled = on_throttled
        self._host = settings.upstream.origin.host_header
        self._bounds = Bounds.of(settings)
        self._credential: tuple[T | None, bytes] = (None, b"")

    def forward(self, exchange: Exchange) -> Coroutine[object, object, None]:
        """Return the coroutine that forwards and answers one call; it raises as `_forward`.

        With a store of orders, placing.py goes around it.
        """
        desk, request = self._desk, exchange.request
        if desk is None and request.order_keys and not self._warned_of_key:
            self._warned_of_key = True
            log.warning("orders.key_ignored", detail=_KEY_IGNORED)
        if desk is None or not desk.concerns(request.method, request.order_keys):
            return self._forward(exchange)
        return placing.place(exchange, desk, self._bounds, self._forward)

    async def _forward(self, exchange: Exchange) -> None:
        """Forward and answer one call.

        Raises `Refused` or `Failed` when there is no answer of the API's to give, or no more of it
        (`exchange.answered`); `ClientDisconnected` and `ClientSlow` when there is no client to give
        it to.
        """
        token = self._tokens.usable()
        after_close = after_401 = False
        while True:
            connection, token = await self._prepare(exchange, token, after_close=after_close)
            attempt = Attempt(exchange, connection, self._bounds)
            head = None
            try:
                attempt.send(self._host, self._credential_line(token))
                head = await attempt.receive()
                if head is None:
                    # Only a safe call is sent again, and only once.
                    if after_close or not exchange.request.is_safe or exchange.kept is None:
                        raise Gone  # noqa: TRY301 # turned into `Failed` below
                    after_close = True
                    continue
                if (
                    head.status == _UNAUTHORIZED
                    and not after_401
                    and await self._may_resend_after_401(exchange, head, attempt, token)
                ):
                    after_401 = True
                    # A 401 is the gateway's: nothing has come of the first sending. The wait for
                    # another token keeps no connection.
                    exchange.committed, token = False, None
                    continue
                if exchange.order is not None:
                    await self._record_answer(exchange.order, head, attempt)
                await attempt.relay(head)
            except (grammar.Malformed, Gone, TimeoutError) as fault:
                raise self._as_failed(fault, exchange) from None
            else:
                return
            finally:
                if head is not None and head.status >= _ERRORS:
                    self._note_error(exchange, head, attempt.seen)
                if attempt.is_uploading:
                    await attempt.stop()
                self._give_back(attempt.connection, attempt)

    async def _prepare(
        self, exchange: Exchange, token: T | None, *, after_close: bool
    ) -> tuple[UpstreamConnection, T]:
        """Wait for what an attempt needs: a token, a permit, a connection.

        Return the connection and the token that is in force by then.
        """
        token = token or await self._wait_for_token(exchange)
        if self._rates is not None:
            again = exchange.attempts > 0
            if again or not self._rates.take(exchange.client_name):
                token = await self._in_turn(self._rates, exchange, again=again)
        if exchange.order is not None:
            await exchange.order.sent()
        connection = None if after_close else self._pool.reuse()
        if connection is None:
            connection, token = await self._acquire(exchange, after_close=after_close)
        return connection, token

    async def _acquire(
        self, exchange: Exchange, *, after_close: bool
    ) -> tuple[UpstreamConnection, T]:
        """Wait for a connection; return it with the token that is in force by then."""
        while True:
            try:
                connection = await self._pool.acquire(fresh=after_close)
            except Failed as error:
                if after_close:
                    # There is no connection now, but the first sending may have been acted on.
                    error.outcome = UNKNOWN
                raise
            token = self._tokens.usable()
            if token is not None:
                return connection, token
            self._pool.release(connection, reusable=True)
            await self._wait_for_token(exchange)

    def _give_back(self, connection: UpstreamConnection, attempt: Attempt) -> None:
        if attempt.is_whole:
            self._pool.release(connection, reusable=attempt.is_reusable)
        else:
            self._pool.discard(connection)

    def _as_failed(
        self, fault: grammar.Malformed | Gone | TimeoutError, exchange: Exchange
    ) -> Failed:
        """Return the error that says what went wrong on the connection to the API."""
        if isinstance(fault, grammar.Malformed):
            kind, what = ProblemKind.BAD_ANSWER, f"The API's answer is not valid HTTP/1.1: {fault}."
        elif isinstance(fault, Gone):
            kind, what = (
                ProblemKind.TERMINATED,
                "The API closed the connection before its answer was whole.",
            )
        else:
            silence = self._bounds.response_timeout
            kind, what = (
                ProblemKind.ANSWER_TIMEOUT,
                f"The API was silent for {silence:g} s (upstream.response_timeout_seconds).",
            )
        return Failed(kind, what + exchange.advice, outcome=UNKNOWN)

    async def _in_turn(self, rates: Rates, exchange: Exchange, *, again: bool) -> T:
        """Wait for a permit; return the token that is in force by then.

        Every attempt takes a permit, so that the API never sees more than the set rate; only the
        first one can be refused.
        """
        await rates.turn(exchange.client_name, again=again)
        return self._tokens.usable() or await self._wait_for_token(exchange)

    async def _wait_for_token(self, exchange: Exchange) -> T:
        began = time.perf_counter()
        try:
            token = await self._tokens.get()
        except TokenError as error:
            raise Failed(
                ProblemKind.NO_TOKEN,
                error.detail,
                outcome=NOT_SENT,
                retry_after=error.retry_after or 1,
            ) from None
        finally:
            exchange.token_seconds += time.perf_counter() - began
        if exchange.client.is_reset():  # the event loop does not always report it
            raise ClientDisconnected
        return token

    def _credential_line(self, token: T) -> bytes:
        if self._credential[0] is not token:
            self._credential = (
                token,
                b"Authorization: Bearer %b\r\n" % token.reveal().encode("ascii"),
            )
        return self._credential[1]

    async def _may_resend_after_401(
        self, exchange: Exchange, head: grammar.ResponseHead, attempt: Attempt, token: T
    ) -> bool:
        """Whether a call that was answered with 401 is sent again.

        If a new token would help, the current one is given up in any case.
        """
        if not await self._is_curable(exchange, head, attempt) or not self._tokens.invalidate(
            token
        ):
            return False
        if attempt.is_uploading:
            await attempt.stop()  # so that what is kept now is still all of it when the token comes
        return exchange.kept is not None and self._bounds.max_replay > 0

    def _note_error(self, exchange: Exchange, head: grammar.ResponseHead, content: bytes) -> None:
        """Note the code that the API's error names."""
        exchange.code = self._error_code(
            content if len(content) < MAX_PEEK else None, _coding(head)
        )
        if head.status == _TOO_MANY_REQUESTS and self._on_throttled is not None:
            self._on_throttled(exchange.code)

    async def _record_answer(
        self, order: Order, head: grammar.ResponseHead, attempt: Attempt
    ) -> None:
        """Record the answer to an order before its client gets it; its content if that is small."""
        content = await attempt.peek()
        code = self._error_code(content, _coding(head)) if head.status >= _ERRORS else None
        await order.answered(Answer(head.status, rewrite.passing(head), content), code)

    async def _is_curable(
        self, exchange: Exchange, head: grammar.ResponseHead, attempt: Attempt
    ) -> bool:
        """Whether a 401 means that a new token would help."""
        return self._is_token_rejected(
            head.status,
            head.known.get(b"www-authenticate", ()),
            await attempt.peek(),
            _coding(head),
            is_head=exchange.request.method == b"HEAD",
        )


def _coding(head: grammar.ResponseHead) -> bytes:
    return b",".join(head.known.get(b"content-encoding", ()))
