"""Makes the repository's own pages the pages of the site, under their own paths, so that a link leads to the same place here and there.

MkDocs calls the functions that begin with `on_`; mkdocs.yml names this file. It changes no page: but for those links that lead to a file
that is no page, such as a source. Each such file gets a page that shows it, since most browsers would only save it.
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
#: Room for the pictures and the code, which have up to 140 columns.
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
        shown |= {
            target
            for target in targets(path, (ROOT / path).read_text(encoding="utf-8"))
            if target not in paths
        }
    for path in sorted(shown):
        if Path(path).suffix in IMAGES:
            kept.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
        else:
            content = showing(path, (ROOT / path).read_text(encoding="utf-8"))
            kept.append(
                File.generated(
                    config, f"{path}.md", content=content, inclusion=InclusionLevel.NOT_IN_NAV
                )
            )
    return Files(kept)


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 # MkDocs' interface
    """Lead links to files that are no pages to the pages that show them."""

    def lead(link: re.Match[str]) -> str:
        target = resolved(page.file.src_uri, link[0])
        return (
            f"{link[0]}.md"
            if target is not None and files.get_file_from_path(f"{target}.md")
            else link[0]
        )

    return _LINK.sub(lead, markdown)


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
    return (
        file.resolve().relative_to(ROOT).as_posix()
        if "://" not in link and file.is_file()
        else None
    )


def showing(path: str, text: str) -> str:
    """Return a page that shows a file; the search leaves it out."""
    fence = max(["``", *re.findall("`+", text)], key=len) + "`"
    language = Path(path).suffix.removeprefix(".").replace("service", "ini") or "text"
    return f"---\nsearch: {{exclude: true}}\nhide: [navigation, toc]\n---\n\n# {path}\n\n{fence}{language}\n{text}\n{fence}\n"
