"""What the process gives up, seen from inside of a process of its own, because it is for good."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_PR_GET_DUMPABLE = 3  # linux/prctl.h


def run(code: str, where: Path) -> str:
    """Run the code in a new process, with a key log asked for; return what it prints."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import ctypes, os, sys\nfrom proxy.hardening import harden\n{code}",
        ],
        env=os.environ | {"SSLKEYLOGFILE": str(where / "keys.log"), "SSL_CERT_FILE": "mine.pem"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="core dumps and prctl as Linux has them")
def test_memory_stays_in_the_process(tmp_path: Path) -> None:
    """Neither a core dump nor a process of the same user gets at it."""
    assert (
        run(
            f"dumpable = lambda: ctypes.CDLL(None).prctl({_PR_GET_DUMPABLE}, 0, 0, 0, 0)\n"
            "import resource\n"
            "before = dumpable()\n"
            "harden()\n"
            "print(before, dumpable(), resource.getrlimit(resource.RLIMIT_CORE))",
            tmp_path,
        )
        == "1 0 (0, 0)"
    )


def test_no_library_writes_session_keys(tmp_path: Path) -> None:
    """The variable that asks for it is gone before any library looks for it, and no key log comes into being."""
    assert (
        run("harden()\nimport aiohttp\nprint('SSLKEYLOGFILE' in os.environ)", tmp_path) == "False"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_rest_of_the_environment_stays(tmp_path: Path) -> None:
    """Where somebody named certificates, those names are there afterwards, and where nobody did, none are."""
    assert (
        run(
            "before = dict(os.environ)\n"
            "harden()\n"
            "del before['SSLKEYLOGFILE']\n"
            "print(dict(os.environ) == before, os.environ['SSL_CERT_FILE'], 'SSL_CERT_DIR' in os.environ)",
            tmp_path,
        )
        == f"True mine.pem {'SSL_CERT_DIR' in os.environ}"
    )


def test_a_system_that_knows_none_of_it_goes_on(tmp_path: Path) -> None:
    """Where there are neither resource limits nor prctl, the proxy starts all the same."""
    assert (
        run(
            "import aiohttp\n"
            "sys.modules['resource'] = None\n"
            "sys.modules['ctypes'] = None\n"
            "sys.platform = 'win32'\n"
            "harden()\n"
            "harden()\n"
            "print('SSLKEYLOGFILE' in os.environ)",
            tmp_path,
        )
        == "False"
    )
