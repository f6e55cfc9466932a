"""From samples to what people read: medians, ratios, tables, and the plot.

Pure: it measures nothing and reads no file. A ratio is taken round by round, between figures that
were measured one right after the other, and its median is shown.
"""

from __future__ import annotations

import json
import re
import textwrap
from html import escape
from itertools import count
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What the JSON holds; `bench/__main__.py` makes it.
Document = dict[str, Any]

OURS: Final = "telenor-proxy"
RELAY: Final = "raw relay"
NO_PROXY: Final = "no proxy"
ABSENT: Final = "-"
#: As wide as the other pages are.
_LINE: Final = 100  # characters


def ratio(samples: Sequence[float], base: Sequence[float]) -> float | None:
    """Return the median of the ratios round by round; None if the rounds differ."""
    if not base or len(samples) != len(base) or not all(base):
        return None
    return median(one / other for one, other in zip(samples, base, strict=True))


def as_json(results: Document) -> str:
    """Return the results as JSON that people can read too: samples stand in one line."""
    text = json.dumps(results, indent=1, ensure_ascii=False)
    lists = re.compile(r"\[\s+([-\d.,\s]+?)\s+\]")
    return lists.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


# --- Tables ------------------------------------------------------------------------------------


def number(value: float, digits: int) -> str:
    """Return a figure as it is shown."""
    return f"{value:,.{digits}f}"


def spread(samples: Sequence[float], digits: int) -> str:
    """Return the median, with the least and the most of several rounds."""
    shown = number(median(samples), digits)
    if len(samples) == 1:
        return shown
    return f"{shown} ({number(min(samples), digits)} to {number(max(samples), digits)})"


def _row(scenario: Document, name: str, figures: Mapping[str, list[float]]) -> list[str]:
    headline, cells = scenario["headline"], [name]
    for metric in scenario["metrics"]:
        values, digits = figures.get(metric["key"]), metric["digits"]
        if not values:
            cells.append(ABSENT)
        elif metric["key"] == headline:
            cells.append(spread(values, digits))
        else:
            cells.append(number(median(values), digits))
    base = scenario["samples"].get(OURS, {}).get(headline, [])
    relative = ratio(figures.get(headline, []), base)
    return [*cells, ABSENT if relative is None else number(relative, 2)]


def section(scenario: Document) -> str:
    """Return a scenario in Markdown: its title, what it shows, and its table."""
    titles = {metric["key"]: metric["title"] for metric in scenario["metrics"]}
    columns = [f"{metric['title']}, {metric['unit']}" for metric in scenario["metrics"]]
    columns = ["", *columns, f"{titles[scenario['headline']]}, {OURS} = 1"]
    rows = [columns, ["---", *(["---:"] * (len(columns) - 1))]]
    rows += [_row(scenario, *system) for system in scenario["samples"].items()]
    table = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([f"### {scenario['title']}", "", _wrapped(scenario["shows"]), "", *table, ""])


def conditions(results: Document) -> str:
    """Return in sentences what the figures were measured with."""
    made = results["conditions"]
    names = ", ".join(f"{name} {version}".strip() for name, version in results["systems"].items())
    absent = ", ".join(results["absent"])
    return _wrapped(
        f"Measured on {made['began']} with {made['cores']} {_kind(made)}s ({made['cpu']}) and "
        f"{made['memory_gib']} GiB of memory, {made['system']}, Linux {made['kernel']}. "
        f"Systems: {names}. {f'Not installed: {absent}. ' if absent else ''}"
        f"{OURS} at revision {made['revision']}, with Python {made['python']}, "
        f"OpenSSL {made['openssl']}, uvloop {made['uvloop']} and aiofastnet {made['aiofastnet']}. "
        f"Clients: wrk {made['wrk']}; the API: {made['api']}; the systems on core "
        f"{made['proxy_cores']}, clients and API on core {made['load_cores']}. "
        f"{_count(made['rounds'], 'round')} of {_count(made['seconds'], 'second')} each; "
        f"load average before: {made['load_before']}."
    )


def _kind(made: Document) -> str:
    return "virtual core" if made["virtual"] else "core"


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}" if number_of == 1 else f"{number_of} {what}s"


def markdown(results: Document) -> str:
    """Return all scenarios as tables for docs/performance.md, with their conditions."""
    return "\n".join([conditions(results), "", *map(section, results["scenarios"])])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _LINE, break_long_words=False, break_on_hyphens=False)


# --- The plot ----------------------------------------------------------------------------------

#: What is drawn, one panel each: the scenario, the figure, and the words above the panel.
PANELS: Final = (
    ("orders", "cpu_us", "CPU time of an order, 32 kept-alive connections"),
    ("close", "cpu_us", "CPU time of a request, a new connection each"),
    ("memory", "full_mb", "Memory with 1,000 idle connections"),
)
_WIDTH: Final = 780
_LABELS: Final = 230  # where the bars begin
_LONGEST: Final = 420
_BAR: Final = 16
_STEP: Final = 24
_TITLE: Final = 64
_PANEL: Final = 40  # for its title
_STYLE: Final = """
    svg { --ground: #ffffff; --ink: #1f2328; --quiet: #59636e; --ours: #0969da; --others: #afb8c1; }
    @media (prefers-color-scheme: dark) {
      svg {
        --ground: #0d1117; --ink: #f0f6fc; --quiet: #9198a1; --ours: #4493f8; --others: #4b535d;
      }
    }
    text { font: 13px system-ui, sans-serif; fill: var(--ink); }
    .title { font-size: 17px; font-weight: 600; }
    .panel { font-weight: 600; }
    .quiet { fill: var(--quiet); font-size: 12px; }
    .ground { fill: var(--ground); }
    .ours { fill: var(--ours); }
    .others { fill: var(--others); }
"""  # the colours of one theme, side by side


def plot(results: Document) -> str:
    """Return the main figures as an SVG picture: horizontal bars, for light and dark pages."""
    found = {scenario["name"]: scenario for scenario in results["scenarios"]}
    drawn: list[str] = []
    sentences = []
    y = _TITLE
    for name, key, title in (panel for panel in PANELS if panel[0] in found):
        metric = next(metric for metric in found[name]["metrics"] if metric["key"] == key)
        samples = found[name]["samples"].items()
        values = {system: median(figures[key]) for system, figures in samples if figures.get(key)}
        drawn += _panel(values, metric, title, y)
        y += _PANEL - 8 + _STEP * len(values)
        each = ", ".join(f"{system} {value:.1f}" for system, value in values.items())
        sentences.append(f"{title}, in {metric['unit']}: {each}.")
    made = results["conditions"]
    ground = (
        f"One {_kind(made)} of {made['cpu']}; TLS 1.3 to the API; "
        f"medians of {_count(made['rounds'], 'round')}; {made['began'][:10]}"
    )
    height = y + 16
    return "\n".join([
        (f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
        f' viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="title description">'),
        '  <title id="title">telenor-proxy and its peers</title>',
        f'  <desc id="description">{escape(" ".join(sentences))}</desc>',
        f"  <style>{_STYLE}  </style>",
        f'  <rect class="ground" width="{_WIDTH}" height="{height}"/>',
        ('  <text class="title" x="24" y="32">'
        "telenor-proxy and its peers, each adding a credential: shorter is better</text>"),
        f'  <text class="quiet" x="24" y="52">{escape(ground)}</text>',
        *drawn,
        "</svg>",
        "",
    ])  # fmt: skip


def _panel(values: Mapping[str, float], metric: Document, title: str, top: int) -> list[str]:
    """Return the lines of one panel."""
    heading = escape(f"{title}, {metric['unit']}")
    lines = [f'  <text class="panel" x="24" y="{top + 24}">{heading}</text>']
    for y, (name, value) in zip(count(top + _PANEL - 8, _STEP), values.items(), strict=False):
        width = max(1.0, value / max(values.values()) * _LONGEST)
        middle = y + _BAR - 3
        place, shown = f'x="{_LABELS}" y="{y}"', number(value, metric["digits"])
        kind = "ours" if name == OURS else "others"
        lines += [
            f'  <text x="{_LABELS - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>',
            f'  <rect class="{kind}" {place} width="{width:.1f}" height="{_BAR}" rx="2"/>',
            f'  <text x="{_LABELS + width + 8:.1f}" y="{middle}">{shown}</text>',
        ]
    return lines
