"""What a release is made of: the packages, and what the changelog says of it."""

import re
import runpy
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import proxy
from tests.packaging.repository import ROOT, hatchling, read

SCRIPT = ROOT / "scripts" / "release_notes.py"
NOTES = runpy.run_path(str(SCRIPT))
MODULE = '"""A module."""\n\n__version__ = "1.2.3"\n'
ENTRY = "## [1.2.3] - 2026-11-24\n\n### Added\n\n- One thing.\n"
CHANGELOG = f"# Changelog\n\n{ENTRY}\n## [1.2.2] - 2026-10-01\n\n- Another.\n"


def test_the_notes_are_the_changelogs_entry() -> None:
    """The notes of a release are its entry of the changelog, and no other's."""
    assert NOTES["notes"]("v1.2.3", MODULE, CHANGELOG) == "### Added\n\n- One thing.\n"


@pytest.mark.parametrize(
    ("tag", "changelog", "says"),
    [
        ("v1.2.4", CHANGELOG, "the version in proxy/__init__.py is 1.2.3"),
        ("1.2.3", CHANGELOG, "the tag is 1.2.3"),
        ("v1.2.3", CHANGELOG.replace("1.2.3", "1.2.4"), "is not about 1.2.3"),
        ("v1.2.3", "# Changelog\n", "is not about 1.2.3"),
        ("v1.2.3", CHANGELOG.replace("2026-11-24", "Unreleased"), "'Unreleased'"),
    ],
)
def test_what_does_not_agree_is_not_released(tag: str, changelog: str, says: str) -> None:
    """A wrong tag, a missing entry and an entry without a day end a release."""
    with pytest.raises(NOTES["DisagreementError"], match=re.escape(says)):
        NOTES["notes"](tag, MODULE, changelog)


def test_it_reads_this_repository() -> None:
    """The script finds version and changelog, and its exit status refuses another tag."""
    command = [sys.executable, str(SCRIPT), "v0.0.0"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"is {proxy.__version__}:" in ran.stderr


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it once."""
    directory = tmp_path_factory.mktemp("sdist")
    hatchling("--target", "sdist", "--directory", str(directory))
    (built,) = directory.iterdir()
    return built


def test_the_sdist_makes_the_same_wheel(sdist: Path, tmp_path: Path) -> None:
    """A wheel that is built of the sdist is the one that is built here, byte for byte."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    for name, place in (("here", ROOT), ("there", source)):
        hatchling("--target", "wheel", "--directory", str(tmp_path / name), cwd=place)
    (here,), (there,) = ((tmp_path / name).iterdir() for name in ("here", "there"))
    assert here.name == there.name
    assert here.read_bytes() == there.read_bytes()


def test_contributing_names_the_setup() -> None:
    """CONTRIBUTING.md has the names that the workflow uses."""
    text, workflow = read("CONTRIBUTING.md"), read(".github/workflows/release.yml")
    for name in ("IMAGE_REGISTRY", "pypi"):
        assert f"`{name}`" in text
        assert name in workflow
