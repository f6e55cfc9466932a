"""The changes that docs/first-change.md walks through can be made as it shows them."""

import re
import subprocess

import pytest

from tests.docs.pages import BLOCKS, FIRST_CHANGE, PAGES, ROOT, rows, section

CHANGES = {"a setting": "A setting", "a metric": "A metric", "a refusal": "A refusal"}


def patch(heading: str) -> str:
    """Return the diffs of a section as one patch."""
    text = section(PAGES[FIRST_CHANGE], heading)
    diffs = [
        block.text for block in BLOCKS if block.page == FIRST_CHANGE and block.language == "diff"
    ]
    return "".join(diff for diff in diffs if diff in text)


@pytest.mark.parametrize("heading", CHANGES.values())
def test_the_diffs_apply(heading: str) -> None:
    """Git can apply each diff to the repository."""
    command = ["git", "apply", "--check", "-"]
    done = subprocess.run(
        command, input=patch(heading), text=True, capture_output=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, f"""{done.stderr}
        Commit your own change, make the page's change anew (`git apply --reject` does most of it),
        and put its `git diff -U1` on the page, without the lines before `---`.
    """


@pytest.mark.parametrize(("change", "heading"), CHANGES.items())
def test_as_many_files_are_touched_as_contributing_counts(change: str, heading: str) -> None:
    """The files that are changed by hand are those of the table in CONTRIBUTING.md."""
    counted = {
        row[0]: int(row[1]) for row in rows(section(PAGES["CONTRIBUTING.md"], "How many files"))
    }
    touched = re.findall(r"^\+\+\+ b/(\S+)$", patch(heading), re.MULTILINE)
    assert len(set(touched)) == len(touched) == counted[change]
    begins = next(file for file in touched if file.startswith("tests/"))
    assert touched[0] == begins, "a change begins with its test"
