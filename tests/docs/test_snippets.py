"""What the pages show to be copied works when it is copied."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from proxy.settings import load
from proxy.settings.catalogue import PATH_OF_VARIABLE, SECTIONS, SETTINGS, environment_name
from tests.docs.pages import BLOCKS, PAGES, Block, inline
from tests.docs.test_log_events import EVENTS
from tests.e2e.process import CREDENTIALS

#: Of CONTRIBUTING.md and the Makefile, not of the product.
#: Read by tests and proofs, not by the proxy.
NOT_SETTINGS = {
    "TELENOR_PROXY_CONFIG",
    "TELENOR_PROXY_FUZZ_EXAMPLES",
    "TELENOR_PROXY_RESTARTS",
    "TELENOR_PROXY_CALLS",
}
REQUIRED = {
    environment_name(f"oauth.{name}"): getattr(CREDENTIALS, name)
    for name in ("client_id", "client_secret", "username", "password")
}


def yaml_blocks(first_line: str | None) -> list[Block]:
    """Return the YAML blocks that begin with a comment; None: those of the proxy's sections."""
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
    load(
        file,
        {name: value for name, value in REQUIRED.items() if PATH_OF_VARIABLE[name] not in given},
    )


def test_every_configuration_is_looked_at() -> None:
    """A block that says that it is the configuration has nothing but the proxy's sections."""
    said = yaml_blocks("config.yaml")
    assert said
    assert set(said) <= set(yaml_blocks(None))


def in_all_pages(find: Callable[[str], list[str]]) -> set[tuple[str, str]]:
    """Return what is found in the pages, each with its page."""
    return {(page, found) for page, text in PAGES.items() for found in find(text)}


def test_every_variable_is_a_setting() -> None:
    """Each environment variable that a page names is one that the proxy knows."""
    named = in_all_pages(lambda text: re.findall(r"\bTELENOR_PROXY_[A-Z0-9_]*[A-Z0-9]\b", text))
    assert named
    assert {
        each for each in named if each[1] not in PATH_OF_VARIABLE.keys() | NOT_SETTINGS
    } == set()


def test_every_setting_is_a_setting() -> None:
    """Each `section.key` that a page names is a setting or a log event."""
    sections = "|".join(SECTIONS)
    named = in_all_pages(
        lambda text: [
            word for word in inline(text) if re.fullmatch(rf"({sections})\.[a-z_]+", word)
        ]
    )
    assert named
    assert {each for each in named if each[1] not in SETTINGS and each[1] not in EVENTS} == set()
