"""Which servers the proxy trusts on TLS, by real handshakes in memory."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from proxy.network import tls

if TYPE_CHECKING:
    from pathlib import Path

HOST = "api.example"


class Handshake:
    """Both ends of a TLS connection, without sockets."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext, name: str = HOST) -> None:
        self.to_server, self.to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self.to_client, self.to_server, server_hostname=name)
        self.server = server.wrap_bio(self.to_server, self.to_client, server_side=True)

    def complete(self) -> None:
        """Shake hands; raise the client's `ssl.SSLError`."""
        waiting = [self.client, self.server]
        for _ in range(10):
            for side in waiting[:]:
                try:
                    side.do_handshake()
                    waiting.remove(side)
                except ssl.SSLWantReadError:
                    pass
        assert not waiting


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Give an authority that the system does not know."""
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the authority's bundle."""
    path: Path = tmp_path_factory.mktemp("trust") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Return the context of a server with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def test_a_proven_host_is_trusted(authority: trustme.CA, ca_file: Path) -> None:
    """For its name, by a trusted authority; HTTP/1.1 is agreed on."""
    handshake = Handshake(tls.client_context(ca_file), server_context(authority, HOST))
    handshake.complete()
    assert handshake.client.selected_alpn_protocol() == "http/1.1"
    assert handshake.client.version() in {"TLSv1.2", "TLSv1.3"}


def test_another_host_is_not_trusted(authority: trustme.CA, ca_file: Path) -> None:
    """Neither another name nor another authority; a bundle replaces the system's."""
    other = Handshake(tls.client_context(ca_file), server_context(authority, "other.example"))
    with pytest.raises(ssl.SSLCertVerificationError, match=HOST):
        other.complete()
    for bundle, ours in ((ca_file, trustme.CA()), (None, authority)):
        unknown = Handshake(tls.client_context(bundle), server_context(ours, HOST))
        with pytest.raises(ssl.SSLCertVerificationError):
            unknown.complete()


def test_nothing_weaker_than_tls_1_2(ca_file: Path) -> None:
    """Verification is on, wherever the trust comes from."""
    for bundle in (ca_file, None):
        context = tls.client_context(bundle)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname


def test_session_keys_are_written_nowhere(
    authority: trustme.CA, ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSLKEYLOGFILE is ignored."""
    key_log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(key_log))
    context = tls.client_context(ca_file)
    Handshake(context, server_context(authority, HOST)).complete()
    assert context.keylog_filename is None
    assert not key_log.exists()


def test_a_cut_connection_is_no_end(authority: trustme.CA, ca_file: Path) -> None:
    """Without close_notify it is an error, so that no one can shorten an answer."""
    for says_goodbye in (True, False):
        handshake = Handshake(tls.client_context(ca_file), server_context(authority, HOST))
        handshake.complete()
        handshake.server.write(b"half an answer")
        if says_goodbye:
            with pytest.raises(ssl.SSLWantReadError):
                handshake.server.unwrap()
        handshake.to_client.write_eof()
        assert handshake.client.read(100) == b"half an answer"
        if says_goodbye:
            assert handshake.client.read(100) == b""
        else:
            with pytest.raises(ssl.SSLEOFError):
                handshake.client.read(100)


def test_a_bundle_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """The system's trust does not take its place."""
    with pytest.raises(OSError, match="No such file"):
        tls.client_context(tmp_path / "missing.pem")
