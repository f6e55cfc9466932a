"""The proxy's own answers, as the pages tell them."""

from __future__ import annotations

import json
import re

import pytest

from proxy.errors import KINDS
from tests.docs.pages import BLOCKS, README, TROUBLESHOOTING, names, rows, section, subsections

NAMES = sorted({kind.name for kind in KINDS})
SECTIONS = subsections(section(TROUBLESHOOTING, "By answer of the proxy"))


def test_each_kind_has_its_section() -> None:
    """Every type of problem details has a section with its very name, and no section is about anything else."""
    assert sorted(SECTIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_section_says_what_one_needs(name: str) -> None:
    """It begins with the status and the errors of `Proxy-Status`, says what to do, and whether an order may have been placed."""
    text = SECTIONS[name]
    first = text.strip().partition("\n\n")[0]
    kinds = [kind for kind in KINDS if kind.name == name]
    assert {first[:3]} == {str(kind.status) for kind in kinds}
    told = set(re.findall(r"`([a-z_]+)`", first.partition(".")[0]))
    assert told == {kind.proxy_error for kind in kinds}
    assert re.search(r"^- \*Do:\*", text, re.MULTILINE)
    assert len(re.findall(r"^- \*Placed\?\*", text, re.MULTILINE)) == 1


def test_the_words_of_failed_calls_are_told() -> None:
    """Each error that a call which could not be forwarded has in the log leads to the types that it can mean, and to no others."""
    words = section(TROUBLESHOOTING, "By word in the log")
    told = {
        names(row[0])[0]: set(re.findall(r"\(#([\w-]+)\)", row[1])) for row in rows(words) if len(row) == 2
    }
    failed: dict[str, set[str]] = {}
    for kind in KINDS:
        if kind.status == 429 or (kind.status >= 500 and kind.status not in {501, 505}):
            failed.setdefault(kind.word, set()).add(kind.name)
    assert told == failed
    assert list(told) == sorted(told)


def test_the_readme_lists_every_kind() -> None:
    """The table of answers has one row for each status and type, in the order of the statuses."""
    listed = [(int(row[0]), row[1].strip("`")) for row in rows(section(README, "Answers of its own"))]
    assert set(listed) == {(kind.status, kind.name) for kind in KINDS}
    assert [status for status, _ in listed] == sorted(status for status, _ in listed)
    assert len(set(listed)) == len(listed)


def test_the_example_is_an_answer_that_there_is() -> None:
    """Type, title and status of the README's example belong together, and it has the members that such an answer has."""
    (example,) = (json.loads(block.text) for block in BLOCKS if block[:2] == ("README.md", "json"))
    assert set(example) == {"type", "title", "status", "detail", "instance", "outcome"}
    name = example["type"].removeprefix("urn:telenor-proxy:problem:")
    assert (name, example["status"], example["title"]) in {
        (kind.name, kind.status, kind.title) for kind in KINDS
    }
    assert example["outcome"] in {"unknown", "not_sent"}
