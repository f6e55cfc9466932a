"""Shared by the tests of `deploy/`: its files, and the programs that judge them."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = ROOT / "deploy"
#: Seconds. What takes longer is broken.
DEADLINE: Final = 20.0
_PAUSE: Final = 0.05


def needs(program: str, package: str) -> pytest.MarkDecorator:
    """Skip where a program is not installed, unless this is CI, which installs it."""
    return pytest.mark.skipif(
        shutil.which(program) is None and os.environ.get("CI") != "true",
        reason=f"{program} is not installed; Debian has it in the package {package}",
    )


def ran(
    *words: str | Path, text: str | None = None, place: Path = ROOT, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [shutil.which(words[0]) or words[0], *words[1:]],
        check=False,
        capture_output=True,
        text=True,
        input=text,
        cwd=place,
        timeout=seconds,
    )


def judged(*words: str | Path, place: Path = ROOT) -> None:
    """Run a program that judges something; it has to end with 0."""
    verdict = ran(*words, place=place)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def read_yaml(path: Path | str) -> Any:
    """Return the only document of a YAML file, by its path from `deploy`."""
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


def until(question: Callable[[], object]) -> None:
    """Poll until the answer is true."""
    deadline = time.monotonic() + DEADLINE
    while not question():
        assert time.monotonic() < deadline, "it is not true in time"
        time.sleep(_PAUSE)


async def until_async(question: Callable[[], object]) -> None:
    """Poll in a thread, while the event loop of the test goes on."""
    await asyncio.to_thread(until, question)


kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl is not installed, and Debian has no new one"
)
