"""A stand-in for the API that breaks off at random points and counts the orders that it accepts.

An order is accepted once its last byte has arrived, whatever happens to the answer: that is the
meaning of "may have been placed". What happens to a request depends on its id and the number of its
arrival, so that a seed makes the same faults in any timing.

It serves hundreds of thousands of requests, so its parser knows only what the proxy sends; others
judge with h11 whether that is well-formed.
"""

import asyncio
import enum
import zlib
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple, cast

from tests.gateway.client import chunks
from tests.scripted import HAND_OVER, reset

_LAST_CHUNK: Final = b"0\r\n\r\n"


class Point(enum.Enum):
    """Where the API breaks off, if it does. In the first two it has not got the whole request."""

    HEAD = "with the head of the request"
    BODY = "inside the request's body"
    WHOLE = "with the whole request, before an answer"
    ANSWER_HEAD = "inside the head of its answer"
    ANSWER_BODY = "inside the body of its answer"
    AFTER = "after its answer, without having said so"
    SILENT = "never, but it does not answer"
    NEVER = "never"


class Framing(enum.Enum):
    """How an answer says where it ends."""

    LENGTH = "by its length"
    CHUNKED = "by a last chunk"
    CLOSE = "by the end of the connection"


class Plan(NamedTuple):
    """What happens to one request. status: only 200 accepts it. reset: or close in order."""

    point: Point = Point.NEVER
    reset: bool = True
    status: int = 200
    framing: Framing = Framing.LENGTH


class Call(NamedTuple):
    """A request as it arrived. number: how often this id has been here."""

    method: bytes
    target: bytes
    fields: dict[bytes, bytes]
    number: int

    @property
    def id(self) -> bytes:
        """The request's id, which is its mark."""
        return self.fields[b"x-request-id"]


def content_of(mark: bytes, largest: int = 20_000) -> bytes:
    """Return the content that answers this mark: of its own size, unlike that of any other."""
    size = zlib.crc32(mark) % largest + len(mark)
    return (mark * (size // len(mark) + 1))[:size]


class BreakingApi:
    """The server. accepted: orders by id. arrived: heads of requests by id.

    plan: what happens to a call. login: status and content for the token endpoint, if there is one.
    greet: whether a new connection is served, by its number; the others are reset at once.
    """

    def __init__(
        self,
        plan: Callable[[Call], Plan],
        *,
        greet: Callable[[int], bool] = lambda _: True,
        login: Callable[[bytes], tuple[int, bytes]] | None = None,
        largest: int = 20_000,
    ) -> None:
        self.plan = plan
        self.greet = greet
        self.login = login
        self.largest = largest
        self.accepted: Counter[bytes] = Counter()
        self.arrived: Counter[bytes] = Counter()
        self.broken: Counter[str] = Counter()
        self.open: set[_Connection] = set()
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def stop_listening(self) -> None:
        """Refuse new connections; those that there are go on."""
        assert self._server is not None
        self._server.close()

    async def close(self) -> None:
        """Drop everything."""
        self.stop_listening()
        for connection in list(self.open):
            connection.drop()
        while self.open:  # noqa: ASYNC110 # each is removed without notice
            await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One connection of the proxy."""

    def __init__(self, api: BreakingApi) -> None:
        self._api = api
        self._buffer = bytearray()
        self._call: Call | None = None
        self._plan = Plan()
        self._left = 0
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._api.open.add(self)
        self._api.connections += 1
        if not self._api.greet(self._api.connections):
            self._api.broken["at once"] += 1
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._api.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self._ended and self._take():
            pass

    def _take(self) -> bool:
        """Take one step; say whether another may be possible."""
        if self._call is None:
            head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not found:
                return False
            self._buffer[:] = rest
            self._begin(head)
            return True
        if self._left < 0:
            if not self._buffer.endswith(_LAST_CHUNK):
                return False
            self._buffer.clear()
        elif len(self._buffer) < self._left:
            return False
        else:
            form, self._buffer[:] = bytes(self._buffer[: self._left]), self._buffer[self._left :]
            if self._call.target.startswith(b"/oauth/") and self._api.login is not None:
                self._finish(*self._api.login(form))
                return True
        self._whole(self._call)
        return True

    def _begin(self, head: bytes) -> None:
        line, *lines = head.split(b"\r\n")
        method, target, _ = line.split(b" ")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines)
        }
        self._left = (
            -1 if b"transfer-encoding" in fields else int(fields.get(b"content-length", b"0"))
        )
        if target.startswith(b"/oauth/"):
            self._call = Call(method, target, fields, 0)
            return
        number = self._api.arrived[fields[b"x-request-id"]] + 1
        self._call = call = Call(method, target, fields, number)
        self._api.arrived[call.id] = number
        self._plan = plan = self._api.plan(call)
        is_here = self._left >= 0 and len(self._buffer) >= self._left
        if plan.point is Point.HEAD or (plan.point is Point.BODY and not is_here):
            self._break(plan)

    def _whole(self, call: Call) -> None:
        """Accept the order, and answer or not."""
        plan = self._plan
        if plan.status == 200 and call.method not in {b"GET", b"HEAD"}:
            self._api.accepted[call.id] += 1
        if plan.point in {Point.WHOLE, Point.BODY}:
            self._break(plan)
        elif plan.point is Point.SILENT:
            self._api.broken[plan.point.name] += 1
            self._ended = True
        elif plan.status == 200:
            self._finish(200, content_of(call.id, self._api.largest), plan)
        else:
            self._finish(plan.status, b'{"code": 40106}' if plan.status == 401 else b"{}", plan)

    def _finish(self, status: int, content: bytes, plan: Plan | None = None) -> None:
        plan = plan or Plan()
        head = b"HTTP/1.1 %d Some Reason\r\nContent-Type: application/octet-stream\r\n" % status
        if plan.framing is Framing.LENGTH:
            head += b"Content-Length: %d\r\n\r\n" % len(content)
        elif plan.framing is Framing.CHUNKED:
            head += b"Transfer-Encoding: chunked\r\n\r\n"
            half = len(content) // 2
            content = chunks(*filter(None, (content[:half], content[half:])))
        else:
            head += b"\r\n"
        if plan.point is Point.ANSWER_HEAD:
            self._transport.write(head[: len(head) // 2])
            self._break(plan)
        elif plan.point is Point.ANSWER_BODY:
            self._transport.write(head + content[: len(content) // 2])
            # Without another framing, an orderly end would be the end of the answer.
            self._break(plan._replace(reset=plan.reset or plan.framing is Framing.CLOSE))
        else:
            self._transport.write(head + content)
            self._call = None
            if plan.point is Point.AFTER or plan.framing is Framing.CLOSE:
                self._ended = True
                self._transport.close()

    def _break(self, plan: Plan) -> None:
        self._api.broken[plan.point.name] += 1
        self._ended = True
        if plan.reset:
            asyncio.get_running_loop().call_later(HAND_OVER, self.drop)
        else:
            self._transport.close()

    def drop(self) -> None:
        """Reset the connection."""
        reset(self._transport)


def dice_of(seed: int, call: Call) -> Random:
    """Return the random numbers of one arrival of one request."""
    return Random(f"{seed} {call.id.decode()} {call.number}")  # noqa: S311 # faults, not secrets
