"""Content that is held until it is whole: in memory, then in a file without a name."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.orders.content import HeldContent


@given(st.lists(st.binary(max_size=40), max_size=10), st.integers(0, 100))
def test_what_is_fed_comes_out(pieces: list[bytes], in_memory: int) -> None:
    """The same bytes, as often as wanted, with their hash, wherever they were held."""
    whole = b"".join(pieces)
    content = HeldContent(hashlib.sha256(), in_memory)
    for piece in pieces:
        content.feed(piece)
    assert b"".join(content.pieces()) == b"".join(content.pieces()) == whole
    assert content.fingerprint.digest() == hashlib.sha256(whole).digest()
    assert content.size == len(whole)
    content.close()


def test_the_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left in the directory, not even while it is held, and memory stays small."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    content = HeldContent(hashlib.sha256(), 10)
    for _ in range(100):
        content.feed(b"x" * 65_536)
    assert list(tmp_path.iterdir()) == []
    assert sum(map(len, content.pieces())) == 6_553_600
    content.close()


def test_a_disk_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller gets an OSError."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    content = HeldContent(hashlib.sha256(), 10)
    with pytest.raises(OSError, match="nowhere"):
        content.feed(b"x" * 11)
    content.close()


_SMALL_DISK = """
import hashlib, resource, signal
from proxy.orders.content import HeldContent

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
content = HeldContent(hashlib.sha256(), 10)
try:
    for _ in range(2):
        content.feed(b"x" * 65_536)
except OSError:
    print("refused")
content.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits files as POSIX does")
def test_a_disk_that_takes_a_part_of_a_piece() -> None:
    """What does not fit is not lost silently: its caller gets an OSError as well."""
    command = [sys.executable, "-c", _SMALL_DISK]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert ran.stdout == "refused\n"
