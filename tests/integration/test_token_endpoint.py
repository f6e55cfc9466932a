"""The token endpoint over real sockets: what is sent, and what each answer leads to."""

import asyncio
import base64
import contextlib
import errno
import gc
import gzip
import json
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import trustme
from structlog.testing import capture_logs

import proxy
from proxy.errors import CredentialsRefused, TokenError, TokenUnavailable
from proxy.network.dialer import Dialer
from proxy.secret import Secret
from proxy.settings import Origin
from proxy.tokens.endpoint import MOST_ANSWER_BYTES, TokenEndpoint
from proxy.tokens.values import AccessToken, Credentials, Grant
from tests.scripted import Act, ScriptedServer, reply

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


async def test_each_fetch_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection or cookie is used twice, and proxy variables do not lead it elsewhere."""
    async with ScriptedServer() as elsewhere, ScriptedServer() as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{elsewhere.port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{elsewhere.port}")
        server.usual = [Act.WHOLE, reply(200, GRANT, b"Set-Cookie: a=b; Path=/") * 2]
        opened = endpoint(server.port)
        await opened.fetch(CREDENTIALS)
        await opened.fetch(CREDENTIALS)
    assert elsewhere.connections == []
    assert (len(server.connections), len(server.requests)) == (2, 2)
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
    """After the head too: it is no answer of a token endpoint."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
    error = await failure(answering(answer))
    assert (type(error), error.reason) == (TokenUnavailable, "malformed")


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


async def test_a_compressed_answer_is_read_within_the_same_bounds() -> None:
    """A grant or a code is found in it; what is huge, breaks off or is unknown is no grant."""
    field = b"Content-Encoding: gzip"
    grant = await fetch(answering(reply(200, gzip.compress(GRANT), field)))
    assert grant.secret.reveal() == "s3cr3t"
    error = await failure(answering(reply(401, gzip.compress(b'{"errorCode": "20"}'), field)))
    assert (type(error), error.code) == (CredentialsRefused, "20")
    bomb = gzip.compress(GRANT[:-1] + b" " * MOST_ANSWER_BYTES + b"}")
    for content, coding, words in (
        (bomb, b"gzip", "too long"),
        (gzip.compress(GRANT)[:-6], b"gzip", "broke off"),
        (b"\x28\xb5\x2f\xfd", b"zstd", "a compressed body"),
    ):
        error = await failure(answering(reply(200, content, b"Content-Encoding: " + coding)))
        assert error.reason == "unreadable"
        assert words in error.detail


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


async def test_a_name_that_cannot_be_asked_for_is_a_dns_fault() -> None:
    """The codec of host names refuses it, with an error that is no `OSError`."""
    with pytest.raises(TokenUnavailable, match="could not be resolved") as raised:
        await endpoint(443, host="empty..label").fetch(CREDENTIALS)
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
    assert (raised.value.reason, raised.value.__context__) == ("timeout", None)


# --- TLS ---------------------------------------------------------------------------------------


async def test_an_https_origin_without_trust_is_refused() -> None:
    """A TLS context cannot be forgotten."""
    with pytest.raises(ValueError, match="needs a TLS context"):
        endpoint(443, scheme="https")


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "untrusted"])
async def test_only_a_trusted_certificate_gets_the_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    """No byte of the request goes elsewhere, and SSLKEYLOGFILE makes no key readable to others."""
    log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(ours)
    (authority if trusted else trustme.CA()).issue_cert("127.0.0.1").configure_cert(theirs)
    async with answering(reply(200, GRANT), theirs) as server:
        opened = endpoint(server.port, scheme="https", tls=ours)
        if trusted:
            await opened.fetch(CREDENTIALS)
        else:
            with pytest.raises(TokenUnavailable, match="authority that is not known") as raised:
                await opened.fetch(CREDENTIALS)
            assert (raised.value.reason, raised.value.__context__) == ("tls", None)
    assert len(server.requests) == trusted
    assert not log.exists()


# --- Secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 401, 500])
async def test_no_credential_passes_as_a_code(status: int) -> None:
    """A credential that a server repeats as its error code stands in no error."""
    credentials = Credentials(
        "ClientIdOfLetters", Secret("SecretOfLetters"), "2468013", Secret("40105")
    )
    for value in ("ClientIdOfLetters", "SecretOfLetters", "2468013", "40105"):
        with pytest.raises(TokenError) as raised:
            await fetch(answering(reply(status, json.dumps({"code": value}).encode())), credentials)
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
