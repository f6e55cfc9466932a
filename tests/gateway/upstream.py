"""A scripted upstream: a raw server that keeps every byte it gets, reads it with h11, and answers each request by a script.

    upstream = ScriptedUpstream()                       # or ScriptedUpstream(server_context) for TLS
    await upstream.start()
    upstream.scripts.append([Act.WHOLE, reply(200, b"hello")])     # the next request; those without a script get `usual`

A script is a sequence of steps, or a function that makes one for a request. Bytes are sent as they stand, an `asyncio.Event` is waited
for, and `Act`, `Drip` and `Flood` do what they say. A script begins with the head of a request: what should wait for its end says `Act.WHOLE`.

h11 is the judge of what arrives: it shares no code with the proxy. One parser for each request, so that a request's end is where h11 sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import h11

from tests.ports import held_port

if TYPE_CHECKING:
    import ssl

#: Of a head that h11 reads; far more than the proxy lets through.
_MAX_HEAD: Final = 1 << 20  # bytes
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds
#: A reset throws away what the peer has not read yet; this long the kernel has to hand it over.
_HAND_OVER: Final = 0.01  # seconds

FieldLine: TypeAlias = tuple[bytes, bytes]


class Act(enum.Enum):
    """Steps without content."""

    WHOLE = "wait until the whole request is there"
    FIN = "close in order"
    HALF = "end our side of the connection, and go on reading"
    RST = "reset the connection"
    CUT = "close without TLS's close_notify"
    DEAF = "read no more"


@dataclass(frozen=True, slots=True)
class Drip:
    """Send so many bytes at a time, each in its own turn of the event loop."""

    data: bytes
    size: int = 1


@dataclass(frozen=True, slots=True)
class Flood:
    """Send the data so many times, as fast as it is taken."""

    data: bytes
    times: int


@dataclass(slots=True, eq=False)
class Received:
    """A request as it arrived.

    Names and values are spelled as on the wire; `whole` turns true with its end.
    """

    method: bytes
    target: bytes
    version: bytes
    fields: list[FieldLine]
    content: bytearray = field(default_factory=bytearray)
    whole: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of all field lines with this name, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]


Step: TypeAlias = bytes | Act | Drip | Flood | asyncio.Event
Script: TypeAlias = Sequence[Step] | Callable[[Received], Sequence[Step]]


def reply(
    status: int = 200, content: bytes = b"", *fields: bytes, reason: bytes = b"Some Reason"
) -> bytes:
    """Return a whole answer with a Content-Length, where the status allows one.

    `fields` are lines without their end.
    """
    length = [] if status < 200 or status == 204 else [b"Content-Length: %d" % len(content)]
    return b"\r\n".join([b"HTTP/1.1 %d %b" % (status, reason), *fields, *length, b"", content])


def echo(request: Received) -> Sequence[Step]:
    """Answer 200 with the target as content: the usual script."""
    return [Act.WHOLE, reply(200, request.target)]


class Connection:
    """One connection that the proxy opened. problem: why h11 refuses what came.

    ended: `fin` or `rst`, by the proxy; None if not.
    """

    def __init__(
        self, upstream: ScriptedUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.received = bytearray()
        self.requests: list[Received] = []
        self.problem: str | None = None
        self.ended: str | None = None
        self._upstream = upstream
        self._reader = reader
        self._writer = writer
        self._parser = h11.Connection(h11.SERVER, _MAX_HEAD)
        self._hearing = asyncio.Event()
        self._hearing.set()
        self._half_closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def rest(self) -> bytes:
        """What came after the last whole request, or after the last byte of a broken one that h11 could use."""
        return self._parser.trailing_data[0]

    async def serve(self) -> None:
        """Read until the proxy ends the connection."""
        try:
            while True:
                await self._hearing.wait()
                data = await self._reader.read(65536)
                if not data:
                    self.ended = "fin"
                    return
                self.received += data
                if self.problem is None:
                    self._take(data)
        except OSError:  # a reset; of TLS too
            self.ended = "rst"

    def _take(self, data: bytes) -> None:
        try:
            self._parser.receive_data(data)
            while (event := self._parser.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self.requests[-1].content += event.data
                elif isinstance(event, h11.EndOfMessage):
                    self.requests[-1].whole = True
                    self.requests[-1].arrived.set()
                    rest = self.rest
                    self._parser = h11.Connection(h11.SERVER, _MAX_HEAD)
                    if not rest:
                        return
                    self._parser.receive_data(rest)
        except h11.RemoteProtocolError as error:
            self.problem = str(error)

    def _begin(self, event: h11.Request) -> None:
        request = Received(
            event.method, event.target, event.http_version, list(event.headers.raw_items())
        )
        self.requests.append(request)
        self._upstream.requests.append(request)
        script = (
            self._upstream.scripts.popleft() if self._upstream.scripts else self._upstream.usual
        )
        self.start(script(request) if callable(script) else script, request)

    def start(self, steps: Sequence[Step], request: Received | None = None) -> asyncio.Task[None]:
        """Go through these steps, whether a request asks for them or not."""
        task = asyncio.get_running_loop().create_task(self._play(steps, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _play(self, steps: Sequence[Step], request: Received | None) -> None:
        with contextlib.suppress(OSError):  # the proxy has gone
            for step in steps:
                if isinstance(step, bytes):
                    await self._send(step)
                elif isinstance(step, Drip):
                    for start in range(0, len(step.data), step.size):
                        await self._send(step.data[start : start + step.size])
                        await asyncio.sleep(0)
                elif isinstance(step, Flood):
                    for _ in range(step.times):
                        await self._send(step.data)
                elif isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    await self._act(step, request)

    async def _send(self, data: bytes) -> None:
        if not self._half_closed and not self._writer.is_closing():
            self._writer.write(data)
            await self._writer.drain()

    async def _act(self, act: Act, request: Received | None) -> None:
        if act is Act.WHOLE and request is not None:
            await request.arrived.wait()
        elif act is Act.FIN:
            self._writer.close()
        elif act is Act.HALF:
            self._half_closed = True
            self._writer.write_eof()
        elif act is Act.DEAF:
            self._hearing.clear()
        elif act is Act.CUT:
            await asyncio.sleep(_HAND_OVER)
            self._writer.transport.abort()
        elif act is Act.RST:
            await asyncio.sleep(_HAND_OVER)
            raw = self._writer.get_extra_info("socket")
            if raw is not None:  # the proxy has not been faster
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._writer.transport.abort()

    async def close(self) -> None:
        """Drop the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._hearing.set()
        self._writer.transport.abort()


class ScriptedUpstream:
    """The server.

    requests: all that have begun to arrive, in the order of coming. scripts: for the coming
    requests, one each. usual: for all others. greeting: steps for each new connection.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.connections: list[Connection] = []
        self.requests: list[Received] = []
        self.scripts: deque[Script] = deque()
        self.usual: Script = echo
        self.greeting: Sequence[Step] = ()
        # The port stays its own while it does not listen.
        self._port = held_port()
        self.port: int = self._port.getsockname()[1]
        self._context = context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def whole(self) -> list[Received]:
        """Those that have arrived whole."""
        return [request for request in self.requests if request.whole]

    async def start(self) -> None:
        """Listen on its port of the loopback address."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=self._context
        )

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        connection = Connection(self, reader, writer)
        self.connections.append(connection)
        if self.greeting:
            connection.start(self.greeting)
        await connection.serve()

    async def stop_listening(self) -> None:
        """Refuse new connections, and keep those that there are."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Drop everything."""
        await self.stop_listening()
        self._port.close()
        for connection in self.connections:
            await connection.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
