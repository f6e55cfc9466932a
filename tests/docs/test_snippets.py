"""What the pages show to be copied works when it is copied."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import compose_spec
import pytest
import trustme
import yaml

from proxy.settings import load
from proxy.settings.catalogue import PATH_OF_VARIABLE, SECTIONS, SETTINGS, environment_name
from tests.docs.pages import BLOCKS, PAGES, README, Block, inline
from tests.docs.test_log_events import EVENTS
from tests.e2e.process import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Of CONTRIBUTING.md and the Makefile, not of the product.
NOT_SETTINGS = {"TELENOR_PROXY_CONFIG", "TELENOR_PROXY_FUZZ_EXAMPLES"}
REQUIRED = {
    environment_name(f"oauth.{name}"): getattr(CREDENTIALS, name)
    for name in ("client_id", "client_secret", "username", "password")
}


def yaml_blocks(first_line: str | None) -> list[Block]:
    """Return the YAML blocks that begin with that comment; None: those whose keys are the proxy's sections."""
    found = [block for block in BLOCKS if block.language == "yaml"]
    if first_line is not None:
        return [block for block in found if block.text.startswith(f"# {first_line}\n")]
    return [block for block in found if set(yaml.safe_load(block.text)) <= set(SECTIONS)]


def settle(directory: Path, content: dict[str, Any]) -> None:
    """Put the files that a configuration names into a directory, and name these instead."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    pem = {
        "ca_file": authority.cert_pem.bytes(),
        "tls_client_ca_file": authority.cert_pem.bytes(),
        "tls_certificate_file": certificate.cert_chain_pems[0].bytes(),
        "tls_key_file": certificate.private_key_pem.bytes(),
    }
    clients = content.get("listen", {}).get("clients", [])
    for number, keys in enumerate([*content.values(), *clients]):
        for key in [key for key in keys if key.endswith("_file")]:
            file = directory / f"{key}-{number}"
            file.write_bytes(pem.get(key, b"made-up-secret-%d\n" % number))
            keys[key] = str(file)


@pytest.mark.parametrize("block", yaml_blocks(None), ids=lambda block: block.page)
def test_a_configuration_can_be_used(block: Block, tmp_path: Path) -> None:
    """A configuration loads; the credentials that it leaves out come from the environment."""
    content = yaml.safe_load(block.text)
    settle(tmp_path, content)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    given = {f"oauth.{key}".removesuffix("_file") for key in content.get("oauth", {})}
    load(file, {name: value for name, value in REQUIRED.items() if PATH_OF_VARIABLE[name] not in given})


def test_every_configuration_is_looked_at() -> None:
    """A block that says that it is the configuration has nothing but the proxy's sections."""
    said = yaml_blocks("config.yaml")
    assert said
    assert set(said) <= set(yaml_blocks(None))


@pytest.mark.parametrize("block", yaml_blocks("compose.yaml"), ids=lambda block: block.page)
def test_a_compose_file_is_one(block: Block) -> None:
    """It keeps to the Compose specification, and the order system waits for the proxy."""
    compose_spec.PyOptions(apply_merge=True).from_yaml(block.text).validate()
    services = yaml.safe_load(block.text)["services"]
    assert services["orders"]["network_mode"] == "service:proxy"
    assert services["orders"]["depends_on"]["proxy"]["condition"] == "service_healthy"


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    """Return the variables of a container of a pod."""
    return {variable["name"]: variable["value"] for variable in container["env"]}


@pytest.mark.parametrize("block", yaml_blocks("part of a pod"), ids=lambda block: block.page)
def test_a_pod_has_the_proxy_as_a_sidecar(block: Block, tmp_path: Path) -> None:
    """Its variables configure the proxy, its probes ask the admin listener, its secrets are where the variables look for them."""
    spec = yaml.safe_load(block.text)["spec"]
    (sidecar,) = spec["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert spec["securityContext"]["fsGroup"] == 65532
    (mount,) = sidecar["volumeMounts"]
    environ = environment_of(sidecar)
    for name in ("client_id", "client_secret", "username", "password"):
        variable = environment_name(f"oauth.{name}_file")
        assert environ[variable] == f"{mount['mountPath']}/{name}"
        environ[variable] = str(tmp_path / name)
        (tmp_path / name).write_text("made-up", encoding="utf-8")
    settings = load(None, environ)
    assert settings.admin.host == ("0.0.0.0",)
    assert settings.listen.host == ("127.0.0.1",)
    drain = settings.shutdown.delay_seconds + settings.shutdown.grace_seconds
    assert spec["terminationGracePeriodSeconds"] > drain
    probes = [sidecar[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]
    assert [probe["path"] for probe in probes] == ["/startup", "/readiness", "/liveness"]
    assert {probe["port"] for probe in probes} == {settings.admin.port}
    (volume,) = spec["volumes"]
    assert volume["name"] == mount["name"]
    assert volume["secret"]["defaultMode"] == 0o440
    (application,) = spec["containers"]
    assert environment_of(application)["API_BASE_URL"] == f"http://127.0.0.1:{settings.listen.port}"


def in_all_pages(find: Callable[[str], list[str]]) -> set[tuple[str, str]]:
    """Return what is found in the pages, each with its page."""
    return {(page, found) for page, text in PAGES.items() for found in find(text)}


def test_every_variable_is_a_setting() -> None:
    """Each environment variable that a page names is one that the proxy knows."""
    named = in_all_pages(lambda text: re.findall(r"\bTELENOR_PROXY_[A-Z0-9_]*[A-Z0-9]\b", text))
    assert named
    assert {each for each in named if each[1] not in PATH_OF_VARIABLE.keys() | NOT_SETTINGS} == set()


def test_every_setting_is_a_setting() -> None:
    """Each `section.key` that a page names is one; some look like log events, which are checked elsewhere."""
    sections = "|".join(SECTIONS)
    named = in_all_pages(
        lambda text: [word for word in inline(text) if re.fullmatch(rf"({sections})\.[a-z_]+", word)]
    )
    assert named
    assert {each for each in named if each[1] not in SETTINGS and each[1] not in EVENTS} == set()


def test_the_readme_names_every_setting() -> None:
    """The README's table has them all."""
    assert [path for path in SETTINGS if f"| `{path}` |" not in README] == []
