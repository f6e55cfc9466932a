"""One bounded request and its answer over real sockets."""

import asyncio
import contextlib
import resource
import time
from collections.abc import Callable
from typing import Final

import pytest

from proxy.http1 import grammar
from proxy.network import call
from proxy.network.call import CallAnswer, End
from proxy.network.dialer import Dialer
from proxy.network.stream import Gone
from proxy.settings import Origin
from tests.gateway.client import until
from tests.integration.test_token_endpoint import answering
from tests.scripted import Act, Flood, ScriptedServer, reply

REQUEST = b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


def dialer_to(server: ScriptedServer) -> Dialer:
    """Make a dialer that leads to the server."""
    return Dialer(Origin("http", "127.0.0.1", server.port), None)


async def ask(server: ScriptedServer, seconds: float = 5) -> CallAnswer:
    """Ask that server once, for up to 1,000 bytes."""
    async with server:
        return await call.ask(dialer_to(server), REQUEST, seconds=seconds, most_content=1000)


OK: Final = b"HTTP/1.1 200 OK\r\n"
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n"
ABC: Final = reply(200, b"abc")
#: What is sent, the content that is read, and how it ended.
ANSWERS: Final = {
    "length": (ABC, b"abc", End.WHOLE),
    "more-than-its-length": (ABC + b"more", b"abc", End.WHOLE),
    "nothing": (reply(200), b"", End.WHOLE),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", End.WHOLE),
    "until-close": (b"HTTP/1.0 200 OK\r\n\r\nabc", b"abc", End.WHOLE),
    "chunked": (CHUNKED + b"\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n", b"abc", End.WHOLE),
    "after-100": (CONTINUE + ABC, b"abc", End.WHOLE),
    "after-sixteen": (HINTS * 16 + ABC, b"abc", End.WHOLE),
    "as-long-as-allowed": (reply(200, b"x" * 1000), b"x" * 1000, End.WHOLE),
    "cut": (OK + b"Content-Length: 9\r\n\r\nabc", b"abc", End.CUT),
    "broken-chunk": (CHUNKED + b"\r\nZZ\r\n", b"", End.MALFORMED),
    "two-framings": (CHUNKED + b"Content-Length: 1\r\n\r\n", b"", End.MALFORMED),
    "large-cookie": (reply(200, b"abc", b"Set-Cookie: a=" + b"b" * 9_000), b"abc", End.WHOLE),
    "largest-head": (reply(200, b"abc", b"X: " + b"b" * 65_000), b"abc", End.WHOLE),
}


@pytest.mark.parametrize(("sent", "content", "end"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_is_read_as_it_is_framed(sent: bytes, content: bytes, end: End) -> None:
    """Content by length, in chunks or up to the end; a broken answer keeps what arrived of it."""
    answer = await ask(answering(sent))
    assert (answer.content, answer.end) == (content, end)


async def test_content_beyond_the_bound_is_not_read() -> None:
    """One byte more than allowed ends the call, and little more than that has been read."""
    answer = await ask(answering(reply(200, b"x" * 1_000_000)))
    assert answer.end is End.TOO_LONG
    assert 1000 < len(answer.content) < 400_000


@pytest.mark.parametrize(
    ("words", "sent"),
    {
        "does not begin": b"SSH-2.0-OpenSSH_9.9\r\n",
        "no end of interim": HINTS * 17 + ABC,
        "switches protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "larger than": reply(200, b"", b"X: " + b"b" * 66_000),
        "more than 256 fields": reply(200, b"", *[b"X: y"] * 257),
        "bare CR or LF": b"HTTP/1.1 200 OK\nX: y\n\n",
    }.items(),
)
async def test_a_malformed_answer_raises(words: str, sent: bytes) -> None:
    """Other protocols, endless interim answers, a head beyond the bounds."""
    with pytest.raises(grammar.Malformed, match=words):
        await ask(answering(sent))


async def test_interim_answers_without_end_cost_nothing() -> None:
    """The call ends at the seventeenth; the loop is not blocked, and memory does not grow."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            longest = max(longest, time.perf_counter() - began)

    watching = asyncio.create_task(watch())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(grammar.Malformed, match="no end of interim"):
        await ask(ScriptedServer(Flood(CONTINUE * 5_000, 2_000)))
    watching.cancel()
    assert longest < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2", CONTINUE, CONTINUE + b"HTTP/1.1 200 OK\r\n"])
async def test_an_end_before_the_head_raises_gone(sent: bytes) -> None:
    """Whatever arrived before it."""
    with pytest.raises(Gone):
        await ask(answering(sent))


@pytest.mark.parametrize("sent", [b"", CONTINUE, b"HTTP/1.1 200 OK\r\nX: "])
async def test_silence_before_the_head_is_a_timeout(sent: bytes) -> None:
    """The deadline is for the whole call."""
    with pytest.raises(TimeoutError):
        await ask(ScriptedServer(sent), seconds=0.1)


async def test_silence_inside_the_content_keeps_what_arrived() -> None:
    """The head counts, and the part of the content that arrived."""
    head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\n"
    answer = await ask(ScriptedServer(head, b"abc"), seconds=0.2)
    assert (answer.head.status, answer.content, answer.end) == (401, b"abc", End.TIMEOUT)


async def test_the_fields_are_found_by_lower_case_name() -> None:
    """The first of several with one name; bytes beyond ASCII are no error."""
    answer = await ask(answering(reply(200, b"", b"X-A: 1", b"x-a: 2", b"X-B: \xc3\xbf")))
    assert answer.fields() == {"content-length": "0", "x-a": "1", "x-b": "\xc3\xbf"}


@pytest.mark.parametrize(
    "sent", [reply(200, b"abc"), b"", b"junk\r\n\r\n", reply(200, b"x" * 2000)]
)
async def test_no_connection_is_left(sent: bytes) -> None:
    """Its connection ends with the call, though the server would keep it."""
    server = ScriptedServer(sent, *([] if sent else [Act.FIN]))
    async with server:
        with contextlib.suppress(Gone, grammar.Malformed):
            await call.ask(dialer_to(server), REQUEST, seconds=5, most_content=1000)
        await until(lambda: server.connections[0].ended)


@pytest.mark.parametrize("error", [OSError("no way"), UnicodeError("no name"), TimeoutError()])
async def test_errors_of_the_dialer_are_raised(error: Exception) -> None:
    """Unchanged."""

    class Failing(Dialer):
        async def dial(
            self, factory: Callable[[], asyncio.Protocol], seconds: float | None = None
        ) -> None:
            raise error

    failing = Failing(Origin("http", "127.0.0.1", 1), None)
    with pytest.raises(type(error)) as raised:
        await call.ask(failing, REQUEST, seconds=1, most_content=1)
    assert raised.value is error
