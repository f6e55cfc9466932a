"""TLS to the token endpoint: the password goes to nobody who cannot prove to be the right one."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from proxy.errors import TokenUnavailable
from tests.integration.test_token_endpoint import (
    CREDENTIALS,
    GRANT,
    ScriptedServer,
    endpoint,
    reply,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Give a certificate authority of our own."""
    return trustme.CA()


@contextlib.asynccontextmanager
async def listening(certificate: trustme.LeafCert) -> AsyncIterator[ScriptedServer]:
    """Give a server with that certificate, which would grant a token."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(tls)
    async with ScriptedServer(reply("200 OK", GRANT)).listening(tls) as server:
        yield server


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Trust that authority and no other."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(tls)
    return tls


async def test_a_trusted_certificate_gets_the_credentials(authority: trustme.CA) -> None:
    """With a certificate for its host from a trusted authority, the token endpoint is used."""
    async with (
        listening(authority.issue_cert("127.0.0.1")) as server,
        endpoint(server.port, scheme="https", tls=trusting(authority)) as opened,
    ):
        assert (await opened.fetch(CREDENTIALS)).lifetime == 3599
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    ("host", "trusted", "words"),
    [
        pytest.param("127.0.0.1", False, "an authority that is not known here", id="untrusted"),
        pytest.param(
            "other.example", True, "it is not for the host in upstream.url", id="other-host"
        ),
    ],
)
async def test_an_untrusted_certificate_gets_nothing(
    authority: trustme.CA,
    host: str,
    trusted: bool,  # noqa: FBT001 # a table's column
    words: str,
) -> None:
    """With a certificate from an unknown authority, or for another host, not a byte of the request is sent."""
    tls = trusting(authority if trusted else trustme.CA())
    async with (
        listening(authority.issue_cert(host)) as server,
        endpoint(server.port, scheme="https", tls=tls) as opened,
    ):
        with pytest.raises(TokenUnavailable) as raised:
            await opened.fetch(CREDENTIALS)
    assert raised.value.reason == "tls"
    assert words in raised.value.detail
    assert "upstream.ca_file" in raised.value.detail
    assert raised.value.__context__ is None
    assert server.heard == []


async def test_a_server_without_tls_gets_nothing(authority: trustme.CA) -> None:
    """When a plain server answers at an https origin, that is told, and the request is not sent in the clear."""
    heard = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(65_536))
        writer.write(reply("400 Bad Request"))
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with endpoint(port, scheme="https", tls=trusting(authority)) as opened:
            with pytest.raises(TokenUnavailable) as raised:
                await opened.fetch(CREDENTIALS)
    assert raised.value.reason == "tls"
    assert heard[0] == 0x16  # a TLS handshake record (RFC 8446, section 5.1)
    assert b"oauth" not in heard


async def test_no_key_is_written_to_a_file(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSLKEYLOGFILE in the environment does not make the connection readable to others."""
    log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    async with (
        listening(authority.issue_cert("127.0.0.1")) as server,
        endpoint(server.port, scheme="https", tls=trusting(authority)) as opened,
    ):
        await opened.fetch(CREDENTIALS)
    assert not log.exists()
