"""The command line: which words it knows, and what becomes of those that it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import proxy
from proxy.cli import _parser, main
from proxy.network import transport

COMMANDS = ("serve", "check", "healthcheck", "sandbox", "sandbox-control", "demo")


def usage_error(*words: str) -> int:
    """Run words that argparse refuses or answers by itself; give the exit status."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` ends with 0, names every command, and points to the one that needs nothing."""
    assert usage_error("--help") == 0
    said = capsys.readouterr().out
    assert [command for command in COMMANDS if f"\n    {command}" not in said] == []
    assert "telenor-proxy demo" in said


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("serve", ["--config FILE"]),
        ("check", ["--config FILE"]),
        ("healthcheck", ["--config FILE", "--wait SECONDS"]),
        ("sandbox", ["--host HOST", "--port PORT", "--tls"]),
        ("sandbox-control", ["--url URL", "--ca-file CA_FILE"]),
        ("demo", ["--port PORT"]),
    ],
)
def test_each_command_has_its_options(
    command: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command's own `--help` shows its options."""
    assert usage_error(command, "--help") == 0
    said = capsys.readouterr().out
    assert [option for option in options if option not in said] == []


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` ends with 0 and names command and version, and below it what connections are made of."""
    assert usage_error("--version") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"telenor-proxy {proxy.__version__}"
    assert second == ", ".join(transport.foundations().values())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["serv"], "invalid choice: 'serv'"),
        (["serve", "--port", "1"], "unrecognized arguments: --port 1"),
        (["serve", "config.yaml"], "unrecognized arguments: config.yaml"),
        (["healthcheck", "--wait", "soon"], "--wait: must be a number of seconds, 0 or more"),
        (["healthcheck", "--wait", "nan"], "--wait: must be a number of seconds, 0 or more"),
        (["healthcheck", "--wait=-1"], "--wait: must be a number of seconds, 0 or more"),
        (["demo", "--port", "65536"], "--port: must be a number from 0 to 65535"),
        (["demo", "--port=-1"], "--port: must be a number from 0 to 65535"),
        (["demo", "--port", "http"], "--port: must be a number from 0 to 65535"),
    ],
)
def test_wrong_words_are_refused(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown commands, options and values are refused with usage and a reason; the status is argparse's 2."""
    assert usage_error(*words) == 2
    assert says in capsys.readouterr().err


def test_problems_are_told_one_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A configuration that cannot be used gives one line a problem on standard error; `--config` names the file."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "listen:\n  port: many\nunknown: 1\noauth: {client_id: a, client_secret: b, username: c, password: d}\n"
    )
    for name in [name for name in os.environ if name.startswith("TELENOR_PROXY_")]:
        monkeypatch.delenv(name)
    assert main(["check", "--config", str(path)]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    headline, *problems = err.splitlines()
    assert headline == "telenor-proxy: the configuration cannot be used:"
    assert sorted(problem.split(":")[0] for problem in problems) == ["  - listen.port", "  - unknown"]


def test_a_variable_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TELENOR_PROXY_CONFIG stands in for --config, so that a container's health check reads the file that `serve` reads."""
    file = tmp_path / "nowhere.yaml"
    monkeypatch.setenv("TELENOR_PROXY_CONFIG", str(file))
    for command in ("serve", "check", "healthcheck"):
        assert _parser(command).parse_args([command]).config == file
        assert _parser(command).parse_args([command, "--config", "other.yaml"]).config == Path("other.yaml")
