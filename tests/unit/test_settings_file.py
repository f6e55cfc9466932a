"""The configuration file itself: what cannot be read is told without a word of its content."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from proxy.errors import ConfigError
from proxy.settings import files, load, load_admin

CREDENTIALS = {
    "TELENOR_PROXY_OAUTH__CLIENT_ID": "made-up-id",
    "TELENOR_PROXY_OAUTH__CLIENT_SECRET": "made-up-secret",
    "TELENOR_PROXY_OAUTH__USERNAME": "api0000000000",
    "TELENOR_PROXY_OAUTH__PASSWORD": "made-up-password",
}
NUMBER = "holds a value that YAML takes for a number or a date, but that is none. Put it in quotes."
MAPPING = "must hold the sections listen, admin, upstream, oauth, limits, pacing, orders, shutdown, log, telemetry, each with its settings indented below it."


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
        (
            "listen:\n  port: 1\n  port: 2\n",
            ", line 3: port is set a second time. Keep one of them.",
        ),
        (
            "listen: {}\nadmin: {}\nlisten: {}\n",
            ", line 3: listen is set a second time. Keep one of them.",
        ),
        ('a: 1\n"a": 2\n', ", line 2: a is set a second time. Keep one of them."),
        (
            "[" * 100_000,
            ", line 1: is nested too deeply to be a configuration. Check that it is the right file.",
        ),
        (
            "- " * 100_000,
            ", line 1: is nested too deeply to be a configuration. Check that it is the right file.",
        ),
        ("a: \0", ", line 1: holds a control character. Remove it."),
        ("a: 1\nb: x\x1b[0m", ", line 2: holds a control character. Remove it."),
        ("listen:\n  host: 2027-13-45", f", line 2: {NUMBER}"),
        ("a: !!int x", f", line 1: {NUMBER}"),
        ("a: !!int ''", f", line 1: {NUMBER}"),
        ("a: !!bool x", f", line 1: {NUMBER}"),
        ("a: !!timestamp x", f", line 1: {NUMBER}"),
        (f"a: {'9' * 5000}", f", line 1: {NUMBER}"),
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


#: A text, where the fault is found in it, and the beginning of what is said and of what to do.
SYNTAX = [
    ("listen:\n\tport: 1\n", "line 2, column 1", "a tab stands", "Write spaces"),
    ("a: 1\n\tb: 2", "line 2, column 1", "a tab stands", "Write spaces"),
    ("oauth:\n  password: @word", "line 2, column 13", "a value begins with a character", "Put the value in quotes"),
    ("oauth:\n  password: %word", "line 2, column 13", "a value begins with a character", "Put the value in quotes"),
    ("oauth:\n  password: *word", "line 2, column 13", "a value begins with & or *", "Put the value in quotes"),
    ("oauth:\n  password: *", "line 2, column 14", "a value begins with & or *", "Put the value in quotes"),
    ("oauth:\n  password: !word x", "line 2, column 13", "a value begins with an exclamation", "Put the value in quotes"),
    ("oauth:\n  password: !<w ord", "line 2, column 16", "a value begins with an exclamation", "Put the value in quotes"),
    ("oauth:\n  password: wo: rd", "line 2, column 15", "a colon with a space", "Put a value with a colon in quotes"),
    ("listen:\n  port: 1\n   host: word", "line 3, column 8", "the line is indented deeper", "Indent the lines"),
    ("listen:\n  port: 1\n\n   host:", "line 4, column 8", "the line is indented deeper", "Indent the lines"),
    ("oauth\nlisten: {}", "line 2, column 7", "a colon with a space", "Put a value with a colon in quotes"),
    ("oauth:\n  password: 'word", "line 2, column 18", "a quote is opened", "Close it"),
    ('oauth:\n  password: "\\word"', "line 2, column 14", "a backslash", "Use single quotes"),
    ("listen:\n  allowed_hosts: - a", "line 2, column 18", "a list begins", "Put each entry"),
    ("a: [b, c\nd: e", "line 2, column 2", "a bracket or a brace is opened", "Close it"),
    ("a: {b: c", "line 2, column 1", "a bracket or a brace is opened", "Close it"),
    ("listen: {\n", "line 2, column 1", "a value is missing", "Close what is open"),
    ("a: |word\n", "line 1, column 5", "text stands behind |", "Put the whole value in quotes"),
    ("a: 1\n---\nb: 2", "line 2, column 1", "a line of three dashes", "Keep one of them"),
    ("? [a]\n: b", "line 1, column 3", "a list or a group", "Write the name alone"),
    (" a: 1\nb: 2", "line 2, column 1", "the first line is indented", "Begin every section at the margin"),
    ("oauth:\n  client_id: a\n username: b", "line 3, column 2", "a line is not indented", "Indent the lines"),
    ("oauth:\n  password: 'wo'rd", "line 2, column 17", "a line is not indented", "Indent the lines"),
    ("%YAML 9.9\n---\na", "line 1, column 1", "something is out of place", "Look for"),
]  # fmt: skip # one row a line


@pytest.mark.parametrize(("text", "place", "what", "do"), SYNTAX)
def test_broken_yaml_is_told_with_its_reason(
    config: Path, text: str, place: str, what: str, do: str
) -> None:
    """What YAML stumbles over is told by line and column, with the reason and what to write.

    Not a word of the file is.
    """
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(config, {})
    (told,) = caught.value.problems
    assert told.startswith(f"{config}, {place}: is not valid YAML: {what}")
    assert f". {do}" in told
    assert told.endswith(".")
    assert "word" not in told
    assert caught.value.__context__ is None


def test_a_fault_without_a_place_is_told_too() -> None:
    """Whatever else PyYAML may complain of, nothing of it is repeated."""
    assert files.explained(yaml.YAMLError("word"), "") == (
        ": is not valid YAML: something is out of place. Look for a tab in the indentation, a missing space after a colon,"
        " or a value with special characters that needs quotes"
    )


def test_a_missing_file_is_one_problem(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was asked for has to be there.

    How far its path leads is told, and where a relative one begins.
    """
    home = config.parent
    monkeypatch.chdir(home)
    for path, end, begins in (
        (config, home, ""),
        (home / "a" / "b.yaml", home, ""),
        (Path("config.yaml"), home, f"; it begins at the working directory, {home}"),
        (Path("../b/config.yaml"), home / "..", f"; it begins at the working directory, {home}"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(path, CREDENTIALS)
        assert caught.value.problems == [
            f"{path}: the file does not exist: of its path only {end} is there. Check the path{begins}."
        ]


def test_a_working_directory_that_is_gone_is_no_mistake_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have removed it; the file is missing all the same."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert files.how_far(Path("config.yaml")).startswith("of its path only / is there.")


def test_who_may_not_read_is_told() -> None:
    """Rights that are missing are told with the user that needs them.

    In a container one does not know it by heart.
    """
    told = files.unreadable(PermissionError(13, "Permission denied"))
    assert told == (
        f"cannot be read (Permission denied). Let the user that the proxy runs as ({os.geteuid()}) read it"
    )


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """What cannot be read is told with the system's reason."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, CREDENTIALS)
    (told,) = caught.value.problems
    assert told.startswith(f"{tmp_path}: the file cannot be read (")
    assert told.endswith("). Check the path.")


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
    assert caught.value.problems == [
        "/dev/zero: the file is larger than 1048576 bytes. Check the path."
    ]


def test_merge_keys_and_anchors_work(config: Path) -> None:
    """YAML's own means of repetition are not mistaken for a key set twice."""
    config.write_text("listen: &a {host: localhost, port: 1}\nadmin: {<<: *a, port: 2}\n")
    settings = load(config, CREDENTIALS)
    assert (settings.admin.host, settings.listen.port, settings.admin.port) == (
        ("localhost",),
        1,
        2,
    )


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
        ("a: *b", "{config}, line 1, column 4: is not valid YAML: a value begins with & or *"),
        ("a: \1", "{config}, line 1: holds a control character."),
        ("listen:\n\tport: 1", "{config}, line 2, column 1: is not valid YAML: a tab stands"),
        (
            "listen: {host: [a}",
            "{config}, line 1, column 18: is not valid YAML: a bracket or a brace",
        ),
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
        {"aiohttp", "asyncio", "structlog", "ssl", "attrs", "pydantic", "prometheus_client"}
    )
    own = {name for name in loaded if name.startswith("proxy.")}
    assert {name for name in own if not name.startswith("proxy.settings")} == {
        "proxy.errors",
        "proxy.secret",
    }


def test_the_admin_listener_is_found_without_the_rest(tmp_path: Path) -> None:
    """A health check may run as a user who may read no secret, and needs none.

    What is wrong elsewhere is not its business.
    """
    file = tmp_path / "proxy.yaml"
    file.write_text("admin: {port: 9191}\noauth: {password_file: /nowhere/password, nonsense: 1}\n")
    assert load_admin(file, {}).port == 9191
    assert load_admin(file, {"TELENOR_PROXY_ADMIN__PORT": "9292"}).port == 9292
    assert load_admin(None, {}).port == 9090
    file.write_text("admin: {port: many}\n")
    with pytest.raises(ConfigError) as caught:
        load_admin(file, {})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["admin.port"]
