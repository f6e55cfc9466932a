"""What `serve` refuses to start on: 78 for the configuration, 1 for this machine."""

import re
import socket

import pytest

from tests.e2e.process import CREDENTIALS, Api, Starter, configuration

SEVERAL: dict[str, dict[str, object]] = {
    "listen": {"port": -1},
    "admin": {"port": 70000},
    "log": {"level": "loud"},
}
BROKEN = f"oauth:\n  password: {CREDENTIALS.password}: {CREDENTIALS.client_secret}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, [r"listen\.port: must be", r"admin\.port: must be", r"log\.level: must be one of"]),
        (BROKEN, [r"config-0\.yaml, line 2, column \d+: is not valid YAML: a colon and a space"]),
    ],
    ids=["several problems", "broken YAML"],
)
async def test_a_bad_configuration_ends_it_with_78(
    start: Starter, api: Api, text: str | None, says: list[str]
) -> None:
    """Standard error has one line a problem, without secrets; no token is fetched."""
    ended = await start.run("serve", config=text or configuration(api.url, **SEVERAL))
    assert (ended.status, ended.output) == (78, "")
    headline, *problems = ended.errors.splitlines()
    assert headline == "telenor-proxy: the configuration cannot be used:"
    assert len(problems) == len(says), ended.errors
    for pattern in says:
        assert re.search(rf"(?m)^  - (\S+/)?{pattern}", ended.errors), ended.errors
    assert CREDENTIALS.client_secret not in ended.errors
    assert CREDENTIALS.password not in ended.errors
    assert api.counter("token_calls") == 0


async def test_a_missing_file_ends_it_with_78(start: Starter) -> None:
    """The message has the path of the configuration file."""
    ended = await start.run("serve", "--config", "nowhere.yaml")
    assert ended.status == 78
    assert "nowhere.yaml: the file does not exist" in ended.errors


async def test_both_ports_that_are_in_use_are_named(start: Starter, api: Api) -> None:
    """In one line, each with its setting's path; nothing listens, and no token is fetched."""
    with (
        socket.create_server(("127.0.0.1", 0)) as admin,
        socket.create_server(("127.0.0.1", 0)) as listen,
    ):
        taken = {"admin": admin.getsockname()[1], "listen": listen.getsockname()[1]}
        ports: dict[str, dict[str, object]] = {name: {"port": taken[name]} for name in taken}
        ended = await start.run("serve", config=configuration(api.url, **ports))
    assert (ended.status, ended.output, len(ended.errors.splitlines())) == (1, "", 1)
    for name, port in taken.items():
        says = f" {name}.port: port {port} on 127.0.0.1 is in use by another process."
        assert ended.errors.count(says) == 1
    assert api.counter("token_calls") == 0


async def test_a_socket_that_cannot_be_made_ends_it_with_1(start: Starter, api: Api) -> None:
    """The message has the setting's path and the system's reason."""
    listen = {"port": None, "unix_socket": "no/where"}
    ended = await start.run("serve", config=configuration(api.url, listen=listen))
    assert (ended.status, ended.output) == (1, "")
    says = "listen.unix_socket: the socket could not be made: No such file or directory"
    assert ended.errors.startswith(f"telenor-proxy: {says}")
