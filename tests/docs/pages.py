"""Reads the documentation: pages, sections, tables, code, links."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
#: Every page that people read, by its path from the root.
PAGES: Final = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md")
    for path in sorted(ROOT.glob(pattern))
}
REFERENCE: Final = PAGES["docs/reference.md"]
OPERATION: Final = PAGES["docs/operation.md"]
TROUBLESHOOTING: Final = PAGES["docs/troubleshooting.md"]
ARCHITECTURE: Final = PAGES["docs/architecture.md"]
SECURITY: Final = PAGES["docs/security.md"]
#: Its examples are no parts of the product.
FIRST_CHANGE: Final = "docs/first-change.md"

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED: Final = re.compile(r"(?:^\n)((?:^    .*\n|^\n(?=    ))+)", re.MULTILINE)
_INLINE: Final = re.compile(r"`([^`\n]+)`")
_HEADING: Final = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A code block. language: as its fence says; "" for an indented one."""

    page: str
    language: str
    text: str


def blocks(page: str, text: str) -> Iterator[Block]:
    """Yield the code blocks of a page, or of a part of it: first those with a fence."""
    for language, content in _FENCE.findall(text):
        yield Block(page, language, content)
    for content in _INDENTED.findall(prose(text)):
        yield Block(page, "", textwrap.dedent(content))


def prose(text: str) -> str:
    """Return a page without its fenced code."""
    return _FENCE.sub("\n", text)


def inline(text: str) -> list[str]:
    """Return what stands in backticks, outside of fenced code."""
    return _INLINE.findall(prose(text))


def links(text: str) -> list[str]:
    """Return the targets of all links and images."""
    return _LINK.findall(_INLINE.sub("", prose(text)))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for _, heading in _HEADING.findall(prose(text))
    }


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one that is not below it."""
    begin = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert begin is not None, heading
    rest = text[begin.end() :]
    end = re.search(rf"^#{{1,{len(begin[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def subsections(text: str) -> dict[str, str]:
    """Return the sections of the third level in a text, by heading."""
    names = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert len(set(names)) == len(names)
    return {name: section(text, name) for name in names}


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables in a text, row by row, without the heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]
    heads = {index - 1 for index, row in enumerate(cells) if set("".join(row)) <= set("-:")}
    return [row for index, row in enumerate(cells) if index not in heads and index - 1 not in heads]


def names(cell: str) -> list[str]:
    """Return what stands in backticks in a cell."""
    return _INLINE.findall(cell)


BLOCKS: Final = tuple(block for page, text in PAGES.items() for block in blocks(page, text))
