"""`.ci/run`: it fails when something fails, and its last line is the summary of the tests. `make` is a stand-in here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.packaging.repository import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="CI is Debian")

#: What it looks for, and does not have to install where it is there.
TOOLS = (
    "curl",
    "squid",
    "tinyproxy",
    "wget",
    "javac",
    "node",
    "perl",
    "php",
    "chromium",
    "promtool",
    "systemd-analyze",
    "faketime",
    "redis-server",
    "wrk",
    "nginx",
)
PACKAGES = "curl squid tinyproxy wget default-jdk-headless nodejs libwww-perl php-cli php-curl chromium prometheus systemd faketime redis-server wrk nginx-light"
#: Each stand-in writes down how it was called.
STAND_IN = '#!/bin/sh\necho "$(basename "$0") $*" >>"$CALLS"\n'
TESTS = (
    'if [ "$1" = check ]; then echo "=== 1 failed, 2 passed, 1 warning in 3.21s ==="; echo "TOTAL 98%"; fi\n'
)
SUMMARY = "=== 1 failed, 2 passed, 1 warning in 3.21s ==="


class Run(NamedTuple):
    """How a run ended."""

    status: int
    lines: list[str]
    calls: list[str]


def ci(directory: Path, make: str, *tools: str) -> Run:
    """Run it with that make, and with those of the tools that it may have to install."""
    programs = directory / "bin"
    programs.mkdir()
    needed = ("bash", "dirname", "basename", "mktemp", "timeout", "tee", "grep", "tail", "rm", "sh", "env")
    for name in needed:
        (programs / name).symlink_to(str(shutil.which(name)))
    (programs / "python3").symlink_to(sys.executable)
    stand_ins = {"make": f"{STAND_IN}{make}", "apt-get": STAND_IN, **dict.fromkeys(tools, "#!/bin/sh\n")}
    for name, script in stand_ins.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    calls = directory / "calls"
    calls.touch()
    ran = subprocess.run(
        [str(programs / "bash"), str(ROOT / ".ci" / "run")],
        env={"PATH": str(programs), "CALLS": str(calls), "TMPDIR": str(directory)},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return Run(ran.returncode, ran.stdout.splitlines(), calls.read_text().splitlines())


def test_it_runs_what_people_run(tmp_path: Path) -> None:
    """It runs the checks, the tests and the image, ends well when they do, and says the tests' summary last."""
    run = ci(tmp_path, TESTS, *TOOLS)
    assert run.status == 0
    assert run.calls == ["make check test", "make image-test"]
    assert run.lines[-1] == SUMMARY


@pytest.mark.parametrize("target", ["check", "image-test"])
def test_it_fails_with_what_it_runs(tmp_path: Path, target: str) -> None:
    """When a part of it fails it fails, and the summary is still the last line."""
    run = ci(tmp_path, f'{TESTS}[ "$1" != {target} ]\n', *TOOLS)
    assert run.status != 0
    assert run.calls[-1].startswith(f"make {target}")
    assert run.lines[-1] == SUMMARY


def test_it_installs_what_is_missing(tmp_path: Path) -> None:
    """What the machine lacks is installed, with a new list of packages."""
    run = ci(tmp_path, TESTS)
    assert [call for call in run.calls if call.startswith("apt-get")] == [
        "apt-get update -qq",
        f"apt-get install -qq --yes --no-install-recommends {PACKAGES}",
    ]


def test_it_leaves_nothing(tmp_path: Path) -> None:
    """Its own temporary file is gone at the end."""
    ci(tmp_path, TESTS, *TOOLS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "calls"]


def test_it_can_be_started() -> None:
    """It is executable."""
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
