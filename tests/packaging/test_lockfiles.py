"""The lock files: every dependency at one version, with hashes, without an index."""

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.repository import ROOT, files, pyproject, read, requirements

PROJECT = pyproject()
RUNTIME = requirements(PROJECT["project"]["dependencies"])
EXTRAS = {
    name: requirements(texts) for name, texts in PROJECT["project"]["optional-dependencies"].items()
}
GROUPS = {name: requirements(texts) for name, texts in PROJECT["dependency-groups"].items()}
#: By lock file: what has to be in it.
LOCKS = {
    "runtime.txt": RUNTIME,
    **{f"{name}.txt": RUNTIME + wanted for name, wanted in EXTRAS.items()},
    "dev.txt": RUNTIME + GROUPS["dev"],
    "docs.txt": GROUPS["docs"],
    "bench.txt": GROUPS["bench"],
    "tools.txt": requirements(PROJECT["build-system"]["requires"]),
}
EXTRA = [requirement for wanted in EXTRAS.values() for requirement in wanted]

HASHES = re.compile(r"( --hash=sha256:[0-9a-f]{64})+")
#: Each machine has its own index, and the repository is bound to no registry.
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


@pytest.mark.parametrize("name", LOCKS)
def test_each_package_is_at_one_version_with_hashes(name: str) -> None:
    """Each line pins one package to one version and its files' hashes, once."""
    pins = entries(name)
    assert pins
    for pin, options in pins:
        assert re.fullmatch(r"==[0-9][^,*]*", str(pin.specifier)), pin
        assert pin.url is None
        assert HASHES.fullmatch(options), pin
    assert len(versions(name)) == len(pins)


@pytest.mark.parametrize(("name", "wanted"), LOCKS.items(), ids=LOCKS)
def test_the_locks_are_those_of_pyproject(name: str, wanted: list[Requirement]) -> None:
    """Each requirement of pyproject.toml is locked at a version that it accepts."""
    locked = versions(name)
    for requirement in wanted:
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked: make lock"
        message = f"{requirement} is locked at {version}: make lock"
        assert requirement.specifier.contains(version), message


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_tests_use_what_runs(extra: str) -> None:
    """The development lock has the run-time locks' packages at the same versions."""
    assert versions("runtime.txt").items() <= versions(f"{extra}.txt").items()
    assert versions(f"{extra}.txt").items() <= versions("dev.txt").items()


def test_the_extras_are_tested() -> None:
    """The development group asks for the extras in the same words."""
    assert set(map(str, EXTRA)) <= set(map(str, GROUPS["dev"]))


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
