"""The lock files: every dependency at one version, with hashes, without an index."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.repository import ROOT, files, pyproject, read, requirements

PROJECT = pyproject()
RUNTIME = requirements(PROJECT["project"]["dependencies"])
OTEL = requirements(PROJECT["project"]["optional-dependencies"]["otel"])
REDIS = requirements(PROJECT["project"]["optional-dependencies"]["redis"])
SANDBOX = requirements(PROJECT["project"]["optional-dependencies"]["sandbox"])
DEV = requirements(PROJECT["dependency-groups"]["dev"])
DOCS = requirements(PROJECT["dependency-groups"]["docs"])
BENCH = requirements(PROJECT["dependency-groups"]["bench"])
BUILD = requirements(PROJECT["build-system"]["requires"])

HASHES = re.compile(r"( --hash=sha256:[0-9a-f]{64})+")
#: Where packages come from is the business of each machine. Nor is the repository bound to one
#: registry.
PLACES = re.compile(
    r"(?<!emit-)(extra-)?index-url|(?<!emit-)find-links|trusted-host|/simple/"
    r"|(pypi|pythonhosted|npmjs)\.org|(docker|ghcr|quay)\.io"
)


def entries(name: str) -> list[tuple[Requirement, str]]:
    """Return what a lock file pins, each with its options."""
    lines = read(f"requirements/{name}").replace("\\\n", " ").splitlines()
    pins = []
    for line in filter(None, map(str.strip, lines)):
        text, separator, options = re.sub(r"\s+", " ", line).partition(" --")
        pins.append((Requirement(text), f"{separator}{options}"))
    return pins


def versions(name: str) -> dict[str, str]:
    """Return the version of each package of a lock file."""
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin, _options in entries(name)
    }


@pytest.mark.parametrize(
    "name",
    [
        "runtime.txt",
        "otel.txt",
        "redis.txt",
        "sandbox.txt",
        "dev.txt",
        "docs.txt",
        "bench.txt",
        "tools.txt",
    ],
)
def test_each_package_is_at_one_version_with_hashes(name: str) -> None:
    """Each line pins one package to one version and its files' hashes, once."""
    pins = entries(name)
    assert pins
    for pin, options in pins:
        assert re.fullmatch(r"==[0-9][^,*]*", str(pin.specifier)), pin
        assert pin.url is None
        assert HASHES.fullmatch(options), pin
    assert len(versions(name)) == len(pins)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("runtime.txt", RUNTIME),
        ("otel.txt", RUNTIME + OTEL),
        ("redis.txt", RUNTIME + REDIS),
        ("sandbox.txt", RUNTIME + SANDBOX),
        ("dev.txt", RUNTIME + DEV),
        ("docs.txt", DOCS),
        ("bench.txt", BENCH),
        ("tools.txt", BUILD),
    ],
    ids=["runtime", "otel", "redis", "sandbox", "dev", "docs", "bench", "tools"],
)
def test_the_locks_are_those_of_pyproject(name: str, wanted: list[Requirement]) -> None:
    """Each requirement of pyproject.toml is locked at a version that it accepts."""
    locked = versions(name)
    for requirement in wanted:
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked: make lock"
        assert requirement.specifier.contains(version), (
            f"{requirement} is locked at {version}: make lock"
        )


@pytest.mark.parametrize("extra", ["otel", "redis", "sandbox"])
def test_the_tests_use_what_runs(extra: str) -> None:
    """The development lock has the run-time locks' packages at the same versions."""
    assert versions("runtime.txt").items() <= versions(f"{extra}.txt").items()
    assert versions(f"{extra}.txt").items() <= versions("dev.txt").items()


def test_the_extras_are_tested() -> None:
    """The development group asks for the extras in the same words."""
    assert {str(requirement) for requirement in OTEL + REDIS + SANDBOX} <= {
        str(requirement) for requirement in DEV
    }


def test_what_runs_has_no_certificate_maker() -> None:
    """Only the sandbox makes certificates."""
    assert versions("runtime.txt").keys().isdisjoint({"trustme", "cryptography"})


def test_no_file_names_a_package_index() -> None:
    """The repository builds wherever an index is configured."""
    me = "tests/packaging/test_lockfiles.py"
    found = [
        f"{path}: {match[0]}"
        for path in files()
        if path != me
        for match in PLACES.finditer((ROOT / path).read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "requirement", RUNTIME + OTEL + REDIS + SANDBOX, ids=lambda requirement: requirement.name
)
def test_each_dependency_has_its_reason(requirement: Requirement) -> None:
    """Each has a line with a reason under "Dependencies" in docs/architecture.md."""
    section = re.search(
        r"^(#+) Dependencies$(.*?)(?=^#{1,2} |\Z)",
        read("docs/architecture.md"),
        re.MULTILINE | re.DOTALL,
    )
    assert section is not None, "docs/architecture.md has no heading Dependencies"
    named = re.compile(rf"(?<![\w-]){re.escape(requirement.name)}(?![\w-])", re.IGNORECASE)
    lines = [line for line in section[2].splitlines() if named.search(line)]
    assert lines, f"{requirement.name} has no line there"
    assert max(len(named.sub("", line)) for line in lines) >= 30, "its line gives no reason"
