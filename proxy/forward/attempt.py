"""One sending of a call on one connection to the API: the request out, the answer back, both streamed.

The request's head leaves with as much of its content as is there; the rest is uploaded by a task beside the one that waits for the answer,
because the API may answer early. What fails in the upload is raised where the answer is awaited, so that one place decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from proxy import errors
from proxy.errors import UNKNOWN, Failed, Refused
from proxy.forward import rewrite
from proxy.http1 import grammar
from proxy.network.message import Body, read_response_head
from proxy.network.stream import Gone

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proxy.forward.exchange import Exchange
    from proxy.forward.upstream import UpstreamConnection
    from proxy.settings import Settings

#: As much of an answer as may be looked at before it is relayed. A larger error body names no code that we would look for.
MAX_PEEK: Final = 65536  # bytes
#: A client that is silent for longer loses its connection to the API to whoever waits for one: a hundred silent clients stop nobody.
PATIENCE_WHEN_WANTED: Final = 1.0  # seconds
#: 1xx answers before a final one; nobody honest sends two.
MAX_INTERIM: Final = 16

R = TypeVar("R")

_CONTINUE: Final = 100
_SWITCHING_PROTOCOLS: Final = 101
_FINAL: Final = 200


class ClientLeft(Exception):
    """The client is gone: nobody is left to answer."""


class ClientSlow(Exception):
    """The client does not read its answer."""


class Bounds(NamedTuple):
    """What holds for every call: how long silence may last (seconds), how much may be sent and remembered (bytes)."""

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
    """Use it in this order: `send`, perhaps `peek`, perhaps `relay`, `stop` if it `is_uploading`; then `is_whole` and `is_reusable` are right.

    One that has begun on the short way (`short.Begun`) goes on with `receive` in the place of `send`.
    """

    _upload: asyncio.Task[None] | None = None
    _answer: Body | None = None
    #: Whether the API lets the connection serve another call.
    is_reusable = False
    _interim = 0
    _peeked = b""
    _began = 0.0

    def __init__(self, exchange: Exchange, connection: UpstreamConnection, bounds: Bounds) -> None:
        self._exchange = exchange
        self.connection = connection
        self._bounds = bounds

    @property
    def is_whole(self) -> bool:
        """Whether the whole request went out and the whole answer came in."""
        return self._answer is not None and self._answer.done and self._exchange.body.done

    def transmit(self, host: bytes, credential: bytes, content: bytes) -> None:
        """Send the head of the request and the content that is there."""
        exchange = self._exchange
        request = exchange.request
        exchange.attempts += 1
        exchange.committed = not request.is_safe
        self._began = time.perf_counter()
        head = rewrite.request_head(request, host, exchange.request_id, credential)
        self.connection.write(head + content)

    async def send(self, host: bytes, credential: bytes) -> grammar.ResponseHead | None:
        """Send the request and return the head of the final answer; None if the connection ended before a byte of one.

        Raises what a client can do wrong in its body (`Refused`, `ClientLeft`), `Failed`, `Gone`, `TimeoutError`, `grammar.Malformed`.
        """
        exchange = self._exchange
        if exchange.client.lost:
            raise ClientLeft  # while something was waited for: what nobody is there to hear of is not begun
        earlier = bytes(exchange.kept or b"")
        content = earlier if exchange.body.done else earlier + self._accept_ready()
        self.transmit(host, credential, self._framed(content))
        if not exchange.body.done:
            self._upload = asyncio.get_running_loop().create_task(self._send_rest())
        return await self.receive()

    async def receive(self) -> grammar.ResponseHead | None:
        """Return the head of the final answer to what was sent; see `send`."""
        exchange, connection = self._exchange, self.connection
        if exchange.client.lost and not exchange.committed:
            raise ClientLeft
        try:
            head = await read_response_head(connection, self._patience)
            while head.status < _FINAL:
                self._pass_on(head)
                head = await read_response_head(connection, self._patience)
        except Gone:
            if connection.buffer or self._interim:
                raise
            return None
        exchange.upstream_seconds = time.perf_counter() - self._began
        self._answer = Body(connection, grammar.response_framing(head, exchange.request.method))
        self.is_reusable = (
            head.minor == 1 and b"close" not in head.options and self._answer.framing != grammar.UNTIL_CLOSE
        )
        return head

    def _patience(self) -> float | None:
        """How long the API may be silent: until all is sent it is not its turn. The end of the upload sets the deadline of who waits by then."""
        return None if self.is_uploading else self._bounds.response_timeout

    def _pass_on(self, head: grammar.ResponseHead) -> None:
        """Pass an interim answer on (RFC 9110 section 15.2), but not to HTTP/1.0; and `100 Continue` is between the client and us."""
        self._interim += 1
        if head.status == _SWITCHING_PROTOCOLS:
            raise grammar.Malformed("it switches protocols unasked")
        if self._interim > MAX_INTERIM:
            raise grammar.Malformed("it has no end of interim answers")
        client = self._exchange.client
        if head.status != _CONTINUE and self._exchange.request.minor == 1 and not client.lost:
            client.write(rewrite.interim_head(head))

    def _accept_ready(self) -> bytes:
        """Return the client's content that has already arrived, checked and remembered."""
        try:
            return self._accept(self._exchange.body.ready())
        except grammar.Malformed as error:
            raise _malformed_body(error) from None

    def _accept(self, piece: bytes) -> bytes:
        exchange = self._exchange
        exchange.keep(piece, self._bounds.max_replay)
        if exchange.body.size > self._bounds.max_body:
            raise Refused(
                errors.CONTENT_TOO_LARGE,
                f"The request body is larger than {self._bounds.max_body} bytes. Send less, or raise limits.max_body_bytes.",
            )
        return piece

    def _framed(self, content: bytes) -> bytes:
        body = self._exchange.body
        if body.framing != grammar.CHUNKED:
            return content
        return (rewrite.chunk(content) if content else b"") + (rewrite.LAST_CHUNK if body.done else b"")

    async def _send_rest(self) -> None:
        """Upload what of the request's content is still to come."""
        exchange, connection = self._exchange, self.connection
        if exchange.request.expects and not exchange.continued and exchange.body.size == 0:
            exchange.continued = True
            exchange.client.write(rewrite.CONTINUE)
        while not exchange.body.done:
            try:
                piece = self._accept(await self._patiently(exchange.body.read))
            except (Gone, TimeoutError, grammar.Malformed, Refused) as error:
                self._fail(self._client_fault(error))
                return
            connection.write(self._framed(piece))
            try:
                await connection.drain(self._bounds.response_timeout)
            except Gone:
                return  # whoever waits for the answer learns it too, and knows how much of one there is
            except TimeoutError:
                self._fail(
                    Failed(
                        errors.WRITE_TIMEOUT,
                        "The API stopped taking the request before it was whole. An order may or may not have been placed: look it up before sending it again.",
                        outcome=UNKNOWN,
                    )
                )
                return
        connection.postpone(self._bounds.response_timeout)

    def _fail(self, error: Exception) -> None:
        """Let the wait for the answer end with this error; an answer that has begun is the client's, whatever became of the request."""
        if self._answer is None:
            self.connection.fail(error)

    async def _patiently(self, wait: Callable[[float], Coroutine[object, object, R]]) -> R:
        """Wait for the client: as long as it may be silent, or as long as nobody else needs the connection to the API that it keeps."""
        left = self._bounds.body_timeout
        while True:
            slice_ = min(left, PATIENCE_WHEN_WANTED)
            try:
                return await wait(slice_)
            except TimeoutError:
                left -= slice_
                if left <= 0 or self.connection.is_wanted():
                    raise

    def _client_fault(self, error: Exception) -> Exception:
        if isinstance(error, grammar.Malformed):
            return _malformed_body(error)
        if isinstance(error, TimeoutError):
            return Refused(
                errors.CLIENT_SILENT,
                f"No byte of the request body came for {self._bounds.body_timeout:g} s (limits.body_timeout_seconds). Check that the client sends as much as it announces.",
            )
        if isinstance(error, Gone):
            if self._exchange.client.lost:
                return ClientLeft()
            return Refused(
                errors.MALFORMED,
                "The request body ended before it was whole. Check that the client sends as much as it announces.",
            )
        return error

    async def peek(self) -> bytes | None:
        """Return the answer's content, without taking it from `relay`; None if it is larger than anybody needs to look at."""
        answer = self._answer
        assert answer is not None  # noqa: S101 # `send` gave a head
        while not answer.done and len(self._peeked) <= MAX_PEEK:
            self._peeked += await answer.read(self._bounds.response_timeout)
        return self._peeked if answer.done else None

    async def relay(self, head: grammar.ResponseHead) -> None:
        """Stream the answer to the client, as fast as it reads; that of an order is read to its end even if the client has left.

        Raises `Gone`, `TimeoutError`, `grammar.Malformed` when the answer breaks, `ClientLeft` or `ClientSlow` when nobody takes it.
        """
        exchange, answer, client = self._exchange, self._answer, self._exchange.client
        assert answer is not None  # noqa: S101 # `send` gave a head
        out, exchange.keep_alive = rewrite.response_head(
            head,
            answer.framing,
            exchange.request,
            exchange.request_id,
            keep_alive=exchange.keep_alive and exchange.body.done,
        )
        chunked = answer.framing < 0 and exchange.request.minor == 1
        piece = self._peeked + answer.ready()
        exchange.status = head.status
        exchange.answered = True
        while True:
            if chunked:
                out += (rewrite.chunk(piece) if piece else b"") + (rewrite.LAST_CHUNK if answer.done else b"")
            else:
                out += piece
            if not client.lost:
                client.write(out)
                exchange.bytes_out += len(piece)
            if client.clogged:
                await self._wait_for_client()
            if client.lost and not exchange.committed:
                raise ClientLeft
            if answer.done:
                break
            piece, out = await answer.read(self._bounds.response_timeout), b""
        if client.lost:
            raise ClientLeft

    async def _wait_for_client(self) -> None:
        try:
            await self._patiently(self._exchange.client.drain)
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


def _malformed_body(error: grammar.Malformed) -> Refused:
    return Refused(
        errors.MALFORMED,
        f"The request body is refused because {error}. Correct the client: nothing is repaired here.",
    )
