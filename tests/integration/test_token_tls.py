"""TLS to the token endpoint: the password goes to no server that cannot prove its identity."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from proxy.errors import TokenUnavailable
from tests.integration.test_token_endpoint import CREDENTIALS, GRANT, answering, endpoint
from tests.scripted import ScriptedServer, reply

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make a certificate authority."""
    return trustme.CA()


def showing(certificate: trustme.LeafCert) -> ScriptedServer:
    """Make a server with that certificate, which grants a token."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(tls)
    return answering(reply(200, GRANT), tls)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Trust that authority and no other."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(tls)
    return tls


async def test_a_trusted_certificate_gets_the_credentials(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token endpoint is used, and SSLKEYLOGFILE makes no key readable to others."""
    log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    async with showing(authority.issue_cert("127.0.0.1")) as server:
        opened = endpoint(server.port, scheme="https", tls=trusting(authority))
        assert (await opened.fetch(CREDENTIALS)).lifetime == 3599
    assert len(server.requests) == 1
    assert not log.exists()


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
    """A certificate of an unknown authority, or of another host, gets no byte of the request."""
    tls = trusting(authority if trusted else trustme.CA())
    async with showing(authority.issue_cert(host)) as server:
        with pytest.raises(TokenUnavailable) as raised:
            await endpoint(server.port, scheme="https", tls=tls).fetch(CREDENTIALS)
    assert raised.value.reason == "tls"
    assert words in raised.value.detail
    assert "upstream.ca_file" in raised.value.detail
    assert raised.value.__context__ is None
    assert server.requests == []


async def test_a_server_without_tls_gets_nothing(authority: trustme.CA) -> None:
    """A plain server at an https origin is reported; the request is not sent in the clear."""
    async with ScriptedServer() as server:
        server.greeting = [reply(400)]
        with pytest.raises(TokenUnavailable) as raised:
            await endpoint(server.port, scheme="https", tls=trusting(authority)).fetch(CREDENTIALS)
    assert raised.value.reason == "tls"
    (connection,) = server.connections
    assert connection.received[0] == 0x16  # a TLS handshake record (RFC 8446, section 5.1)
    assert b"oauth" not in connection.received
