"""The alert rules, judged by promtool: each fires when it should, and only then."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from proxy.settings import AdminSettings
from tests.deploy.tools import DEPLOY, ROOT, judged, needs, ran, read_yaml
from tests.docs.pages import TROUBLESHOOTING, section, subsections

DIRECTORY: Final = DEPLOY / "prometheus"
RULES: Final = DIRECTORY / "rules.yaml"
CASES: Final = ROOT / "tests" / "deploy" / "rules_test.yaml"
ALERTS: Final[list[dict[str, Any]]] = [
    rule for group in read_yaml(RULES)["groups"] for rule in group["rules"]
]
NAMES: Final = [rule["alert"] for rule in ALERTS]

pytestmark = needs("promtool", "prometheus")


def missed(directory: Path, **changes: object) -> tuple[set[str], set[str]]:
    """Run the cases with all alerts changed; return missed and unexpected alerts."""
    content = read_yaml(RULES)
    for rule in content["groups"][0]["rules"]:
        rule |= {name: value for name, value in changes.items() if name in rule}
    (directory / "rules.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    cases = read_yaml(CASES)
    cases["rule_files"] = ["rules.yaml"]
    (directory / "cases.yaml").write_text(yaml.safe_dump(cases), encoding="utf-8")
    verdict = ran("promtool", "test", "rules", directory / "cases.yaml")
    missing, unexpected = set[str](), set[str]()
    for lines in re.findall(r"exp: (.*)\n\s+got: (.*)", verdict.stdout + verdict.stderr):
        expected, got = (set(re.findall(r'alertname="(\w+)"', line)) for line in lines)
        missing |= expected - got
        unexpected |= got - expected
    return missing, unexpected


def test_they_are_rules() -> None:
    """Prometheus can read the rules and the example of a configuration that uses them."""
    judged("promtool", "check", "rules", RULES)
    judged("promtool", "check", "config", DIRECTORY / "prometheus.yaml")


def test_they_fire_as_they_should() -> None:
    """In each case exactly the expected alerts fire."""
    judged("promtool", "test", "rules", CASES)


def test_each_has_a_case_in_which_it_fires(tmp_path: Path) -> None:
    """An alert that never fired would be found."""
    assert missed(tmp_path, expr="vector(1) > 1") == (set(NAMES), set())


def test_each_has_a_case_in_which_it_does_not(tmp_path: Path) -> None:
    """An alert that always fired would be found."""
    _, unexpected = missed(tmp_path, expr="vector(1)")
    assert unexpected == set(NAMES)


def test_each_that_waits_has_a_case_in_which_it_does(tmp_path: Path) -> None:
    """An alert that did not wait would be found."""
    waiting = {rule["alert"] for rule in ALERTS if "for" in rule}
    assert missed(tmp_path, **{"for": "0s"}) == (set(), waiting)


@pytest.mark.parametrize("rule", ALERTS, ids=NAMES)
def test_each_has_severity_summary_and_runbook(rule: dict[str, Any]) -> None:
    """The summary names the proxy, and the runbook's section exists."""
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert annotations["runbook_url"] == f"docs/troubleshooting.md#{rule['alert'].lower()}"
    assert rule["alert"] in subsections(section(TROUBLESHOOTING, "By alert"))
    which = "job" if rule["expr"].startswith("absent(") else "instance"
    assert f"{{{{ $labels.{which} }}}}" in annotations["summary"]
    assert re.fullmatch(r"TelenorProxy[A-Z][A-Za-z]+", rule["alert"])


def test_each_section_is_of_an_alert() -> None:
    """No section is about an alert that there is not."""
    assert list(subsections(section(TROUBLESHOOTING, "By alert"))) == NAMES


def test_the_example_scrapes_the_admin_listener() -> None:
    """The example's target is the admin listener's default, under the name that the rules know."""
    (job,) = read_yaml("prometheus/prometheus.yaml")["scrape_configs"]
    assert f'up{{job="{job["job_name"]}"}}' in RULES.read_text(encoding="utf-8")
    admin = AdminSettings()
    assert job["static_configs"] == [{"targets": [f"{admin.host[0]}:{admin.port}"]}]
