"""The environment: every setting has a variable, it wins over the file, and what is not a setting is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from proxy.errors import ConfigError
from proxy.settings import load
from tests.settings_table import ROWS

if TYPE_CHECKING:
    from pathlib import Path

P = "TELENOR_PROXY_"
CREDENTIALS = {
    f"{P}OAUTH__CLIENT_ID": "made-up-id",
    f"{P}OAUTH__CLIENT_SECRET": "made-up-secret",
    f"{P}OAUTH__USERNAME": "api0000000000",
    f"{P}OAUTH__PASSWORD": "made-up-password",
}

#: The settings that a text can set by itself, and those that may be read from a file of their own.
SAMPLES = [path for path, row in ROWS.items() if row.sample is not None]
FILES = [path for path in ROWS if f"{path}_file" in ROWS]


def variable(path: str) -> str:
    """Name the environment variable of a setting."""
    return P + path.replace(".", "__").upper()


def path_of(name: str) -> str:
    """Name the setting of a variable without prefix."""
    return name.lower().replace("__", ".")


def problems(env: dict[str, str], path: Path | None = None) -> list[str]:
    """Load what cannot be loaded, and return why."""
    with pytest.raises(ConfigError) as caught:
        load(path, env)
    return caught.value.problems


def test_the_samples_are_complete() -> None:
    """Every setting is tried below, but for those that name a PEM file, which have tests of their own."""
    tried = {*SAMPLES, *(f"{path}_file" for path in FILES)}
    assert {path for path in ROWS if path not in tried} == {
        "upstream.ca_file",
        "listen.tls_certificate_file",
        "listen.tls_key_file",
        "listen.tls_client_ca_file",
    }


@pytest.mark.parametrize("path", SAMPLES)
def test_every_setting_can_come_from_the_environment(path: str) -> None:
    """A variable sets its own setting to what its text means, and no other."""
    row = ROWS[path]
    assert row.sample is not None
    env = CREDENTIALS | {variable(other): text for other, text in row.needs.items()}
    after = load(None, env | {variable(path): row.sample}).effective()
    before = load(None, CREDENTIALS).effective()
    for other, text in row.needs.items():
        before[other] = "set" if f"{other}_file" in ROWS else text
    assert after == before | {path: row.sample if row.shown is ... else row.shown}


@pytest.mark.parametrize("path", FILES)
def test_every_secret_file_can_come_from_the_environment(path: str, tmp_path: Path) -> None:
    """A variable may name the file that holds a credential or a key."""
    file = tmp_path / "secret"
    file.write_text("from-the-file\n")
    env = CREDENTIALS | {variable(other): text for other, text in ROWS[path].needs.items()}
    env.pop(variable(path), None)
    settings = load(None, env | {f"{variable(path)}_FILE": str(file)})
    section, key = path.split(".")
    value = getattr(getattr(settings, section), key)
    assert (value if isinstance(value, str) else value.reveal()) == "from-the-file"
    assert getattr(getattr(settings, section), f"{key}_file") == file


def test_the_ca_file_can_come_from_the_environment(tmp_path: Path) -> None:
    """A variable may name the PEM file to trust."""
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    assert load(None, CREDENTIALS | {f"{P}UPSTREAM__CA_FILE": str(file)}).upstream.ca_file == file


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A variable takes the place of what the file says, even of what would be wrong there.

    The rest of the file stays.
    """
    config = tmp_path / "config.yaml"
    config.write_text("listen: {port: wrong, host: localhost}\noauth: {password: 5}\n")
    settings = load(config, CREDENTIALS | {f"{P}LISTEN__PORT": "81"})
    assert (settings.listen.port, settings.listen.host) == (81, ("localhost",))
    assert settings.oauth.password.reveal() == "made-up-password"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ("a",)),
        ("a,b", ("a", "b")),
        (" a , b ", ("a", "b")),
        ("[::1]", ("[::1]",)),
        ("[::1],a", ("[::1]", "a")),
        ('["a"]', ("a",)),
        (' ["a", "[::1]"] ', ("a", "[::1]")),
        ("*", ("*",)),
    ],
)
def test_a_list_is_a_json_array_or_has_commas(text: str, expected: tuple[str, ...]) -> None:
    """Lists are written as JSON or with commas, and an address in brackets is not mistaken for JSON."""
    assert (
        load(None, CREDENTIALS | {f"{P}LISTEN__ALLOWED_HOSTS": text}).listen.allowed_hosts
        == expected
    )


@pytest.mark.parametrize("text", ["a,,b", ",", "[]", "[1]", '["a"', "[" * 5000, '{"a": 1}', " "])
def test_a_list_that_makes_no_sense_is_refused(text: str) -> None:
    """Empty lists, empty entries, entries that are not text and broken JSON are refused."""
    told = problems(CREDENTIALS | {f"{P}LISTEN__ALLOWED_HOSTS": text})
    assert all(line.startswith("listen.allowed_hosts") for line in told)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("1", True),
        ("Yes", True),
        (" TRUE ", True),
        ("false", False),
        ("0", False),
        ("no", False),
    ],
)
def test_booleans_have_three_spellings(text: str, expected: bool) -> None:  # noqa: FBT001 # a table's column
    """True, yes and 1 mean true; false, no and 0 mean false."""
    settings = load(None, CREDENTIALS | {f"{P}OAUTH__LOGOUT_ON_SHUTDOWN": text})
    assert settings.oauth.logout_on_shutdown is expected


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("LISTEN__PORT", "http", 'must be a whole number from 0 to 65535, not "http".'),
        ("LISTEN__PORT", "80.0", 'must be a whole number from 0 to 65535, not "80.0".'),
        ("LISTEN__PORT", "9" * 5000, "must be a whole number from 0 to 65535."),
        ("OAUTH__WAIT_SECONDS", "10s", 'must be a number above 0 and up to 3600, not "10s".'),
        ("OAUTH__LOGOUT_ON_SHUTDOWN", "on", 'must be true or false, not "on".'),
        ("LOG__LEVEL", "loud", 'must be one of debug, info, warning, error, not "loud".'),
        ("LOG__LEVEL", "x" * 50, "must be one of debug, info, warning, error."),
    ],
)
def test_a_text_that_means_nothing_is_refused(name: str, text: str, told: str) -> None:
    """The message has the setting, the variable, what was expected, and the text if it is short."""
    assert problems(CREDENTIALS | {P + name: text}) == [f"{path_of(name)} (from {P}{name}): {told}"]


@pytest.mark.parametrize("path", [path for path in SAMPLES if not path.startswith("oauth.")])
def test_an_empty_variable_means_not_set(path: str, tmp_path: Path) -> None:
    """With an empty text a setting has its default, whatever the file says."""
    config = tmp_path / "config.yaml"
    config.write_text("listen: {port: 81}\nupstream: {max_connections: 2}\nlog: {format: json}\n")
    effective = load(config, CREDENTIALS | {variable(path): ""}).effective()
    assert effective[path] == ROWS[path].default


@pytest.mark.parametrize("name", CREDENTIALS)
def test_an_empty_credential_is_missing(name: str) -> None:
    """A required setting that is empty in the environment is told to be missing."""
    (told,) = problems(CREDENTIALS | {name: ""})
    assert told.startswith(f"{path_of(name.removeprefix(P))}: is missing. ")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LISTEN__PROT", f" Did you mean {P}LISTEN__PORT?"),
        ("LISTEN_PORT", f" Did you mean {P}LISTEN__PORT?"),
        ("PORT", f" Did you mean {P}LISTEN__PORT or {P}ADMIN__PORT?"),
        ("CLIENT_ID", f" Did you mean {P}OAUTH__CLIENT_ID?"),
        ("OAUTH__MAX_BODY_BYTES", f" Did you mean {P}LIMITS__MAX_BODY_BYTES?"),
        ("UPSTREAM_MAX_CONNECTIONS", f" Did you mean {P}UPSTREAM__MAX_CONNECTIONS?"),
        ("OAUTH_CLIENT_ID", f" Did you mean {P}OAUTH__CLIENT_ID?"),
        ("LISTEN", f" Did you mean {P}LISTEN__PORT?"),
        (
            "CONFIGURATION",
            " Remove it, or look its name up in the table of settings (docs/reference.md).",
        ),
        ("", " Remove it, or look its name up in the table of settings (docs/reference.md)."),
    ],
)
def test_an_unknown_variable_is_refused(name: str, hint: str) -> None:
    """A variable with the prefix that is not a setting is refused, with the nearest one that is."""
    assert problems(CREDENTIALS | {P + name: "x"}) == [f"{P}{name}: is not a setting.{hint}"]


def test_variables_are_written_in_capitals() -> None:
    """A setting in small letters is not taken silently, and not ignored silently either."""
    told = problems(CREDENTIALS | {"telenor_proxy_log__level": "debug"})
    assert told == [f"telenor_proxy_log__level: is not a setting. Did you mean {P}LOG__LEVEL?"]


def test_the_name_of_the_file_is_no_setting() -> None:
    """TELENOR_PROXY_CONFIG is for the command line, and is not taken for a misspelt setting."""
    assert load(None, CREDENTIALS | {f"{P}CONFIG": "proxy.yaml"}) == load(None, CREDENTIALS)


def test_other_variables_are_of_no_interest() -> None:
    """Only names with the prefix are looked at."""
    env = CREDENTIALS | {
        "PATH": "/bin",
        "TELENOR_PROXY": "x",
        "XTELENOR_PROXY_A": "x",
        "HTTPS_PROXY": "http://a",
    }
    assert load(None, env) == load(None, CREDENTIALS)


SERVICE = {
    "SERVICE_HOST": "10.0.0.9",
    "SERVICE_PORT": "8080",
    "SERVICE_PORT_HTTP": "8080",
    "PORT": "tcp://10.0.0.9:8080",
    "PORT_8080_TCP": "tcp://10.0.0.9:8080",
    "PORT_8080_TCP_PROTO": "tcp",
    "PORT_8080_TCP_ADDR": "10.0.0.9",
    "ADMIN_PORT": "tcp://10.0.0.9:9090",
    "ADMIN_SERVICE_HOST": "10.0.0.9",
}


def test_the_service_variables_of_kubernetes_are_of_no_interest() -> None:
    """A Service called telenor-proxy puts variables with the prefix in every container.

    They stop nothing.
    """
    env = (
        CREDENTIALS
        | {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
        | {P + name: text for name, text in SERVICE.items()}
    )
    assert load(None, env) == load(None, CREDENTIALS)


@pytest.mark.parametrize("name", SERVICE)
def test_outside_kubernetes_such_variables_are_refused(name: str) -> None:
    """Where no cluster set it, such a variable is someone's mistake."""
    assert len(problems(CREDENTIALS | {P + name: SERVICE[name]})) == 1


@pytest.mark.parametrize(
    ("name", "text"), [("PORT", "8080"), ("LISTEN_PORT", "8080"), ("ADMIN__SERVICE_HOST", "a")]
)
def test_mistakes_are_refused_inside_kubernetes_too(name: str, text: str) -> None:
    """A variable that only resembles those of Kubernetes is refused."""
    env = CREDENTIALS | {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert problems(env | {P + name: text})[0].startswith(f"{P}{name}: is not a setting.")
