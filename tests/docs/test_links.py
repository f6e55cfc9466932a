"""Links lead to files and headings that exist."""

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, inline, links

#: The pages whose words about files are checked.
OURS = [page for page in PAGES if page.startswith("docs/") or page in {"README.md", "CHANGELOG.md"}]
FOLDERS = ("proxy/", "tests/", "docs/", "scripts/", "deploy/", "requirements/", "bench/")


@pytest.mark.parametrize("page", PAGES)
def test_each_link_leads_somewhere(page: str) -> None:
    """It finds its file and heading; other addresses are https."""
    lost = []
    for link in links(PAGES[page]):
        path, _, anchor = link.partition("#")
        if "://" in path:
            assert path.startswith("https://"), link
            continue
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        if not file.exists() or (
            anchor and anchor not in anchors(PAGES.get(file.relative_to(ROOT).as_posix(), ""))
        ):
            lost.append(link)
    assert not lost


@pytest.mark.parametrize("page", OURS)
def test_each_file_that_is_named_exists(page: str) -> None:
    """A path of the repository that stands in a text is one."""
    named = {word for word in inline(PAGES[page]) if word.startswith(FOLDERS) and " " not in word}
    assert [path for path in sorted(named) if not any(ROOT.glob(path.partition("::")[0]))] == []


def test_every_page_can_be_found_from_the_readme() -> None:
    """No page of the documentation is left out of the README's list."""
    linked = {link.partition("#")[0] for link in links(PAGES["README.md"])}
    assert {page for page in PAGES if page.startswith("docs/")} <= linked
