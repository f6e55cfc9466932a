"""The environment: every setting has a variable, it wins over the file, and what is not a setting is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from proxy.errors import ConfigError
from proxy.settings import load

if TYPE_CHECKING:
    from pathlib import Path

P = "TELENOR_PROXY_"
CREDENTIALS = {
    f"{P}OAUTH__CLIENT_ID": "made-up-id",
    f"{P}OAUTH__CLIENT_SECRET": "made-up-secret",
    f"{P}OAUTH__USERNAME": "api0000000000",
    f"{P}OAUTH__PASSWORD": "made-up-password",
}

#: Variable without prefix: a text that differs from the default, and the value that the status page then shows.
SAMPLES: dict[str, tuple[str, object]] = {
    "LISTEN__HOST": ("::1", "::1"),
    "LISTEN__PORT": (" 81 ", 81),
    "LISTEN__UNIX_SOCKET": ("run/a.sock", "run/a.sock"),
    "LISTEN__ALLOWED_HOSTS": ("proxy, [::1]", ["proxy", "[::1]"]),
    "LISTEN__CLIENT_KEY": ("made-up-key", "set"),
    "ADMIN__HOST": ("0.0.0.0", "0.0.0.0"),
    "ADMIN__PORT": ("0", 0),
    "UPSTREAM__URL": ("http://localhost:81", "http://localhost:81"),
    "UPSTREAM__ALLOW_PLAINTEXT": ("true", True),
    "UPSTREAM__ALLOWED_PATHS": ('["/a/", "/b"]', ["/a/", "/b"]),
    "UPSTREAM__CONNECT_TIMEOUT_SECONDS": ("0.5", 0.5),
    "UPSTREAM__RESPONSE_TIMEOUT_SECONDS": ("61", 61.0),
    "UPSTREAM__MAX_CONNECTIONS": ("7", 7),
    "UPSTREAM__IDLE_TIMEOUT_SECONDS": ("1e1", 10.0),
    "UPSTREAM__KEEP_WARM": ("no", False),
    "OAUTH__TOKEN_PATH": ("/oauth/token", "/oauth/token"),
    "OAUTH__LOGOUT_PATH": ("/oauth/logout", "/oauth/logout"),
    "OAUTH__CLIENT_ID": ("other", "set"),
    "OAUTH__CLIENT_SECRET": ("other", "set"),
    "OAUTH__USERNAME": ("other", "set"),
    "OAUTH__PASSWORD": ("other", "set"),
    "OAUTH__SCOPE": ("read write", "read write"),
    "OAUTH__REFRESH_AHEAD_SECONDS": ("0", 0.0),
    "OAUTH__WAIT_SECONDS": ("2.5", 2.5),
    "OAUTH__REQUEST_TIMEOUT_SECONDS": ("3", 3.0),
    "OAUTH__LOGOUT_ON_SHUTDOWN": ("YES", True),
    "LIMITS__MAX_BODY_BYTES": ("1000", 1000),
    "LIMITS__MAX_REPLAY_BYTES": ("0", 0),
    "LIMITS__MAX_HEADER_BYTES": ("1000", 1000),
    "LIMITS__MAX_HEADER_FIELDS": ("20", 20),
    "LIMITS__MAX_TARGET_BYTES": ("100", 100),
    "LIMITS__MAX_CONNECTIONS": ("5", 5),
    "LIMITS__REQUEST_HEAD_TIMEOUT_SECONDS": ("1", 1.0),
    "LIMITS__IDLE_TIMEOUT_SECONDS": ("2", 2.0),
    "LIMITS__BODY_TIMEOUT_SECONDS": ("3", 3.0),
    "LISTEN__CLIENTS": (
        '[{"name": "erp", "key": "made-up-key"}]',
        [
            {
                "name": "erp",
                "keys": 1,
                "key_file": None,
                "certificate": None,
                "allowed_paths": None,
                "allowed_methods": None,
                "requests_per_second": None,
            }
        ],
    ),
    "LISTEN__ANSWER_LOGIN": ("true", True),
    "UPSTREAM__PROXY_URL": ("http://proxy.example:3128", "http://proxy.example:3128"),
    "UPSTREAM__PROXY_USERNAME": ("made-up-user", "set"),
    "UPSTREAM__PROXY_PASSWORD": ("made-up-password", "set"),
    "UPSTREAM__MAX_AGE_SECONDS": ("0", 0.0),
    "UPSTREAM__TRANSPORT": ("asyncio", "asyncio"),
    "ORDERS__STORE": ("orders.db", "orders.db"),
    "ORDERS__STORE_PASSWORD": ("made-up-password", "set"),
    "ORDERS__REMEMBER_SECONDS": ("60", 60.0),
    "ORDERS__GUARD_SECONDS": ("30", 30.0),
    "PACING__REQUESTS_PER_SECOND": ("0.5", 0.5),
    "PACING__MAX_WAIT_SECONDS": ("4", 4.0),
    "SHUTDOWN__DELAY_SECONDS": ("5", 5.0),
    "SHUTDOWN__GRACE_SECONDS": ("6", 6.0),
    "LOG__LEVEL": ("debug", "debug"),
    "LOG__FORMAT": ("console", "console"),
    "TELEMETRY__OTLP_ENDPOINT": ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
}
#: Variables that name a file which has to exist.
FILES = (
    "LISTEN__CLIENT_KEY",
    "UPSTREAM__PROXY_USERNAME",
    "UPSTREAM__PROXY_PASSWORD",
    "ORDERS__STORE_PASSWORD",
    "OAUTH__CLIENT_ID",
    "OAUTH__CLIENT_SECRET",
    "OAUTH__USERNAME",
    "OAUTH__PASSWORD",
)
#: Variables that name a PEM file which has to exist.
PEM_FILES = (
    "UPSTREAM__CA_FILE",
    "LISTEN__TLS_CERTIFICATE_FILE",
    "LISTEN__TLS_KEY_FILE",
    "LISTEN__TLS_CLIENT_CA_FILE",
)
#: What has to be set as well.
_PROXY = {
    f"{P}UPSTREAM__PROXY_URL": "http://proxy.example:3128",
    f"{P}UPSTREAM__PROXY_USERNAME": "made-up-user",
    f"{P}UPSTREAM__PROXY_PASSWORD": "made-up-password",
}
NEEDED = {
    "UPSTREAM__PROXY_USERNAME": _PROXY,
    "UPSTREAM__PROXY_PASSWORD": _PROXY,
    "ORDERS__STORE_PASSWORD": {f"{P}ORDERS__STORE": "redis://cache.example"},
    "ORDERS__GUARD_SECONDS": {f"{P}ORDERS__STORE": "memory"},
}


def path_of(name: str) -> str:
    """Name the setting of a variable without prefix."""
    return name.lower().replace("__", ".")


def problems(env: dict[str, str], path: Path | None = None) -> list[str]:
    """Load what cannot be loaded, and return why."""
    with pytest.raises(ConfigError) as caught:
        load(path, env)
    return caught.value.problems


def test_the_samples_are_complete() -> None:
    """Every setting is tried below."""
    names = {*SAMPLES, *(f"{name}_FILE" for name in FILES), *PEM_FILES}
    assert {path_of(name) for name in names} == set(load(None, CREDENTIALS).effective())


@pytest.mark.parametrize("name", SAMPLES)
def test_every_setting_can_come_from_the_environment(name: str) -> None:
    """A variable sets its own setting to what its text means, and no other."""
    text, expected = SAMPLES[name]
    env = CREDENTIALS | {key: held for key, held in NEEDED.get(name, {}).items() if key != P + name}
    before = load(None, CREDENTIALS).effective()
    for variable, held in env.items():
        if variable not in CREDENTIALS:
            before[path_of(variable.removeprefix(P))] = (
                "set" if "_PASSWORD" in variable or "_USERNAME" in variable else held
            )
    after = load(None, env | {P + name: text}).effective()
    assert after == before | {path_of(name): expected}


@pytest.mark.parametrize("name", FILES)
def test_every_secret_file_can_come_from_the_environment(name: str, tmp_path: Path) -> None:
    """A variable may name the file that holds a credential or the client key."""
    file = tmp_path / "secret"
    file.write_text("from-the-file\n")
    every = CREDENTIALS | NEEDED.get(name, {})
    env = {key: text for key, text in every.items() if key != P + name}
    settings = load(None, env | {f"{P}{name}_FILE": str(file)})
    section, key = path_of(name).split(".")
    value = getattr(getattr(settings, section), key)
    assert (value if isinstance(value, str) else value.reveal()) == "from-the-file"
    assert getattr(getattr(settings, section), f"{key}_file") == file


def test_the_ca_file_can_come_from_the_environment(tmp_path: Path) -> None:
    """A variable may name the PEM file to trust."""
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    assert load(None, CREDENTIALS | {f"{P}UPSTREAM__CA_FILE": str(file)}).upstream.ca_file == file


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A variable takes the place of what the file says, even of what would be wrong there; the rest of the file stays."""
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
    assert load(None, CREDENTIALS | {f"{P}LISTEN__ALLOWED_HOSTS": text}).listen.allowed_hosts == expected


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


@pytest.mark.parametrize("name", [name for name in SAMPLES if not name.startswith("OAUTH__")])
def test_an_empty_variable_means_not_set(name: str, tmp_path: Path) -> None:
    """With an empty text a setting has its default, whatever the file says."""
    config = tmp_path / "config.yaml"
    config.write_text("listen: {port: 81}\nupstream: {max_connections: 2}\nlog: {format: json}\n")
    effective = load(config, CREDENTIALS | {P + name: ""}).effective()
    assert effective[path_of(name)] == load(None, CREDENTIALS).effective()[path_of(name)]


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
        ("CONFIGURATION", " Remove it, or look its name up in the table of settings (README)."),
        ("", " Remove it, or look its name up in the table of settings (README)."),
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
    """A Service called telenor-proxy puts variables with the prefix in every container; they stop nothing."""
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
