"""The systems: their configurations are complete, and the API answers as the page says."""

import re
from pathlib import Path

import pytest
import yaml

from bench import load, processes, systems

TEMPLATES = sorted(processes.PEERS.iterdir())


@pytest.fixture
def filled(tmp_path: Path) -> dict[str, str]:
    """Give every template by name, filled in; each `@NAME@` has a value."""
    house = systems.House(tmp_path, systems.Cores("0", "1"))
    values = house.values | {"DIRECTORY": "/d", "PORT": "1", "ADMIN_PORT": "2"}
    values["UPSTREAM_PORT"] = "3"
    return {path.name: processes.fill(path.read_text(), values) for path in TEMPLATES}


def test_a_name_without_a_value_is_a_mistake() -> None:
    """KeyError is raised."""
    with pytest.raises(KeyError):
        processes.fill("port @UNKNOWN@", {})


def test_every_template_belongs_to_a_system() -> None:
    """No configuration is unused, and none is missing."""
    used = {name for system in systems.known() for name in system.files}
    assert used | {"api.conf"} == {path.name for path in TEMPLATES}


def test_all_proxies_use_one_credential(filled: dict[str, str]) -> None:
    """Every peer has the API's token, and the proxy gets it from the token endpoint."""
    for name in ("envoy-secret.yaml", "nginx.conf", "api.conf"):
        assert f"Bearer {systems.TOKEN}" in filled[name], name
    assert f'"access_token": "{systems.TOKEN}"' in filled["api.conf"]


def test_a_yaml_file_is_one(filled: dict[str, str]) -> None:
    """It can be read."""
    for name in ("envoy.yaml", "envoy-secret.yaml", "telenor-proxy.yaml"):
        assert isinstance(yaml.safe_load(filled[name]), dict)


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
