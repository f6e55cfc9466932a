"""The smallest benchmark runs from its start to its end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import processes, report
from tests.packaging.repository import ROOT

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
    """Proxy, NGINX and raw relay are measured; the table is printed, and the JSON makes it too."""
    output = tmp_path / "results.json"
    words = ("--rounds", "1", "--seconds", "1", "--systems", "NGINX,raw relay")
    ran = run("identical", *words, "--output", str(output))
    assert ran.returncode == 0, ran.stderr
    results = json.loads(output.read_text())
    (scenario,) = results["scenarios"]
    assert list(scenario["samples"]) == ["telenor-proxy", "NGINX", "raw relay"]
    for figures in scenario["samples"].values():
        assert figures["cpu_us"][0] > 1
    assert report.section(scenario) in ran.stdout
    assert report.conditions(results) in ran.stdout


@pytest.mark.parametrize("words", [["faster"], ["--systems", "envoys"]], ids=["scenario", "system"])
def test_an_unknown_name_is_refused(words: list[str]) -> None:
    """Nothing is measured, and the message has the known names."""
    ran = run(*words)
    assert ran.returncode == 2
    assert "o such" in ran.stderr
    assert "memory" in ran.stderr or "Envoy" in ran.stderr
