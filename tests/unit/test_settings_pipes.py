"""Files that are none: pipes give their content once, within a bound, and nothing blocks for ever."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
import trustme

from proxy.errors import ConfigError
from proxy.secret import Secret
from proxy.settings import files, load

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no named pipes in its file system"
)

P = "TELENOR_PROXY_OAUTH__"
CREDENTIALS = {
    f"{P}CLIENT_ID": "made-up-id",
    f"{P}CLIENT_SECRET": "made-up-secret",
    f"{P}USERNAME": "api0000000000",
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a pipe for a tenth of a second only."""
    monkeypatch.setattr(files, "_ASKED_FOR_MS", 1)


def pipe(content: bytes) -> str:
    """Return the name of a pipe that holds this, as a shell's `<(...)` makes it."""
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return f"/dev/fd/{reading}"


def test_a_secret_comes_out_of_a_pipe_once() -> None:
    """What a pipe gave is kept: reading the configuration anew finds the same."""
    environ = CREDENTIALS | {f"{P}PASSWORD_FILE": pipe(b"made-up-password\n")}
    for _ in range(2):
        assert load(None, environ).oauth.password == Secret("made-up-password")


def test_a_configuration_comes_out_of_a_pipe_once(tmp_path: Path) -> None:
    """So does a whole configuration, also one whose writer is slower than its reader."""
    config = tmp_path / "config"
    os.mkfifo(config)

    def write() -> None:
        with config.open("wb") as file:
            file.write(b"listen: {port: 81}\n")
            file.flush()
            file.write(b"admin: {port: 82}\n")

    writer = threading.Thread(target=write)
    writer.start()
    environ = CREDENTIALS | {f"{P}PASSWORD": "made-up-password"}
    try:
        for _ in range(2):
            settings = load(config, environ)
            assert (settings.listen.port, settings.admin.port) == (81, 82)
    finally:
        writer.join()


def test_a_pipe_without_a_writer_is_refused(tmp_path: Path) -> None:
    """Nothing waits for ever: a pipe into which nobody writes is a problem as any other."""
    secret = tmp_path / "secret"
    os.mkfifo(secret)
    with pytest.raises(ConfigError) as caught:
        load(None, CREDENTIALS | {f"{P}PASSWORD_FILE": str(secret)})
    (told,) = caught.value.problems
    assert "the pipe did not end within 0.1 s" in told


def test_a_pipe_that_never_ends_is_refused(tmp_path: Path) -> None:
    """One that gives more than any secret is too large; one that stays open is given up."""
    secret = tmp_path / "secret"
    os.mkfifo(secret)
    held = os.open(secret, os.O_RDWR)
    try:
        os.write(held, b"made-up")
        with pytest.raises(ConfigError, match="the pipe did not end"):
            load(None, CREDENTIALS | {f"{P}PASSWORD_FILE": str(secret)})
    finally:
        os.close(held)
    with pytest.raises(ConfigError, match="larger than 65536 bytes"):
        load(None, CREDENTIALS | {f"{P}PASSWORD_FILE": "/dev/zero"})


def test_a_certificate_does_not_come_out_of_a_pipe() -> None:
    """OpenSSL reads its files by name, and anew when they change: a pipe is refused, with words."""
    name = pipe(trustme.CA().cert_pem.bytes())
    environ = CREDENTIALS | {f"{P}PASSWORD": "made-up", "TELENOR_PROXY_UPSTREAM__CA_FILE": name}
    with pytest.raises(
        ConfigError, match=r"names a pipe or a device\. Set it to a file that stays"
    ):
        load(None, environ)


def test_a_certificate_in_der_form_is_told(tmp_path: Path) -> None:
    """The command that makes PEM of it is told."""
    from cryptography import x509  # noqa: PLC0415 # what trustme makes certificates with
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    file = tmp_path / "ca.der"
    file.write_bytes(
        x509.load_pem_x509_certificate(trustme.CA().cert_pem.bytes()).public_bytes(Encoding.DER)
    )
    environ = CREDENTIALS | {
        f"{P}PASSWORD": "made-up",
        "TELENOR_PROXY_UPSTREAM__CA_FILE": str(file),
    }
    with pytest.raises(ConfigError, match=r"openssl x509 -inform der -in FILE -out FILE\.pem"):
        load(None, environ)


def test_names_that_are_not_utf8_can_be_told(tmp_path: Path) -> None:
    """What stands for their bytes in Python cannot be written as JSON, so that it is escaped."""
    missing = os.fsdecode(os.fsencode(tmp_path) + b"/\xe6\xf8.yaml")
    with pytest.raises(ConfigError) as caught:
        load(Path(missing), {})
    assert "\\xe6\\xf8.yaml: the file does not exist" in caught.value.problems[0]
    environ = CREDENTIALS | {f"{P}PASSWORD_FILE": missing, "TELENOR_PROXY_LOG__LEVEL": "\udce6"}
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    assert all(problem.encode("utf-8") for problem in caught.value.problems)


def test_only_what_can_change_is_watched(tmp_path: Path) -> None:
    """A pipe is never read anew, so that nothing is to be noticed there."""
    file, fifo = tmp_path / "file", tmp_path / "fifo"
    assert files.is_lasting(file)
    file.write_text("")
    os.mkfifo(fifo)
    assert files.is_lasting(file)
    assert not files.is_lasting(fifo)
