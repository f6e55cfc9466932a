"""Writes the generated files: schema, tables of docs, the plot, rules for the Prometheus operator.

With --check nothing is written, and the exit status is 1 if one of them is not current.
"""

import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import report
from proxy.problems import ProblemKind
from proxy.settings.catalogue import SECTIONS, SETTINGS
from proxy.settings.kinds import Section, Setting

ROOT: Final = Path(__file__).resolve().parent.parent

_PROMETHEUS_RULE: Final = """\
# The alerts of deploy/prometheus/rules.yaml for the Prometheus operator, written by `make
# generate`. Your Prometheus may want a label here to find it (its ruleSelector).
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: telenor-proxy
  labels: {app.kubernetes.io/name: telenor-proxy}
spec:
"""


class Artefact(NamedTuple):
    """A file that is generated, in whole or in part, and the function that makes its text."""

    path: str
    render: Callable[[str], str]


def schema(_present: str) -> str:
    """Return the JSON Schema of the configuration file as text."""
    return json.dumps(json_schema(), indent=2) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the YAML file; no setting is required in it."""
    definitions = {section.__name__: _definition(section) for section in SECTIONS.values()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": dict(sorted(definitions.items())),
        "additionalProperties": False,
        "description": "The configuration file of telenor-proxy.",
        "properties": {
            name: {"$ref": f"#/$defs/{section.__name__}"} for name, section in SECTIONS.items()
        },
        "title": "telenor-proxy",
        "type": "object",
    }


def _definition(section: type[Section]) -> dict[str, Any]:
    definition: dict[str, Any] = {
        "additionalProperties": False,
        "description": section.__doc__,
        "properties": {key: _property(setting) for key, setting in section.settings().items()},
        "title": section.__name__,
        "type": ["object", "null"],
    }
    secrets = [key for key in section.settings() if section.is_secret(key)]
    if secrets:
        definition["allOf"] = [
            {"not": {"type": "object", "required": [key, f"{key}_file"]}} for key in secrets
        ]
    return definition


def _property(setting: Setting) -> dict[str, Any]:
    schema = {"description": setting.description, **setting.kind.schema}
    if setting.default in (None, ()):
        schema = {
            "anyOf": [setting.kind.schema, {"type": "null"}],
            "description": setting.description,
        }
    if not setting.is_required:
        schema["default"] = setting.shown(setting.default)
    return dict(sorted(schema.items()))


def settings_table() -> str:
    """Return all settings as a Markdown table."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for path, setting in SETTINGS.items():
        if setting.is_required:
            default = "required"
        elif setting.default in (None, ()):
            default = "none"
        else:
            default = f"`{_written(setting.shown(setting.default))}`"
        rows.append(f"| `{path}` | {default} | {setting.description} |")
    return "\n".join(rows) + "\n"


def _written(default: object) -> str:
    """Return a default as one would write it in the file."""
    if isinstance(default, str):
        return default
    return f"{default:g}" if isinstance(default, float) else json.dumps(default)


def reference(present: str) -> str:
    """Return the reference with the current tables of settings and answers."""
    return splice(splice(present, "settings", settings_table()), "answers", answers_table())


def answers_table() -> str:
    """Return every answer of the proxy's own as a Markdown table, by status."""
    rows = ["| status | `type` ends in | `Proxy-Status` | when | what to do |", f"|{'---|' * 5}"]
    rows += [
        f"| {kind.status} | `{kind.type}` | `{kind.proxy_error}` | {kind.when} | {kind.do} |"
        for kind in sorted(ProblemKind, key=lambda kind: kind.status)
    ]
    return "\n".join(rows) + "\n"


def troubleshooting(present: str) -> str:
    """Return the page with the current table of the words for failed calls."""
    types: dict[str, set[str]] = {}
    for kind in ProblemKind:
        if not kind.is_refusal:
            types.setdefault(kind.word, set()).add(kind.type)
    rows = ["| `error` | the answer's `type` |", "|---|---|"]
    for word, named in sorted(types.items()):
        links = ", ".join(f"[{each}](#{each})" for each in sorted(named))
        rows += [f"| `{word}` | {links} |"]
    return splice(present, "words", "\n".join(rows) + "\n")


def prometheus_rule(_present: str) -> str:
    """Return the alert rules as an object for the Prometheus operator."""
    rules = (ROOT / "deploy/prometheus/rules.yaml").read_text(encoding="utf-8")
    _, heading, groups = rules.partition("groups:\n")
    return _PROMETHEUS_RULE + textwrap.indent(heading + groups, "  ")


def results() -> report.Document:
    """Return what was measured."""
    found: report.Document = json.loads((ROOT / "bench/results.json").read_text(encoding="utf-8"))
    return found


def performance(present: str) -> str:
    """Return the page about performance with the current figures."""
    return splice(present, "figures", report.markdown(results()))


def plot(_present: str) -> str:
    """Return the plot of the figures."""
    return report.plot(results())


def splice(text: str, name: str, part: str) -> str:
    """Put a part between its markers; ValueError unless each stands once, in order."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if text.count(begin) != 1 or text.count(end) != 1 or end not in rest:
        raise ValueError(f"needs the markers {begin} and {end}, once each and in this order")
    return f"{before}{begin}\n{part}{end}{after}"


ARTEFACTS: Final = (
    Artefact("config.schema.json", schema),
    Artefact("docs/reference.md", reference),
    Artefact("docs/troubleshooting.md", troubleshooting),
    Artefact("docs/performance.md", performance),
    Artefact("docs/images/performance.svg", plot),
    Artefact("deploy/kubernetes/prometheusrule.yaml", prometheus_rule),
)


def faults(root: Path, artefacts: Sequence[Artefact], *, check: bool) -> list[str]:
    """Write the files that are not current, or with `check` only return them, a line each."""
    found = []
    for path, render in artefacts:
        file = root / path
        present = file.read_text(encoding="utf-8") if file.exists() else ""
        try:
            current = render(present)
        except ValueError as error:
            found.append(f"{path} {error}")
            continue
        if current == present:
            continue
        if check:
            found.append(f"{path} is not current: run make generate")
        else:
            file.write_text(current, encoding="utf-8", newline="\n")
            print(f"{path} written")
    return found


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 0 if all is current, 1 if not, 2 for wrong arguments."""
    if arguments not in ([], ["--check"]):
        print("usage: generate.py [--check]", file=sys.stderr)
        return 2
    found = faults(ROOT, ARTEFACTS, check=bool(arguments))
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
