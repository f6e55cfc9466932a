"""The smallest benchmark runs from its start to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bench import processes, report
from tests.packaging.repository import ROOT

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "bench"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run it."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=ROOT,
        env=processes.environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.mark.skipif(
    sys.platform != "linux"
    or not (processes.program("wrk") and processes.program("nginx"))
    or len(os.sched_getaffinity(0)) == 1,
    reason="needs wrk, NGINX and two cores",
)
def test_the_smallest_scenario_runs(tmp_path: Path) -> None:
    """The proxy, NGINX and the raw relay are measured beside each other.

    The table is printed, and the JSON can be reported again.
    """
    output = tmp_path / "results.json"
    ran = run("identical", "--quick", "--systems", "NGINX,raw relay", "--output", str(output))
    assert ran.returncode == 0, ran.stderr
    results = json.loads(output.read_text())
    (scenario,) = results["scenarios"]
    assert scenario["failed"] == {}
    assert list(scenario["samples"]) == ["telenor-proxy", "NGINX", "raw relay"]
    for figures in scenario["samples"].values():
        assert figures["errors"] == [0]
        assert figures["cpu_us"][0] > 1
    # The table is printed of what was measured; kept figures are rounded, so that columns may
    # differ by a blank.
    table = report.table(scenario).splitlines()
    assert table[0] in ran.stdout
    assert all(row.split("  ")[0] in ran.stdout for row in table[1:])
    assert "A quick run" in ran.stdout


def test_it_lists_what_there_is() -> None:
    """Scenarios and systems, without measuring anything."""
    ran = run("--list")
    assert ran.returncode == 0, ran.stderr
    for word in ("identical", "warm", "Envoy", "telenor-proxy"):
        assert word in ran.stdout


@pytest.mark.parametrize("words", [["faster"], ["--systems", "nobody"]], ids=["scenario", "system"])
def test_what_there_is_not_is_refused(words: list[str]) -> None:
    """An unknown name measures nothing, and is told with those that there are."""
    ran = run(*words)
    assert ran.returncode == 2
    assert "o such" in ran.stderr
