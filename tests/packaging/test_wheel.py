"""The wheel: the package, whole, and nothing else."""

import os
import re
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import proxy
from tests.packaging.repository import files, hatchling, pyproject, read, requirements

PROJECT = pyproject()["project"]
INFO = f"telenor_proxy-{proxy.__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it, with the locked tools."""
    directory = tmp_path_factory.mktemp("wheel")
    hatchling("--target", "wheel", "--directory", str(directory))
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """Read what it says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        return HeaderParser().parsestr(archive.read(f"{INFO}/METADATA").decode())


def test_it_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """It has every file of the package, and the wheel's own metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    own = {name for name in names if name.startswith(f"{INFO}/")}
    assert names - own == {path for path in files() if path.startswith("proxy/")}
    assert "proxy/py.typed" in names
    described = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert own == {f"{INFO}/{name}" for name in described}


def test_its_metadata_are_those_of_pyproject(metadata: Message) -> None:
    """The README is its description."""
    assert metadata["Name"] == PROJECT["name"]
    assert metadata["Version"] == proxy.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    extras = PROJECT["optional-dependencies"]
    assert set(metadata.get_all("Provides-Extra", [])) == extras.keys()
    wanted = PROJECT["dependencies"] + [
        f"{Requirement(each)}; extra == '{extra}'" for extra in extras for each in extras[extra]
    ]
    assert set(requirements(metadata.get_all("Requires-Dist", []))) == set(requirements(wanted))
    assert metadata.get_payload() == read("README.md")


def test_it_has_the_licence_word_for_word(wheel: Path) -> None:
    """The licence in the wheel is the repository's, which is the Apache License 2.0."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"{INFO}/licenses/LICENSE").decode()
    assert text == read("LICENSE")
    assert re.match(r"\s+Apache License\s+Version 2\.0, January 2004\s", text)


def test_it_brings_the_command(wheel: Path) -> None:
    """The wheel's only console script is `telenor-proxy`."""
    with zipfile.ZipFile(wheel) as archive:
        script = archive.read(f"{INFO}/entry_points.txt").decode().split()
    assert script == ["[console_scripts]", "telenor-proxy", "=", "proxy.cli:main"]


def test_it_runs(wheel: Path, tmp_path: Path) -> None:
    """The code of the wheel runs away from the repository, and is the one that was imported."""
    code = "import proxy, proxy.app, proxy.sandbox.server; print(proxy.__file__, proxy.__version__)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.stdout.split() == [str(wheel / "proxy" / "__init__.py"), proxy.__version__]
