"""One attempt: a call is sent on one connection to the API, and its answer streamed back.

The request's head leaves with as much of its content as is there; the rest is uploaded by a task
beside the one that waits for the answer, because the API may answer early. What fails in the upload
is raised where the answer is awaited, so that one place decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Final, NamedTuple, TypeVar

from proxy.errors import UNKNOWN, Failed, Refused
from proxy.forward import policy, rewrite
from proxy.forward.exchange import Exchange
from proxy.forward.pool import UpstreamConnection
from proxy.http1 import grammar
from proxy.network.message import Body, read_response_head
from proxy.network.stream import Gone
from proxy.problems import ProblemKind
from proxy.settings import Settings

#: As much of an answer as may be looked at before it is relayed. A larger error body names no code
#: that we would look for.
MAX_PEEK: Final = 65536  # bytes
#: A client that is silent for longer loses its connection to the API to a call that waits for one,
#: so that silent clients do not hold all of them.
PATIENCE_WHEN_WANTED: Final = 1.0  # seconds
#: 1xx answers before a final one; an honest API sends one at most.
MAX_INTERIM: Final = 16

R = TypeVar("R")

_CONTINUE: Final = 100
_SWITCHING_PROTOCOLS: Final = 101
_FINAL: Final = 200
_ERRORS: Final = 400
#: Turns of the event loop in which a transport reads what the kernel holds.
_READING_TURNS: Final = 3


class ClientDisconnected(Exception):
    """The client has disconnected: there is no one to answer."""

    word = "client_left"


class ClientSlow(Exception):
    """The client does not read its answer."""

    word = "client_slow"


class Bounds(NamedTuple):
    """Limits of every call: timeouts in seconds, sizes in bytes."""

    response_timeout: float
    body_timeout: float
    max_body: int
    max_replay: int

    @classmethod
    def of(cls, settings: Settings) -> Bounds:
        """Pick the bounds from the settings."""
        return cls(
            settings.upstream.response_timeout_seconds,
            settings.limits.body_timeout_seconds,
            settings.limits.max_body_bytes,
            settings.limits.max_replay_bytes,
        )


class Attempt:
    """Call `send`, `receive`, perhaps `peek`, perhaps `relay`, and `stop` if it `is_uploading`.

    After that, `is_whole` and `is_reusable` are final. is_reusable: the API lets the connection
    serve another call. seen: the first bytes of an error's content, which may name a code.
    """

    _upload: asyncio.Task[None] | None = None
    _answer: Body | None = None
    _head_came: asyncio.Event | None = None
    is_reusable = False
    seen = b""
    _is_sent = False
    _interim = 0
    _status = 0
    _peeked = b""
    _began = 0.0

    def __init__(self, exchange: Exchange, connection: UpstreamConnection, bounds: Bounds) -> None:
        self._exchange = exchange
        self.connection = connection
        self._bounds = bounds

    @property
    def is_whole(self) -> bool:
        """Whether the whole request went out and the whole answer came in."""
        return self._answer is not None and self._answer.done and self._is_sent

    def send(self, host: bytes, credential: bytes) -> None:
        """Send the request: what is there of it at once, the rest by a task beside `receive`.

        Raises what a client can do wrong in its body (`Refused`, `ClientDisconnected`).
        """
        exchange = self._exchange
        # It was lost while something was waited for: nothing has begun, and nothing does.
        if exchange.client.lost:
            raise ClientDisconnected
        if exchange.order is not None and not exchange.order.is_sent:
            raise RuntimeError("an order would leave without a record")
        request, body = exchange.request, exchange.body
        pieces: Iterator[bytes] = iter(())
        content: bytes | bytearray = exchange.kept or b""
        whole = body.done
        if exchange.held is not None:
            pieces = exchange.held.pieces()
            content = next(pieces, b"")
            whole = exchange.held.size == len(content)
        elif not whole:
            piece = self._accept_ready()
            content = content + piece if content else piece
            whole = body.done
        if body.framing == grammar.CHUNKED:
            content = self._framed(content, last=whole)
        exchange.attempts += 1
        exchange.committed = not request.is_safe
        self._began = time.perf_counter()
        head = rewrite.request_head(request, host, exchange.request_id, credential)
        self.connection.write(head + content)
        self._is_sent = whole
        if not whole:
            self._head_came = head_came = asyncio.Event()
            if exchange.held is None:
                rest = self._send_rest(head_came)
            else:
                rest = self._send_held(head_came, pieces)
            self._upload = asyncio.get_running_loop().create_task(rest)

    async def receive(self) -> grammar.ResponseHead | None:
        """Return the head of the final answer; None if the connection ended before its first byte.

        Raises as `send`, and `Failed`, `Gone`, `TimeoutError`, `grammar.Malformed`.
        """
        exchange, connection = self._exchange, self.connection
        try:
            head = await read_response_head(connection, self._api_timeout)
            while head.status < _FINAL:
                self._pass_on(head)
                head = await read_response_head(connection, self._api_timeout)
        except Gone:
            if connection.buffer or self._interim:
                raise
            return None
        exchange.upstream_seconds = time.perf_counter() - self._began
        self._answer = answer = Body(
            connection, grammar.response_framing(head, exchange.request.method)
        )
        self._status = head.status
        self.is_reusable = (
            head.minor == 1
            and b"close" not in head.options
            and answer.framing != grammar.UNTIL_CLOSE
            and not (head.status == grammar.NO_CONTENT and _says_length(head))
        )
        if self._head_came is not None:
            self._head_came.set()
        return head

    def _api_timeout(self) -> float | None:
        """Return how long the API may be silent; None, without limit, while content is uploaded.

        The end of the upload sets the deadline of the wait that is going on then.
        """
        if self._upload is None or self._upload.done() or self.connection.buffer:
            return self._bounds.response_timeout
        return None

    def _pass_on(self, head: grammar.ResponseHead) -> None:
        """Pass an interim answer on (RFC 9110 section 15.2), except to HTTP/1.0.

        `100 Continue` is not passed on: the proxy sends its own.
        """
        self._interim += 1
        if head.status == _SWITCHING_PROTOCOLS:
            raise grammar.Malformed("it switches protocols unasked")
        if self._interim > MAX_INTERIM:
            raise grammar.Malformed("it has no end of interim answers")
        if self._head_came is not None:
            self._head_came.set()
        client = self._exchange.client
        if head.status != _CONTINUE and self._exchange.request.minor == 1 and not client.lost:
            client.write(rewrite.interim_head(head))

    def _accept_ready(self) -> bytes:
        """Return the client's content that has already arrived, checked and remembered."""
        try:
            return self._accept(self._exchange.body.ready())
        except grammar.Malformed as error:
            raise client_fault(error, self._exchange, self._bounds) from None

    def _accept(self, piece: bytes) -> bytes:
        exchange = self._exchange
        exchange.keep(piece, self._bounds.max_replay)
        if exchange.body.size > self._bounds.max_body:
            raise policy.too_large(self._bounds.max_body)
        return piece

    def _framed(self, content: bytes | bytearray, *, last: bool) -> bytes:
        if self._exchange.body.framing != grammar.CHUNKED:
            return bytes(content)
        return _chunked(content, last=last)

    async def _send_rest(self, head_came: asyncio.Event) -> None:
        """Upload the rest of the content. head_came: set when a head of an answer was read."""
        exchange, connection = self._exchange, self.connection
        if exchange.request.expects and not exchange.continued and exchange.body.size == 0:
            exchange.continued = True
            exchange.client.write(rewrite.CONTINUE)
        while not exchange.body.done:
            try:
                piece = self._accept(await self._wait_unless_wanted(exchange.body.read))
            except (Gone, TimeoutError, grammar.Malformed, Refused) as error:
                self._fail(client_fault(error, exchange, self._bounds))
                return
            if not await self._push(head_came, piece, last=exchange.body.done):
                return
        self._is_sent = True
        connection.postpone(self._bounds.response_timeout)

    async def _send_held(self, head_came: asyncio.Event, pieces: Iterator[bytes]) -> None:
        """Upload the rest of an order's content, which is held as a whole."""
        for piece in pieces:
            if not await self._push(head_came, piece, last=False):
                return
        self.connection.write(self._framed(b"", last=True))
        self._is_sent = True
        self.connection.postpone(self._bounds.response_timeout)

    async def _push(self, head_came: asyncio.Event, piece: bytes, *, last: bool) -> bool:
        """Send a piece, as fast as the API takes it; say whether the upload goes on."""
        if await self._is_turned_down(head_came):
            return False
        self.connection.write(self._framed(piece, last=last))
        try:
            await self.connection.drain(self._bounds.response_timeout)
        except Gone:
            # The wait for the answer learns it too, and knows how much of one there is.
            return False
        except TimeoutError:
            self._fail(
                Failed(
                    ProblemKind.WRITE_TIMEOUT,
                    "The API stopped taking the request before it was whole."
                    + self._exchange.advice,
                    outcome=UNKNOWN,
                )
            )
            return False
        return True

    async def _is_turned_down(self, head_came: asyncio.Event) -> bool:
        """Whether the API has already answered with an error (RFC 9112 section 9.3).

        The answer is read before anything is written: a write to a connection that the API has
        closed fails, and an answer that had arrived would be lost with it.
        """
        connection = self.connection
        for _ in range(_READING_TURNS):
            if not connection.is_readable():
                break
            await asyncio.sleep(0)
        while connection.buffer and self._answer is None and not connection.lost:
            head_came.clear()
            await head_came.wait()
        return self._status >= _ERRORS

    def _fail(self, error: Exception) -> None:
        """Let the wait for the answer end with this error.

        An answer that has begun is the client's, whatever became of the request.
        """
        if self._answer is None:
            self.connection.fail(error)

    async def _wait_unless_wanted(self, wait: Callable[[float], Coroutine[object, object, R]]) -> R:
        """Wait for the client until its timeout, or until another call needs the connection."""
        left = self._bounds.body_timeout
        while True:
            slice_ = min(left, PATIENCE_WHEN_WANTED)
            try:
                return await wait(slice_)
            except TimeoutError:
                left -= slice_
                if left <= 0 or self.connection.is_wanted():
                    raise

    async def peek(self) -> bytes | None:
        """Return the answer's content, without taking it from `relay`.

        None if it is larger than an error that names a code.
        """
        answer = self._answer
        assert answer is not None  # noqa: S101 # `receive` gave a head
        self._peeked += answer.ready()
        while not answer.done and len(self._peeked) <= MAX_PEEK:
            self._peeked += await answer.read(self._bounds.response_timeout)
        return self._peeked if answer.done else None

    async def relay(self, head: grammar.ResponseHead) -> None:
        """Stream the answer to the client, as fast as it reads.

        An order's answer is read to its end even if the client has disconnected.

        Raises `Gone`, `TimeoutError`, `grammar.Malformed` when the answer breaks,
        `ClientDisconnected` or `ClientSlow` when the client does not take it.
        """
        exchange, answer, client = self._exchange, self._answer, self._exchange.client
        assert answer is not None  # noqa: S101 # `receive` gave a head
        out, exchange.keep_alive = rewrite.response_head(
            head,
            answer.framing,
            exchange.request,
            exchange.request_id,
            keep_alive=exchange.keep_alive and exchange.body.done,
        )
        chunked = answer.framing < 0 and exchange.request.minor == 1
        piece = self._peeked + answer.ready()
        looks = head.status >= _ERRORS
        exchange.status = head.status
        exchange.answered = True
        while True:
            if chunked:
                out += _chunked(piece, last=answer.done)
            else:
                out += piece
            if looks and len(self.seen) < MAX_PEEK:
                self.seen += piece[:MAX_PEEK]
            if not client.lost:
                client.write(out)
                exchange.bytes_out += len(piece)
            if client.clogged:
                await self._wait_for_client()
            if client.lost and not exchange.committed:
                raise ClientDisconnected
            if answer.done:
                break
            piece, out = await answer.read(self._bounds.response_timeout), b""
        if client.lost:
            raise ClientDisconnected

    async def _wait_for_client(self) -> None:
        try:
            await self._wait_unless_wanted(self._exchange.client.drain)
        except TimeoutError:
            raise ClientSlow from None
        except Gone:
            pass

    @property
    def is_uploading(self) -> bool:
        """Whether there is something to `stop`."""
        return self._upload is not None and not self._upload.done()

    async def stop(self) -> None:
        """End the upload."""
        if self._upload is not None:
            self._upload.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._upload


def _chunked(piece: bytes | bytearray, *, last: bool) -> bytes:
    """Return the piece, if it is not empty, as one chunk; after the last one, the content's end."""
    return (rewrite.chunk(piece) if piece else b"") + (rewrite.LAST_CHUNK if last else b"")


def _says_length(head: grammar.ResponseHead) -> bool:
    """Whether an answer without content announces some, which may follow (RFC 9112 section 6.3)."""
    return head.known.get(b"content-length", [b"0"]) != [b"0"] or b"transfer-encoding" in head.known


def client_fault(error: Exception, exchange: Exchange, bounds: Bounds) -> Exception:
    """Return the error that says what the client did wrong in its body."""
    if isinstance(error, grammar.Malformed):
        return Refused(
            ProblemKind.MALFORMED,
            f"The request body is refused because {error}. Correct the client: nothing is "
            "repaired here.",
        )
    if isinstance(error, TimeoutError):
        return Refused(
            ProblemKind.CLIENT_SILENT,
            f"No byte of the request body came for {bounds.body_timeout:g} s "
            f"(limits.body_timeout_seconds), or for {PATIENCE_WHEN_WANTED:g} s while another call "
            "waited for the connection. Check that the client sends as much as it announces.",
        )
    if isinstance(error, Gone):
        if exchange.client.lost:
            return ClientDisconnected()
        return Refused(
            ProblemKind.MALFORMED,
            "The request body ended before it was whole. Check that the client sends as much as "
            "it announces.",
        )
    return error
