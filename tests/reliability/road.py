"""The sandbox behind a road that breaks: scripts say where calls are lost.

    async with scene_of(lab) as scene:
        await scene.house.opened()  # logs in at the sandbox directly
        scene.road.usual = [Act.WHOLE, Act.ASK, until_half_of_body, Act.RST]
        answer = await scene.house.ask(order())
        scene.sandbox.orders  # one: placed, and its answer was lost

The road is a `ScriptedServer` whose backend is the sandbox. The functions of this module are steps
that send a part of the sandbox's answer.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from proxy.logs import AccessLog, LineWriter
from proxy.records import Record
from proxy.sandbox.server import running
from proxy.sandbox.state import Sandbox, SandboxCredentials
from tests.gateway.conftest import Lab
from tests.reliability.house import CREDENTIALS, HOUR, House, house_of
from tests.scripted import Act, Drip, Received, ScriptedServer, Steps

_EMPTY_LINE: Final = b"\r\n\r\n"


# --- Parts of the sandbox's answer -------------------------------------------------------------


def whole(seen: Received) -> bytes:
    """Send all of it."""
    return seen.answer


def byte_by_byte(seen: Received) -> Drip:
    """Send all of it, a byte at a time."""
    return Drip(seen.answer)


def closing(seen: Received) -> bytes:
    """Send all of it, and announce that the connection ends with it."""
    return seen.answer.replace(_EMPTY_LINE, b"\r\nConnection: close" + _EMPTY_LINE, 1)


def until_half_of_status_line(seen: Received) -> bytes:
    """Break off inside the status line."""
    return seen.answer[:10]


def until_half_of_head(seen: Received) -> bytes:
    """Break off between two fields."""
    return seen.answer[: seen.answer.index(b"\r\n") + 2]


def until_body(seen: Received) -> bytes:
    """Break off after the head."""
    return seen.answer[: seen.answer.index(_EMPTY_LINE) + 4]


def until_half_of_body(seen: Received) -> bytes:
    """Break off inside the content."""
    return seen.answer[: (len(until_body(seen)) + len(seen.answer)) // 2]


def body(seen: Received) -> bytes:
    """Send the content without its head."""
    return seen.answer[len(until_body(seen)) :]


def _chunked(seen: Received, end: bytes) -> bytes:
    """Frame the content as one chunk, and end like this."""
    lines = until_body(seen)[:-4].split(b"\r\n")
    fields = [line for line in lines if not line.lower().startswith(b"content-length:")]
    size = b"%x" % len(body(seen))
    return b"\r\n".join([*fields, b"Transfer-Encoding: chunked", b"", size, body(seen)]) + end


def until_half_of_chunk(seen: Received) -> bytes:
    """Break off inside a chunk."""
    return _chunked(seen, b"")[:-5]


def until_last_chunk(seen: Received) -> bytes:
    """Break off before the chunk that says that it was the last."""
    return _chunked(seen, b"\r\n")


def in_chunks(seen: Received) -> bytes:
    """Send all of it, in a chunk."""
    return _chunked(seen, b"\r\n0\r\n\r\n")


WHOLE_WAY: Final[Steps] = (Act.WHOLE, Act.ASK, whole)


def road_to(sandbox_url: str) -> ScriptedServer:
    """Make the road to the sandbox; it does not listen yet."""

    async def ask(seen: Received) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(sandbox_url).port)
        writer.write(seen.raw)
        head = await reader.readuntil(_EMPTY_LINE)
        length = next(
            line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        answer = head + await reader.readexactly(int(length))
        writer.close()
        await writer.wait_closed()
        return answer

    road = ScriptedServer(*WHOLE_WAY)
    road.backend = ask
    return road


@contextlib.contextmanager
def black_hole(port: int = 0) -> Iterator[int]:
    """Listen with a full queue, so that the kernel answers no further connection.

    port: 0 for any.
    """
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
    """A house that logs in at the sandbox, and whose API is the sandbox behind the road.

    login: logins wait for it once the sandbox has the fault `token_slow`.
    """

    def __init__(
        self, lab: Lab, house: House, road: ScriptedServer, sandbox: Sandbox, login: asyncio.Event
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
        road = road_to(url)
        road.tls = lab.certificates.good if tls else None
        scheme = "https" if tls else "http"
        at_road = f"{scheme}://127.0.0.1:{road.port}"
        async with road, house_of(lab, url=at_road, log__format="json", **changes) as house:
            await house.log_in_at(url)
            yield Scene(lab, house, road, sandbox, login)
            login.set()
