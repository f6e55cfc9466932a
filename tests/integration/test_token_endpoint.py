"""The token endpoint over real sockets: what goes out, and what each answer comes to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import gc
import gzip
import json
import logging
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import brotli  # type: ignore[import-untyped] # it has no types
import pytest
from structlog.testing import capture_logs

import proxy
from proxy.errors import CredentialsRefused, TokenError, TokenUnavailable
from proxy.network.dialer import Dialer
from proxy.secret import Secret
from proxy.settings import Origin
from proxy.tokens.endpoint import MOST_ANSWER_BYTES, TokenEndpoint
from proxy.tokens.values import AccessToken, Credentials

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CREDENTIALS = Credentials(
    client_id="xhdrs6uleK1x",
    client_secret=Secret("Glz2FV5XYOvAhFCE"),
    username="api7813371375",
    password=Secret("hquTvfc00l8F33ad"),
)
BASIC = base64.b64encode(b"xhdrs6uleK1x:Glz2FV5XYOvAhFCE").decode()
TOKEN = AccessToken(
    Secret("s3cr3t"), generation=1, fetched_at=0, renew_at=1, usable_until=2, expires_at=3
)
GRANT = b'{"access_token":"s3cr3t","expires_in":3599}'


def reply(status: str, content: bytes = b"", *fields: str) -> bytes:
    """Write an answer as bytes."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


@dataclass
class ScriptedServer:
    """A server that hears whole requests, byte for byte, and then does what the test says.

    Bytes to send, or a behaviour.

    port: where it listens. heard: the requests so far. connections: how many there were.
    """

    answer: bytes | Behaviour = b""
    port: int = 0
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0

    @contextlib.asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedServer]:
        """Listen until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            self.heard.append(head + await reader.readexactly(length))
            if callable(self.answer):
                await self.answer(reader, writer)
            else:
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side has heard enough
        finally:
            writer.close()

    @property
    def request(self) -> tuple[str, dict[str, str], bytes]:
        """The only request: its first line, its fields in lower case, its content."""
        assert len(self.heard) == 1
        head, _, content = self.heard[0].partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        fields = [line.split(": ", 1) for line in lines]
        assert len({name.lower() for name, _ in fields}) == len(fields), "a field came twice"
        return first, {name.lower(): value for name, value in fields}, content


@contextlib.asynccontextmanager
async def endpoint(
    port: int,
    *,
    scheme: str = "http",
    host: str = "127.0.0.1",
    token_path: str = "/oauth/v2/token",
    tls: ssl.SSLContext | None = None,
    timeout_seconds: float = 5,
) -> AsyncIterator[TokenEndpoint]:
    """Give a token endpoint at that port."""
    origin = Origin("https" if scheme == "https" else "http", host, port)
    yield TokenEndpoint(
        Dialer(origin, tls), token_path, "/oauth/v2/logout", timeout_seconds=timeout_seconds
    )


async def failure(server: ScriptedServer, *, timeout_seconds: float = 5) -> TokenError:
    """Fetch once from that server, and give the error that it comes to."""
    async with server.listening(), endpoint(server.port, timeout_seconds=timeout_seconds) as opened:
        with pytest.raises(TokenError) as raised:
            await opened.fetch(CREDENTIALS)
    return raised.value


# --- The request -------------------------------------------------------------------------------


async def test_the_request_is_exactly_a_password_grant() -> None:
    """One POST with Basic from the client credentials, a form with the grant, and no field that nobody asked for."""
    async with (
        ScriptedServer(reply("200 OK", GRANT)).listening() as server,
        endpoint(server.port) as opened,
    ):
        grant = await opened.fetch(CREDENTIALS)
    assert (grant.secret.reveal(), grant.lifetime) == ("s3cr3t", 3599)
    first, fields, content = server.request
    assert first == "POST /oauth/v2/token HTTP/1.1"
    assert fields == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "authorization": f"Basic {BASIC}",
        "connection": "close",
        "content-length": str(len(content)),
        "content-type": "application/x-www-form-urlencoded",
        "user-agent": f"telenor-proxy/{proxy.__version__}",
    }
    assert content == b"grant_type=password&username=api7813371375&password=hquTvfc00l8F33ad"


async def test_special_characters_arrive_as_they_are() -> None:
    """Whatever characters the credentials have, the form and Basic carry them as UTF-8, and both decode to the same."""
    special = "&+=%/ ø\"'~*€\n#?;"
    credentials = Credentials(
        "id" + special, Secret(special), special, Secret(special), scope=special
    )
    async with (
        ScriptedServer(reply("200 OK", GRANT)).listening() as server,
        endpoint(server.port) as opened,
    ):
        await opened.fetch(credentials)
    _, fields, content = server.request
    assert (
        base64.b64decode(fields["authorization"].removeprefix("Basic ")).decode()
        == f"id{special}:{special}"
    )
    assert parse_qs(content.decode("ascii"), strict_parsing=True) == {
        "grant_type": ["password"],
        "username": [special],
        "password": [special],
        "scope": [special],
    }
    assert b"&username=%26%2B%3D%25%2F%20%C3%B8%22%27~%2A%E2%82%AC%0A%23%3F%3B&" in content


@pytest.mark.parametrize(
    "path", ["/oauth/v2/token", "/oauth/token?x=%41&y", "//odd//%2F/./../path%20~"]
)
async def test_the_path_goes_out_as_it_stands_in_the_settings(path: str) -> None:
    """The path of the token endpoint is neither decoded nor tidied."""
    async with (
        ScriptedServer(reply("200 OK", GRANT)).listening() as server,
        endpoint(server.port, token_path=path) as opened,
    ):
        await opened.fetch(CREDENTIALS)
    assert server.request[0] == f"POST {path} HTTP/1.1"


async def test_each_fetch_has_a_connection_of_its_own() -> None:
    """No connection is used twice, so nothing left over from one answer can be taken for the next."""
    async with (
        ScriptedServer(reply("200 OK", GRANT) * 2).listening() as server,
        endpoint(server.port) as opened,
    ):
        await opened.fetch(CREDENTIALS)
        await opened.fetch(CREDENTIALS)
    assert (server.connections, len(server.heard)) == (2, 2)


async def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables do not lead the credentials elsewhere, and cookies are not kept."""
    async with ScriptedServer().listening() as elsewhere, ScriptedServer().listening() as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{elsewhere.port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{elsewhere.port}")
        server.answer = reply("200 OK", GRANT, "Set-Cookie: a=b; Path=/")
        async with endpoint(server.port) as opened:
            await opened.fetch(CREDENTIALS)
            await opened.fetch(CREDENTIALS)
    assert elsewhere.connections == 0
    assert b"cookie" not in server.heard[1].lower()


async def test_logout_sends_the_token_and_nothing_else() -> None:
    """Logout is a GET with the token as Bearer, without the credentials, and true when the answer is 200."""
    async with (
        ScriptedServer(reply("200 OK", b"OK!")).listening() as server,
        endpoint(server.port) as opened,
    ):
        assert await opened.logout(TOKEN)
    first, fields, content = server.request
    assert first == "GET /oauth/v2/logout HTTP/1.1"
    assert fields["authorization"] == "Bearer s3cr3t"
    assert content == b""


@pytest.mark.parametrize(
    "answer",
    [reply("401 Unauthorized", b'{"code":2}'), reply("302 Found"), b"", b"nonsense\r\n\r\n"],
)
async def test_a_failed_logout_is_no_error(answer: bytes) -> None:
    """Whatever comes of a logout, it raises nothing: the token ends by itself later."""
    async with ScriptedServer(answer).listening() as server, endpoint(server.port) as opened:
        assert not await opened.logout(TOKEN)


# --- Answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            "malformed",
            id="broken-chunk",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "malformed", id="endless-field"
        ),
    ],
)
async def test_what_is_no_http_is_a_passing_fault(answer: bytes, reason: str) -> None:
    """It has a reason of its own and words for a person.

    Other bad answers are in tests/reliability/test_token_faults.py.
    """
    error = await failure(ScriptedServer(answer))
    assert isinstance(error, TokenUnavailable)
    assert error.reason == reason
    assert error.detail.startswith(("The token endpoint", "The connection", "What answered"))
    assert error.detail.endswith(".")


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden"])
@pytest.mark.parametrize("content", [b"", b"<html>", b'{"fault":{"detail":{"errorcode":"20"}}}'])
async def test_refused_credentials_are_told_apart(status: str, content: bytes) -> None:
    """400, 401 and 403 mean refused credentials, whatever the body."""
    assert isinstance(await failure(ScriptedServer(reply(status, content))), CredentialsRefused)


async def test_a_refusal_counts_even_if_its_body_never_ends() -> None:
    """A refusal does not become a timeout when silence follows its head.

    It would be tried again at once.
    """
    async with silent_after(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 500\r\n\r\n") as server:
        assert isinstance(await failure(server, timeout_seconds=0.3), CredentialsRefused)


@pytest.mark.parametrize("size", [MOST_ANSWER_BYTES, MOST_ANSWER_BYTES + 1])
async def test_no_more_than_a_mebibyte_is_read(size: int) -> None:
    """A body of one MiB is read whole; a longer one is given up, however long it would go on."""
    content = GRANT[:-1] + b',"pad":"' + b"x" * (size - len(GRANT) - 9) + b'"}'
    assert len(content) == size
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    if size > MOST_ANSWER_BYTES:
        sent = 0

        async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(head)
            while not writer.is_closing():
                writer.write(b" " * 65_536)
                await writer.drain()
                sent += 65_536

        error = await failure(ScriptedServer(endless))
        assert error.reason == "unreadable"
        assert sent < 32 * MOST_ANSWER_BYTES  # what the sockets' buffers hold, and no more
        error = await failure(ScriptedServer(head + content))
        assert error.reason == "unreadable"
    else:
        async with (
            ScriptedServer(head + content).listening() as server,
            endpoint(server.port) as opened,
        ):
            assert (await opened.fetch(CREDENTIALS)).lifetime == 3599


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"]
)
async def test_a_few_interim_answers_are_skipped(interim: bytes) -> None:
    """RFC 9110, section 15.2: they may come before the final answer.

    More than sixteen are no HTTP any more.
    """
    async with (
        ScriptedServer(interim * 16 + reply("200 OK", GRANT)).listening() as server,
        endpoint(server.port) as opened,
    ):
        assert (await opened.fetch(CREDENTIALS)).lifetime == 3599
    assert (
        await failure(ScriptedServer(interim * 17 + reply("200 OK", GRANT)))
    ).reason == "malformed"


async def test_a_large_cookie_does_no_harm() -> None:
    """A gateway's login answer may carry a cookie of 9,000 bytes; it is not kept."""
    cookie = "Set-Cookie: session=" + "c" * 9_000 + "; Path=/"
    async with (
        ScriptedServer(reply("200 OK", GRANT, cookie)).listening() as server,
        endpoint(server.port) as opened,
    ):
        assert (await opened.fetch(CREDENTIALS)).lifetime == 3599
        assert (await opened.fetch(CREDENTIALS)).lifetime == 3599
    assert b"cookie" not in server.heard[1].lower()


def raw_deflate(content: bytes) -> bytes:
    """Compress without the header that `deflate` should have."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


COMPRESSED = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli.compress),
    ("identity", bytes),
]


@pytest.mark.parametrize(("coding", "compress"), COMPRESSED)
async def test_what_comes_compressed_unasked_is_read(
    coding: str, compress: Callable[[bytes], bytes]
) -> None:
    """A grant, and a refusal with its code, however a server or a middlebox compressed it."""
    field = f"Content-Encoding: {coding}"
    async with (
        ScriptedServer(reply("200 OK", compress(GRANT), field)).listening() as server,
        endpoint(server.port) as opened,
    ):
        assert (await opened.fetch(CREDENTIALS)).secret.reveal() == "s3cr3t"
    refusal = compress(b'{"errorCode": "20"}')
    error = await failure(ScriptedServer(reply("401 Unauthorized", refusal, field)))
    assert (type(error), error.code) == (CredentialsRefused, "20")


@pytest.mark.parametrize(("coding", "compress"), COMPRESSED[:-1])
async def test_a_compressed_body_is_as_bounded_as_any(
    coding: str, compress: Callable[[bytes], bytes]
) -> None:
    """A small body that would be huge is given up, and one that breaks off is no grant."""
    field = f"Content-Encoding: {coding}"
    bomb = compress(GRANT[:-1] + b" " * MOST_ANSWER_BYTES + b"}")
    assert len(bomb) < 10_000
    error = await failure(ScriptedServer(reply("200 OK", bomb, field)))
    assert (error.reason, "too long" in error.detail) == ("unreadable", True)
    error = await failure(ScriptedServer(reply("200 OK", compress(GRANT)[:-6], field)))
    assert error.reason == "unreadable"


async def test_an_unknown_coding_is_told() -> None:
    """What cannot be read is said to be compressed, not to be something else."""
    error = await failure(
        ScriptedServer(reply("200 OK", b"\x28\xb5\x2f\xfd", "Content-Encoding: zstd"))
    )
    assert (error.reason, "a compressed body" in error.detail) == ("unreadable", True)


# --- Silence -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def silent_after(beginning: bytes) -> AsyncIterator[ScriptedServer]:
    """Give a server that says that much, and then keeps silent until the block ends."""
    done = asyncio.Event()

    async def begin(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        await done.wait()

    yield ScriptedServer(begin)
    done.set()


async def test_silence_ends_with_a_timeout() -> None:
    """The words say how long it was waited.

    Where else it may fall silent is in tests/reliability/test_token_faults.py.
    """
    async with silent_after(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n") as server:
        error = await failure(server, timeout_seconds=0.1)
    assert isinstance(error, TokenUnavailable)
    assert error.reason == "timeout"
    assert "within 0.1 seconds" in error.detail


async def test_a_cancelled_fetch_lets_go_of_its_connection() -> None:
    """Cancelling a fetch cancels it for good, and the connection is closed."""
    hung_up = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        heard.set()
        await reader.read()
        hung_up.set()

    heard = asyncio.Event()
    async with ScriptedServer(wait).listening() as server, endpoint(server.port) as opened:
        fetching = asyncio.create_task(opened.fetch(CREDENTIALS))
        await heard.wait()
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        async with asyncio.timeout(5):
            await hung_up.wait()


# --- No connection -----------------------------------------------------------------------------


async def test_a_closed_port_is_told() -> None:
    """When nothing listens, that is said."""
    async with ScriptedServer().listening() as server:
        port = server.port
    async with endpoint(port) as opened:
        with pytest.raises(TokenUnavailable, match="refused the connection") as raised:
            await opened.fetch(CREDENTIALS)
    assert raised.value.reason == "connect"


@pytest.mark.parametrize("host", ["no*such*name", "empty..label", f"{'long' * 20}.example"])
async def test_an_unknown_host_is_told(host: str) -> None:
    """A name that does not resolve is told apart from a dead host.

    These names are refused without asking a name server.
    """
    async with endpoint(443, host=host) as opened:
        with pytest.raises(TokenUnavailable, match="could not be resolved") as raised:
            await opened.fetch(CREDENTIALS)
    assert raised.value.reason == "dns"


async def test_a_connection_that_the_kernel_gives_up_is_no_slow_answer() -> None:
    """ETIMEDOUT, in the system's words; only our own patience is told with its seconds."""

    class Unreachable(Dialer):
        async def dial(
            self, factory: Callable[[], asyncio.Protocol], seconds: float | None = None
        ) -> None:
            raise TimeoutError(errno.ETIMEDOUT, "")

    dialer = Unreachable(Origin("http", "127.0.0.1", 1), None)
    opened = TokenEndpoint(dialer, "/oauth/v2/token", "/oauth/v2/logout", timeout_seconds=5)
    with pytest.raises(TokenUnavailable, match="Connection timed out") as raised:
        await opened.fetch(CREDENTIALS)
    assert (raised.value.reason, raised.value.__context__) == ("connect", None)


async def test_an_https_origin_without_trust_is_refused() -> None:
    """Nobody can forget to say whom to trust."""
    with pytest.raises(ValueError, match="needs a TLS context"):
        async with endpoint(443, scheme="https"):
            pass  # pragma: no cover # never reached


# --- Secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["200 OK", "400 Bad Request", "401 Unauthorized", "429 Slow", "500 Error"]
)
@pytest.mark.parametrize("name", ["code", "error", "errorCode"])
async def test_no_credential_passes_as_a_code(status: str, name: str) -> None:
    """A server that repeats a credential where its error code should be.

    It is named nowhere, and told as no code.
    """
    credentials = Credentials(
        "ClientIdOfLetters", Secret("SecretOfLetters"), "2468013", Secret("40105")
    )
    for value in ("ClientIdOfLetters", "SecretOfLetters", "2468013", "40105"):
        answer = reply(status, json.dumps({name: value}).encode())
        async with ScriptedServer(answer).listening() as server, endpoint(server.port) as opened:
            with pytest.raises(TokenError) as raised:
                await opened.fetch(credentials)
        assert raised.value.code is None
        assert value not in raised.value.detail


@pytest.mark.parametrize(
    "answer",
    [
        reply("401 Unauthorized", json.dumps({"error": "hquTvfc00l8F33ad"}).encode()),
        reply("302 Found", b"", "Location: http://h/"),
        reply("200 OK", b'{"access_token":"s3cr3t\\n"}'),
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + GRANT,
        b"",
        b"nonsense\r\n\r\n",
    ],
)
async def test_no_error_holds_a_secret(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Neither an error, nor what is chained to it, nor a log of what was never retrieved shows any credential."""
    caplog.set_level(logging.DEBUG)
    unretrieved: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: unretrieved.append(repr(context))
    )
    error = await failure(ScriptedServer(answer))
    assert (error.__cause__, error.__context__) == (None, None)
    shown = f"{error!r} {error} {error.detail} {error.code} {vars(error)}"
    del error
    gc.collect()
    await asyncio.sleep(0)
    for secret in ("Glz2FV5XYOvAhFCE", "hquTvfc00l8F33ad", "s3cr3t", BASIC):
        assert secret not in shown + "".join(unretrieved) + caplog.text


# --- The log -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status", "end"),
    [
        (reply("200 OK", GRANT), 200, "whole"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nx", 503, "cut"),
    ],
)
async def test_an_answer_is_told_at_debug(answer: bytes, status: int, end: str) -> None:
    """Status, how it ended, and milliseconds: nothing of the request, nothing of the content."""
    async with ScriptedServer(answer).listening() as server, endpoint(server.port) as opened:
        with capture_logs() as told, contextlib.suppress(TokenError):
            await opened.fetch(CREDENTIALS)
    (event,) = (each for each in told if each["event"].startswith("token."))
    assert event.pop("ms") >= 0
    assert event == {
        "event": "token.endpoint_answered",
        "log_level": "debug",
        "status": status,
        "end": end,
    }
