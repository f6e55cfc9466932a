"""The systems: their configurations are complete, and the API answers as it is said to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from bench import load, processes, systems
from bench.scenarios import SCENARIOS

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATES = sorted(
    path for path in processes.PEERS.iterdir() if path.suffix != ".pyc" and path.is_file()
)


@pytest.fixture
def values(tmp_path: Path) -> dict[str, str]:
    """Give the values that templates get."""
    house = systems.House(tmp_path, systems.Cores("0", "1"))
    return house.values | {"DIRECTORY": "/d", "PORT": "1", "ADMIN_PORT": "2", "UPSTREAM_PORT": "3"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_can_be_filled_in(template: Path, values: dict[str, str]) -> None:
    """Each `@NAME@` has a value."""
    if template.name != "__init__.py":  # it explains them
        assert not re.search(r"@[A-Z_]+@", processes.fill(template.read_text(), values))


def test_a_name_without_a_value_is_a_mistake() -> None:
    """Nothing is left standing, or left out silently."""
    with pytest.raises(KeyError):
        processes.fill("port @NOBODY@", {})


def test_every_template_belongs_to_a_system() -> None:
    """No configuration lies about unused, and none is missing."""
    used = {name for system in systems.known() for name in system.files}
    assert used | {"api.conf", "__init__.py"} == {path.name for path in TEMPLATES}


def test_all_proxies_use_one_credential_and_one_limit(values: dict[str, str]) -> None:
    """Every peer carries the token that the API wants, and the proxy gets it from the token endpoint."""
    for name in ("envoy-secret.yaml", "nginx.conf", "Caddyfile", "mitmproxy_addon.py", "api.conf"):
        assert f"Bearer {systems.TOKEN}" in processes.fill(
            (processes.PEERS / name).read_text(), values
        ), name
    assert f'"access_token": "{systems.TOKEN}"' in processes.fill(
        (processes.PEERS / "api.conf").read_text(), values
    )


@pytest.mark.parametrize("name", ["envoy.yaml", "envoy-secret.yaml", "telenor-proxy.yaml"])
def test_a_yaml_file_is_one(name: str, values: dict[str, str]) -> None:
    """It can be read."""
    assert isinstance(
        yaml.safe_load(processes.fill((processes.PEERS / name).read_text(), values)), dict
    )


def test_the_api_answers_86_bytes() -> None:
    """Both answers to an order are as long as the page says, the one with an id of its own too."""
    bodies = re.findall(
        r"return 200 '(\{\"orderId.*)';", (processes.PEERS / "api.conf").read_text()
    )
    assert len(bodies) == 2
    assert {len(body.replace("$request_id", "0" * 32)) for body in bodies} == {load.ORDER_BYTES}


def test_a_program_that_is_not_there_is_absent() -> None:
    """It has no path, and no version."""
    assert processes.program("a-program-that-nobody-has") is None
    assert processes.version_of(None, "--version", "(.*)") == ""


@pytest.mark.parametrize(
    ("cores", "found"), [("0", {0}), ("1-3", {1, 2, 3}), ("0,2", {0, 2}), ("0,4-5", {0, 4, 5})]
)
def test_cores_are_read_as_taskset_reads_them(cores: str, found: set[int]) -> None:
    """Single ones, ranges, and lists of both."""
    assert processes.numbers(cores) == found


def test_cores_that_are_none_are_a_mistake() -> None:
    """Words are not cores."""
    with pytest.raises(ValueError, match="all"):
        processes.numbers("all")


def test_ports_differ() -> None:
    """As many as were asked for, each another one."""
    assert len(set(processes.free_ports(5))) == 5


def test_scenarios_have_names_of_their_own() -> None:
    """Each can be asked for by its name, and its ratios are made of one of its figures."""
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    for scenario in SCENARIOS:
        assert scenario.headline in {metric.key for metric in scenario.metrics}
        assert scenario.shows.endswith(".")
