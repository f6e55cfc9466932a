"""Prints a version's entry of the changelog for its release: `release_notes.py v1.2.3`.

It needs nothing but the standard library and this repository. The exit status is 1 if tag, version
and changelog do not agree, 2 without a tag.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
_VERSION: Final = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_ENTRY: Final = re.compile(
    r"^## \[(?P<version>.+?)\] - (?P<day>\S+)\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL
)


class DisagreementError(Exception):
    """This cannot be released, with the reason and what to do."""


def notes(tag: str, module: str, changelog: str) -> str:
    """Return the changelog's entry of a tag's version. module: the text of proxy/__init__.py."""
    version = _VERSION.search(module)
    if version is None or tag != f"v{version[1]}":
        here = version[1] if version else "not there"
        raise DisagreementError(
            f"the tag is {tag}, but the version in proxy/__init__.py is {here}: "
            "tag the commit that sets it"
        )
    newest = _ENTRY.search(changelog)
    if newest is None or newest["version"] != version[1]:
        raise DisagreementError(
            f"the newest entry of CHANGELOG.md is not about {version[1]}: write it, and tag anew"
        )
    if re.fullmatch(r"\d{4}-\d\d-\d\d", newest["day"]) is None:
        raise DisagreementError(
            f"CHANGELOG.md has {newest['day']!r} for {version[1]}: "
            "put the day of the release there, and tag anew"
        )
    return newest["text"].strip() + "\n"


def main(arguments: Sequence[str]) -> int:
    """Print the notes; return the exit status."""
    if len(arguments) != 1:
        print("usage: release_notes.py TAG", file=sys.stderr)
        return 2
    paths = ("proxy/__init__.py", "CHANGELOG.md")
    texts = [(ROOT / path).read_text(encoding="utf-8") for path in paths]
    try:
        print(notes(arguments[0], *texts), end="")
    except DisagreementError as disagreement:
        print(f"release: {disagreement}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
