"""The command line: the words it knows, and its answer to those that it does not know."""

import json
import os
import ssl
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import proxy
from proxy.cli import command_line, main
from proxy.settings.catalogue import SETTINGS

OAUTH = "oauth: {client_id: a, client_secret: b, username: c, password: d}\n"


def usage_error(*words: str) -> int:
    """Run words that argparse refuses or answers by itself; give the exit status."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("serve", ["--config FILE"]),
        ("check", ["--config FILE", "--offline", "--json", "--settings"]),
        ("healthcheck", ["--config FILE", "--wait SECONDS"]),
        ("status", ["--config FILE", "--json"]),
        ("sandbox", ["--host HOST", "--port PORT", "--tls"]),
        ("sandbox-control", ["--url URL", "--ca-file CA_FILE"]),
        ("demo", ["--port PORT"]),
    ],
)
def test_each_command_has_its_options(
    command: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own `--help` shows them; the general one names it, and points to `demo`."""
    assert usage_error("--help") == 0
    general = capsys.readouterr().out
    assert f"\n    {command}" in general
    assert "telenor-proxy demo" in general
    assert usage_error(command, "--help") == 0
    said = capsys.readouterr().out
    assert [option for option in options if option not in said] == []


def test_the_version_names_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """With the event loop, the transports and OpenSSL."""
    assert usage_error("--version") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"telenor-proxy {proxy.__version__}"
    loop = "asyncio" if sys.platform == "win32" else f"uvloop {version('uvloop')}"
    assert second == f"{loop}, aiofastnet {version('aiofastnet')}, {ssl.OPENSSL_VERSION}"


def test_it_runs_where_aiofastnet_cannot_be_imported() -> None:
    """It uses asyncio's transports, and the version says so."""
    script = (
        "import sys; sys.modules['aiofastnet'] = None;"
        "from proxy.network import transport; transport.use('fast');"
        "from proxy.cli import main; main(['--version'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=30
    )
    assert ran.stdout.splitlines()[1].split(", ")[1:] == ["asyncio", ssl.OPENSSL_VERSION]


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
def test_wrong_words_are_refused(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With usage, a reason and argparse's status 2."""
    assert usage_error(*words) == 2
    assert says in capsys.readouterr().err


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the path of a configuration file; the environment holds no settings."""
    for name in [name for name in os.environ if name.startswith("TELENOR_PROXY_")]:
        monkeypatch.delenv(name)
    return tmp_path / "config.yaml"


def test_each_problem_is_a_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error; with `--json` as an object on standard output."""
    config.write_text(f"listen:\n  port: many\nunknown: 1\n{OAUTH}")
    assert main(["check", "--config", str(config)]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    headline, *problems = err.splitlines()
    assert headline == "telenor-proxy: the configuration cannot be used:"
    assert sorted(problem.split(":")[0] for problem in problems) == [
        "  - listen.port",
        "  - unknown",
    ]
    config.write_text(f"listen: {{port: many}}\n{OAUTH}")
    assert main(["check", "--config", str(config), "--json"]) == 78
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "step": "configuration",
        "mark": "failed",
        "text": 'listen.port: must be a whole number from 0 to 65535, not "many".',
    }
    assert err == ""


def test_a_variable_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TELENOR_PROXY_CONFIG stands in for --config."""
    file = tmp_path / "nowhere.yaml"
    monkeypatch.setenv("TELENOR_PROXY_CONFIG", str(file))
    for command in ("serve", "check", "healthcheck"):
        assert command_line(command).parse_args([command]).config == file
        other = command_line(command).parse_args([command, "--config", "other.yaml"])
        assert other.config == Path("other.yaml")


def test_a_pipeline_checks_without_network_and_secrets(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--offline` warns of missing files and connects to nothing."""
    names = ("client_id", "client_secret", "username", "password")
    files = "".join(f"  {name}_file: {config.parent}/{name}\n" for name in names)
    config.write_text(
        f"oauth:\n{files}"
        f"upstream: {{url: 'https://nowhere.invalid', ca_file: {config.parent}/ca.pem}}\n"
        f"listen: {{host: 0.0.0.0, client_key_file: {config.parent}/key}}\n"
    )
    assert main(["check", "--config", str(config), "--offline", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["step"], line["mark"]) for line in found] == [
        ("configuration", "ok"),
        ("destination", "ok"),
        *[("files", "warning")] * 6,
    ]
    assert found[2]["text"].startswith("listen.client_key_file: the file does not exist")
    assert main(["check", "--config", str(config), "--offline"]) == 0
    assert capsys.readouterr().out.endswith("Network and credentials were not tried.\n")
    assert main(["check", "--config", str(config)]) == 78


def test_a_certificate_that_is_elsewhere_is_forgiven_offline(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The settings are judged by the names of the files."""
    names = ("tls_certificate_file", "tls_key_file", "tls_client_ca_file")
    files = "".join(f"  {name}: {config.parent}/{name}\n" for name in names)
    config.write_text(
        f"listen:\n  host: 0.0.0.0\n{files}  clients: [{{name: erp, certificate: erp.example}}]\n"
        f"{OAUTH}"
    )
    assert main(["check", "--config", str(config), "--offline", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [
        (line["step"], line["text"].partition(":")[0]) for line in found if line["mark"] != "ok"
    ] == [("files", f"listen.{name}") for name in names]


def test_every_setting_is_shown_with_its_origin(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--settings` says where each value comes from."""
    secret = config.with_name("secret")
    secret.write_text("made-up-secret")
    config.write_text(
        "listen: {port: 1}\nadmin: {port: 2}\n"
        f"oauth: {{client_id: a, client_secret_file: {secret}, username: c}}\n"
    )
    monkeypatch.setenv("TELENOR_PROXY_OAUTH__PASSWORD", "made-up-password")
    monkeypatch.setenv("TELENOR_PROXY_ADMIN__PORT", "3")
    assert main(["check", "--config", str(config), "--offline", "--settings", "--json"]) == 0
    out = capsys.readouterr().out
    shown = {
        line["setting"]: line
        for line in map(json.loads, out.splitlines())
        if line["step"] == "setting"
    }
    assert len(shown) == len(SETTINGS)
    for name, value, origin in [
        ("listen.port", 1, str(config)),
        ("listen.host", "127.0.0.1", "default"),
        ("admin.port", 3, "TELENOR_PROXY_ADMIN__PORT"),
        ("oauth.client_secret", "set", "oauth.client_secret_file"),
        ("oauth.password", "set", "TELENOR_PROXY_OAUTH__PASSWORD"),
        ("listen.client_key", "not set", "default"),
    ]:
        assert (shown[name]["value"], shown[name]["origin"]) == (value, origin)
    assert "made-up" not in out
    assert main(["check", "--config", str(config), "--offline", "--settings"]) == 0
    assert "admin.port: 3  (TELENOR_PROXY_ADMIN__PORT)\n" in capsys.readouterr().out


def test_the_whole_command_line_can_be_completed() -> None:
    """docs/operation.md hands `command_line` to shtab; it knows the sandbox too."""
    assert "command_line" in (Path(__file__).parents[2] / "docs" / "operation.md").read_text()
    sandbox = command_line().parse_args(["sandbox", "--tls"])
    assert sandbox.tls
