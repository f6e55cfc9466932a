"""What is wrong with a YAML text, in words: where it is, what YAML stumbles over, and what to write instead. Pure.

PyYAML's own words are recognised, never repeated: they quote the file, which may hold secrets. No word of the text comes through here.
"""

import re
from typing import Final

import yaml

#: What YAML takes as text (YAML 1.2, section 5.1, `c-printable`).
_UNPRINTABLE: Final = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_TAB: Final = "a tab stands where only spaces may indent. Write spaces"
_RESERVED: Final = (
    "a value begins with a character that YAML keeps for itself, such as @, % or `. Put the value in quotes"
)
_ANYTHING: Final = (
    "something is out of place. Look for a tab in the indentation, a missing space after a colon,"
    " or a value with special characters that needs quotes"
)

#: How the complaints of PyYAML begin, with libyaml and without it, and what they mean to whoever wrote the file. The first that fits counts.
_MEANINGS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (
        ("mapping values are not allowed",),
        "a colon with a space after it stands inside a value, or the line above lacks its own. Put a value with a colon in quotes",
    ),
    (("found a tab",), _TAB),
    (("found character",), _RESERVED),
    (
        ("found undefined alias", "did not find expected alphabetic", "expected alphabetic"),
        "a value begins with & or *, which YAML takes for a reference. Put the value in quotes",
    ),
    (
        ("could not determine a constructor", "did not find the expected '>'", "expected '>'"),
        "a value begins with an exclamation mark, which YAML takes for a type. Put the value in quotes",
    ),
    (
        ("found unexpected end of stream",),
        "a quote is opened and never closed. Close it, on the same line",
    ),
    (
        ("found unknown escape",),
        "a backslash in double quotes begins an escape that YAML does not know. Use single quotes",
    ),
    (
        ("block sequence entries are not allowed", "sequence entries are not allowed"),
        "a list begins on the line of its name. Put each entry on a line of its own, after a dash",
    ),
    (
        ("did not find expected ','", "expected ','"),
        "a bracket or a brace is opened and never closed, or a comma is missing. Close it; put a value with brackets in quotes",
    ),
    (
        ("did not find expected node content", "expected the node content"),
        "a value is missing, or a bracket stands where one belongs. Close what is open; put a value with brackets in quotes",
    ),
    (
        ("did not find expected comment", "expected chomping"),
        "text stands behind | or >. Put the whole value in quotes",
    ),
    (
        ("but found another document",),
        "a line of three dashes begins a second document. Keep one of them",
    ),
    (
        ("found unhashable key",),
        "a list or a group stands where a name belongs. Write the name alone, with a colon after it",
    ),
    (
        ("did not find expected <document", "expected '<document"),
        "the first line is indented, or something stands behind the end. Begin every section at the margin",
    ),
    (
        ("did not find expected", "expected <block end>"),
        "a line is not indented as those around it, or something stands behind a quoted value. Indent the lines of a section equally",
    ),
)


class NotConfiguration(yaml.YAMLError):
    """What is refused here and not by PyYAML: the line, and words that may be shown."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__()
        self.line = line
        self.words = words


def check_characters(text: str) -> None:
    """Refuse what YAML does not take as text, with the line that it is on."""
    found = _UNPRINTABLE.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise NotConfiguration(line, "holds a control character. Remove it")


def told(error: yaml.YAMLError, text: str) -> str:
    """Say where in the text the fault is, as far as that is known, and what it is; without a full stop."""
    if isinstance(error, NotConfiguration):
        return f", line {error.line}: {error.words}"
    mark = error.problem_mark or error.context_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if mark is None:
        return f": is not valid YAML: {_ANYTHING}"
    return (
        f", line {mark.line + 1}, column {mark.column + 1}: is not valid YAML: {_meaning(error, mark, text)}"
    )


def lines(text: str) -> list[str]:
    """Split a text where YAML 1.1 ends its lines, as PyYAML counts them."""
    return re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text)


def alteration(node: yaml.ScalarNode, of: list[str]) -> str | None:
    """Say what YAML did to a text without quotes that is not what stands in the file; None if it did nothing.

    of: the lines of the file. Where YAML adds or removes nothing but quotes, or the text is a block of its own, it is what was meant.
    """
    begin, end = node.start_mark, node.end_mark
    if begin.line < len(of) and of[begin.line][begin.column : begin.column + 1] == "&":
        return "begins with &, which YAML takes for a name of its own"
    if node.style in ("|", ">"):
        return None
    if begin.line != end.line and "\n" not in node.value:
        return "stands on several lines, which YAML joins"
    if not node.style and of[end.line][end.column :].lstrip(" \t").startswith("#"):
        return "is cut at the # with a space before it, where YAML begins a comment"
    return None


_DEEPER: Final = "the line is indented deeper than the one above it, which has a value already. Indent the lines of a section equally"


def _is_deeper(mark: yaml.Mark, text: str) -> bool:
    """Whether a line is indented deeper than the one above, although that one has its value."""
    before = [line for line in lines(text)[: mark.line] if line.strip()]
    here = lines(text)[mark.line]
    if not before or not re.match(r" *[\w-]+: +\S", before[-1]) or not re.match(r" *[\w-]+:(?: |$)", here):
        return False
    return _indentation(here) > _indentation(before[-1])


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _meaning(error: yaml.YAMLError, mark: yaml.Mark, text: str) -> str:
    complaint = str(getattr(error, "problem", "") or "")
    if complaint.startswith("mapping values are not allowed") and _is_deeper(mark, text):
        return _DEEPER
    if complaint.startswith("found character") and _character(mark, text) == "\t":
        return _TAB
    return next((words for beginnings, words in _MEANINGS if complaint.startswith(beginnings)), _ANYTHING)


def _character(mark: yaml.Mark, text: str) -> str:
    every = lines(text)
    return every[mark.line][mark.column : mark.column + 1] if mark.line < len(every) else ""
