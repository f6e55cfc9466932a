"""The bill of materials and the list of licences, as `make sbom` writes them."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import proxy
from tests.packaging.repository import ROOT, pyproject, read, requirements

SCRIPT = ROOT / "scripts" / "sbom.py"
SBOM = runpy.run_path(str(SCRIPT))
PROJECT = pyproject()["project"]


def write(lock: str, directory: Path) -> str:
    """Run the script; return the bill as it is written."""
    command = [sys.executable, str(SCRIPT), "--lock", lock, str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=50)
    return (directory / "sbom.cdx.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=SBOM["LOCKS"])
def lock(request: pytest.FixtureRequest) -> str:
    """Take one after the other of the lock files that an image can be made of."""
    return str(request.param)


@pytest.fixture(scope="module")
def written(lock: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write both files once."""
    directory = tmp_path_factory.mktemp("sbom")
    write(lock, directory)
    return directory


@pytest.fixture(scope="module")
def bill(written: Path) -> dict[str, Any]:
    """Read the bill."""
    content: dict[str, Any] = json.loads((written / "sbom.cdx.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def components(bill: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return its packages, by name."""
    return {canonicalize_name(component["name"]): component for component in bill["components"]}


def pins(lock: str) -> dict[tuple[str, str], set[str]]:
    """Return hashes by name and version of what a lock file has for this Python and system."""
    pinned: dict[tuple[str, str], set[str]] = {}
    for entry in re.split(r"\n(?=\S)", read(f"requirements/{lock}.txt").strip()):
        requirement = Requirement(entry.partition("\\")[0].strip())
        if requirement.marker is None or requirement.marker.evaluate():
            key = (canonicalize_name(requirement.name), str(requirement.specifier)[2:])
            pinned[key] = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
    assert pinned
    return pinned


def test_it_keeps_to_the_schema(bill: dict[str, Any]) -> None:
    """The bill is valid by CycloneDX's own schema, which refuses a broken one."""
    schema = JsonStrictValidator(SchemaVersion.from_version(bill["specVersion"]))
    assert schema.validate_str(json.dumps(bill)) is None
    broken = bill | {"components": [{"name": "without a type"}]}
    assert schema.validate_str(json.dumps(broken)) is not None


def test_what_runs_is_on_it_and_nothing_else(
    lock: str, components: dict[str, dict[str, Any]]
) -> None:
    """Each locked package is on the bill with version and hashes; no development tool is."""
    locked = pins(lock)
    assert {(name, component["version"]) for name, component in components.items()} == locked.keys()
    for (name, _), hashes in locked.items():
        references = components[name]["externalReferences"]
        digests = [digest for each in references for digest in each.get("hashes", [])]
        assert {digest["content"] for digest in digests} == hashes


def test_it_has_version_and_direct_dependencies(lock: str, bill: dict[str, Any]) -> None:
    """The bill is that of this version of the proxy, and says which packages it needs itself."""
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == (PROJECT["name"], proxy.__version__)
    graph = {node["ref"]: node["dependsOn"] for node in bill["dependencies"]}
    direct = {canonicalize_name(ref.partition("==")[0]) for ref in graph[root["bom-ref"]]}
    wanted = requirements(PROJECT["dependencies"] + PROJECT["optional-dependencies"].get(lock, []))
    here = [each for each in wanted if each.marker is None or each.marker.evaluate()]
    assert direct == {canonicalize_name(requirement.name) for requirement in here}


def test_everything_on_it_is_needed(bill: dict[str, Any]) -> None:
    """Every package is reached from the proxy along the dependencies."""
    graph = {node["ref"]: node["dependsOn"] for node in bill["dependencies"]}
    reached: set[str] = set()
    ahead = [bill["metadata"]["component"]["bom-ref"]]
    while ahead:
        ref = ahead.pop()
        if ref not in reached:
            reached.add(ref)
            ahead += graph[ref]
    assert reached == graph.keys()


def test_each_package_may_be_passed_on(components: dict[str, dict[str, Any]]) -> None:
    """Each licence is on the list of those that may be passed on."""
    licences = {name: each["licenses"][0]["expression"] for name, each in components.items()}
    objections = {name: SBOM["objection"](licence) for name, licence in licences.items()}
    assert set(objections.values()) == {None}, objections


def test_each_licence_goes_along(components: dict[str, dict[str, Any]]) -> None:
    """Each package's licence text is in the environment, so in the image."""
    assert [name for name in components if not SBOM["texts"](name)] == []


def test_the_list_is_that_of_the_bill(written: Path, components: dict[str, dict[str, Any]]) -> None:
    """The list for people has the packages of the bill, each with version and licence."""
    text = (written / "licences.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) \| (\d\S*) \| (.+) \|$", text, re.MULTILINE)
    assert {canonicalize_name(name): (version, licence) for name, version, licence in rows} == {
        name: (component["version"], component["licenses"][0]["expression"])
        for name, component in components.items()
    }


def test_it_is_the_same_each_time(lock: str, written: Path, tmp_path: Path) -> None:
    """Made again of the same environment, it is the same, byte for byte."""
    assert write(lock, tmp_path) == (written / "sbom.cdx.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "names no licence"),
        ("GPL-3.0-only", "not ALLOWED"),
        ("MIT AND AGPL-3.0-or-later", "not ALLOWED"),
        ("Apache-2.0 WITH LLVM-exception", "not ALLOWED"),
        ("License :: Other/Proprietary License", "no SPDX expression"),
        ("MIT OR", "no SPDX expression"),
    ],
)
def test_a_licence_that_may_not_be_passed_on(expression: str, says: str) -> None:
    """An unlisted, unknown or unnamed licence is an objection, also as a part of several."""
    assert says in SBOM["objection"](expression)


@pytest.mark.parametrize(
    "expression", ["MIT", "MIT OR GPL-3.0-only", "MPL-2.0 AND (Apache-2.0 OR MIT)"]
)
def test_a_choice_needs_one_that_may(expression: str) -> None:
    """Where one may choose, one listed licence is enough."""
    assert SBOM["objection"](expression) is None


MIT, PSF = {"license": {"id": "MIT"}}, {"license": {"id": "PSF-2.0"}}
APACHE = {"license": {"name": "License :: OSI Approved :: Apache Software License"}}


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        ([MIT], ("MIT", "declared")),
        ([{"expression": "MIT OR Apache-2.0"}], ("MIT OR Apache-2.0", "declared")),
        ([APACHE], ("Apache-2.0", "concluded")),
        ([MIT, PSF], ("MIT AND PSF-2.0", "concluded")),
        ([{"expression": "MIT OR X"}, MIT], ("(MIT OR X) AND MIT", "concluded")),
    ],
)
def test_a_licence_is_what_the_package_says(
    licences: list[dict[str, Any]], expected: tuple[str, str]
) -> None:
    """One SPDX expression is declared; what is combined or translated is concluded."""
    assert SBOM["licence"]({"name": "any", "licenses": licences}) == expected


def test_a_package_that_names_no_licence_needs_a_reader() -> None:
    """It has the licence of a text in `READ`, and else none."""
    assert SBOM["licence"]({"name": "aiofastnet"}) == ("MIT", "concluded")
    assert SBOM["licence"]({"name": "structlog"}) == ("", "concluded")


def test_lock_and_installation_have_to_agree() -> None:
    """A missing package or another version is an error, with advice."""
    installed = {
        "components": [{"name": "PyYAML", "version": "5.0"}],
        "dependencies": [],
        "metadata": {"component": {"name": "telenor-proxy", "bom-ref": "root"}},
    }
    locked = [SBOM["Pin"]("pyyaml", "6.0", []), SBOM["Pin"]("yarl", "1.0", [])]
    assert SBOM["reduce"](installed, locked, "1.0") == [
        "pyyaml is locked at 6.0 and installed at 5.0: make setup",
        "yarl is locked at 1.0 and not installed: make setup",
    ]
