"""What `serve` refuses to start on.

Exit status 78 for a bad configuration and 1 for this machine, one readable message a problem,
nothing begun.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from proxy.cli import main
from tests.e2e.process import CREDENTIALS, Api, Starter, clean_environment, configuration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Bad:
    """A configuration that cannot be used, and the messages about it, one pattern each."""

    name: str
    says: tuple[str, ...]
    sections: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    text: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


BAD = [
    Bad(
        "unknown setting",
        (r"listen\.prot: is not a setting\. Did you mean listen\.port\?",),
        {"listen": {"prot": 8080}},
    ),
    Bad(
        "unknown section",
        (r"upstraem: is not a setting\. Did you mean upstream\?",),
        {"upstraem": {"url": "x"}},
    ),
    Bad(
        "unknown variable",
        (
            r"TELENOR_PROXY_LISTEN__PROT: is not a setting\. Did you mean TELENOR_PROXY_LISTEN__PORT\?",
        ),
        environ={"TELENOR_PROXY_LISTEN__PROT": "8080"},
    ),
    Bad(
        "no credentials",
        (
            r"oauth\.client_id: is missing\. .*developer portal",
            r"oauth\.client_secret: is missing\. .*developer portal",
            r"oauth\.username: is missing\. .*Min Bedrift",
            r"oauth\.password: is missing\. .*mobile phone",
        ),
        {"oauth": dict.fromkeys(("client_id", "client_secret", "username", "password"))},
    ),
    Bad(
        "secret file that does not exist",
        (
            r"oauth\.password_file: the file does not exist: of its path only /\S+ is there\. Check the path; it begins at the working",
        ),
        {"oauth": {"password": None, "password_file": "nowhere"}},
    ),
    Bad(
        "secret file that cannot be read",
        (r"oauth\.password_file: the file cannot be read",),
        {"oauth": {"password": None, "password_file": "/"}},
    ),
    Bad(
        "wrong type",
        (r"listen\.port: must be a whole number .*\.",),
        {"listen": {"port": "eighty"}},
    ),
    Bad(
        "CA file that does not exist",
        (r"upstream\.ca_file: names a file that does not exist: of its path only /\S+ is there\.",),
        {"upstream": {"ca_file": "nowhere"}},
    ),
    Bad(
        "CA file that is a device",
        (r"upstream\.ca_file: names a pipe or a device",),
        {"upstream": {"ca_file": "/dev/null"}},
    ),
    Bad(
        "plaintext to another host",
        (r"upstream\.url: would send the credentials and the token unencrypted\. Use https",),
        {"upstream": {"url": "http://api.telenor.example"}},
    ),
    Bad(
        "upstream that is the proxy itself",
        (r"upstream\.url: leads back to the proxy itself, by listen\.host and listen\.port\.",),
        {"listen": {"port": 8080}, "upstream": {"url": "http://localhost:8080"}},
    ),
    Bad(
        "path of the token endpoint allowed",
        (r"upstream\.allowed_paths\[0\]: can never be called",),
        {"upstream": {"allowed_paths": ["/oauth/"]}},
    ),
    Bad(
        "several problems, all told",
        (r"listen\.port: must be", r"admin\.port: must be", r"log\.level: must be one of"),
        {"listen": {"port": -1}, "admin": {"port": 70000}, "log": {"level": "loud"}},
    ),
    Bad(
        "broken YAML",
        (r"config-0\.yaml, line 2, column \d+: is not valid YAML: a colon with a space",),
        text=f"oauth:\n  password: {CREDENTIALS.password}: {CREDENTIALS.client_secret}\n",
    ),
    Bad(
        "no mapping", (r"config-0\.yaml: must hold the sections listen, admin",), text="- listen\n"
    ),
]


def hold(bad: Bad, output: str, errors: str) -> None:
    """Check that standard error has one line a problem, with its path and without secrets."""
    assert not output
    headline, *problems = errors.splitlines()
    assert headline == "telenor-proxy: the configuration cannot be used:"
    assert len(problems) == len(bad.says), errors
    for pattern in bad.says:
        assert re.search(rf"^  - (\S+/)?{pattern}", errors, re.MULTILINE), errors
    assert CREDENTIALS.client_secret not in errors
    assert CREDENTIALS.password not in errors


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_bad_configuration_ends_it_with_78(
    bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command returns 78, in this process, where that takes a hundredth of the time."""
    config = configuration("http://127.0.0.1:9", **bad.sections) if bad.text is None else bad.text
    path = Starter(tmp_path).write(config)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {**clean_environment(), **bad.environ})
    assert main(["serve", "--config", path]) == 78
    hold(bad, *capsys.readouterr())


async def test_a_process_that_cannot_start_ends_with_78(start: Starter, api: Api) -> None:
    """So does a process; nothing listens, and nothing is fetched."""
    (bad,) = (bad for bad in BAD if bad.name == "several problems, all told")
    proxy = await start("serve", configuration(api.url, **bad.sections))
    assert await proxy.ended() == 78
    hold(bad, proxy.output, proxy.errors)
    assert api.counter("token_calls") == 0


async def test_a_missing_file_ends_it_with_78(start: Starter) -> None:
    """The message has the path of the configuration file."""
    proxy = await start(["serve", "--config", "nowhere.yaml"])
    assert await proxy.ended() == 78
    assert "nowhere.yaml: the file does not exist" in proxy.errors


@pytest.mark.parametrize("section", ["listen", "admin"])
async def test_a_port_in_use_ends_it_with_1(start: Starter, api: Api, section: str) -> None:
    """The message has the setting's path; nothing listens, and no token is fetched."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        proxy = await start("serve", configuration(api.url, **{section: {"port": port}}))
        assert await proxy.ended() == 1
    expected = (
        f"telenor-proxy: {section}.port: port {port} on 127.0.0.1 is in use by another process."
    )
    assert proxy.errors.startswith(expected)
    assert len(proxy.errors.splitlines()) == 1
    assert not proxy.output
    assert api.counter("token_calls") == 0


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"listen": {"host": "192.0.2.1"}}, r"listen\.host: cannot listen on 192\.0\.2\.1"),
        (
            {"admin": {"host": "no-such-host.invalid"}},
            r"admin\.host: cannot listen on no-such-host\.invalid",
        ),
        (
            {"listen": {"port": None, "unix_socket": "nowhere/listener"}},
            r"listen\.unix_socket: the socket could not be made: No such file or directory",
        ),
    ],
    ids=["foreign address", "unknown name", "missing directory"],
)
async def test_an_address_that_is_not_here_ends_it_with_1(
    start: Starter, api: Api, sections: dict[str, dict[str, object]], says: str
) -> None:
    """The message has the setting's path."""
    proxy = await start("serve", configuration(api.url, **sections))
    assert await proxy.ended() == 1
    assert re.fullmatch(rf"telenor-proxy: {says}.*\n", proxy.errors), proxy.errors
    assert not proxy.output
