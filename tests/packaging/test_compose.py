"""The example for Docker Compose, as text; `make image-test` runs it."""

import re
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from proxy.sandbox.state import Sandbox
from proxy.settings import Settings, load
from tests.packaging.repository import ROOT, base_image, read

DIRECTORY = ROOT / "deploy" / "compose"
TEXT = read("deploy/compose/compose.yaml")
DOCUMENT: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
#: The modules that the order system uses.
STANDARD = {"http.client", "itertools", "json", "time"}


@pytest.fixture(scope="module")
def settings() -> Settings:
    """Read the settings as the container does, with its secrets from where they are here."""
    environment = SERVICES["proxy"]["environment"]
    here = {name: value.replace("/run", str(DIRECTORY)) for name, value in environment.items()}
    return load(None, here)


def test_it_is_a_compose_file() -> None:
    """The file keeps to the Compose specification, which knows no other keys."""
    compose_spec.PyOptions(apply_merge=True).from_yaml(TEXT).validate()


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_does_without_privileges(name: str) -> None:
    """No container writes its image, has a capability, can get one, or runs as root."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 64
    # The Dockerfile's user is no less, and a test of its own.
    assert service["image"] == "telenor-proxy" or int(service["user"].split(":")[0]) > 0


def test_each_waits_for_the_one_that_it_needs() -> None:
    """The order system starts when the proxy is ready, and the proxy when the API answers."""
    waits = {
        name: [(on, how["condition"]) for on, how in service.get("depends_on", {}).items()]
        for name, service in SERVICES.items()
    }
    assert waits == {
        "orders": [("proxy", "service_healthy")],
        "proxy": [("sandbox", "service_healthy")],
        "sandbox": [],
    }


def test_the_listener_is_reached_by_the_order_system_only(settings: Settings) -> None:
    """They share a network namespace, on loopback, and no port is published."""
    assert SERVICES["orders"]["network_mode"] == "service:proxy"
    assert settings.listen.host == ("127.0.0.1",)
    assert not any("ports" in service for service in SERVICES.values())


def test_nothing_leaves_the_machine() -> None:
    """The only network has no way out, and every service is in it."""
    assert DOCUMENT["networks"] == {"api": {"internal": True}}
    assert [SERVICES[name].get("networks") for name in ("proxy", "sandbox")] == [["api"], ["api"]]


def test_the_secrets_are_the_sandboxs(settings: Settings) -> None:
    """The credentials are the sandbox's made-up ones, in files."""
    given = {
        name: (DIRECTORY / secret["file"]).read_text().strip()
        for name, secret in DOCUMENT["secrets"].items()
    }
    names = ("client_id", "client_secret", "username", "password")
    assert given == {name: getattr(Sandbox().credentials, name) for name in names}
    assert SERVICES["proxy"]["secrets"] == list(given)
    assert settings.oauth.password_file == DIRECTORY / "secrets" / "password"


def test_orders_in_flight_are_answered_before_the_kill(settings: Settings) -> None:
    """Compose waits longer than the proxy drains."""
    wait = compose_spec.parse_duration(SERVICES["proxy"]["stop_grace_period"])
    assert wait > settings.shutdown.delay_seconds + settings.shutdown.grace_seconds


def test_the_order_system_is_an_old_one(settings: Settings) -> None:
    """It uses the standard library, calls the listener, and waits longer than the proxy."""
    service = SERVICES["orders"]
    (mount,) = service["volumes"]
    source, target, mode = mount.split(":")
    assert (target, mode) == (service["command"][-1], "ro")
    program = (DIRECTORY / source).read_text(encoding="utf-8")
    assert re.findall(r"(?m)^(?:import|from) (\S+)", program) == sorted(STANDARD)
    call = re.search(r'HTTPConnection\("127\.0\.0\.1", (\d+), timeout=(\d+)\)', program)
    assert call is not None
    assert int(call[1]) == settings.listen.port
    assert int(call[2]) > settings.oauth.wait_seconds + settings.upstream.response_timeout_seconds


def test_the_bases_are_one() -> None:
    """The order system runs on the base of the proxy's image, so that one is fetched."""
    assert SERVICES["orders"]["image"] == base_image()
    assert {str(Path(SERVICES[name]["build"])) for name in ("proxy", "sandbox")} == {"../.."}
