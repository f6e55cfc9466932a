"""Secrets: where they may come from, and that nothing ever shows one."""

import json
import traceback
from pathlib import Path

import pytest
import yaml

from proxy.errors import ConfigError
from proxy.secret import Secret
from proxy.settings import WHERE_TO_FIND, Settings, load
from tests.settings_table import ROWS
from tests.unit import made
from tests.unit.made import CREDENTIALS, variable

#: Stands for every secret, and may be shown nowhere.
SENTINEL = "Zq7hunter2"
NAMES = ("client_id", "client_secret", "username", "password")
SECRETS = ("listen.client_key", *(f"oauth.{name}" for name in NAMES))
WITH_EACH = pytest.mark.parametrize("path", SECRETS)


def without(path: str) -> dict[str, str]:
    """Return the credentials but for one."""
    return {name: value for name, value in CREDENTIALS.items() if name != variable(path)}


def value_of(settings: Settings, path: str) -> str:
    """Reveal a secret."""
    section, key = path.split(".")
    value = getattr(getattr(settings, section), key)
    return value if isinstance(value, str) else str(value.reveal())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the path of the configuration file."""
    return tmp_path / "config.yaml"


def write(config: Path, path: str, text: str) -> None:
    """Write the section of a setting; `KEY` stands for its key."""
    section, key = path.split(".")
    config.write_text(f"{section}:\n  {text.replace('KEY', key)}\n")


def problems(config: Path | None, env: dict[str, str]) -> list[str]:
    """Load what cannot be loaded; return why, and check that nothing shows a secret."""
    with pytest.raises(ConfigError) as caught:
        load(config, env)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = "".join(traceback.format_exception(error)) + repr(error) + "".join(error.problems)
    assert SENTINEL not in shown
    return error.problems


@pytest.mark.parametrize("path", [path for path in ROWS if f"{path}_file" in ROWS])
def test_a_secret_can_come_from_a_file(path: str, tmp_path: Path) -> None:
    """Without a byte order mark, and without newlines at the end; blanks stay."""
    file = tmp_path / "secret"
    env = without(path) | {variable(other): text for other, text in ROWS[path].needs.items()}
    env[variable(f"{path}_file")] = str(file)
    for content in (b"made-up", b"made-up\n", b"made-up\r\n\n\r\n", b"\xef\xbb\xbfmade-up\n"):
        file.write_bytes(content.replace(b"up", b"up-value"))
        assert value_of(load(None, env), path) == "made-up-value"
    if path == "oauth.password":
        file.write_text(" bl\u00e5 b\u00e6r \n", encoding="utf-8")
        assert value_of(load(None, env), path) == " bl\u00e5 b\u00e6r "


@WITH_EACH
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "the file does not exist: of its path only {folder} is there. Check the path."),
        (b"\xff" + SENTINEL.encode(), "the file is not UTF-8 text. Save it as UTF-8."),
        (b"a" + "\u00e5".encode() * 40_000, "the file is larger than 65536 bytes. Check the path."),
        (SENTINEL.encode() * 7000, "the file is larger than 65536 bytes. Check the path."),
        (b"", "the file is empty. Write the value into it."),
        (b"\r\n\n", "the file is empty. Write the value into it."),
    ],
)
def test_a_file_without_a_secret_is_refused(
    path: str, content: bytes | None, words: str, tmp_path: Path
) -> None:
    """It is the only problem; that its secret is missing is not repeated."""
    file = tmp_path / SENTINEL
    if content is not None:
        file.write_bytes(content)
    name = f"{path}_file"
    (problem,) = problems(None, without(path) | {variable(name): str(file)})
    assert problem == f"{name} (from {variable(name)}): {words.format(folder=tmp_path)}"


@pytest.mark.parametrize(
    "name", [SENTINEL, f"{SENTINEL}/x", f"./{SENTINEL}", f"/{SENTINEL}", f"/{SENTINEL}/x"]
)
def test_a_secret_in_place_of_its_file_is_not_shown(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the part of the path that exists is shown, and nothing of a directory's."""
    monkeypatch.chdir(tmp_path)
    (problem,) = problems(None, without("oauth.password") | {variable("oauth.password_file"): name})
    start = "/" if name.startswith("/") else tmp_path
    assert f"of its path only {start} is there." in problem
    folder = tmp_path / "folder" / SENTINEL
    folder.mkdir(parents=True)
    env = without("oauth.password") | {variable("oauth.password_file"): str(folder)}
    assert "the file cannot be read (" in problems(None, env)[0]


@WITH_EACH
def test_a_secret_is_given_once(path: str, config: Path) -> None:
    """Not as a value and a file, neither in the file nor in the environment."""
    file = config.with_name("secret")
    file.write_text(SENTINEL)
    write(config, path, f"KEY: {SENTINEL}\n  KEY_file: '{file}'")
    words = f"is given together with {path}_file. Keep one of them."
    assert problems(config, without(path)) == [f"{path}: {words}"]
    env = without(path) | {variable(path): SENTINEL, variable(f"{path}_file"): str(file)}
    assert problems(None, env) == [f"{path} (from {variable(path)}): {words}"]


@WITH_EACH
def test_the_environment_replaces_either_form(path: str, config: Path) -> None:
    """A secret in the environment is stronger, in whichever of the two ways either is given."""
    section, key = path.split(".")
    old, new = config.with_name("old"), config.with_name("new")
    old.write_text("old-value")
    new.write_text("new-value")
    for given in ("KEY: old-value", f"KEY_file: '{old}'"):
        write(config, path, given)
        assert value_of(load(config, without(path)), path) == "old-value"
        for name, text in ((path, "new-value"), (f"{path}_file", str(new))):
            settings = load(config, without(path) | {variable(name): text})
            assert value_of(settings, path) == "new-value"
            expected = new if name.endswith("_file") else None
            assert getattr(getattr(settings, section), f"{key}_file") == expected


@WITH_EACH
def test_an_empty_variable_replaces_nothing(path: str, config: Path) -> None:
    """It removes the same setting of the file, not the other way to give the secret."""
    file = config.with_name("secret")
    file.write_text("made-up-value")
    write(config, path, f"KEY_file: '{file}'")
    assert value_of(load(config, without(path) | {variable(path): ""}), path) == "made-up-value"
    both = without(path) | {variable(path): "", variable(f"{path}_file"): str(file)}
    assert value_of(load(None, both), path) == "made-up-value"


def test_missing_credentials_are_reported_with_where_to_find_them() -> None:
    """All four, with the three ways to give each."""
    paths = [f"oauth.{name}" for name in NAMES]
    assert problems(None, {}) == [
        f"{path}: is missing. Set it in the file, as {variable(path)}, or name a file in "
        f"{path}_file. {WHERE_TO_FIND[path]}"
        for path in paths
    ]
    for path in paths:
        (problem,) = problems(None, without(path))
        assert problem.startswith(f"{path}: is missing. ")


CONTROL = "must be one line of UTF-8 text without control characters."
COLON = 'must not contain ":" (RFC 7617, section 2).'
ONE_LINE = (
    "must be one line, but a line break stands after 10 characters. "
    "Remove it and what stands behind it."
)
VISIBLE = "must be at least 8 visible ASCII characters without spaces."


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("oauth.client_id", f"{SENTINEL}:x", COLON),
        ("oauth.client_id", f"{SENTINEL}\x7f", CONTROL),
        ("oauth.client_secret", f"{SENTINEL}\n{SENTINEL}", ONE_LINE),
        ("oauth.username", f"{SENTINEL}\t", CONTROL),
        ("oauth.password", f"\x85{SENTINEL}", CONTROL),
        ("listen.client_key", SENTINEL[:7], VISIBLE),
        ("listen.client_key", f"{SENTINEL} x", VISIBLE),
        ("listen.client_key", f"{SENTINEL}\u00e5", VISIBLE),
        ("listen.client_key", f"{SENTINEL}\r", VISIBLE),
    ],
)
def test_a_secret_that_cannot_work_is_refused(
    path: str, value: str, words: str, config: Path
) -> None:
    """Wherever it comes from, with its source."""
    section, key = path.split(".")
    text = yaml.safe_dump({section: {key: value}}, allow_unicode=False)
    config.write_text(text, encoding="utf-8")
    assert problems(config, without(path)) == [f"{path}: {words}"]
    (problem,) = problems(None, without(path) | {variable(path): value})
    assert problem == f"{path} (from {variable(path)}): {words}"
    if not value.endswith("\r"):
        file = config.with_name("secret")
        file.write_bytes(value.encode())
        from_file = without(path) | {variable(f"{path}_file"): str(file)}
        assert problems(None, from_file) == [f"{path} (from {path}_file): {words}"]


TEXT = "PATH: must be text that is not empty. Put it in quotes."
CUT = (
    "PATH: is cut at the # with a space before it, where YAML begins a comment. "
    "Put the whole value in quotes, on one line."
)
JOINED = (
    "PATH: stands on several lines, which YAML joins. Put the whole value in quotes, on one line."
)
NAMED = (
    "PATH: begins with &, which YAML takes for a name of its own. "
    "Put the whole value in quotes, on one line."
)


@WITH_EACH
@pytest.mark.parametrize(
    ("text", "words"),
    [
        *((f"KEY: {value}", TEXT) for value in ("71234567", "7.5", "true", "2027-01-01")),
        *((f"KEY: {value}", TEXT) for value in (f"[{SENTINEL}]", f"{{{SENTINEL}: 1}}")),
        ("KEY: !!binary WnE3", TEXT),
        ("KEY: ''", "PATH: must be text that is not empty."),
        ("KEY_file: 71234567", "PATH_file: must be the path of a file, as text. Put it in quotes."),
        ('KEY_file: ""', "PATH_file: must be the path of a file."),
        ('KEY_file: "a\\0b"', "PATH_file: must be the path of a file."),
        (f"KEY: {SENTINEL} #x", CUT),
        (f"KEY: {SENTINEL}\t# x", CUT),
        (f"KEY: {SENTINEL}\n    x", JOINED),
        (f'KEY: "{SENTINEL}\n    x"', JOINED),
        (f"KEY: &x {SENTINEL}", NAMED),
    ],
)
def test_a_secret_that_yaml_would_change_is_refused(
    path: str, text: str, words: str, config: Path
) -> None:
    """Read as another type, cut or joined; neither the value nor its type is shown."""
    write(config, path, text)
    assert problems(config, without(path)) == [words.replace("PATH", path)]


@WITH_EACH
def test_a_secret_that_is_no_utf_8_is_refused(path: str) -> None:
    """Such bytes of the environment could not be sent."""
    assert len(problems(None, without(path) | {variable(path): f"{SENTINEL}\udcff"})) == 1


@pytest.mark.parametrize(
    "text",
    [
        "oauth: SECRET",
        "oauth: [SECRET]",
        "oauth:\n  client_secret:SECRET",
        "oauth: {client_secret:SECRET}",
        "oauth: {client_secret:SECRET, client_secret:SECRET}",
        "oauth: {client_secret=SECRET: }",
        "oauth:\n  client_secret: *SECRET",
        "oauth:\n  client_secret: &SECRET",
        "oauth:\n  client_secret: !SECRET",
        "oauth:\n  client_secret: !SECRET x",
        "oauth:\n  client_secret: %SECRET",
        "oauth:\n  client_secret: a: SECRET",
        "oauth:\n  client_secret: 'SECRET",
        'oauth:\n  client_secret: "\\SECRET"',
        "oauth:\n  client_secret: SECRET\n client_id: a",
        "oauth:\n\tclient_secret: SECRET",
        "oauth:\n  client_secret: !!int SECRET",
        "oauth:\n  client_secret: !!float SECRET",
        "oauth:\n  client_secret: !!timestamp SECRET",
        "oauth:\n  client_secret: !!bool SECRET",
        "oauth: {client_secret: {value: SECRET}}",
        "oauth: {client_secret: {SECRET: value}}",
        "oauth: {client_secret: [SECRET]}",
        "oauth: {client_sekret: SECRET}",
        "oauth: {client_secret_file: SECRET}",
        "oauth: {client_secret_file: [SECRET]}",
        "oauth: {client_secret: SECRET, client_secret_file: SECRET}",
        "client_secret: SECRET",
        "oauth.client_secret: SECRET",
        "SECRET",
        "- SECRET",
        "listen: {client_secret: SECRET}",
        "listen: {unix_socket: a, port: 1, client_key: SECRET}",
        "upstream: {url: 'https://user:SECRET@api.telenor.no'}",
        "upstream: {url: 'https://api.telenor.no:SECRET'}",
        "upstream: {url: 'https://api.telenor.no/?key=SECRET'}",
        "upstream: {url: 'https://[SECRET]'}",
        "upstream: {ca_file: SECRET}",
        'oauth: {client_secret: "SECRET\\0"}',
        "oauth: {client_secret: SECRET, wait_seconds: -1}",
        "a: \0SECRET",
    ],
)
def test_no_way_to_be_wrong_shows_a_secret(text: str, config: Path) -> None:
    """Neither problems nor error, traceback, cause or context."""
    config.write_text(text.replace("SECRET", SENTINEL))
    assert problems(config, without("oauth.client_secret"))


@pytest.mark.parametrize(
    "name",
    ["OAUTH__CLIENT_SEKRET", "CLIENT_SECRET", "OAUTH__CLIENT_SECRET_FILE", "UPSTREAM__CA_FILE"],
)
def test_no_variable_shows_a_secret(name: str) -> None:
    """Nor does the wrong variable."""
    assert problems(None, without("oauth.client_secret") | {f"TELENOR_PROXY_{name}": SENTINEL})


def test_settings_show_no_secret() -> None:
    """Neither repr nor str, of the whole or of a part, nor an error."""
    env = {variable(path): SENTINEL for path in SECRETS}
    settings = load(None, env)
    for part in (settings, settings.listen, settings.oauth):
        assert SENTINEL not in f"{part!r} {part} {part:}"
    assert SENTINEL not in json.dumps(settings.effective())
    oauth = dict.fromkeys(NAMES, f"{SENTINEL}:\n")
    with pytest.raises(ConfigError) as caught:
        made.settings(oauth=oauth, listen={"client_key": f"{SENTINEL} "})
    assert SENTINEL not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'made-up #x' # a comment", "made-up #x"),
        ('"made-up-x" # a comment', "made-up-x"),
        ("made-up#x", "made-up#x"),
        ("made-up-x\n  # a comment", "made-up-x"),
        ("|-\n    made-up-x", "made-up-x"),
        ("!!str made-up-x", "made-up-x"),
    ],
)
def test_a_secret_that_yaml_leaves_alone_is_accepted(text: str, value: str, config: Path) -> None:
    """A comment behind quotes or on its own line, and a # inside a word, change nothing."""
    write(config, "oauth.password", f"KEY: {text}")
    assert load(config, without("oauth.password")).oauth.password == Secret(value)


def test_a_comment_behind_other_values_is_accepted(config: Path) -> None:
    """In credentials it may be a part of the value, in clients' keys, too."""
    config.write_text("upstream:\n  url: https://api.example # the test\n")
    assert load(config, CREDENTIALS).upstream.url == "https://api.example"
    config.write_text(f"listen:\n  clients:\n    - name: a\n      key: {SENTINEL} #x\n")
    (problem,) = problems(config, CREDENTIALS)
    assert problem.startswith("listen.clients[0].key: is cut at the #")
