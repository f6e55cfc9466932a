"""Whom the proxy trusts on TLS: proven by real handshakes, in memory."""

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
        """Shake hands. Raises the client's `ssl.SSLError`."""
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
    """Give an authority that only those trust who are told to."""
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the authority's bundle."""
    path: Path = tmp_path_factory.mktemp("trust") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Return the context of a server that has a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def test_who_proves_to_be_the_host_is_trusted(authority: trustme.CA, ca_file: Path) -> None:
    """A certificate of a trusted authority for the very name passes, and HTTP/1.1 is what is agreed on."""
    handshake = Handshake(tls.client_context(ca_file), server_context(authority, HOST))
    handshake.complete()
    assert handshake.client.selected_alpn_protocol() == "http/1.1"
    assert handshake.client.version() in {"TLSv1.2", "TLSv1.3"}


def test_another_name_is_not_trusted(authority: trustme.CA, ca_file: Path) -> None:
    """A good certificate for somebody else proves nothing."""
    handshake = Handshake(tls.client_context(ca_file), server_context(authority, "other.example"))
    with pytest.raises(ssl.SSLCertVerificationError, match=HOST):
        handshake.complete()


def test_another_authority_is_not_trusted(ca_file: Path) -> None:
    """A bundle replaces the system's: nobody outside of it is believed."""
    handshake = Handshake(tls.client_context(ca_file), server_context(trustme.CA(), HOST))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake.complete()


def test_without_a_bundle_the_system_decides(authority: trustme.CA) -> None:
    """An authority of our own making is not among the system's."""
    handshake = Handshake(tls.client_context(None), server_context(authority, HOST))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake.complete()


@pytest.mark.parametrize("bundle", [False, True])
def test_nothing_weaker_than_tls_1_2(ca_file: Path, bundle: bool) -> None:  # noqa: FBT001 # a column of the table
    """Older versions are not offered, and verification is on, wherever the trust comes from."""
    context = tls.client_context(ca_file if bundle else None)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_session_keys_are_written_nowhere(
    authority: trustme.CA, ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSLKEYLOGFILE, with which everybody's traffic could be read, is not heeded."""
    key_log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(key_log))
    context = tls.client_context(ca_file)
    Handshake(context, server_context(authority, HOST)).complete()
    assert context.keylog_filename is None
    assert not key_log.exists()


def test_a_cut_connection_is_no_end(authority: trustme.CA, ca_file: Path) -> None:
    """Without close_notify the end of the bytes is an error, so that nobody in between can shorten an answer; with it, it is an end."""
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
    """Falling back to other trust than what was asked for is no choice."""
    with pytest.raises(OSError, match="No such file"):
        tls.client_context(tmp_path / "missing.pem")
