"""TLS, by real handshakes in memory: whom the proxy trusts, and the listener's certificate."""

import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from proxy.clock import SystemClock
from proxy.network import certificates, tls
from proxy.network.listener_tls import ListenerTls, UnusableError
from tests.deploy.tools import needs

HOST = "api.example"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


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


class Files:
    """A certificate and a key in files, and their authority."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self.bundle = folder / "clients.pem"
        self.ca.cert_pem.write_to_path(str(self.bundle))
        self.write(self.ca.issue_cert(HOST))

    def write(self, issued: trustme.LeafCert, key: trustme.LeafCert | None = None) -> None:
        """Put a pair in place."""
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.key.write_bytes((key or issued).private_key_pem.bytes())

    def listener(self, *, asks: bool = False) -> ListenerTls:
        """Return what a listener has of them."""
        client_ca = self.bundle if asks else None
        return ListenerTls(self.certificate, self.key, client_ca, SystemClock())

    def client(self) -> ssl.SSLContext:
        """Return a context that trusts them."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Give a pair."""
    return Files(tmp_path)


async def renewed(listener: ListenerTls) -> tuple[bool, list[ssl.SSLContext]]:
    """Check the files; return whether they are usable, and the contexts put in place."""
    placed: list[ssl.SSLContext] = []

    async def renew(context: ssl.SSLContext) -> None:
        placed.append(context)

    return await listener.look(renew), placed


# --- Whom the proxy trusts ----------------------------------------------------------------------


def server_context(authority: trustme.CA, name: str = HOST) -> ssl.SSLContext:
    """Return the context of a server with a certificate for this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def test_a_proven_host_is_trusted(files: Files) -> None:
    """For its name, by a trusted authority; HTTP/1.1 is agreed on."""
    handshake = Handshake(tls.client_context(files.bundle), server_context(files.ca))
    handshake.complete()
    assert handshake.client.selected_alpn_protocol() == "http/1.1"
    assert handshake.client.version() in {"TLSv1.2", "TLSv1.3"}


def test_another_host_is_not_trusted(files: Files) -> None:
    """Neither another name nor another authority; a bundle replaces the system's."""
    other = Handshake(tls.client_context(files.bundle), server_context(files.ca, "other.example"))
    with pytest.raises(ssl.SSLCertVerificationError, match=HOST):
        other.complete()
    for bundle, ours in ((files.bundle, trustme.CA()), (None, files.ca)):
        unknown = Handshake(tls.client_context(bundle), server_context(ours))
        with pytest.raises(ssl.SSLCertVerificationError):
            unknown.complete()


def test_nothing_weaker_than_tls_1_2(files: Files) -> None:
    """Verification is on, wherever the trust comes from."""
    for bundle in (files.bundle, None):
        context = tls.client_context(bundle)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname


def test_session_keys_are_written_nowhere(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSLKEYLOGFILE is ignored."""
    key_log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(key_log))
    context = tls.client_context(files.bundle)
    Handshake(context, server_context(files.ca)).complete()
    assert context.keylog_filename is None
    assert not key_log.exists()


def test_a_cut_connection_is_no_end(files: Files) -> None:
    """Without close_notify it is an error, so that no one can shorten an answer."""
    for says_goodbye in (True, False):
        handshake = Handshake(tls.client_context(files.bundle), server_context(files.ca))
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


# --- The listener's certificate -----------------------------------------------------------------


def test_a_client_is_served_by_todays_tls(files: Files) -> None:
    """TLS 1.3 with HTTP/1.1, or 1.2 with forward secrecy, and nothing older."""
    context = files.listener().context
    client = files.client()
    client.set_alpn_protocols(["h2", "http/1.1"])
    handshake = Handshake(client, context)
    handshake.complete()
    assert handshake.client.version() == "TLSv1.3"
    assert handshake.client.selected_alpn_protocol() == "http/1.1"
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    handshake = Handshake(client, context)
    handshake.complete()
    cipher = handshake.client.cipher()
    assert cipher is not None
    assert cipher[0].startswith("ECDHE-")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_gets_no_ticket(files: Files, version: ssl.TLSVersion) -> None:
    """With one it could resume a session that the authorities of today would not allow."""
    client = tls.client_context(files.bundle)
    client.maximum_version = version
    handshake = Handshake(client, files.listener().context)
    handshake.complete()
    with pytest.raises(ssl.SSLWantReadError):
        handshake.client.read()  # a ticket of TLS 1.3 comes after the handshake
    session = handshake.client.session
    assert session is None or not session.has_ticket


def test_a_client_must_show_a_certificate_when_asked(files: Files) -> None:
    """One that the given authorities issued; without it there is no connection."""
    context = files.listener(asks=True).context
    client = files.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # it refuses within the handshake
    with pytest.raises((ssl.SSLError, AssertionError)):
        Handshake(client, context).complete()
    files.ca.issue_cert("order-system.example").configure_cert(client)
    Handshake(client, context).complete()
    stranger = files.client()
    stranger.maximum_version = ssl.TLSVersion.TLSv1_2
    trustme.CA().issue_cert("order-system.example").configure_cert(stranger)
    with pytest.raises((ssl.SSLError, AssertionError)):
        Handshake(stranger, context).complete()


async def test_a_changed_pair_is_taken_up(files: Files) -> None:
    """The new context is put in place once; files that did not change are not."""
    listener = files.listener()
    assert await renewed(listener) == (True, [])
    files.write(files.ca.issue_cert(HOST, key_type=trustme.KeyType.RSA))
    with capture_logs() as logged:
        taken, placed = await renewed(listener)
    assert taken
    assert placed == [listener.context]
    assert [event["event"] for event in logged] == ["listener.certificate_renewed"]
    Handshake(files.client(), listener.context).complete()


FAULTS: dict[str, Callable[[Files], object]] = {
    "missing": lambda files: files.key.unlink(),
    "other-key": lambda files: files.write(files.ca.issue_cert(HOST), files.ca.issue_cert(HOST)),
    "expired": lambda files: files.write(files.ca.issue_cert(HOST, not_after=YESTERDAY)),
    "half": lambda files: files.certificate.write_bytes(files.certificate.read_bytes()[:200]),
    "empty": lambda files: files.certificate.write_bytes(b""),
    "not-pem": lambda files: files.key.write_bytes(b"\x00\xff"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_pair_that_cannot_be_used_leaves_the_old_one(files: Files, fault: str) -> None:
    """It is logged once with the setting's name; right files are taken up again."""
    listener = files.listener()
    before = listener.context
    FAULTS[fault](files)
    with capture_logs() as logged:
        for _ in range(2):
            assert await renewed(listener) == (False, [])
    assert listener.context is before
    (event,) = logged
    assert event["event"] == "listener.certificate_refused"
    assert str(event["problem"]).startswith("listen.tls_")
    assert listener.refused == event["problem"]
    files.write(files.ca.issue_cert(HOST))
    assert (await renewed(listener))[0]
    assert listener.refused == ""
    files.key.unlink()
    with pytest.raises(UnusableError):
        files.listener()


async def test_a_broken_bundle_for_clients_is_not_blamed_on_the_certificate(files: Files) -> None:
    """The words name the setting whose file cannot be used."""
    listener = files.listener(asks=True)
    files.bundle.write_bytes(b"-----BEGIN CERTIFICATE-----")
    assert await renewed(listener) == (False, [])
    assert listener.refused.startswith("listen.tls_client_ca_file: ")


@needs("openssl", "openssl")
async def test_an_encrypted_key_is_refused_without_a_prompt(files: Files) -> None:
    """OpenSSL would ask on the terminal otherwise."""
    listener = files.listener()
    command = ["openssl", "pkey", "-in", str(files.key), "-aes256", "-passout", "pass:sesame"]
    encrypted = subprocess.run(  # noqa: ASYNC221 # a second at most, and nothing else runs
        command, check=True, capture_output=True
    )
    files.key.write_bytes(encrypted.stdout)
    assert await renewed(listener) == (False, [])
    assert "a private key that a passphrase protects" in listener.refused


def test_validity_is_read_as_openssl_reads_it(files: Files, tmp_path: Path) -> None:
    """For times of this century and beyond 2050, which are written in another way."""
    for not_after in (
        datetime(2030, 6, 1, 12, 30, 15, tzinfo=UTC),
        datetime(2070, 1, 2, tzinfo=UTC),
    ):
        issued = files.ca.issue_cert(HOST, not_after=not_after)
        path = tmp_path / "one.pem"
        issued.cert_chain_pems[0].write_to_path(str(path))
        assert certificates.end_of_leaf(path) == not_after.timestamp()
        assert certificates.end_of_file(path) == not_after.timestamp()


@pytest.mark.parametrize(
    "der",
    [b"", b"\x30", b"\x30\x82", b"\x30\x03\x30\x01\x00", b"\x04\x02ab", b"\x30\x84" + b"\xff" * 4],
)
def test_what_is_no_certificate_is_an_error(der: bytes) -> None:
    """Empty, cut and wrong DER raise ValueError."""
    with pytest.raises(ValueError, match="certificate"):
        certificates.not_after(der)


def test_the_companys_proxy_may_be_known_to_the_system_or_to_us(files: Files) -> None:
    """Its context trusts the system's authorities and the file's."""
    contexts = (tls.proxy_context(files.bundle), tls.client_context(files.bundle))
    ours, only = (len(context.get_ca_certs()) for context in contexts)
    assert ours >= only
