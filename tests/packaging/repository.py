"""What the packaging tests read: the repository's own files."""

from __future__ import annotations

import re
import subprocess
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
    command = [
        "git",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]  # whichever git made the checkout
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
