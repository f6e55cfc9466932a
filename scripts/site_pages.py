"""Makes the repository's own pages the pages of the site, under their own paths.

MkDocs calls the functions that begin with `on_`; mkdocs.yml names this file. Pages stay as they are
but for links to files that are no pages, such as sources: each such file gets a page that shows it,
since most browsers would only save it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parent.parent
#: The pages that people read, by path from the root.
PAGES: Final = ("*.md", "docs/**/*.md", "deploy/**/*.md")
IMAGES: Final = frozenset({".png", ".svg"})
#: Room for the pictures and the code.
STYLE: Final = ".md-grid { max-width: 80rem }\n"

_LINK: Final = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the anchors that GitHub gives them, and pages their width."""
    config.extra_css.append("site.css")
    config.mdx_configs.setdefault("toc", {})["slugify"] = anchor
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Take the repository's pages, and what they link to, instead of the directory `docs` alone."""
    paths = sorted(
        {path.relative_to(ROOT).as_posix() for pattern in PAGES for path in ROOT.glob(pattern)}
    )
    kept = [file for file in files if file.src_dir != config.docs_dir]  # the theme's
    kept.append(File.generated(config, "site.css", content=STYLE))
    shown = set()
    for path in paths:
        kept.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
        shown |= set(targets(path, (ROOT / path).read_text(encoding="utf-8"))).difference(paths)
    for path in sorted(shown):
        if Path(path).suffix in IMAGES:
            kept.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
        else:
            page = {"content": showing(path, (ROOT / path).read_text(encoding="utf-8"))}
            hidden = InclusionLevel.NOT_IN_NAV
            kept.append(File.generated(config, f"{path}.md", inclusion=hidden, **page))
    return Files(kept)


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: object) -> str:
    """Point links to files that are no pages to the pages that show them."""

    def pointed(link: re.Match[str]) -> str:
        target = resolved(page.file.src_uri, link[0])
        is_shown = target is not None and files.get_file_from_path(f"{target}.md")
        return f"{link[0]}.md" if is_shown else link[0]

    return _LINK.sub(pointed, markdown)


def anchor(heading: str, _separator: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def targets(page: str, text: str) -> Iterator[str]:
    """Yield the files of the repository that a page links to."""
    for link in _LINK.findall(text):
        target = resolved(page, link)
        if target is not None:
            yield target


def resolved(page: str, link: str) -> str | None:
    """Return the path of the file that a link leads to; None if there is no such file here."""
    file = (ROOT / page).parent / link
    is_here = "://" not in link and file.is_file()
    return file.resolve().relative_to(ROOT).as_posix() if is_here else None


def showing(path: str, text: str) -> str:
    """Return a page that shows a file; the search leaves it out."""
    fence = max(["``", *re.findall("`+", text)], key=len) + "`"
    language = Path(path).suffix.removeprefix(".").replace("service", "ini") or "text"
    head = "---\nsearch: {exclude: true}\nhide: [navigation, toc]\n---\n"
    return f"{head}\n# {path}\n\n{fence}{language}\n{text}\n{fence}\n"
