"""Writes a CycloneDX bill of materials and a list of licences, of the locked run-time packages.

cyclonedx-py lists what is installed here; a lock file has what of it runs, and the hashes of its
files. No network is needed. The exit status is 1, and nothing is written, if the two differ or if a
licence is not among those that may be passed on. The bill is for this Python and this system.
"""

import argparse
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from license_expression import (  # type: ignore[import-untyped] # it has no types
    ExpressionError,
    LicenseSymbol,
    get_spdx_licensing,
)
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import proxy

ROOT: Final = Path(__file__).resolve().parent.parent
#: What an image can be made of; the extras are `runtime` and more.
LOCKS: Final = ("runtime", "otel", "redis", "sandbox")
BILL: Final = "sbom.cdx.json"
LICENCES: Final = "licences.md"

#: May be passed on in an image beside Apache-2.0, with its text, which the packages bring. MPL-2.0
#: asks for the source of files that were changed; none is.
ALLOWED: Final = frozenset(
    {
        *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MIT-0"),
        *("MPL-2.0", "PSF-2.0", "Python-2.0"),
    }
)
#: Words of the package index that cyclonedx-py does not translate, since they are ambiguous.
CLASSIFIERS: Final = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
#: Licences of packages that name none, by the SHA-256 of the text that was read.
READ: Final = {
    "0e31c848660d97d1a1e9d85af1e9c384d22b59b7af666d6a25a83115641f900c": "MIT",  # aiofastnet
    "6e5e117324afd944dcf67f36cf329843bc1a92229a8cd9bb573d7a83130fea7d": "BSD-3-Clause",  # protobuf
}

Bill: TypeAlias = dict[str, Any]
Component: TypeAlias = dict[str, Any]

_SPDX: Final = get_spdx_licensing()


class Pin(NamedTuple):
    """A line of the lock file. hashes: SHA-256, of each file that pip accepts for it."""

    name: str
    version: str
    hashes: list[str]


def pins(lock: str) -> Iterator[Pin]:
    """Yield the packages of a lock file that are for this Python and this system."""
    for line in lock.replace("\\\n", " ").splitlines():
        text, *options = line.split(" --hash=sha256:")
        if not text.strip():
            continue
        requirement = Requirement(text.strip())
        if requirement.marker is None or requirement.marker.evaluate():
            version = str(requirement.specifier).removeprefix("==")
            hashes = [option.strip() for option in options]
            yield Pin(canonicalize_name(requirement.name), version, hashes)


def installed() -> Bill:
    """Return cyclonedx-py's bill of all that is installed beside this Python."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    command += ["--no-validate", "--pyproject", str(ROOT / "pyproject.toml")]
    command += ["--output-file", "-", sys.executable]
    # Its standard error says that nothing was validated; a test does that.
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    done = subprocess.run(command, check=True, stdout=pipe, stderr=null)
    bill: Bill = json.loads(done.stdout)
    return bill


def licence(component: Component) -> tuple[str, str]:
    """Return a component's SPDX expression, "" for none, and `declared` or `concluded`."""
    words = [
        each.get("expression") or each["license"].get("id") or each["license"]["name"]
        for each in component.get("licenses", [])
    ]
    if not words:
        return _read(component["name"]), "concluded"
    known = list(dict.fromkeys(CLASSIFIERS.get(word, word) for word in words))
    # Whether one may choose among several is unknown, so each one counts.
    bracketed = [f"({word})" if " " in word and len(known) > 1 else word for word in known]
    expression = " AND ".join(bracketed)
    return expression, "declared" if [expression] == words else "concluded"


def texts(name: str) -> list[Path]:
    """Return the files of an installed package that hold its licence."""
    return [
        Path(str(file.locate()))
        for file in importlib.metadata.files(name) or ()
        if "licenses" in file.parts or file.match("*.dist-info/LICEN[CS]E*")
    ]


def _read(name: str) -> str:
    digests = (hashlib.sha256(text.read_bytes()).hexdigest() for text in texts(name))
    return next((READ[digest] for digest in digests if digest in READ), "")


def objection(expression: str) -> str | None:
    """Return what is wrong with a licence; None if it may be passed on."""
    if not expression:
        return "names no licence: read the one that it has, and add it to READ"
    try:
        parsed = _SPDX.parse(expression, validate=True)
    except ExpressionError:
        return f"has {expression!r}, which is no SPDX expression: add it to CLASSIFIERS"
    if not _allowed(parsed):
        return f"is under {expression}, which is not ALLOWED: remove it, or add the licence"
    return None


def _allowed(parsed: Any) -> bool:  # noqa: ANN401 # a class of the untyped library
    if isinstance(parsed, LicenseSymbol):
        return parsed.key in ALLOWED
    if isinstance(parsed, _SPDX.OR):
        return any(map(_allowed, parsed.args))
    # An exception ("WITH") is neither and is not allowed.
    return isinstance(parsed, _SPDX.AND) and all(map(_allowed, parsed.args))


def reduce(bill: Bill, locked: list[Pin], version: str) -> list[str]:
    """Reduce a bill of all that is installed to what runs; return what is wrong, a line each."""
    wrong = []
    found: dict[str, Component] = {
        canonicalize_name(each["name"]): each for each in bill["components"]
    }
    bill["components"] = kept = []
    for pin in locked:
        component = found.get(pin.name)
        if component is None or component["version"] != pin.version:
            here = "not installed" if component is None else f"installed at {component['version']}"
            wrong.append(f"{pin.name} is locked at {pin.version} and {here}: make setup")
            continue
        expression, acknowledgement = licence(component)
        problem = objection(expression)
        if problem is not None:
            wrong.append(f"{pin.name} {pin.version} {problem} (scripts/sbom.py)")
        component["licenses"] = [{"expression": expression, "acknowledgement": acknowledgement}]
        files = {
            "type": "distribution",
            "url": component["purl"],  # from any index
            "comment": "the files that the lock file accepts",
            "hashes": [{"alg": "SHA-256", "content": digest} for digest in pin.hashes],
        }
        component.setdefault("externalReferences", []).append(files)
        kept.append(component)
    root = bill["metadata"]["component"]
    root |= {"version": version, "purl": f"pkg:pypi/{root['name']}@{version}"}
    refs = {root["bom-ref"], *(component["bom-ref"] for component in kept)}
    bill["dependencies"] = [
        node | {"dependsOn": [ref for ref in node.get("dependsOn", []) if ref in refs]}
        for node in bill["dependencies"]
        if node["ref"] in refs
    ]
    # The same content has the same number.
    bill["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(bill)).urn
    return wrong


def table(bill: Bill) -> str:
    """Return the list of licences, for people."""
    root = bill["metadata"]["component"]
    by_name = sorted(bill["components"], key=lambda each: re.sub(r"\W", "", each["name"].lower()))
    rows = "".join(
        f"| {each['name']} | {each['version']} | {each['licenses'][0]['expression']} |\n"
        for each in by_name
    )
    return (
        f"# Licences of what runs in {root['name']} {root['version']}\n\n"
        f"{root['name']} itself is under Apache-2.0. Each package brings the text of its licence, "
        f"in its `.dist-info` directory.\n\n"
        f"| package | version | licence (SPDX) |\n|---|---|---|\n{rows}"
    )


def main() -> int:
    """Write both files; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, nargs="?", default=ROOT / "build")
    parser.add_argument("--lock", choices=LOCKS, default=LOCKS[0], help="the lock file")
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    lock = ROOT / "requirements" / f"{arguments.lock}.txt"
    bill = installed()
    wrong = reduce(bill, list(pins(lock.read_text(encoding="utf-8"))), proxy.__version__)
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        return 1
    directory.mkdir(parents=True, exist_ok=True)
    (directory / BILL).write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8", newline="\n")
    (directory / LICENCES).write_text(table(bill), encoding="utf-8", newline="\n")
    print(f"{len(bill['components'])} packages: {directory / BILL}, {directory / LICENCES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
