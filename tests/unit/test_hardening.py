"""What the process gives up for good, seen in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PR_GET_DUMPABLE = 3  # linux/prctl.h
_IMPORTS = "import ctypes, os, sys\nfrom proxy.hardening import harden"


def run(where: Path, *code: str) -> str:
    """Run the code in a new process, with a key log asked for; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join((_IMPORTS, *code))],
        env=os.environ | {"SSLKEYLOGFILE": str(where / "keys.log"), "SSL_CERT_FILE": "mine.pem"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="core dumps and prctl as Linux has them")
def test_memory_stays_in_the_process(tmp_path: Path) -> None:
    """Neither a core dump nor a process of the same user can read it."""
    printed = run(
        tmp_path,
        f"dumpable = lambda: ctypes.CDLL(None).prctl({_PR_GET_DUMPABLE}, 0, 0, 0, 0)",
        "import resource",
        "before = dumpable()",
        "harden()",
        "print(before, dumpable(), resource.getrlimit(resource.RLIMIT_CORE))",
    )
    assert printed == "1 0 (0, 0)"


def test_no_library_writes_session_keys(tmp_path: Path) -> None:
    """SSLKEYLOGFILE is gone before a library reads it; the rest of the environment stays."""
    printed = run(
        tmp_path,
        "before = dict(os.environ)",
        "harden()",
        "import aiohttp",
        "del before['SSLKEYLOGFILE']",
        "print(dict(os.environ) == before, os.environ['SSL_CERT_FILE'])",
    )
    assert printed == "True mine.pem"
    assert list(tmp_path.iterdir()) == []


def test_a_system_without_any_of_it_goes_on(tmp_path: Path) -> None:
    """Without resource limits and prctl the proxy starts all the same."""
    hidden = "sys.modules['resource'] = sys.modules['ctypes'] = None; sys.platform = 'win32'"
    ending = "print('SSLKEYLOGFILE' in os.environ)"
    assert run(tmp_path, "import aiohttp", hidden, "harden()", "harden()", ending) == "False"
