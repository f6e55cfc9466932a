"""Secrets: where they may come from, and that nothing ever shows one."""

from __future__ import annotations

import dataclasses
import json
import traceback
from typing import TYPE_CHECKING

import pytest
import yaml

from proxy.errors import ConfigError
from proxy.settings import WHERE_TO_FIND, Settings, judge, load

if TYPE_CHECKING:
    from pathlib import Path

P = "TELENOR_PROXY_"
#: Stands for every secret; if it is seen anywhere, a secret would have been.
SENTINEL = "Zq7hunter2"
NAMES = ("client_id", "client_secret", "username", "password")
CREDENTIALS = {f"{P}OAUTH__{name.upper()}": f"made-up-{name}" for name in NAMES}
SECRETS = ("listen.client_key", *(f"oauth.{name}" for name in NAMES))


def variable(path: str) -> str:
    """Name the environment variable of a setting."""
    return P + path.replace(".", "__").upper()


def without(path: str) -> dict[str, str]:
    """Return the credentials but for one."""
    return {name: value for name, value in CREDENTIALS.items() if name != variable(path)}


def value_of(settings: Settings, path: str) -> str:
    """Reveal a secret."""
    section, key = path.split(".")
    value = getattr(getattr(settings, section), key)
    return value if isinstance(value, str) else str(value.reveal())


def problems(config: Path | None, env: dict[str, str]) -> list[str]:
    """Load what cannot be loaded.

    Return what is said, and see that nothing of it is a secret, the traceback included.
    """
    with pytest.raises(ConfigError) as caught:
        load(config, env)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = "".join(traceback.format_exception(error)) + repr(error) + "".join(error.problems)
    assert SENTINEL not in shown
    return error.problems


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"made-up-value", "made-up-value"),
        (b"made-up-value\n", "made-up-value"),
        (b"made-up-value\r\n\n\r\n", "made-up-value"),
        (b"\xef\xbb\xbfmade-up-value\n", "made-up-value"),
    ],
)
@pytest.mark.parametrize("path", SECRETS)
def test_a_secret_can_come_from_a_file(
    path: str, content: bytes, value: str, tmp_path: Path
) -> None:
    """The content of the file is the secret, without a byte order mark and without newlines at the end."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    settings = load(None, without(path) | {variable(f"{path}_file"): str(file)})
    assert value_of(settings, path) == value


def test_only_newlines_are_removed(tmp_path: Path) -> None:
    """Spaces and letters beyond ASCII belong to the secret."""
    file = tmp_path / "secret"
    file.write_text(" bl\u00e5 b\u00e6r \n", encoding="utf-8")
    settings = load(None, without("oauth.password") | {variable("oauth.password_file"): str(file)})
    assert settings.oauth.password.reveal() == " bl\u00e5 b\u00e6r "


@pytest.mark.parametrize("path", SECRETS)
@pytest.mark.parametrize(
    ("content", "told"),
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
    path: str, content: bytes | None, told: str, tmp_path: Path
) -> None:
    """What is wrong with the file is the one thing told.

    That its secret is missing goes without saying.
    """
    file = tmp_path / SENTINEL
    if content is not None:
        file.write_bytes(content)
    name = f"{path}_file"
    assert problems(None, without(path) | {variable(name): str(file)}) == [
        f"{name} (from {variable(name)}): {told.format(folder=tmp_path)}"
    ]


@pytest.mark.parametrize(
    "name", [SENTINEL, f"{SENTINEL}/x", f"./{SENTINEL}", f"/{SENTINEL}", f"/{SENTINEL}/x"]
)
def test_a_secret_in_place_of_its_file_is_not_shown(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a path that leads nowhere only what exists is told: the rest may be the secret itself."""
    monkeypatch.chdir(tmp_path)
    (told,) = problems(None, without("oauth.password") | {variable("oauth.password_file"): name})
    assert f"of its path only {'/' if name.startswith('/') else tmp_path} is there." in told


def test_a_directory_holds_no_secret(tmp_path: Path) -> None:
    """A path that cannot be read as a file is told with the system's reason, and without the path."""
    folder = tmp_path / SENTINEL
    folder.mkdir()
    (told,) = problems(
        None, without("oauth.password") | {variable("oauth.password_file"): str(folder)}
    )
    assert "oauth.password_file" in told
    assert "the file cannot be read (" in told


@pytest.mark.parametrize("path", SECRETS)
def test_a_secret_is_given_once(path: str, tmp_path: Path) -> None:
    """A value and a file for the same secret contradict each other, within the file as within the environment."""
    section, key = path.split(".")
    file = tmp_path / "secret"
    file.write_text(SENTINEL)
    config = tmp_path / "config.yaml"
    config.write_text(f"{section}: {{{key}: {SENTINEL}, {key}_file: '{file}'}}\n")
    told = f"is given together with {path}_file. Keep one of them."
    assert problems(config, without(path)) == [f"{path}: {told}"]
    env = without(path) | {variable(path): SENTINEL, variable(f"{path}_file"): str(file)}
    assert problems(None, env) == [f"{path} (from {variable(path)}): {told}"]


@pytest.mark.parametrize("path", SECRETS)
def test_the_environment_replaces_either_form(path: str, tmp_path: Path) -> None:
    """A secret in the environment takes the place of the file's, whichever of the two ways either of them uses."""
    section, key = path.split(".")
    old, new, config = tmp_path / "old", tmp_path / "new", tmp_path / "config.yaml"
    old.write_text("old-value")
    new.write_text("new-value")
    for given in (f"{key}: old-value", f"{key}_file: '{old}'"):
        config.write_text(f"{section}: {{{given}}}\n")
        assert value_of(load(config, without(path)), path) == "old-value"
        for name, text in ((path, "new-value"), (f"{path}_file", str(new))):
            settings = load(config, without(path) | {variable(name): text})
            assert value_of(settings, path) == "new-value"
            expected = new if name.endswith("_file") else None
            assert getattr(getattr(settings, section), f"{key}_file") == expected


@pytest.mark.parametrize("path", SECRETS)
def test_an_empty_variable_replaces_nothing(path: str, tmp_path: Path) -> None:
    """An empty variable takes away the same setting of the file, but not the other way to give the secret."""
    section, key = path.split(".")
    file, config = tmp_path / "secret", tmp_path / "config.yaml"
    file.write_text("made-up-value")
    config.write_text(f"{section}: {{{key}_file: '{file}'}}\n")
    assert value_of(load(config, without(path) | {variable(path): ""}), path) == "made-up-value"
    both = without(path) | {variable(path): "", variable(f"{path}_file"): str(file)}
    assert value_of(load(None, both), path) == "made-up-value"


@pytest.mark.parametrize("path", [f"oauth.{name}" for name in NAMES])
def test_a_missing_credential_is_told_with_where_to_find_it(path: str) -> None:
    """The message names the three ways to give the credential, and where the user finds it."""
    (told,) = problems(None, without(path))
    assert told == (
        f"{path}: is missing. Set it in the file, as {variable(path)}, or name a file in {path}_file. {WHERE_TO_FIND[path]}"
    )


def test_all_four_are_required() -> None:
    """Without any configuration, exactly the four credentials are missing."""
    assert [line.partition(":")[0] for line in problems(None, {})] == [
        f"oauth.{name}" for name in NAMES
    ]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("oauth.client_id", f"{SENTINEL}:x", 'must not contain ":", which separates it from the secret (RFC 7617, section 2).'),
        ("oauth.client_id", f"{SENTINEL}\x7f", "must be one line of UTF-8 text without control characters."),
        ("oauth.client_secret", f"{SENTINEL}\n{SENTINEL}", "must be one line, but a line break stands after 10 characters. Remove it and what stands behind it."),
        ("oauth.username", f"{SENTINEL}\t", "must be one line of UTF-8 text without control characters."),
        ("oauth.password", f"\x85{SENTINEL}", "must be one line of UTF-8 text without control characters."),
        *(
            ("listen.client_key", key, "must be at least 8 visible ASCII characters without spaces, so that it fits in a header field.")
            for key in (SENTINEL[:7], f"{SENTINEL} x", f"{SENTINEL}\u00e5", f"{SENTINEL}\r")
        ),
    ],
)  # fmt: skip # one row a line
def test_a_secret_that_cannot_work_is_refused(
    path: str, value: str, told: str, tmp_path: Path
) -> None:
    """A secret that could not be sent is refused wherever it came from, and the message says from where."""
    section, key = path.split(".")
    config, file = tmp_path / "config.yaml", tmp_path / "secret"
    config.write_text(
        yaml.safe_dump({section: {key: value}}, allow_unicode=False), encoding="utf-8"
    )
    assert problems(config, without(path)) == [f"{path}: {told}"]
    assert problems(None, without(path) | {variable(path): value}) == [
        f"{path} (from {variable(path)}): {told}"
    ]
    if not value.endswith("\r"):
        file.write_bytes(value.encode())
        from_file = without(path) | {variable(f"{path}_file"): str(file)}
        assert problems(None, from_file) == [f"{path} (read from {path}_file): {told}"]


@pytest.mark.parametrize("path", SECRETS)
@pytest.mark.parametrize(
    "value",
    [
        "71234567",
        "7.5",
        "true",
        "2027-01-01",
        f"[{SENTINEL}]",
        f"{{{SENTINEL}: 1}}",
        "!!binary WnE3",
    ],
)
def test_a_secret_that_is_no_text_is_not_shown(path: str, value: str, tmp_path: Path) -> None:
    """YAML reads some secrets as numbers or dates.

    The message says to quote them, and shows neither the value nor its type.
    """
    section, key = path.split(".")
    config = tmp_path / "config.yaml"
    config.write_text(f"{section}: {{{key}: {value}}}\n")
    assert problems(config, without(path)) == [
        f"{path}: must be text that is not empty. Put it in quotes."
    ]


@pytest.mark.parametrize("path", SECRETS)
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("71234567", "must be the path of a file, as text. Put it in quotes."),
        ('""', "must be the path of a file."),
        ('"a\\0b"', "must be the path of a file."),
    ],
)
def test_the_name_of_a_secret_file_is_not_shown(
    path: str, value: str, told: str, tmp_path: Path
) -> None:
    """A secret that stands where the name of its file belongs is not shown, and only that is told."""
    section, key = path.split(".")
    config = tmp_path / "config.yaml"
    config.write_text(f"{section}: {{{key}_file: {value}}}\n")
    assert problems(config, without(path)) == [f"{path}_file: {told}"]


@pytest.mark.parametrize("path", SECRETS)
def test_a_secret_that_is_no_utf_8_is_refused(path: str) -> None:
    """Bytes in the environment that are not UTF-8 could not be sent, and are refused before anyone tries."""
    assert len(problems(None, without(path) | {variable(path): f"{SENTINEL}\udcff"})) == 1


@pytest.mark.parametrize("path", SECRETS)
def test_an_empty_secret_is_refused(path: str, tmp_path: Path) -> None:
    """An empty text in the file is not a secret, and not the same as a setting left out."""
    section, key = path.split(".")
    config = tmp_path / "config.yaml"
    config.write_text(f"{section}: {{{key}: ''}}\n")
    assert problems(config, without(path)) == [f"{path}: must be text that is not empty."]


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
)  # fmt: skip # one row a line
def test_no_way_to_be_wrong_shows_a_secret(text: str, tmp_path: Path) -> None:
    """However a configuration is wrong, neither the problems nor the error, its traceback, cause or context hold the secret."""
    config = tmp_path / "config.yaml"
    config.write_text(text.replace("SECRET", SENTINEL))
    assert problems(config, without("oauth.client_secret"))


@pytest.mark.parametrize(
    "name",
    ["OAUTH__CLIENT_SEKRET", "CLIENT_SECRET", "OAUTH__CLIENT_SECRET_FILE", "UPSTREAM__CA_FILE"],
)
def test_no_variable_shows_a_secret(name: str) -> None:
    """A secret in the wrong variable is not shown either."""
    assert problems(None, without("oauth.client_secret") | {P + name: SENTINEL})


def test_settings_show_no_secret() -> None:
    """Neither repr nor str nor a dump of the settings or a part of them holds a credential."""
    env = {variable(path): SENTINEL for path in SECRETS}
    settings = load(None, env)
    for part in (settings, settings.listen, settings.oauth):
        shown = f"{part!r} {part} {part:}"
        assert SENTINEL not in shown
    dump = dataclasses.asdict(settings)
    held = [dump["oauth"]["client_secret"], dump["oauth"]["password"], dump["listen"]["client_key"]]
    assert SENTINEL not in str(held)
    assert SENTINEL not in json.dumps(held, default=str)
    assert SENTINEL not in str(settings.effective())


def test_settings_made_from_data_show_no_secret_either() -> None:
    """The error keeps what it refused to itself, wherever the data came from."""
    oauth = dict.fromkeys(NAMES, f"{SENTINEL}:\n")
    with pytest.raises(ConfigError) as caught:
        judge({"oauth": oauth, "listen": {"client_key": f"{SENTINEL} "}}, {})
    assert SENTINEL not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize("path", SECRETS)
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (f"{SENTINEL} #x", "is cut at the # with a space before it, where YAML begins a comment"),
        (f"{SENTINEL}\t# x", "is cut at the # with a space before it, where YAML begins a comment"),
        (f"{SENTINEL}\n    x", "stands on several lines, which YAML joins"),
        (f'"{SENTINEL}\n    x"', "stands on several lines, which YAML joins"),
        (f"&x {SENTINEL}", "begins with &, which YAML takes for a name of its own"),
    ],
)
def test_a_secret_that_yaml_would_change_is_refused(
    path: str, value: str, told: str, tmp_path: Path
) -> None:
    """What YAML would cut or join without a word is told, with the way out."""
    section, key = path.split(".")
    config = tmp_path / "config.yaml"
    config.write_text(f"{section}:\n  {key}: {value}\n")
    assert problems(config, without(path)) == [
        f"{path}: {told}. Put the whole value in quotes, on one line."
    ]


@pytest.mark.parametrize("path", SECRETS)
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
def test_a_secret_that_yaml_leaves_alone_is_taken(
    path: str, text: str, value: str, tmp_path: Path
) -> None:
    """A comment behind quotes or on a line of its own, and a # inside a word, change nothing."""
    if path == "listen.client_key" and " " in value:
        value = text = "made-up-x"
    section, key = path.split(".")
    config = tmp_path / "config.yaml"
    config.write_text(f"{section}:\n  {key}: {text}\n")
    assert value_of(load(config, without(path)), path) == value


def test_a_comment_behind_other_values_is_taken(tmp_path: Path) -> None:
    """Only of credentials a comment is more likely a part of the value."""
    config = tmp_path / "config.yaml"
    config.write_text("upstream:\n  url: https://api.example # the test\n")
    assert load(config, CREDENTIALS).upstream.url == "https://api.example"


def test_a_key_of_a_client_is_not_cut_either(tmp_path: Path) -> None:
    """The keys in the list of clients are credentials as well."""
    config = tmp_path / "config.yaml"
    config.write_text(f"listen:\n  clients:\n    - name: a\n      key: {SENTINEL} #x\n")
    (told,) = problems(config, CREDENTIALS)
    assert told.startswith("listen.clients[0].key: is cut at the #")
