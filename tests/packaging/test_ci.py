"""`.ci/run` and the Makefile: CI runs all that people run, and fails when something fails.

`make` is a stand-in here, except where it is asked what it would do.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.packaging.repository import ROOT, make

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("make") is None, reason="CI is Debian, with make"
)

#: What it looks for, and does not have to install where it is there.
TOOLS = (
    *("curl", "squid", "tinyproxy", "wget", "javac", "node", "perl", "php", "chromium"),
    *("promtool", "systemd-analyze", "faketime", "redis-server", "wrk", "nginx"),
)
PACKAGES = (
    "curl squid tinyproxy wget default-jdk-headless nodejs libwww-perl php-cli php-curl chromium "
    "prometheus systemd faketime redis-server wrk nginx-light"
)
#: What the script itself needs.
NEEDED = (
    *("bash", "dirname", "basename", "mktemp", "timeout"),
    *("tee", "grep", "tail", "rm", "sh", "env"),
)
#: Each stand-in writes down how it was called.
STAND_IN = '#!/bin/sh\necho "$(basename "$0") $*" >>"$CALLS"\n'
SUMMARIES = [
    "=== 2 passed in 1.23s ===",
    "=== 1 failed, 2 passed, 1 warning in 3.21s (0:00:03) ===",
]
TESTS = f"""
if [ "$1" = check ]; then
    echo "{SUMMARIES[0]}"
    echo "{SUMMARIES[1]}"
    echo "TOTAL 98%"
fi
"""


class Run(NamedTuple):
    """How a run ended."""

    status: int
    lines: list[str]
    calls: list[str]


def ci(directory: Path, script_of_make: str, *tools: str) -> Run:
    """Run it with that make, and with those of the tools that it may have to install."""
    programs = directory / "bin"
    programs.mkdir()
    for name in NEEDED:
        (programs / name).symlink_to(str(shutil.which(name)))
    (programs / "python3").symlink_to(sys.executable)
    stand_ins = {"make": f"{STAND_IN}{script_of_make}", "apt-get": STAND_IN}
    stand_ins |= dict.fromkeys(tools, "#!/bin/sh\n")
    for name, script in stand_ins.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    calls = directory / "calls"
    calls.touch()
    ran = subprocess.run(
        [str(ROOT / ".ci" / "run")],
        env={"PATH": str(programs), "CALLS": str(calls), "TMPDIR": str(directory)},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return Run(ran.returncode, ran.stdout.splitlines(), calls.read_text().splitlines())


def test_it_runs_what_people_run(tmp_path: Path) -> None:
    """Checks, tests and image; the tests' summaries are printed last, and no file is left."""
    run = ci(tmp_path, TESTS, *TOOLS)
    assert run.status == 0
    assert run.calls == ["make check coverage test-variants", "make image-test"]
    assert run.lines[-2:] == SUMMARIES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "calls"]


@pytest.mark.parametrize("target", ["check", "image-test"])
def test_it_fails_with_what_it_runs(tmp_path: Path, target: str) -> None:
    """When a part of it fails it fails, and the summaries are still the last lines."""
    run = ci(tmp_path, f'{TESTS}[ "$1" != {target} ]\n', *TOOLS)
    assert run.status != 0
    assert run.calls[-1].startswith(f"make {target}")
    assert run.lines[-2:] == SUMMARIES


def test_it_installs_what_is_missing(tmp_path: Path) -> None:
    """What the machine lacks is installed, with a new list of packages."""
    run = ci(tmp_path, TESTS)
    assert [call for call in run.calls if call.startswith("apt-get")] == [
        "apt-get update -qq",
        f"apt-get install -qq --yes --no-install-recommends {PACKAGES}",
    ]


# --- Which tests a command runs ----------------------------------------------------------------


def would_run(target: str) -> list[str]:
    """Return the command lines of pytest that a target runs."""
    printed = make(target, "--dry-run", "--always-make").stdout
    return [line for line in printed.splitlines() if " -m pytest " in line]


def test_each_directory_of_tests_is_run_once() -> None:
    """What `make test-repo` and `make check` run, `make test` and `make coverage` leave out."""
    (repo,) = would_run("test-repo")
    repository = set(re.findall(r" (tests/\w+)", repo))
    assert all((ROOT / path).is_dir() for path in repository)
    assert "tests/packaging" in repository
    assert would_run("check") == [repo]
    for target in ("test", "coverage"):
        (command,) = would_run(target)
        assert set(re.findall(r" --ignore=(tests/\w+)", command)) == repository
        assert not re.search(r" tests\b", command)


def test_the_variants_differ_from_each_other_and_from_the_tests() -> None:
    """They run tests/gateway on TLS, on asyncio's transports and on uvloop."""
    runs = would_run("test-variants")
    assert all(" tests/gateway " in run for run in runs)
    options = [dict(re.findall(r" --(listener|transport|loop) (\w+)", run)) for run in runs]
    assert {"listener": "tls", "loop": "uvloop"} in options
    assert {"transport": "asyncio"} in options
    assert {"listener": "tls", "transport": "asyncio", "loop": "uvloop"} in options
    assert not re.search(r" --(listener|transport|loop) ", would_run("coverage")[0])


def test_only_make_coverage_measures_it() -> None:
    """`make test` does not measure it; `make coverage`, which CI runs, fails below 98 percent."""
    assert "--cov" not in would_run("test")[0]
    assert "--cov-fail-under=98" in would_run("coverage")[0]
