"""Shared by the packaging tests: the repository's own files."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def read(path: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def pyproject() -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads(read("pyproject.toml"))


def requirements(texts: list[str]) -> list[Requirement]:
    """Return requirements as values."""
    return [Requirement(text) for text in texts]


def files() -> list[str]:
    """Return the paths of all files that are in the repository, or will be with the next commit."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for path in listed.split("\0") if path and (ROOT / path).is_file()]


def dockerfile() -> list[list[tuple[str, str]]]:
    """Return the Dockerfile's instructions by stage; first those before the first stage."""
    lines = [line for line in read("Dockerfile").splitlines() if not line.lstrip().startswith("#")]
    stages: list[list[tuple[str, str]]] = [[]]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        instruction, _, value = line.partition(" ")
        if instruction == "FROM":
            stages.append([])
        if instruction:
            stages[-1].append((instruction, value.strip()))
    return stages


def base_image() -> str:
    """Return the name of the image that the Dockerfile builds on."""
    values = [value for name, value in dockerfile()[0] if name == "ARG"]
    return values[0].removeprefix("BASE=")


def hatchling(*arguments: str, cwd: Path = ROOT) -> None:
    """Build packages as `make dist` does."""
    command = [sys.executable, "-m", "hatchling", "build", *arguments]
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=50)


def make(
    target: str, *options: str, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Make a target of the Makefile with this environment as it is."""
    stamps = (f"--old-file={sys.prefix}/{stamp}" for stamp in (".runtime", ".dev", ".docs"))
    return subprocess.run(
        ["make", "--silent", target, f"VENV={sys.prefix}", *stamps, *options],  # noqa: S607 # any
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
