"""The dashboard for Grafana, as JSON; test_live_queries runs its queries."""

import itertools
import re
from typing import Any

import pytest

from tests.deploy.dashboard import DASHBOARD, PANELS, QUERIES, TEXT, VARIABLES
from tests.docs.pages import OPERATION, names, rows, section

#: Metrics that are not shown, and why.
NOT_SHOWN = {
    "telenor_proxy_headline": "it is a sentence, which the alerts say",
    "telenor_proxy_process_virtual_memory_bytes": "it means nothing",
}
#: The kinds of panels that are used; all of them come with Grafana 10.
KINDS = {"heatmap", "stat", "state-timeline", "timeseries"}


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    """Return the places of the grid that a panel takes."""
    x, y, width, height = (panel["gridPos"][key] for key in "xywh")
    return set(itertools.product(range(x, x + width), range(y, y + height)))


def test_it_is_a_dashboard_of_grafana_10() -> None:
    """It has the parts that Grafana 10 expects, and no number of an installation."""
    assert DASHBOARD["schemaVersion"] == 39
    assert "id" not in DASHBOARD
    assert DASHBOARD["uid"] == DASHBOARD["title"] == "telenor-proxy"
    assert {panel["type"] for panel in PANELS} == KINDS


def test_panels_have_their_own_place() -> None:
    """No two panels have the same number or lie on each other, and none reaches over the edge."""
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        assert not taken & cells(panel), panel["title"]
        taken |= cells(panel)
    assert max(column for column, _ in taken) < 24


def test_the_sections_are_those_of_the_questions() -> None:
    """The dashboard goes from the whole to the parts."""
    titles = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert titles == [
        "At a glance",
        "Calls",
        "Latency",
        "Token",
        "The API",
        "The process",
        "Orders",
    ]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_panel_explains_itself(panel: dict[str, Any]) -> None:
    """A panel has a title, a unit, and says what it shows."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]


def test_it_is_bound_to_no_data_source() -> None:
    """Each query goes to the data source and the proxies that are chosen at the top."""
    assert list(VARIABLES) == ["datasource", "job", "instance"]
    assert VARIABLES["datasource"]["type"] == "datasource"
    sources = set(re.findall(r'"uid": "([^"]+)"', TEXT)) - {DASHBOARD["uid"], "-- Grafana --"}
    assert sources == {"${datasource}"}
    for query in QUERIES:
        selectors = re.findall(r"telenor_proxy_\w+(\{[^}]*\}|)", query.expression)
        assert selectors
        assert all('job=~"$job", instance=~"$instance"' in each for each in selectors), query


def test_rates_are_taken_over_the_window_that_fits() -> None:
    """A rate's window follows the scrape interval and the zoom."""
    windows = {
        window for query in QUERIES for window in re.findall(r"\[([^\]]+)\]", query.expression)
    }
    assert windows == {"$__rate_interval"}


def test_every_metric_is_shown() -> None:
    """Each metric of the operation page is on the dashboard, or is left out for a reason."""
    named = {names(row[0])[0] for row in rows(section(OPERATION, "Metrics"))}
    asked = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for query in QUERIES
        for name in re.findall(r"telenor_proxy_\w+", query.expression)
    }
    assert named - asked == NOT_SHOWN.keys()
