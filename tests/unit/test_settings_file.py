"""The configuration file: problems are named without a word of its content."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from proxy.errors import ConfigError
from proxy.settings import files, load, load_admin
from tests.unit.made import CREDENTIALS, OAUTH, problems

NUMBER = "holds a value that YAML takes for a number or a date, but that is none. Put it in quotes."
MAPPING = (
    "must hold the sections listen, admin, upstream, oauth, limits, pacing, orders, shutdown, log, "
    "telemetry, each with its settings indented below it."
)
TWICE = "is set a second time. Keep one of them."
DEEP = "is nested too deeply to be a configuration. Check that it is the right file."


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the path of the configuration file."""
    return tmp_path / "config.yaml"


@pytest.mark.parametrize(
    "text", ["", "\n", "# nothing\n", "~", "{}", "---\n", "listen:\noauth:\n", "\ufefflisten: {}"]
)
def test_an_empty_file_sets_nothing(config: Path, text: str) -> None:
    """Nor does an empty section."""
    config.write_text(text, encoding="utf-8")
    assert load(config, CREDENTIALS) == load(None, CREDENTIALS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("listen:\n  port: 1\n  port: 2\n", f", line 3: port {TWICE}"),
        ("listen: {}\nadmin: {}\nlisten: {}\n", f", line 3: listen {TWICE}"),
        ('a: 1\n"a": 2\n', f", line 2: a {TWICE}"),
        ("[" * 100_000, f", line 1: {DEEP}"),
        ("- " * 100_000, f", line 1: {DEEP}"),
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
def test_a_file_that_is_no_configuration_is_one_problem(
    config: Path, text: str, problem: str
) -> None:
    """With its place, and without quoting it."""
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(config, {})
    assert caught.value.problems == [f"{config}{problem}"]
    assert caught.value.__context__ is None


TAB = ("a tab stands", "Write spaces")
SIGN = ("a value begins with a character", "Put the value in quotes")
COLON = ("a colon and a space stand", "Put a value with a colon in quotes")
DEEPER = ("the line is indented deeper", "Indent the lines")
MARGIN = ("a line is not indented", "Indent equally")
BRACKET = ("a bracket or a brace is not closed, or a comma is missing", "Correct that")
#: A text, line and column of the fault, and the beginnings of the reason and of what to do.
SYNTAX = [
    ("listen:\n\tport: 1\n", 2, 1, *TAB),
    ("a: 1\n\tb: 2", 2, 1, *TAB),
    ("oauth:\n  password: @word", 2, 13, *SIGN),
    ("oauth:\n  password: %word", 2, 13, *SIGN),
    ("oauth:\n  password: *word", 2, 13, *SIGN),
    ("oauth:\n  password: *", 2, 14, *SIGN),
    ("oauth:\n  password: !word x", 2, 13, *SIGN),
    ("oauth:\n  password: !<w ord", 2, 16, *SIGN),
    ("oauth:\n  password: wo: rd", 2, 15, *COLON),
    ("oauth\nlisten: {}", 2, 7, *COLON),
    ("listen:\n  port: 1\n   host: word", 3, 8, *DEEPER),
    ("listen:\n  port: 1\n\n   host:", 4, 8, *DEEPER),
    ("oauth:\n  client_id: a\n username: b", 3, 2, *MARGIN),
    ("oauth:\n  password: 'wo'rd", 2, 17, *MARGIN),
    ("a: [b, c\nd: e", 2, 2, *BRACKET),
    ("a: {b: c", 2, 1, *BRACKET),
    ('a: ["b" "c"]', 1, 9, *BRACKET),
    ("oauth:\n  password: 'word", 2, 18, "a quote is opened", "Close it"),
    ('oauth:\n  password: "\\word"', 2, 14, "a backslash", "Use single quotes"),
    ("listen:\n  allowed_hosts: - a", 2, 18, "a list begins", "Begin it on the next"),
    ("listen: {\n", 2, 1, "a value is missing", "Add it, or close"),
    ("a: 1\n---\nb: 2", 2, 1, "a line of three dashes", "Remove it"),
    (" a: 1\nb: 2", 2, 1, "the first line is indented", "Begin sections at the margin"),
    ("%YAML 9.9\n---\na", 1, 1, "something is out of place", "Look for"),
]


@pytest.mark.parametrize(("text", "line", "column", "what", "do"), SYNTAX)
def test_broken_yaml_has_its_reason(
    config: Path, text: str, line: int, column: int, what: str, do: str
) -> None:
    """Line, column, the reason and what to write, without a word of the file."""
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(config, {})
    (problem,) = caught.value.problems
    place = f"{config}, line {line}, column {column}"
    assert problem.startswith(f"{place}: is not valid YAML: {what}")
    assert f". {do}" in problem
    assert problem.endswith(".")
    assert "word" not in problem
    assert caught.value.__context__ is None


def test_a_fault_without_a_place_is_reported() -> None:
    """Nothing of PyYAML's other errors is repeated."""
    assert files.explained(yaml.YAMLError("word"), "") == (
        ": is not valid YAML: something is out of place. Look for a tab in the indentation, a "
        "missing space after a colon, or a value with special characters that needs quotes"
    )


def test_a_missing_file_is_one_problem(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how far the path leads, and where a relative one begins."""
    home = config.parent
    monkeypatch.chdir(home)
    begins = f"; it begins at the working directory, {home}"
    for path, end, where in (
        (config, home, ""),
        (home / "a" / "b.yaml", home, ""),
        (Path("config.yaml"), home, begins),
        (Path("../b/config.yaml"), home / "..", begins),
    ):
        missing = (
            f"the file does not exist: of its path only {end} is there. Check the path{where}."
        )
        assert problems(CREDENTIALS, path) == [f"{path}: {missing}"]


def test_the_working_directory_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is missing all the same."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert files.how_far(Path("config.yaml")).startswith("of its path only / is there.")


def test_missing_rights_name_the_user() -> None:
    """In a container it is not obvious."""
    assert files.unreadable(PermissionError(13, "Permission denied")) == (
        "cannot be read (Permission denied). "
        f"Let the user that the proxy runs as ({os.geteuid()}) read it"
    )


def test_what_is_no_text_file_is_refused(tmp_path: Path, config: Path) -> None:
    """A directory with the system's reason, another encoding, and a file without end."""
    (problem,) = problems(CREDENTIALS, tmp_path)
    assert problem.startswith(f"{tmp_path}: the file cannot be read (")
    assert problem.endswith("). Check the path.")
    for content in (b"\xff\xfea\0", b"listen: {host: \xe6}"):
        config.write_bytes(content)
        encoding = f"{config}: the file is not UTF-8 text. Save it as UTF-8."
        assert problems(CREDENTIALS, config) == [encoding]
    endless = Path("/dev/zero")
    if endless.exists():
        size = "/dev/zero: the file is larger than 1048576 bytes. Check the path."
        assert problems(CREDENTIALS, endless) == [size]


def test_merge_keys_and_anchors_work(config: Path) -> None:
    """They are no keys that are set twice."""
    config.write_text("listen: &a {host: localhost, port: 1}\nadmin: {<<: *a, port: 2}\n")
    settings = load(config, CREDENTIALS)
    assert settings.admin.host == ("localhost",)
    assert (settings.listen.port, settings.admin.port) == (1, 2)


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
    ("text", "start"),
    [
        (f"listen: {{port: x}}\noauth: {json.dumps(OAUTH)}", "listen.port: must be"),
        ("a: 1\na: 2\n", "{config}, line 2: a is set a second time."),
        ("[" * 100_000, "{config}, line 1: is nested too deeply"),
        ("a: *b", "{config}, line 1, column 4: is not valid YAML: a value begins with a character"),
        ("a: \1", "{config}, line 1: holds a control character."),
        ("listen:\n\tport: 1", "{config}, line 2, column 1: is not valid YAML: a tab stands"),
        ("listen: {host: [a}", "{config}, line 1, column 18: is not valid YAML: a bracket"),
    ],
)
def test_libyaml_is_not_needed(config: Path, text: str, start: str) -> None:
    """Without it, PyYAML accepts and refuses the same files."""
    config.write_text(text, encoding="utf-8")
    command = [sys.executable, "-c", WITHOUT_LIBYAML, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.startswith(start.format(config=config))
    assert done.stdout.count("\n") == 1


def test_reading_settings_needs_few_modules() -> None:
    """A health check reads them, too."""
    script = "import sys, proxy.settings; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    loaded = set(done.stdout.split())
    heavy = {"aiohttp", "asyncio", "structlog", "ssl", "attrs", "pydantic", "prometheus_client"}
    assert loaded.isdisjoint(heavy)
    own = {name for name in loaded if name.startswith("proxy.")}
    others = {name for name in own if not name.startswith("proxy.settings")}
    assert others == {"proxy.errors", "proxy.problems", "proxy.secret"}


def test_the_admin_listener_is_found_without_the_rest(tmp_path: Path) -> None:
    """A health check may run as a user that may read no secret."""
    file = tmp_path / "proxy.yaml"
    file.write_text("admin: {port: 9191}\noauth: {password_file: /nowhere/password, nonsense: 1}\n")
    assert load_admin(file, {}).port == 9191
    assert load_admin(file, {"TELENOR_PROXY_ADMIN__PORT": "9292"}).port == 9292
    assert load_admin(None, {}).port == 9090
    file.write_text("admin: {port: many}\n")
    with pytest.raises(ConfigError) as caught:
        load_admin(file, {})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["admin.port"]
