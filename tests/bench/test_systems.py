"""The systems: their configurations are complete, and the API answers as the page says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from bench import load, processes, systems

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATES = sorted(processes.PEERS.iterdir())


@pytest.fixture
def values(tmp_path: Path) -> dict[str, str]:
    """Give the values that templates get."""
    house = systems.House(tmp_path, systems.Cores("0", "1"))
    return house.values | {"DIRECTORY": "/d", "PORT": "1", "ADMIN_PORT": "2", "UPSTREAM_PORT": "3"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_can_be_filled_in(template: Path, values: dict[str, str]) -> None:
    """Each `@NAME@` has a value."""
    assert not re.search(r"@[A-Z_]+@", processes.fill(template.read_text(), values))


def test_a_name_without_a_value_is_a_mistake() -> None:
    """KeyError is raised."""
    with pytest.raises(KeyError):
        processes.fill("port @UNKNOWN@", {})


def test_every_template_belongs_to_a_system() -> None:
    """No configuration is unused, and none is missing."""
    used = {name for system in systems.known() for name in system.files}
    assert used | {"api.conf"} == {path.name for path in TEMPLATES}


def test_all_proxies_use_one_credential(values: dict[str, str]) -> None:
    """Every peer has the API's token, and the proxy gets it from the token endpoint."""
    filled = {path.name: processes.fill(path.read_text(), values) for path in TEMPLATES}
    for name in ("envoy-secret.yaml", "nginx.conf", "api.conf"):
        assert f"Bearer {systems.TOKEN}" in filled[name], name
    assert f'"access_token": "{systems.TOKEN}"' in filled["api.conf"]


@pytest.mark.parametrize("name", ["envoy.yaml", "envoy-secret.yaml", "telenor-proxy.yaml"])
def test_a_yaml_file_is_one(name: str, values: dict[str, str]) -> None:
    """It can be read."""
    filled = processes.fill((processes.PEERS / name).read_text(), values)
    assert isinstance(yaml.safe_load(filled), dict)


def test_the_api_answers_86_bytes() -> None:
    """Both answers to an order are as long as the page says, also the one with an id."""
    api = (processes.PEERS / "api.conf").read_text()
    bodies = re.findall(r"return 200 '(\{\"orderId.*)';", api)
    assert len(bodies) == 2
    assert {len(body.replace("$request_id", "0" * 32)) for body in bodies} == {load.ORDER_BYTES}


def test_a_program_that_is_not_there_is_absent() -> None:
    """Its path is None, and its version empty."""
    assert processes.program("no-such-program") is None
    assert processes.version_of(None, "--version", "(.*)") == ""


def test_cores_that_are_none_are_refused() -> None:
    """Words are not cores."""
    assert not processes.move_to("all")


def test_ports_differ() -> None:
    """Each port is another one."""
    assert len(set(processes.free_ports(5))) == 5
