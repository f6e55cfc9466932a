"""The configuration file itself: what cannot be read is told without a word of its content."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.settings import load, load_admin

CREDENTIALS = {
    "TELENOR_PROXY_OAUTH__CLIENT_ID": "made-up-id",
    "TELENOR_PROXY_OAUTH__CLIENT_SECRET": "made-up-secret",
    "TELENOR_PROXY_OAUTH__USERNAME": "api0000000000",
    "TELENOR_PROXY_OAUTH__PASSWORD": "made-up-password",
}
SYNTAX = "is not valid YAML. Look for a tab in the indentation, a missing space after a colon, or a value with special characters that needs quotes."
CONTENT = "is not valid YAML. Look for control characters, impossible dates and unusual tags."
MAPPING = "must hold the sections listen, admin, upstream, oauth, limits, pacing, shutdown, log, each with its settings indented below it."


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return where the configuration file stands."""
    return tmp_path / "config.yaml"


@pytest.mark.parametrize(
    "text", ["", "\n", "# nothing\n", "~", "{}", "---\n", "listen:\noauth:\n", "\ufefflisten: {}"]
)
def test_an_empty_file_sets_nothing(config: Path, text: str) -> None:
    """A file without settings is the same as no file, and so is a section without settings."""
    config.write_text(text, encoding="utf-8")
    assert load(config, CREDENTIALS) == load(None, CREDENTIALS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("listen:\n  port: 1\n  port: 2\n", ", line 3: port is set a second time. Keep one of them."),
        ("listen: {}\nadmin: {}\nlisten: {}\n", ", line 3: listen is set a second time. Keep one of them."),
        ('a: 1\n"a": 2\n', ", line 2: a is set a second time. Keep one of them."),
        ("[" * 100_000, ", line 1: is nested too deeply to be a configuration."),
        ("- " * 100_000, ", line 1: is nested too deeply to be a configuration."),
        ("listen:\n\tport: 1\n", f", line 2, column 1: {SYNTAX}"),
        ("listen: {\n", f", line 2, column 1: {SYNTAX}"),
        ("oauth:\n  password: *word\n", f", line 2, column 13: {SYNTAX}"),
        ("oauth:\n  password: !word x\n", f", line 2, column 13: {SYNTAX}"),
        ("oauth:\n  password: @word\n", f", line 2, column 13: {SYNTAX}"),
        ("oauth:\n  password: wo: rd\n", f", line 2, column 15: {SYNTAX}"),
        ("a: 1\n---\nb: 2\n", f", line 2, column 1: {SYNTAX}"),
        ("? [a]\n: b\n", f", line 1, column 3: {SYNTAX}"),
        ("a: \0", f": {CONTENT}"),
        ("a: 2027-13-45", f": {CONTENT}"),
        ("a: !!int x", f": {CONTENT}"),
        ("a: !!int ''", f": {CONTENT}"),
        ("a: !!timestamp x", f": {CONTENT}"),
        (f"a: {'9' * 5000}", f": {CONTENT}"),
        ("- listen", f": {MAPPING}"),
        ("listen", f": {MAPPING}"),
        ("5", f": {MAPPING}"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_problem(config: Path, text: str, told: str) -> None:
    """Broken YAML is the only problem told, with the place and without quoting it."""
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(config, {})
    assert caught.value.problems == [f"{config}{told}"]
    assert caught.value.__context__ is None


def test_a_missing_file_is_one_problem(config: Path) -> None:
    """A file that was asked for has to be there."""
    with pytest.raises(ConfigError) as caught:
        load(config, CREDENTIALS)
    assert caught.value.problems == [
        f"{config}: the file does not exist. Check the path; a relative one begins at the working directory."
    ]


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """What cannot be read is told with the system's reason."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, CREDENTIALS)
    (told,) = caught.value.problems
    assert told.startswith(f"{tmp_path}: the file cannot be read (")
    assert told.endswith("). Check the path and the rights.")


@pytest.mark.parametrize("content", [b"\xff\xfea\0", b"listen: {host: \xe6}"])
def test_a_file_is_utf_8(config: Path, content: bytes) -> None:
    """Another encoding is refused, not guessed."""
    config.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(config, CREDENTIALS)
    assert caught.value.problems == [f"{config}: the file is not UTF-8 text. Save it as UTF-8."]


def test_a_huge_file_is_not_read() -> None:
    """A path that leads to something endless ends in a message, not in all memory."""
    endless = Path("/dev/zero")
    if not endless.exists():
        pytest.skip("the system has no /dev/zero")
    with pytest.raises(ConfigError) as caught:
        load(endless, CREDENTIALS)
    assert caught.value.problems == ["/dev/zero: the file is larger than 1048576 bytes. Check the path."]


def test_merge_keys_and_anchors_work(config: Path) -> None:
    """YAML's own means of repetition are not mistaken for a key set twice."""
    config.write_text("listen: &a {host: localhost, port: 1}\nadmin: {<<: *a, port: 2}\n")
    settings = load(config, CREDENTIALS)
    assert (settings.admin.host, settings.listen.port, settings.admin.port) == ("localhost", 1, 2)


WITHOUT_LIBYAML = """
import sys
sys.modules["yaml._yaml"] = None  # what an import of PyYAML finds when it was built without libyaml
from pathlib import Path
import yaml
from proxy.errors import ConfigError
from proxy.settings import load, load_admin
assert not hasattr(yaml, "CSafeLoader")
try:
    load(Path(sys.argv[1]), {})
except ConfigError as error:
    print(*error.problems, sep="\\n")
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "listen: {port: x}\noauth: {client_id: a, client_secret: b, username: c, password: d}",
            "listen.port: must be",
        ),
        ("a: 1\na: 2\n", "{config}, line 2: a is set a second time."),
        ("[" * 100_000, "{config}, line 1: is nested too deeply"),
        ("a: *b", "{config}, line 1, column 4: is not valid YAML."),
        ("a: \1", "{config}: is not valid YAML."),
    ],
)
def test_libyaml_is_not_needed(config: Path, text: str, told: str) -> None:
    """Where PyYAML has no libyaml, the same files are taken and the same are refused."""
    config.write_text(text, encoding="utf-8")
    command = [sys.executable, "-c", WITHOUT_LIBYAML, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.startswith(told.format(config=config))
    assert done.stdout.count("\n") == 1


def test_reading_settings_needs_few_modules() -> None:
    """What only reads the settings, as a health check does, does not pay for the parts that use them."""
    script = "import sys, proxy.settings; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint(
        {"aiohttp", "asyncio", "structlog", "ssl", "pydantic_settings", "prometheus_client"}
    )
    own = {name for name in loaded if name.startswith("proxy.")}
    assert {name for name in own if not name.startswith("proxy.settings")} == {"proxy.errors"}
    assert "proxy.settings.reference" not in own


def test_the_admin_listener_is_found_without_the_rest(tmp_path: Path) -> None:
    """A health check may run as a user who may read no secret, and needs none; what is wrong elsewhere is not its business."""
    file = tmp_path / "proxy.yaml"
    file.write_text("admin: {port: 9191}\noauth: {password_file: /nowhere/password, nonsense: 1}\n")
    assert load_admin(file, {}).port == 9191
    assert load_admin(file, {"TELENOR_PROXY_ADMIN__PORT": "9292"}).port == 9292
    assert load_admin(None, {}).port == 9090
    file.write_text("admin: {port: many}\n")
    with pytest.raises(ConfigError) as caught:
        load_admin(file, {})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["admin.port"]
