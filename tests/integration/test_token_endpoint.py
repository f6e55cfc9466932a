"""The token endpoint over real sockets: what is sent, and what each answer leads to."""

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
from tests.ports import held_port
from tests.scripted import Act, ScriptedServer, reply

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from proxy.tokens.values import Grant

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


def answering(answer: bytes, tls: ssl.SSLContext | None = None) -> ScriptedServer:
    """Make a server that gives each request this answer, and closes the connection."""
    return ScriptedServer(Act.WHOLE, answer, Act.FIN, tls=tls)


def endpoint(
    port: int,
    *,
    scheme: str = "http",
    host: str = "127.0.0.1",
    token_path: str = "/oauth/v2/token",
    tls: ssl.SSLContext | None = None,
    timeout_seconds: float = 5,
) -> TokenEndpoint:
    """Make a token endpoint at that port."""
    origin = Origin("https" if scheme == "https" else "http", host, port)
    return TokenEndpoint(
        Dialer(origin, tls), token_path, "/oauth/v2/logout", timeout_seconds=timeout_seconds
    )


async def fetch(
    server: ScriptedServer, credentials: Credentials = CREDENTIALS, *, timeout_seconds: float = 5
) -> Grant:
    """Fetch once from that server."""
    async with server:
        return await endpoint(server.port, timeout_seconds=timeout_seconds).fetch(credentials)


async def failure(server: ScriptedServer, *, timeout_seconds: float = 5) -> TokenError:
    """Fetch once from that server, and return the error that is raised."""
    with pytest.raises(TokenError) as raised:
        await fetch(server, timeout_seconds=timeout_seconds)
    return raised.value


# --- The request -------------------------------------------------------------------------------


async def test_the_request_is_exactly_a_password_grant() -> None:
    """One POST: Basic from the client credentials, a form with the grant, and no other field."""
    server = answering(reply(200, GRANT))
    grant = await fetch(server)
    assert (grant.secret.reveal(), grant.lifetime) == ("s3cr3t", 3599)
    (seen,) = server.requests
    assert (seen.method, seen.target, seen.version) == (b"POST", b"/oauth/v2/token", b"1.1")
    assert seen.lines == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "authorization": f"Basic {BASIC}",
        "connection": "close",
        "content-length": str(len(seen.content)),
        "content-type": "application/x-www-form-urlencoded",
        "user-agent": f"telenor-proxy/{proxy.__version__}",
    }
    assert seen.content == b"grant_type=password&username=api7813371375&password=hquTvfc00l8F33ad"


async def test_special_characters_arrive_as_they_are() -> None:
    """Form and Basic carry any character of the credentials as UTF-8, and decode to the same."""
    special = "&+=%/ ø\"'~*€\n#?;"
    credentials = Credentials(
        "id" + special, Secret(special), special, Secret(special), scope=special
    )
    server = answering(reply(200, GRANT))
    await fetch(server, credentials)
    (seen,) = server.requests
    basic = base64.b64decode(seen.lines["authorization"].removeprefix("Basic ")).decode()
    assert basic == f"id{special}:{special}"
    assert parse_qs(seen.content.decode("ascii"), strict_parsing=True) == {
        "grant_type": ["password"],
        "username": [special],
        "password": [special],
        "scope": [special],
    }
    assert b"&username=%26%2B%3D%25%2F%20%C3%B8%22%27~%2A%E2%82%AC%0A%23%3F%3B&" in seen.content


@pytest.mark.parametrize(
    "path", ["/oauth/v2/token", "/oauth/token?x=%41&y", "//odd//%2F/./../path%20~"]
)
async def test_the_path_is_sent_as_it_stands_in_the_settings(path: str) -> None:
    """The path of the token endpoint is neither decoded nor normalized."""
    async with answering(reply(200, GRANT)) as server:
        await endpoint(server.port, token_path=path).fetch(CREDENTIALS)
    assert server.requests[0].target == path.encode()


async def test_each_fetch_has_a_connection_of_its_own() -> None:
    """No connection is used twice, so that no rest of one answer can be read as the next."""
    async with ScriptedServer(Act.WHOLE, reply(200, GRANT) * 2) as server:
        opened = endpoint(server.port)
        await opened.fetch(CREDENTIALS)
        await opened.fetch(CREDENTIALS)
    assert (len(server.connections), len(server.requests)) == (2, 2)


async def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables do not lead the credentials elsewhere, and cookies are not kept."""
    async with ScriptedServer() as elsewhere, ScriptedServer() as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{elsewhere.port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{elsewhere.port}")
        server.usual = [Act.WHOLE, reply(200, GRANT, b"Set-Cookie: a=b; Path=/")]
        opened = endpoint(server.port)
        await opened.fetch(CREDENTIALS)
        await opened.fetch(CREDENTIALS)
    assert elsewhere.connections == []
    assert server.requests[1].values(b"cookie") == []


async def test_logout_sends_the_token_and_nothing_else() -> None:
    """Logout is a GET with the token as Bearer, without the credentials; 200 means success."""
    async with answering(reply(200, b"OK!")) as server:
        assert await endpoint(server.port).logout(TOKEN)
    (seen,) = server.requests
    assert (seen.method, seen.target) == (b"GET", b"/oauth/v2/logout")
    assert not seen.content
    assert seen.lines["authorization"] == "Bearer s3cr3t"


@pytest.mark.parametrize(
    "answer", [reply(401, b'{"code":2}'), reply(302), b"", b"nonsense\r\n\r\n"]
)
async def test_a_failed_logout_raises_nothing(answer: bytes) -> None:
    """A token that was not logged out ends by itself later."""
    async with answering(answer) as server:
        assert not await endpoint(server.port).logout(TOKEN)


# --- Answers; tests/reliability/test_token_faults.py plays many more ---------------------------


async def test_a_broken_chunk_is_a_passing_fault() -> None:
    """It has a reason of its own and a sentence for the log."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
    error = await failure(answering(answer))
    assert (type(error), error.reason) == (TokenUnavailable, "malformed")
    assert error.detail.startswith(("The token endpoint", "The connection", "What answered"))
    assert error.detail.endswith(".")


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("content", [b"", b"<html>", b'{"fault":{"detail":{"errorcode":"20"}}}'])
async def test_refused_credentials_have_an_error_of_their_own(status: int, content: bytes) -> None:
    """400, 401 and 403 mean refused credentials, whatever the content."""
    assert isinstance(await failure(answering(reply(status, content))), CredentialsRefused)


async def test_a_refusal_counts_even_if_its_content_never_ends() -> None:
    """It does not become a timeout, after which the credentials would be tried again at once."""
    server = ScriptedServer(Act.WHOLE, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 500\r\n\r\n")
    assert isinstance(await failure(server, timeout_seconds=0.3), CredentialsRefused)


async def test_no_more_than_a_mebibyte_is_read() -> None:
    """Content of one MiB is read whole; longer content is an error."""
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    largest = GRANT + b" " * (MOST_ANSWER_BYTES - len(GRANT))
    assert (await fetch(answering(head + largest))).lifetime == 3599
    assert (await failure(answering(head + largest + b" "))).reason == "unreadable"


def raw_deflate(content: bytes) -> bytes:
    """Compress without the header that `deflate` should have."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


COMPRESSED = [
    (b"gzip", gzip.compress),
    (b"x-gzip", gzip.compress),
    (b"deflate", zlib.compress),
    (b"deflate", raw_deflate),
    (b"br", brotli.compress),
    (b"identity", bytes),
]


@pytest.mark.parametrize(("coding", "compress"), COMPRESSED)
async def test_compressed_answers_are_read(
    coding: bytes, compress: Callable[[bytes], bytes]
) -> None:
    """A grant, and a refusal with its code, however a server or a middlebox compressed it."""
    field = b"Content-Encoding: " + coding
    grant = await fetch(answering(reply(200, compress(GRANT), field)))
    assert grant.secret.reveal() == "s3cr3t"
    refusal = compress(b'{"errorCode": "20"}')
    error = await failure(answering(reply(401, refusal, field)))
    assert (type(error), error.code) == (CredentialsRefused, "20")


@pytest.mark.parametrize(("coding", "compress"), COMPRESSED[:-1])
async def test_decompressed_content_is_bounded_too(
    coding: bytes, compress: Callable[[bytes], bytes]
) -> None:
    """A small body that would be huge is an error, and one that breaks off is no grant."""
    field = b"Content-Encoding: " + coding
    bomb = compress(GRANT[:-1] + b" " * MOST_ANSWER_BYTES + b"}")
    assert len(bomb) < 10_000
    error = await failure(answering(reply(200, bomb, field)))
    assert (error.reason, "too long" in error.detail) == ("unreadable", True)
    error = await failure(answering(reply(200, compress(GRANT)[:-6], field)))
    assert error.reason == "unreadable"


async def test_an_unknown_coding_is_named_as_the_cause() -> None:
    """The error says that the content is compressed, not that it is something else."""
    answer = reply(200, b"\x28\xb5\x2f\xfd", b"Content-Encoding: zstd")
    error = await failure(answering(answer))
    assert (error.reason, "a compressed body" in error.detail) == ("unreadable", True)


# --- Silence, and no connection ----------------------------------------------------------------


async def test_silence_ends_with_a_timeout() -> None:
    """The error says how long the proxy waited."""
    server = ScriptedServer(Act.WHOLE, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    error = await failure(server, timeout_seconds=0.1)
    assert (type(error), error.reason) == (TokenUnavailable, "timeout")
    assert "within 0.1 seconds" in error.detail


async def test_a_cancelled_fetch_closes_its_connection() -> None:
    """A fetch that is cancelled ends at once, and its connection with it."""
    arrived = asyncio.Event()
    async with ScriptedServer(Act.WHOLE, lambda _: arrived.set()) as server:
        fetching = asyncio.create_task(endpoint(server.port).fetch(CREDENTIALS))
        await arrived.wait()
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        async with asyncio.timeout(5):
            while server.open:  # noqa: ASYNC110 # one turn of the loop at a time
                await asyncio.sleep(0)


async def test_a_closed_port_refuses_the_connection() -> None:
    """The error says so."""
    with (
        held_port() as held,
        pytest.raises(TokenUnavailable, match="refused the connection") as raised,
    ):
        await endpoint(held.getsockname()[1]).fetch(CREDENTIALS)
    assert raised.value.reason == "connect"


@pytest.mark.parametrize("host", ["no*such*name", "empty..label", f"{'long' * 20}.example"])
async def test_a_name_that_does_not_resolve_is_a_dns_fault(host: str) -> None:
    """The system refuses these names without asking a name server."""
    with pytest.raises(TokenUnavailable, match="could not be resolved") as raised:
        await endpoint(443, host=host).fetch(CREDENTIALS)
    assert raised.value.reason == "dns"


async def test_a_timeout_of_the_kernel_is_no_slow_answer() -> None:
    """ETIMEDOUT has the system's words; only the proxy's own timeout is given in seconds."""

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
    """A TLS context cannot be forgotten."""
    with pytest.raises(ValueError, match="needs a TLS context"):
        endpoint(443, scheme="https")


# --- Secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
@pytest.mark.parametrize("name", ["code", "error", "errorCode"])
async def test_no_credential_passes_as_a_code(status: int, name: str) -> None:
    """A credential that a server repeats as its error code stands in no error."""
    credentials = Credentials(
        "ClientIdOfLetters", Secret("SecretOfLetters"), "2468013", Secret("40105")
    )
    for value in ("ClientIdOfLetters", "SecretOfLetters", "2468013", "40105"):
        with pytest.raises(TokenError) as raised:
            await fetch(answering(reply(status, json.dumps({name: value}).encode())), credentials)
        assert raised.value.code is None
        assert value not in raised.value.detail


@pytest.mark.parametrize(
    "answer",
    [
        reply(401, json.dumps({"error": "hquTvfc00l8F33ad"}).encode()),
        reply(302, b"", b"Location: http://h/"),
        reply(200, b'{"access_token":"s3cr3t\\n"}'),
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + GRANT,
        b"",
        b"nonsense\r\n\r\n",
    ],
)
async def test_no_error_holds_a_secret(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """No error, no exception chained to it, and no log of an unretrieved one shows a credential."""
    caplog.set_level(logging.DEBUG)
    unretrieved: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: unretrieved.append(repr(context))
    )
    error = await failure(answering(answer))
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
        (reply(200, GRANT), 200, "whole"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nx", 503, "cut"),
    ],
)
async def test_an_answer_is_logged_at_debug(answer: bytes, status: int, end: str) -> None:
    """Status, how it ended, and milliseconds; nothing of the request or the content."""
    with capture_logs() as logs, contextlib.suppress(TokenError):
        await fetch(answering(answer))
    (event,) = (each for each in logs if each["event"].startswith("token."))
    assert event.pop("ms") >= 0
    assert event == {
        "event": "token.endpoint_answered",
        "log_level": "debug",
        "status": status,
        "end": end,
    }
