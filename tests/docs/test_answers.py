"""The proxy's own answers, as the pages tell them."""

from __future__ import annotations

import json
import re

import pytest

from proxy.problems import ProblemKind
from tests.docs.pages import BLOCKS, TROUBLESHOOTING, section, subsections

SECTIONS = subsections(section(TROUBLESHOOTING, "By answer of the proxy"))


def test_each_section_is_about_an_answer() -> None:
    """Each section has the name of a type, and each that could not be forwarded has a section."""
    failed = {kind.type for kind in ProblemKind if not kind.is_refusal}
    assert failed <= SECTIONS.keys() <= {kind.type for kind in ProblemKind}


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_one_needs(name: str) -> None:
    """It begins with the status and the errors of `Proxy-Status`, says what to do, and whether an order may have been placed."""
    text = SECTIONS[name]
    first = text.strip().partition("\n\n")[0]
    kinds = [kind for kind in ProblemKind if kind.type == name]
    assert {first[:3]} == {str(kind.status) for kind in kinds}
    told = set(re.findall(r"`([a-z_]+)`", first.partition(".")[0]))
    assert told == {kind.proxy_error for kind in kinds}
    assert re.search(r"^- \*Do:\*", text, re.MULTILINE)
    assert len(re.findall(r"^- \*Placed\?\*", text, re.MULTILINE)) == 1


def test_the_example_is_an_answer_that_there_is() -> None:
    """Type, title and status of the reference's example belong together, and it has the members that such an answer has."""
    (example,) = (
        json.loads(block.text) for block in BLOCKS if block[:2] == ("docs/reference.md", "json")
    )
    assert set(example) == {"type", "title", "status", "detail", "instance", "outcome"}
    name = example["type"].removeprefix("urn:telenor-proxy:problem:")
    assert (name, example["status"], example["title"]) in {
        (kind.type, kind.status, kind.title) for kind in ProblemKind
    }
    assert example["outcome"] in {"unknown", "not_sent"}
