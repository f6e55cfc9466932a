"""The site of the documentation, as `make site` builds it."""

import functools
import html
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.docs.pages import PAGES, anchors
from tests.packaging.repository import ROOT, files, make, read
from tests.page.browser import Tab

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="the command is make's")

#: Stands for wherever the site is.
BASE = "https://site.invalid/"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it once."""
    directory = tmp_path_factory.mktemp("site")
    built = make("site", f"SITE={directory}")
    assert built.returncode == 0, built.stderr
    assert not re.search("^(?!INFO )", built.stderr.strip(), re.MULTILINE), built.stderr
    return directory


@pytest.fixture(scope="module")
def documents(site: Path) -> dict[str, str]:
    """Read all its pages, by their address."""
    return {
        urljoin(BASE, path.relative_to(site).as_posix().removesuffix("index.html")): path.read_text(
            encoding="utf-8"
        )
        for path in site.rglob("*.html")
        if path.name != "404.html"  # shown anywhere, so its links begin at the root
    }


def address(page: str) -> str:
    """Return where a page of the repository is on the site."""
    path = page.removesuffix(".md")
    return urljoin(BASE, path.removesuffix("README") if path.endswith("README") else f"{path}/")


def test_every_page_is_there(documents: dict[str, str]) -> None:
    """Each page is on the site under its own path, and the README is the front page."""
    assert {address(page) for page in PAGES} <= documents.keys()
    assert address("README.md") == BASE


def test_readers_find_their_part(site: Path) -> None:
    """The front page leads the four kinds of readers to their parts."""
    front = (site / "index.html").read_text(encoding="utf-8")
    tabs = front.partition('<ul class="md-tabs__list">')[2].partition("</ul>")[0]
    names = [line.strip() for line in tabs.splitlines() if line.strip() and "<" not in line]
    assert names == ["Try it", "Run it", "Something is wrong", "Change it"]


@pytest.mark.parametrize("page", PAGES)
def test_headings_have_one_anchor_here_and_there(documents: dict[str, str], page: str) -> None:
    """A heading has the anchor that it has on GitHub, so that one link serves both."""
    assert anchors(PAGES[page]) <= set(re.findall(r'\bid="([^"]+)"', documents[address(page)]))


def test_a_source_is_shown(site: Path) -> None:
    """A link to a file that is no page leads to a page that shows it, word for word."""
    shown = (site / "proxy" / "errors.py" / "index.html").read_text(encoding="utf-8")
    words = html.unescape(re.sub(r"<[^>]+>", "", shown))
    assert all(line.strip() in words for line in read("proxy/errors.py").splitlines())


def test_no_page_names_anything_to_fetch_elsewhere(documents: dict[str, str]) -> None:
    """Styles, scripts, icons and pictures are the site's own."""
    fetched = re.compile(
        r'<(?:link(?![^>]*rel="(?:canonical|next|prev)")[^>]*href|[a-z]+\b[^>]*\b'
        r'(?:src|srcset|poster|data))="([^"]+)"'
    )
    found = {
        urljoin(place, fetch)
        for place, text in documents.items()
        for fetch in fetched.findall(text)
    }
    assert len(found) > 5
    assert [fetch for fetch in found if not fetch.startswith((BASE, "data:"))] == []


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """Serve it on loopback; give its address."""
    handler = functools.partial(_Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name is the library's
        """Say nothing."""


async def test_a_browser_fetches_nothing_elsewhere(served: str, tab: Tab) -> None:
    """Reading and searching asks no other server, and nothing is missing."""
    for page in ("", "docs/operation/", "proxy/errors.py/"):
        await tab.goto(f"{served}{page}")
    await tab.goto(served)
    await tab.evaluate("document.querySelector('[data-md-component=search-query]').focus()")
    await tab.call("Input.insertText", text="suspend")
    await tab.until("document.querySelector('.md-search-result__link[href*=operation]')")
    assert [url for url in tab.requests if not url.startswith((served, "data:", "blob:"))] == []
    assert tab.complaints == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Copy what a site is made of."""
    for path in ("Makefile", "mkdocs.yml", "scripts/site_pages.py", *PAGES):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    # What the pages link to besides, by name alone.
    for file in files():
        there = tmp_path / file
        if there.parent.is_dir() and not there.exists():
            there.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("page", "added", "says"),
    [
        ("README.md", "[lost](docs/nowhere.md)", "docs/nowhere.md"),
        ("docs/operation.md", "[lost](security.md#nowhere)", "nowhere"),
        ("docs/unlisted.md", "# Not in the navigation", "docs/unlisted.md"),
    ],
)
def test_lost_links_and_pages_fail_the_build(
    repository: Path, page: str, added: str, says: str
) -> None:
    """A lost link, a lost heading and an unlisted page are named."""
    with (repository / page).open("a", encoding="utf-8") as file:
        file.write(f"\n{added}\n")
    built = make("site", f"SITE={repository / 'site'}", cwd=repository)
    assert built.returncode != 0
    assert says in built.stderr
