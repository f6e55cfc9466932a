"""What aiohttp does that a gateway with a credential must not: why the listener parses by itself.

docs/architecture.md gives these as reasons. A test fails when aiohttp does better: then delete it
and its sentence there, and weigh whether the remaining reasons still carry the decision.
"""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import aiohttp
import pytest
from aiohttp import web

from tests.scripted import ScriptedServer, Step

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

SECOND: Final = b"GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
PATIENCE: Final = 10.0  # seconds; only a test that fails waits for their end
MOMENT: Final = 0.1  # seconds, many times what a server on loopback needs


class Server:
    """A low-level server of aiohttp; `seen` holds (path, fields, content) of each request."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.begun = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Note the request, and answer it, but not at once."""
        self.begun.set()
        content = await request.read()
        self.seen.append((request.path, dict(request.headers), content))
        await asyncio.sleep(MOMENT)
        return web.Response(text="answered")

    @contextlib.asynccontextmanager
    async def connection(
        self, handle: Handler | None = None
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Serve, and give one connection to it."""
        served = web.Server(handle or self.handle)
        listening = await asyncio.get_running_loop().create_server(served, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        try:
            async with asyncio.timeout(PATIENCE):
                yield reader, writer
        finally:
            writer.close()
            listening.close()
            await served.shutdown(0)

    async def answers(self, raw: bytes) -> bytes:
        """Return the answers to these requests, up to the end of the connection."""
        async with self.connection() as (reader, writer):
            writer.write(raw)
            return await reader.read()


# From inside a handler


async def test_a_client_that_half_closes_loses_its_answer() -> None:
    """The request was acted on, and its answer is lost."""
    server = Server()
    async with server.connection() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        writer.write_eof()
        assert await reader.read() == b""
    assert len(server.seen) == 1


async def test_expect_is_not_answered() -> None:
    """A client that waits for 100 waits in vain."""
    server = Server()
    async with server.connection() as (reader, writer):
        fields = b"Host: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n"
        writer.write(b"POST / HTTP/1.1\r\n" + fields + b"\r\n")
        await server.begun.wait()
        await asyncio.sleep(MOMENT)
        writer.write(b"ok")
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b" 100 " not in answer


def test_content_has_no_deadline() -> None:
    """Only an idle connection and its end have one; the third name only rounds them."""
    settings = inspect.signature(web.RequestHandler).parameters
    known = {"keepalive_timeout", "lingering_time", "timeout_ceil_threshold"}
    assert {name for name in settings if "time" in name} == known


@pytest.mark.parametrize("large", [b"GET /%b HTTP/1.1\r\nHost: a", b"GET / HTTP/1.1\r\nHost: %b"])
async def test_a_head_that_is_too_large_gets_400(large: bytes) -> None:
    """RFC 9110 has 414 for the target, RFC 6585 has 431 for the fields."""
    answer = await Server().answers(large % (b"a" * 100_000) + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 400 ")


async def test_a_parse_error_quotes_what_was_sent() -> None:
    """A client's credential comes back in the answer."""
    credential = b"Authorization : Bearer credential-of-the-client\r\n"
    answer = await Server().answers(b"GET / HTTP/1.1\r\nHost: a\r\n" + credential + b"\r\n")
    assert b"credential-of-the-client" in answer


async def test_what_is_pipelined_behind_an_upgrade_is_lost() -> None:
    """Java's client asks for h2c; its second request is never seen."""
    server = Server()
    upgrade = b"GET /first HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with server.connection() as (reader, writer):
        writer.write(upgrade + SECOND)
        await reader.readuntil(b"answered")
        await asyncio.sleep(2 * MOMENT)
    assert [path for path, _, _ in server.seen] == ["/first"]


async def test_an_exception_behind_the_head_ends_the_answer_cleanly() -> None:
    """The last chunk is sent, so half an answer looks complete."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"half")
        with contextlib.suppress(OSError):
            raise ConnectionResetError  # as the API's connection does
        return response

    async with Server().connection(handle) as (reader, writer):
        writer.write(SECOND)
        assert (await reader.read()).endswith(b"\r\n\r\n4\r\nhalf\r\n0\r\n\r\n")


# From inside the C parser


@pytest.mark.parametrize(
    ("coding", "content", "read", "trailer"),
    [
        (b"chunked", b"2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n", b"ok", "1"),
        (b"chunked", b"1;" + b"a" * (1 << 20) + b"\r\nx\r\n0\r\n\r\n", b"x", None),
        (b"cow, chunked", b"2\r\nok\r\n0\r\n\r\n", b"ok", None),
    ],
    ids=[
        "the last trailer becomes a field of the next request",
        "unlimited chunk extensions",
        "unknown transfer coding (RFC 9112 section 6.1: 501)",
    ],
)
async def test_bad_content_is_accepted(
    coding: bytes, content: bytes, read: bytes, trailer: str | None
) -> None:
    """It is read as if nothing were wrong with it."""
    server = Server()
    first = b"POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: %b\r\n\r\n" % coding
    await server.answers(first + content + SECOND)
    assert [content for _, _, content in server.seen] == [read, b""]
    assert [fields.get("X-Trailer") for _, fields, _ in server.seen] == [None, trailer]


# On the way to the API


async def texts(*answers: bytes, calls: int = 1) -> list[str]:
    """Return the answers to so many calls on one connection, if the first gets all of these."""
    found = []
    async with ScriptedServer() as server, aiohttp.ClientSession() as session:
        server.usual = ()
        rest: list[Step] = []
        for answer in answers[1:]:
            rest += [lambda _: asyncio.sleep(MOMENT), answer]
        server.scripts.append([answers[0], *rest])
        for _ in range(calls):
            url = f"http://127.0.0.1:{server.port}/"
            async with asyncio.timeout(PATIENCE), session.get(url) as answer_:
                found.append(await answer_.text())
            await asyncio.sleep(2 * MOMENT)
    return found


async def test_late_bytes_are_the_answer_to_the_next_call() -> None:
    """Bytes on an idle connection become another client's answer."""
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    assert await texts(one + b"one", one + b"two", calls=2) == ["one", "two"]


async def test_an_answer_is_read_laxly() -> None:
    """Bare LF and a folded field are accepted from the API."""
    assert await texts(b"HTTP/1.1 200 OK\nX: 1\n 2\nContent-Length: 2\n\nok") == ["ok"]
