"""Pipes and devices in place of files: read once, within bounds, and never waited for long."""

import os
import sys
import threading
from pathlib import Path

import pytest
import trustme

from proxy.errors import ConfigError
from proxy.secret import Secret
from proxy.settings import files, load
from tests.unit.made import CREDENTIALS, problems

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no named pipes in its file system"
)

FILE = "TELENOR_PROXY_OAUTH__PASSWORD_FILE"
CA_FILE = "TELENOR_PROXY_UPSTREAM__CA_FILE"
OTHERS = {name: text for name, text in CREDENTIALS.items() if "PASSWORD" not in name}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a pipe for a tenth of a second only."""
    monkeypatch.setattr(files, "_ASKED_FOR_MS", 1)


def pipe(content: bytes) -> str:
    """Return the name of a pipe that holds this, like a shell's `<(...)`."""
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return f"/dev/fd/{reading}"


def test_a_secret_comes_out_of_a_pipe_once() -> None:
    """Reading the configuration again finds the same."""
    environ = OTHERS | {FILE: pipe(b"made-up-password\n")}
    for _ in range(2):
        assert load(None, environ).oauth.password == Secret("made-up-password")


def test_a_configuration_comes_out_of_a_pipe_once(tmp_path: Path) -> None:
    """Also if its writer is slower than its reader."""
    config = tmp_path / "config"
    os.mkfifo(config)

    def write() -> None:
        with config.open("wb") as file:
            file.write(b"listen: {port: 81}\n")
            file.flush()
            file.write(b"admin: {port: 82}\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(2):
            settings = load(config, CREDENTIALS)
            assert (settings.listen.port, settings.admin.port) == (81, 82)
    finally:
        writer.join()


def test_a_pipe_without_a_writer_is_refused(tmp_path: Path) -> None:
    """It is not waited for."""
    secret = tmp_path / "secret"
    os.mkfifo(secret)
    (problem,) = problems(OTHERS | {FILE: str(secret)})
    assert "the pipe did not end within 0.1 s" in problem


def test_a_pipe_that_never_ends_is_refused(tmp_path: Path) -> None:
    """More than any secret is too large; an open one is given up."""
    secret = tmp_path / "secret"
    os.mkfifo(secret)
    held = os.open(secret, os.O_RDWR)
    try:
        os.write(held, b"made-up")
        with pytest.raises(ConfigError, match="the pipe did not end"):
            load(None, OTHERS | {FILE: str(secret)})
    finally:
        os.close(held)
    with pytest.raises(ConfigError, match="larger than 65536 bytes"):
        load(None, OTHERS | {FILE: "/dev/zero"})


def test_a_certificate_does_not_come_out_of_a_pipe() -> None:
    """OpenSSL reads its files by name, and again when they change."""
    name = pipe(trustme.CA().cert_pem.bytes())
    environ = CREDENTIALS | {CA_FILE: name}
    refusal = r"names a pipe or a device\. Set it to a file that stays"
    with pytest.raises(ConfigError, match=refusal):
        load(None, environ)


def test_names_that_are_not_utf8_can_be_shown(tmp_path: Path) -> None:
    """They are escaped, so that they can be written as JSON."""
    missing = os.fsdecode(os.fsencode(tmp_path) + b"/\xe6\xf8.yaml")
    assert "\\xe6\\xf8.yaml: the file does not exist" in problems({}, Path(missing))[0]
    environ = OTHERS | {FILE: missing, "TELENOR_PROXY_LOG__LEVEL": "\udce6"}
    assert all(problem.encode("utf-8") for problem in problems(environ))
