"""The proxy's own answers on the pages."""

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
def test_a_section_has_status_error_and_advice(name: str) -> None:
    """It has status, `Proxy-Status` errors, what to do, and whether an order may be placed."""
    text = SECTIONS[name]
    first = text.strip().partition("\n\n")[0]
    kinds = [kind for kind in ProblemKind if kind.type == name]
    assert {first[:3]} == {str(kind.status) for kind in kinds}
    named = set(re.findall(r"`([a-z_]+)`", first.partition(".")[0]))
    assert named == {kind.proxy_error for kind in kinds}
    assert re.search(r"^- \*Do:\*", text, re.MULTILINE)
    assert len(re.findall(r"^- \*Placed\?\*", text, re.MULTILINE)) == 1


def test_the_example_is_a_real_answer() -> None:
    """Its type, title and status belong together, and its members are those of an answer."""
    (example,) = (
        json.loads(block.text) for block in BLOCKS if block[:2] == ("docs/reference.md", "json")
    )
    assert set(example) == {"type", "title", "status", "detail", "instance", "outcome"}
    name = example["type"].removeprefix("urn:telenor-proxy:problem:")
    assert (name, example["status"], example["title"]) in {
        (kind.type, kind.status, kind.title) for kind in ProblemKind
    }
    assert example["outcome"] in {"unknown", "not_sent"}
