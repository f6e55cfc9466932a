"""The sandbox behind a road that breaks.

Where calls are lost on their way is scripted, what becomes of them the sandbox itself decides.

    async with scene_of(lab) as scene:
        await scene.house.opened()                                  # logs in at the sandbox, which no road leads to
        scene.road.usual = [Do.WHOLE, Do.ACT, until_half_of_body, Do.RST]
        answer = await scene.house.ask(order())
        scene.sandbox.orders                                        # one: the order was placed, and the answer got lost

A script is a sequence of steps for one request, which begins with the request's head. Bytes are
sent as they stand; a function makes what is sent of the sandbox's answer; `Do`, `Drip` and `Then`
do what they say. Whether the proxy sends well-formed requests is judged elsewhere, with h11: the
road's own reading of them is as simple as can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

import orjson

from proxy.logs import AccessLog, LineWriter
from proxy.sandbox.server import running
from proxy.sandbox.state import Sandbox, SandboxCredentials
from tests.gateway.upstream import Drip
from tests.ports import held_port
from tests.reliability.house import CREDENTIALS, HOUR, House, house_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator

    from proxy.records import Record
    from tests.gateway.conftest import Lab

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds
#: A reset throws away what the peer has not read yet; this long the kernel has to hand it over.
_HAND_OVER: Final = 0.005  # seconds
_EMPTY_LINE: Final = b"\r\n\r\n"


class Do(enum.Enum):
    """Steps without content."""

    HALF_BODY = "wait until half of the request's content is there"
    WHOLE = "wait until the whole request is there"
    ACT = "let the sandbox have the request, and keep its answer"
    FIN = "close in order"
    HALF = "end our side of the connection, and go on reading"
    RST = "reset the connection"


@dataclass(frozen=True, slots=True)
class Then:
    """Do something else in between."""

    work: Callable[[], Awaitable[None]]


#: Of the sandbox's answer.
Part: TypeAlias = Callable[[bytes], bytes]
Step: TypeAlias = bytes | Do | Drip | Then | Part
Script: TypeAlias = Sequence[Step]


# --- Parts of the sandbox's answer -------------------------------------------------------------


def whole(answer: bytes) -> bytes:
    """Give all of it."""
    return answer


def closing(answer: bytes) -> bytes:
    """Give all of it, and say that the connection ends with it."""
    return answer.replace(_EMPTY_LINE, b"\r\nConnection: close" + _EMPTY_LINE, 1)


def until_half_of_status_line(answer: bytes) -> bytes:
    """Break off inside the status line."""
    return answer[:10]


def until_half_of_head(answer: bytes) -> bytes:
    """Break off between two fields."""
    return answer[: answer.index(b"\r\n") + 2]


def until_body(answer: bytes) -> bytes:
    """Break off after the head."""
    return answer[: answer.index(_EMPTY_LINE) + 4]


def until_half_of_body(answer: bytes) -> bytes:
    """Break off inside the content."""
    return answer[: (len(until_body(answer)) + len(answer)) // 2]


def body(answer: bytes) -> bytes:
    """Give the content without its head."""
    return answer[len(until_body(answer)) :]


def _chunked(answer: bytes, end: bytes) -> bytes:
    """Frame the content as one chunk, and end like this."""
    head, content = until_body(answer), body(answer)
    fields = [
        line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"content-length:")
    ]
    return (
        b"\r\n".join([*fields, b"Transfer-Encoding: chunked", b"", b"%x" % len(content), content])
        + end
    )


def until_half_of_chunk(answer: bytes) -> bytes:
    """Break off inside a chunk."""
    return _chunked(answer, b"")[:-5]


def until_last_chunk(answer: bytes) -> bytes:
    """Break off before the chunk that says that it was the last."""
    return _chunked(answer, b"\r\n")


def in_chunks(answer: bytes) -> bytes:
    """Give all of it, in a chunk."""
    return _chunked(answer, b"\r\n0\r\n\r\n")


WHOLE_WAY: Final[Script] = (Do.WHOLE, Do.ACT, whole)


# --- The road ----------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Passing:
    """A request on its way."""

    head: bytes
    content: bytearray = field(default_factory=bytearray)
    answer: bytes = b""

    @property
    def method(self) -> bytes:
        """Its method."""
        return self.head[: self.head.index(b" ")]

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here."""
        return len(self.content) == self.length

    @property
    def length(self) -> int:
        """The length of its content."""
        lines = self.head.lower().split(b"\r\n")
        return next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)


class Road:
    """The way to the sandbox. Its address stays the same whatever becomes of it.

    passed: all requests whose head was here. playing: how many scripts have not come to their end.
    scripts: for the coming requests, one each. usual: for all others; it may be drawn anew for
    each. greeting: what is sent on each new connection, before anything is read.
    """

    def __init__(self, sandbox_url: str, context: ssl.SSLContext | None = None) -> None:
        self.passed: list[Passing] = []
        self.scripts: deque[Script] = deque()
        self.usual: Script | Callable[[], Script] = WHOLE_WAY
        self.greeting: Script = ()
        self.context = context
        self._port = held_port()
        self.port: int = self._port.getsockname()[1]
        self.playing = 0
        self._sandbox_port = urlsplit(sandbox_url).port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """How many are open."""
        return sum(not writer.is_closing() for writer in self._writers)

    async def open(self) -> None:
        """Let connections in."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self.context
        )

    async def shut(self) -> None:
        """Refuse new connections, and keep those that there are."""
        assert self._server is not None
        self._server.close()

    async def end(self, how: Do) -> None:
        """End all connections that there are, like this."""
        for writer in list(self._writers):
            await _end(writer, how)

    async def close(self) -> None:
        """End everything."""
        await self.shut()
        self._port.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            # Nobody but `close` cancels, and asyncio's streams make a fault of a task that ends so.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._play(self.greeting, Passing(b""), reader, writer)
                while True:
                    await self._pass(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let one request pass, as its script says."""
        passing = Passing(await reader.readuntil(_EMPTY_LINE))
        self.passed.append(passing)
        script = self.scripts.popleft() if self.scripts else self.usual
        await self._play(script() if callable(script) else script, passing, reader, writer)
        await _read_on(reader, passing, passing.length)

    async def _play(
        self,
        script: Script,
        passing: Passing,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.playing += 1
        try:
            for step in script:
                await self._step(step, passing, reader, writer)
        finally:
            self.playing -= 1

    async def _step(
        self,
        step: Step,
        passing: Passing,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if step is Do.HALF_BODY:
            await _read_on(reader, passing, passing.length // 2)
        elif step is Do.WHOLE:
            await _read_on(reader, passing, passing.length)
        elif step is Do.ACT:
            passing.answer = await self._ask_sandbox(passing)
        elif isinstance(step, Do):
            await _end(writer, step)
        elif isinstance(step, Then):
            await step.work()
        else:
            await _send(writer, step, passing.answer)

    async def _ask_sandbox(self, passing: Passing) -> bytes:
        """Take the request to the sandbox; return its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._sandbox_port)
        writer.write(passing.head + passing.content)
        head = await reader.readuntil(_EMPTY_LINE)
        answer = head + await reader.readexactly(Passing(head).length)
        writer.close()
        await writer.wait_closed()
        return answer


async def _read_on(reader: asyncio.StreamReader, passing: Passing, size: int) -> None:
    """Read until so much of the content is there."""
    passing.content += await reader.readexactly(max(0, size - len(passing.content)))


async def _send(writer: asyncio.StreamWriter, step: bytes | Drip | Part, answer: bytes) -> None:
    if isinstance(step, Drip):
        for byte in answer:
            if not writer.is_closing():
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
    elif not writer.is_closing():
        writer.write(step if isinstance(step, bytes) else step(answer))
        await writer.drain()


async def _end(writer: asyncio.StreamWriter, how: Do) -> None:
    if how is Do.FIN:
        writer.close()
    elif how is Do.HALF:
        writer.write_eof()
    else:
        await asyncio.sleep(_HAND_OVER)
        raw = writer.get_extra_info("socket")
        if raw is not None and not writer.is_closing():  # else the proxy was faster
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()


@contextlib.contextmanager
def black_hole(port: int = 0) -> Iterator[int]:
    """Listen on a port, any free one or this, with a queue that is full, so that the kernel answers no further connection."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(0)
        for _ in range(20):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


# --- The scene ---------------------------------------------------------------------------------


_NOWHERE: Final = os.open(os.devnull, os.O_WRONLY)


class _Lines(LineWriter):
    """Keeps the last line, as it would leave the process."""

    def __init__(self) -> None:
        super().__init__(_NOWHERE)
        self.last = b""

    def write(self, line: bytes) -> None:
        """Keep it."""
        self.last = line


class Scene:
    """A house whose token endpoint is the sandbox, and whose API is the sandbox behind the road.

    login: what a call of the token endpoint waits for, after the sandbox was told to be slow there
    (fault `token_slow`).
    """

    def __init__(
        self, lab: Lab, house: House, road: Road, sandbox: Sandbox, login: asyncio.Event
    ) -> None:
        self.certificates = lab.certificates
        self.house = house
        self.road = road
        self.sandbox = sandbox
        self.login = login
        self._lines = _Lines()
        self._access_log = AccessLog(self._lines, house.gateway.settings.log)

    def counter(self, name: str) -> Any:
        """Return one of the sandbox's counters."""
        counters = self.sandbox.shown()["counters"]
        assert isinstance(counters, dict)
        return counters[name]

    def access_line(self, record: Record) -> dict[str, Any]:
        """Return what the log says of a request, without what differs from run to run."""
        self._access_log(record)
        line: dict[str, Any] = orjson.loads(self._lines.last)
        return line


@contextlib.asynccontextmanager
async def scene_of(lab: Lab, *, tls: bool = False, **changes: Any) -> AsyncIterator[Scene]:
    """Build a scene, and tear it down after the block. tls: to the API."""
    login = asyncio.Event()
    house: House | None = None

    def now() -> float:
        return 0.0 if house is None else house.clock.now()

    sandbox = Sandbox(
        SandboxCredentials(
            CREDENTIALS.client_id,
            CREDENTIALS.client_secret.reveal(),
            CREDENTIALS.username,
            CREDENTIALS.password.reveal(),
        ),
        now=now,
    )
    sandbox.settings.token_lifetime_seconds = HOUR

    async def slow(_seconds: float) -> None:
        await login.wait()

    async with running(sandbox, sleep=slow) as url:
        road = Road(url, lab.certificates.good if tls else None)
        await road.open()
        scheme = "https" if tls else "http"
        try:
            async with house_of(
                lab, url=f"{scheme}://127.0.0.1:{road.port}", log__format="json", **changes
            ) as house:
                await house.log_in_at(url)
                yield Scene(lab, house, road, sandbox, login)
                login.set()
        finally:
            await road.close()
