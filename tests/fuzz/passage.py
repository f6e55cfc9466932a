"""The way of bytes through the proxy's pure parts, without sockets: what is sent for what arrives.

It follows the listener and the attempt step by step (read a head, judge it, write a new one, pass
the content on as it arrives) with their own parts. Only the waiting is replaced: the peer's
segments arrive one by one, and after the last one the peer has ended its side.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Final, NamedTuple, TypeVar, cast

from proxy.clients.register import ANYBODY
from proxy.errors import Refused
from proxy.forward import policy, rewrite
from proxy.forward.pool import UpstreamConnection
from proxy.http1 import grammar
from proxy.network.message import Body, read_response_head
from proxy.network.stream import Gone, Stream
from proxy.settings import judge

HOST: Final = b"api.example"
REQUEST_ID: Final = b"made-here"
CREDENTIAL: Final = b"Authorization: Bearer ours\r\n"
RULES: Final = policy.Rules.of(
    judge(
        {
            "listen": {"allowed_hosts": ["localhost"]},
            "upstream": {"allowed_paths": ["/"]},
            "oauth": {"client_id": "c", "client_secret": "s", "username": "u", "password": "p"},
            "limits": {
                "max_body_bytes": 1000,
                "max_target_bytes": 500,
                "max_header_bytes": 4000,
                "max_header_fields": 40,
            },
        },
        {},
    )
)
_CONTINUE: Final = 100
_SWITCHING_PROTOCOLS: Final = 101
_FINAL: Final = 200

T = TypeVar("T")
_NO_LOOP: Final = cast("asyncio.AbstractEventLoop", None)  # nothing is waited for


class _Segments:
    """`more` of a stream, fed from a list."""

    buffer: bytearray
    ended: bool
    segments: deque[bytes]

    async def more(self, seconds: float | None) -> None:
        """Append the next segment."""
        if not self.segments:
            self.ended = True
            raise Gone
        self.buffer += self.segments.popleft()

    def left(self) -> int:
        """How many bytes have not been read yet."""
        return len(self.buffer) + sum(map(len, self.segments))


class Client(_Segments, Stream):
    """A client that sends these segments."""

    def __init__(self, segments: Iterable[bytes]) -> None:
        super().__init__(_NO_LOOP)
        self.segments = deque(segments)


class Api(_Segments, UpstreamConnection):
    """An API that answers with these segments."""

    def __init__(self, segments: Iterable[bytes]) -> None:
        super().__init__(_NO_LOOP, lambda _: None)
        self.segments = deque(segments)


class Sent(NamedTuple):
    """What reached the upstream of one request. whole: all of it, so the connection goes on."""

    out: bytes
    whole: bool


class Given(NamedTuple):
    """What reached the client of one answer. head: of the final answer, if it was well-formed."""

    out: bytes
    whole: bool
    head: grammar.ResponseHead | None
    keep_alive: bool


def run(coroutine: Coroutine[object, object, T]) -> T:
    """Run what waits for nothing, and at most lets others have their turn."""
    try:
        while coroutine.send(None) is None:
            pass
    except StopIteration as done:
        return cast("T", done.value)
    raise AssertionError("it waits")


async def forward_one(client: Client) -> Sent:
    """Take one request off the client's stream; return what goes upstream."""
    out = b""
    try:
        scanned = 0
        while not (size := policy.measure_head(client.buffer, scanned, RULES)):
            scanned = len(client.buffer)
            await client.more(None)
        head = policy.parse(client.take(size), RULES)
        request = policy.judge(head, RULES, ANYBODY)
        body = Body(client, request.framing)
        piece = _accepted(body, body.ready())
        out = rewrite.request_head(
            request, HOST, policy.request_id(head) or REQUEST_ID, CREDENTIAL
        ) + _framed(body, piece)
        while not body.done:
            out += _framed(body, _accepted(body, await body.read(None)))
    except (Refused, Gone, grammar.Malformed):
        return Sent(out, whole=False)
    return Sent(out, whole=True)


def _accepted(body: Body, piece: bytes) -> bytes:
    if body.size > RULES.max_body:
        raise Gone
    return piece


def _framed(body: Body, piece: bytes) -> bytes:
    if body.framing != grammar.CHUNKED:
        return piece
    return (rewrite.chunk(piece) if piece else b"") + (rewrite.LAST_CHUNK if body.done else b"")


async def answer_one(api: Api, request: policy.Request) -> Given:
    """Take one answer off the API's stream; return what goes to the client."""
    out, head, keep_alive = b"", None, True
    try:
        while (first := await read_response_head(api, lambda: None)).status < _FINAL:
            if first.status == _SWITCHING_PROTOCOLS:
                return Given(out, whole=False, head=None, keep_alive=False)
            if request.minor == 1 and first.status != _CONTINUE:
                out += rewrite.interim_head(first)
        head = first
        body = Body(api, grammar.response_framing(head, request.method))
        written, keep_alive = rewrite.response_head(
            head, body.framing, request, REQUEST_ID, keep_alive=request.keep_alive
        )
        out += written
        chunked = body.framing < 0 and request.minor == 1
        piece = body.ready()
        while True:
            out += rewrite.chunk(piece) if chunked and piece else piece
            if body.done:
                break
            piece = await body.read(None)
        if chunked:
            out += rewrite.LAST_CHUNK
    except (Gone, grammar.Malformed):
        return Given(out, whole=False, head=head, keep_alive=False)
    return Given(out, whole=True, head=head, keep_alive=keep_alive)
