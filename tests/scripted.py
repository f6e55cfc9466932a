"""The scripted server of all tests: it keeps every byte, and answers each request by a script.

    async with ScriptedServer() as server:              # ScriptedServer(tls=context) for TLS
        server.scripts.append([Act.WHOLE, reply(200)])  # for the next request; `usual` for others

A script is a sequence of steps, or a function that makes one for a request. It begins with the head
of the request; `Act.WHOLE` waits for its end. Bytes are sent as they stand, an `asyncio.Event` is
waited for, and `Act`, `Drip` and `Flood` do what they say. A function of the request returns the
next step, or an awaitable of it, when its turn has come.

h11, which shares no code with the proxy, reads what arrives. Each request has a parser of its own,
so that a request ends where h11 sees its end. `serving` runs any other peer, as a coroutine.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import inspect
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self, TypeAlias

import h11

from tests.ports import held_port

#: Largest head that h11 reads; far more than the proxy lets through.
MAX_HEAD: Final = 1 << 20  # bytes
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds
#: A reset discards what the peer has not read yet; the kernel has this long to hand it over.
HAND_OVER: Final = 0.01  # seconds

FieldLine: TypeAlias = tuple[bytes, bytes]
Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def reset_on_close(raw: socket.socket) -> None:
    """Make the socket send a reset when it is closed."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def reset(transport: asyncio.WriteTransport) -> None:
    """Reset the connection, unless it is closing already."""
    raw = transport.get_extra_info("socket")
    if raw is not None and not transport.is_closing():
        reset_on_close(raw)
    transport.abort()


@contextlib.asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve each connection by this coroutine, and close it then; gives the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(work(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Act(enum.Enum):
    """Steps without content."""

    HALF_BODY = "wait until half of the request's content has arrived"
    WHOLE = "wait until the whole request has arrived"
    ASK = "have the server's `backend` answer, for steps that send parts of its answer"
    FIN = "close in order"
    HALF = "end our side of the connection, and go on reading"
    RST = "reset the connection"
    CUT = "close without TLS's close_notify"
    DEAF = "stop reading"


@dataclass(frozen=True, slots=True)
class Drip:
    """Send so many bytes at a time, each in its own turn of the event loop."""

    data: bytes
    size: int = 1


@dataclass(frozen=True, slots=True)
class Flood:
    """Send the data so many times, as fast as the peer reads."""

    data: bytes
    times: int


@dataclass(slots=True, eq=False)
class Received:
    """A request as it arrived, names and values spelled as on the wire. answer: the backend's."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[FieldLine]
    content: bytearray = field(default_factory=bytearray)
    whole: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    answer: bytes = b""

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of all field lines with this name, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def lines(self) -> dict[str, str]:
        """The fields by their names in lower case, none of which may come twice."""
        lines = {name.decode().lower(): value.decode() for name, value in self.fields}
        assert len(lines) == len(self.fields), "a field came twice"
        return lines

    @property
    def raw(self) -> bytes:
        """The request as bytes; its content must not be chunked."""
        head = b"%b %b HTTP/1.1" % (self.method, self.target)
        return b"\r\n".join([head, *(b"%b: %b" % line for line in self.fields), b"", self.content])


Step: TypeAlias = "bytes | Act | Drip | Flood | asyncio.Event | Made"
Made: TypeAlias = "Callable[[Received], Step | Awaitable[Step | None] | None]"
Steps: TypeAlias = Sequence[Step]
Script: TypeAlias = Steps | Callable[[Received], Steps]


def reply(
    status: int = 200, content: bytes = b"", *fields: bytes, reason: bytes = b"Some Reason"
) -> bytes:
    """Return a whole answer, with Content-Length if allowed.

    `fields` are lines without their end.
    """
    length = [] if status < 200 or status == 204 else [b"Content-Length: %d" % len(content)]
    return b"\r\n".join([b"HTTP/1.1 %d %b" % (status, reason), *fields, *length, b"", content])


def echo(request: Received) -> Steps:
    """Answer 200 with the target as content: the usual script."""
    return [Act.WHOLE, reply(200, request.target)]


class Connection:
    """One accepted connection.

    problem: h11's reason to refuse what came. ended: `fin` or `rst`, by the peer; None if not
    ended.
    """

    def __init__(
        self, server: ScriptedServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.received = bytearray()
        self.requests: list[Received] = []
        self.problem: str | None = None
        self.ended: str | None = None
        self._server = server
        self._reader = reader
        self._writer = writer
        self._parser = h11.Connection(h11.SERVER, MAX_HEAD)
        self._hearing = asyncio.Event()
        self._hearing.set()
        self._half_closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether neither side has ended it."""
        return self.ended is None and not self._writer.is_closing()

    @property
    def rest(self) -> bytes:
        """What came after the last whole request, or after what h11 could read of a broken one."""
        return self._parser.trailing_data[0]

    async def serve(self) -> None:
        """Read until the peer ends the connection."""
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
                    self._parser = h11.Connection(h11.SERVER, MAX_HEAD)
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
        self._server.requests.append(request)
        script = self._server.scripts.popleft() if self._server.scripts else self._server.usual
        self.start(script(request) if callable(script) else script, request)

    def start(self, steps: Steps, request: Received | None = None) -> asyncio.Task[None]:
        """Play these steps, in answer to a request or without one."""
        task = asyncio.get_running_loop().create_task(self._play(steps, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _play(self, steps: Steps, request: Received | None) -> None:
        self._server.playing += 1
        try:
            with contextlib.suppress(OSError):  # the peer has closed
                for step in steps:
                    await self._step(step, request)
        finally:
            self._server.playing -= 1

    async def _step(self, step: Step, request: Received | None) -> None:
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
        elif isinstance(step, Act):
            await self._act(step, request)
        else:
            assert request is not None
            made = step(request)
            following = await made if inspect.isawaitable(made) else made
            if following is not None:
                await self._step(following, request)

    async def _send(self, data: bytes) -> None:
        if not self._half_closed and not self._writer.is_closing():
            self._writer.write(data)
            await self._writer.drain()

    async def _act(self, act: Act, request: Received | None) -> None:
        if act is Act.WHOLE and request is not None:
            await request.arrived.wait()
        elif act is Act.HALF_BODY and request is not None:
            half = int(request.values(b"content-length")[0]) // 2
            while len(request.content) < half:  # noqa: ASYNC110 # bytes come one turn at a time
                await asyncio.sleep(0)
        elif act is Act.ASK and request is not None:
            assert self._server.backend is not None
            request.answer = await self._server.backend(request)
        elif act is Act.DEAF:
            self._hearing.clear()
        else:
            await self.end(act)

    async def end(self, how: Act) -> None:
        """End the connection like this."""
        if how is Act.FIN:
            self._writer.close()
        elif how is Act.HALF:
            self._half_closed = True
            self._writer.write_eof()
        elif how is Act.CUT:
            await asyncio.sleep(HAND_OVER)
            self._writer.transport.abort()
        elif how is Act.RST:
            await asyncio.sleep(HAND_OVER)
            reset(self._writer.transport)

    async def close(self) -> None:
        """Drop the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._hearing.set()
        self._writer.transport.abort()


class ScriptedServer:
    """The server. It keeps its port while it does not listen, and may listen again.

    requests: all whose head has arrived, in order. scripts: for the coming requests, one each.
    usual: for all others. greeting: steps for each new connection. playing: how many scripts are
    under way. backend: answers `Act.ASK`.
    """

    def __init__(self, *usual: Step, tls: ssl.SSLContext | None = None) -> None:
        self.connections: list[Connection] = []
        self.requests: list[Received] = []
        self.scripts: deque[Script] = deque()
        self.usual: Script = usual or echo
        self.greeting: Steps = ()
        self.playing = 0
        self.backend: Callable[[Received], Awaitable[bytes]] | None = None
        self.tls = tls
        self._port = held_port()
        self.port: int = self._port.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def whole(self) -> list[Received]:
        """The requests that have arrived whole."""
        return [request for request in self.requests if request.whole]

    @property
    def open(self) -> list[Connection]:
        """The connections that are open."""
        return [connection for connection in self.connections if connection.is_open]

    def hold(self, *steps: Step) -> asyncio.Event:
        """Let the next script take these steps, after the whole request, once the event is set."""
        opened = asyncio.Event()
        self.scripts.append([Act.WHOLE, opened, *steps])
        return opened

    async def start(self) -> None:
        """Listen on the server's port of 127.0.0.1."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=self.tls
        )

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self.connections.append(connection)
        if self.greeting:
            connection.start(self.greeting)
        task = asyncio.get_running_loop().create_task(connection.serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop_listening(self) -> None:
        """Refuse new connections, and keep the open ones."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Drop everything."""
        await self.stop_listening()
        self._port.close()
        for connection in self.connections:
            await connection.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
