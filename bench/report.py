"""From samples to what people read: medians, ratios, tables, and the plot.

Pure: it measures nothing and reads no file.

A ratio is taken round by round, between figures that were measured one right after the other, and
its median is shown.
"""

from __future__ import annotations

import json
import re
import statistics
import textwrap
from html import escape
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
_LINE: Final = 139  # characters


# --- Figures -----------------------------------------------------------------------------------


def median(samples: Sequence[float]) -> float:
    """Return the middle one: what a single disturbed round cannot move."""
    return statistics.median(samples)


def ratio(samples: Sequence[float], base: Sequence[float]) -> float | None:
    """Return the median of the ratios round by round.

    None if the two were not measured in the same rounds.
    """
    if not base or len(samples) != len(base) or not all(base):
        return None
    return statistics.median(one / other for one, other in zip(samples, base, strict=True))


def ratios(scenario: Document) -> dict[str, float | None]:
    """Return, for each system, its headline figure as a multiple of ours."""
    headline, samples = scenario["headline"], scenario["samples"]
    base = samples.get(OURS, {}).get(headline, [])
    return {name: ratio(figures.get(headline, []), base) for name, figures in samples.items()}


def with_summaries(results: Document) -> Document:
    """Return the results with the medians and ratios of each scenario, for programs that read the JSON."""
    scenarios = []
    for scenario in results["scenarios"]:
        medians = {
            name: {key: round(median(values), 3) for key, values in figures.items()}
            for name, figures in scenario["samples"].items()
        }
        relative = {
            name: round(value, 3) for name, value in ratios(scenario).items() if value is not None
        }
        samples = {
            name: {key: [round(value, 3) for value in values] for key, values in figures.items()}
            for name, figures in scenario["samples"].items()
        }
        scenarios.append(scenario | {"samples": samples, "medians": medians, "ratios": relative})
    return results | {"scenarios": scenarios}


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
    """Return the median, and what the rounds lay between."""
    shown = number(median(samples), digits)
    if len(samples) == 1:
        return shown
    return f"{shown} ({number(min(samples), digits)} to {number(max(samples), digits)})"


def head(scenario: Document) -> list[str]:
    """Return the names of the columns."""
    titles = [
        f"{metric['title']}, {metric['unit']}" if metric["unit"] else metric["title"]
        for metric in scenario["metrics"]
    ]
    shown = next(
        metric["title"] for metric in scenario["metrics"] if metric["key"] == scenario["headline"]
    )
    return ["", *titles, f"{shown}, {OURS} = 1"]


def body(scenario: Document) -> list[list[str]]:
    """Return the cells, a row for each system, in the order in which they were measured."""
    relative = ratios(scenario)
    lines = []
    for name, figures in scenario["samples"].items():
        cells = [name]
        for metric in scenario["metrics"]:
            values = figures.get(metric["key"], [])
            is_headline = metric["key"] == scenario["headline"]
            show = (
                spread if is_headline else lambda samples, digits: number(median(samples), digits)
            )
            cells.append(show(values, metric["digits"]) if values else ABSENT)
        value = relative[name]
        cells.append(ABSENT if value is None else number(value, 2))
        lines.append(cells)
    return lines


def notes(scenario: Document) -> list[str]:
    """Return what a reader has to know besides: who failed, and whose clients saw errors."""
    found = [f"{name} is left out: {reason}" for name, reason in scenario["failed"].items()]
    for name, figures in scenario["samples"].items():
        errors = sum(figures.get("errors", []))
        if errors:
            found.append(f"{name}: {errors:,.0f} of the calls failed")
    return found


def table(scenario: Document) -> str:
    """Return a scenario as plain text."""
    lines = [head(scenario), *body(scenario)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join([f"{scenario['title']}. {scenario['shows']}", "", *text, *notes(scenario)])


def conditions(results: Document) -> str:
    """Return in sentences what the figures were measured with."""
    told = results["conditions"]
    names = ", ".join(f"{name} {version}".strip() for name, version in results["systems"].items())
    absent = results["absent"]
    kind = "virtual cores" if told["virtual"] else "cores"
    sentences = [
        f"Measured on {told['began']} with {told['cores']} {kind} ({told['cpu']}) and {told['memory_gib']} GiB of memory, {told['system']}, Linux {told['kernel']}.",
        f"Systems: {names}.",
        *([f"Not installed: {', '.join(absent)}."] if absent else []),
        f"{OURS} at revision {told['revision']}, with Python {told['python']}, OpenSSL {told['openssl']}, uvloop {told['uvloop']} and aiofastnet {told['aiofastnet']}.",
        f"Clients: wrk {told['wrk']}; the API: {told['api']}; the systems on core {told['proxy_cores']}, clients and API on core {told['load_cores']}.",
        f"{_count(told['rounds'], 'round')} of {_count(told['seconds'], 'second')} each; load average before: {told['load_before']}.",
    ]
    if told["quick"]:
        sentences.append(
            "A quick run: it shows that everything works, and no more than the order of magnitude."
        )
    return "\n".join(sentences)


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}" if number_of == 1 else f"{number_of} {what}s"


def markdown(results: Document) -> str:
    """Return all scenarios as tables for docs/performance.md, with their conditions."""
    parts = [_wrapped(conditions(results)), ""]
    for scenario in results["scenarios"]:
        columns = head(scenario)
        parts += [f"### {scenario['title']}", "", _wrapped(scenario["shows"]), ""]
        parts += [_line(columns), _line(["---", *(["---:"] * (len(columns) - 1))])]
        parts += [*map(_line, body(scenario)), ""]
        parts += [f"- {note}" for note in notes(scenario)]
        parts += [""] if notes(scenario) else []
    return "\n".join(parts)


def _wrapped(text: str) -> str:
    return textwrap.fill(
        " ".join(text.split()), _LINE, break_long_words=False, break_on_hyphens=False
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


# --- The plot ----------------------------------------------------------------------------------

#: What is drawn: one panel each. The scenario, the figure, and the words above the panel.
PANELS: Final = (
    ("orders", "cpu_us", "CPU time of an order, 32 kept-alive connections"),
    ("close", "cpu_us", "CPU time of a request, a new connection each"),
    ("warm", "first_ms", "First call, the API 20 ms away"),
    ("memory", "full_mb", "Memory with 1,000 idle connections"),
)
_WIDTH: Final = 780
_LABELS: Final = 230  # where the bars begin
_LONGEST: Final = 420
_BAR: Final = 16
_STEP: Final = 24
_TITLE: Final = 64
_PANEL: Final = 40  # for its title
#: A bar of more than this many of ours would leave no room for the others: it is cut, and says so.
_MOST: Final = 5.0
#: Then the longest of the others is shorter than it by this.
_SHORTER: Final = 0.85
_STYLE: Final = """
    svg { --ground: #ffffff; --ink: #1f2328; --quiet: #59636e; --ours: #0969da; --others: #afb8c1; }
    @media (prefers-color-scheme: dark) {
      svg { --ground: #0d1117; --ink: #f0f6fc; --quiet: #9198a1; --ours: #4493f8; --others: #4b535d; }
    }
    text { font: 13px system-ui, sans-serif; fill: var(--ink); }
    .title { font-size: 17px; font-weight: 600; }
    .panel { font-weight: 600; }
    .quiet { fill: var(--quiet); font-size: 12px; }
    .ground { fill: var(--ground); }
    .ours { fill: var(--ours); }
    .others { fill: var(--others); }
    .limit { fill: none; stroke: var(--others); }
"""


def plot(results: Document) -> str:
    """Return the figures that matter most as an SVG picture.

    Horizontal bars, shorter is better, for light and dark pages.
    """
    found = {scenario["name"]: scenario for scenario in results["scenarios"]}
    drawn: list[str] = []
    y = _TITLE
    for name, key, title in PANELS:
        if name in found:
            panel, height = _panel(found[name], key, title, y)
            drawn += panel
            y += height
    told = results["conditions"]
    kind = "virtual core" if told["virtual"] else "core"
    ground = f"One {kind} of {told['cpu']}; TLS 1.3 to the API; medians of {_count(told['rounds'], 'round')}; {told['began'][:10]}{'; a quick run' if told['quick'] else ''}"
    height = y + 16
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="title description">',
        '  <title id="title">telenor-proxy and its peers</title>',
        f'  <desc id="description">{escape(_description(found))}</desc>',
        f"  <style>{_STYLE}  </style>",
        f'  <rect class="ground" width="{_WIDTH}" height="{height}"/>',
        '  <text class="title" x="24" y="32">telenor-proxy and its peers, each adding a credential: shorter is better</text>',
        f'  <text class="quiet" x="24" y="52">{escape(ground)}</text>',
        *drawn,
        "</svg>",
        "",
    ])  # fmt: skip


def _values(scenario: Document, key: str) -> dict[str, float]:
    return {
        name: median(figures[key])
        for name, figures in scenario["samples"].items()
        if figures.get(key)
    }


def _panel(scenario: Document, key: str, title: str, top: int) -> tuple[list[str], int]:
    """Return the lines of one panel, and its height."""
    metric = next(metric for metric in scenario["metrics"] if metric["key"] == key)
    values = _values(scenario, key)
    scale = scale_of(values)
    lines = [
        f'  <text class="panel" x="24" y="{top + 24}">{escape(title)}, {escape(metric["unit"])}</text>'
    ]
    y = top + _PANEL - 8
    for name, value in values.items():
        width = max(1.0, min(value * scale, 1) * _LONGEST)
        shown = number(value, metric["digits"]) + (" (cut)" if value * scale > 1 else "")
        middle = y + _BAR - 3
        lines += [
            f'  <text x="{_LABELS - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>',
            f'  <rect class="{_kind(name)}" x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>',
            f'  <text x="{_LABELS + width + 8:.1f}" y="{middle}">{shown}</text>',
        ]
        y += _STEP
    return lines, y - top


def scale_of(values: Mapping[str, float]) -> float:
    """Return what a value is multiplied with for its part of the width.

    What comes to more than 1 is cut.
    """
    most = _MOST * values.get(OURS, float("inf"))
    fitting = [value for value in values.values() if value <= most]
    return (1 if len(fitting) == len(values) else _SHORTER) / max(fitting)


def _kind(name: str) -> str:
    """Return how a bar is drawn: what is no proxy is a limit, not a peer."""
    if name == OURS:
        return "ours"
    return "limit" if name == RELAY or name.startswith(NO_PROXY) else "others"


def _description(found: Mapping[str, Document]) -> str:
    sentences = []
    for name, key, title in PANELS:
        if name in found:
            unit = next(metric["unit"] for metric in found[name]["metrics"] if metric["key"] == key)
            values = ", ".join(
                f"{system} {value:.1f}" for system, value in _values(found[name], key).items()
            )
            sentences.append(f"{title}, in {unit}: {values}.")
    return " ".join(sentences)
