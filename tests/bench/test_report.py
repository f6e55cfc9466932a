"""From samples to what people read: medians, ratios, tables, plot."""

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from bench import report
from tests.docs.pages import rows

SVG = "{http://www.w3.org/2000/svg}"


def scenario(**changes: Any) -> report.Document:
    """Make the results of one scenario."""
    return {
        "name": "orders",
        "title": "Kept-alive connections",
        "shows": "Many requests.",
        "headline": "cpu_us",
        "metrics": [
            {"key": "cpu_us", "title": "CPU per request", "unit": "µs", "digits": 1},
            {"key": "per_second", "title": "requests", "unit": "/s", "digits": 0},
        ],
        "samples": {
            "telenor-proxy": {"cpu_us": [50.0, 40.0, 100.0], "per_second": [20000, 21000, 9000]},
            "Envoy & Co": {"cpu_us": [100.0, 60.0, 200.0]},
            "raw relay": {"cpu_us": [5000.0, 6000.0, 7000.0]},
        },
        **changes,
    }


def results(**conditions: Any) -> report.Document:
    """Make the results of a run."""
    return {
        "conditions": {
            "cpu": "A <fast> one",
            "cores": 2,
            "virtual": True,
            "memory_gib": 24,
            "system": "Debian",
            "kernel": "6.1",
            "python": "3.11.7",
            "load_before": 0.1,
            "began": "2026-11-24 10:00 UTC",
            "revision": "abc1234",
            "rounds": 3,
            "seconds": 3,
            "proxy_cores": "0",
            "load_cores": "1",
            "wrk": "4.1.0",
            "api": "NGINX 1.22.1",
            "openssl": "3.0.19",
            "uvloop": "0.23.0",
            "aiofastnet": "1.2.0",
            **conditions,
        },
        "systems": {"telenor-proxy": "0.1.0", "Envoy & Co": "1.40.0", "raw relay": ""},
        "absent": ["NGINX"],
        "scenarios": [scenario()],
    }


def test_a_ratio_is_taken_round_by_round() -> None:
    """A round that was slow for both does not change it."""
    assert report.ratio([100.0, 60.0, 200.0], [50.0, 40.0, 100.0]) == pytest.approx(2.0)


@pytest.mark.parametrize("base", [[], [1.0], [0.0, 1.0]], ids=["none", "other rounds", "zero"])
def test_no_ratio_is_made_up(base: list[float]) -> None:
    """Without a base, with other rounds, and with a zero there is no ratio."""
    assert report.ratio([1.0, 2.0], base) is None


def test_the_table_has_medians_spreads_and_ratios() -> None:
    """One row for each system; a figure that a system does not have is a dash."""
    text = report.markdown(results())
    assert rows(text) == [
        ["telenor-proxy", "50.0 (40.0 to 100.0)", "20,000", "1.00"],
        ["Envoy & Co", "100.0 (60.0 to 200.0)", "-", "2.00"],
        ["raw relay", "6,000.0 (5,000.0 to 7,000.0)", "-", "100.00"],
    ]
    assert "|  | CPU per request, µs | requests, /s | CPU per request, telenor-proxy = 1 |" in text


def test_one_round_has_no_spread() -> None:
    """A single sample is shown as it is."""
    assert report.spread([41.26], 1) == "41.3"


def test_the_conditions_are_named() -> None:
    """Machine, versions, cores, rounds, and absent systems."""
    text = " ".join(report.conditions(results()).split())
    for word in (
        "A <fast> one",
        "2 virtual cores",
        "Envoy & Co 1.40.0",
        "Not installed: NGINX",
        "abc1234",
        "3 rounds of 3 seconds",
    ):
        assert word in text


def test_json_reads_back() -> None:
    """Each list of samples is in one line."""
    text = report.as_json(results())
    assert json.loads(text) == results()
    assert "[50.0, 40.0, 100.0]" in text


def test_the_plot_has_figures_units_and_conditions() -> None:
    """It is well-formed SVG with title, description, and colours for light and dark."""
    drawn = report.plot(results())
    picture = ET.fromstring(drawn)  # noqa: S314 # our own
    assert picture.tag == f"{SVG}svg"
    assert picture.findtext(f"{SVG}title")
    assert "Envoy & Co 100.0" in str(picture.findtext(f"{SVG}desc"))
    words = [text.text or "" for text in picture.iter(f"{SVG}text")]
    assert any(word.endswith(", µs") for word in words)
    assert any("A <fast> one" in word and "3 rounds" in word for word in words)
    assert "prefers-color-scheme: dark" in drawn


def test_bars_are_as_long_as_their_figures() -> None:
    """Twice the figure, twice the bar, and all stay inside the picture."""
    picture = ET.fromstring(report.plot(results()))  # noqa: S314 # our own
    bars = [bar for bar in picture.iter(f"{SVG}rect") if bar.attrib["class"] != "ground"]
    assert [bar.attrib["class"] for bar in bars] == ["ours", "others", "others"]
    ours, envoy, relay = (float(bar.attrib["width"]) for bar in bars)
    assert envoy == pytest.approx(2 * ours, abs=0.1)
    assert relay + 230 < float(picture.attrib["width"])


def test_a_run_of_other_scenarios_has_an_empty_plot() -> None:
    """A scenario without figures has no bars."""
    picture = ET.fromstring(report.plot(results() | {"scenarios": []}))  # noqa: S314 # our own
    assert [bar.attrib["class"] for bar in picture.iter(f"{SVG}rect")] == ["ground"]
