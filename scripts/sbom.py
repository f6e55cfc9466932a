"""Writes what runs, and under which licences.

A CycloneDX bill of materials and a list, of the locked run-time packages.

cyclonedx-py says what is installed here; a lock file says what of it runs, and which files it may
have come from. Nothing is asked of a network. The exit status is 1 if the two differ, or if a
licence is not among those that we may pass on: then nothing is written.

The bill is that of the Python and the system that it is made on: what the lock has for others is
left out.
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

#: What may be passed on in an image, beside code under Apache-2.0, as long as its text goes along:
#: it does, in the packages' own directories.
ALLOWED: Final = frozenset(
    {
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "MIT",
        "MIT-0",
        "MPL-2.0",  # asks for the source of files that were changed; none is
        "PSF-2.0",
        "Python-2.0",
    }
)
#: What cyclonedx-py leaves in the words of the package index, since they could mean more than one
#: licence.
CLASSIFIERS: Final = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
#: Licences of packages that name none, by the SHA-256 of the file that was read: another text is
#: another question.
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
            yield Pin(
                canonicalize_name(requirement.name), version, [option.strip() for option in options]
            )


def installed() -> Bill:
    """Return cyclonedx-py's bill of all that is installed beside this Python."""
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "cyclonedx_py",
                "environment",
                "--output-reproducible",
                "--no-validate",
            ),
            *("--pyproject", str(ROOT / "pyproject.toml"), "--output-file", "-", sys.executable),
        ],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # it says that nothing was validated; a test does that
    )
    bill: Bill = json.loads(done.stdout)
    return bill


def licence(component: Component) -> tuple[str, str]:
    """Return a component's SPDX expression, "" for none, and `declared` or `concluded`."""
    said = component.get("licenses", [])
    words = [
        each.get("expression") or each["license"].get("id") or each["license"]["name"]
        for each in said
    ]
    if not words:
        return _read(component["name"]), "concluded"
    known = list(dict.fromkeys(CLASSIFIERS.get(word, word) for word in words))
    # Of several, each one counts: whether one may choose is not said.
    expression = " AND ".join(
        f"({word})" if " " in word and len(known) > 1 else word for word in known
    )
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
    """Say what is wrong with a licence; None: it may be passed on."""
    if not expression:
        return "names no licence: read the one that it has, and add it to READ"
    try:
        parsed = _SPDX.parse(expression, validate=True)
    except ExpressionError:
        return f"has a licence that is no SPDX expression, {expression!r}: see which one it is, and add it to CLASSIFIERS"
    if not _allowed(parsed):
        return f"is under {expression}, which is not ALLOWED: do without it, or add the licence with the reason why it may be passed on"
    return None


def _allowed(parsed: Any) -> bool:  # noqa: ANN401 # a class of the untyped library
    if isinstance(parsed, LicenseSymbol):
        return parsed.key in ALLOWED
    if isinstance(parsed, _SPDX.OR):
        return any(map(_allowed, parsed.args))
    # An exception ("WITH") would have to be looked at: it is no symbol, and has no parts that are
    # allowed.
    return isinstance(parsed, _SPDX.AND) and all(map(_allowed, parsed.args))


def reduce(bill: Bill, locked: list[Pin], version: str) -> list[str]:
    """Reduce a bill of all that is installed to what runs; return what is wrong, a line each."""
    wrong = []
    found: dict[str, Component] = {
        canonicalize_name(component["name"]): component for component in bill["components"]
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
        component.setdefault("externalReferences", []).append(
            {
                "type": "distribution",
                "url": component["purl"],  # whichever index has it
                "comment": "the files that the lock file accepts",
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in pin.hashes],
            }
        )
        kept.append(component)
    root = bill["metadata"]["component"]
    root |= {"version": version, "purl": f"pkg:pypi/{root['name']}@{version}"}
    refs = {root["bom-ref"], *(component["bom-ref"] for component in kept)}
    bill["dependencies"] = [
        node | {"dependsOn": [ref for ref in node.get("dependsOn", []) if ref in refs]}
        for node in bill["dependencies"]
        if node["ref"] in refs
    ]
    # The same content has the same number: a bill that is made anew is not a new one.
    bill["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(bill)).urn
    return wrong


def table(bill: Bill) -> str:
    """Return the list of licences, for people."""
    root = bill["metadata"]["component"]
    rows = "".join(
        f"| {component['name']} | {component['version']} | {component['licenses'][0]['expression']} |\n"
        for component in sorted(
            bill["components"], key=lambda component: re.sub(r"\W", "", component["name"].lower())
        )
    )
    return (
        f"# Licences of what runs in {root['name']} {root['version']}\n\n"
        f"{root['name']} itself is under Apache-2.0. Each package brings the text of its licence, in its `.dist-info` directory.\n\n"
        f"| package | version | licence (SPDX) |\n|---|---|---|\n{rows}"
    )


def main() -> int:
    """Write both files; return the exit status."""
    parser = argparse.ArgumentParser(
        description="Writes the bill of materials and the list of licences."
    )
    parser.add_argument("directory", type=Path, nargs="?", default=ROOT / "build")
    parser.add_argument(
        "--lock", choices=LOCKS, default=LOCKS[0], help="the lock file that is meant"
    )
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
