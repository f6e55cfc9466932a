"""What is made by a script is as the script would make it now."""

import json

from bench import report
from tests.docs.pages import PAGES, ROOT

RESULTS = json.loads((ROOT / "bench/results.json").read_text(encoding="utf-8"))


def test_the_figures_are_those_that_were_measured() -> None:
    """Between its markers, the page about performance has the tables that the kept results make."""
    _, _, rest = PAGES["docs/performance.md"].partition("<!-- figures:begin -->\n")
    figures, end, _ = rest.partition("<!-- figures:end -->")
    assert end
    assert figures == report.markdown(RESULTS)


def test_the_plot_shows_what_was_measured() -> None:
    """The plot is the one that the kept results make."""
    plot = (ROOT / "docs" / "images" / "performance.svg").read_text(encoding="utf-8")
    assert plot == report.plot(RESULTS)
