"""Every setting: its default, its bounds, its type, and its variable, which overrides the file."""

import dataclasses
import json
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.secret import Secret
from proxy.settings import load
from proxy.settings.catalogue import SETTINGS
from tests.settings_table import ROWS
from tests.unit.made import CREDENTIALS, problems, variable

P = "TELENOR_PROXY_"

REMOVE = " Remove it, or look its name up in docs/reference.md."
#: The settings that a text can set by itself.
SAMPLES = [path for path, row in ROWS.items() if row.sample is not None]


def path_of(name: str) -> str:
    """Return the setting of a variable without prefix."""
    return name.lower().replace("__", ".")


def test_the_samples_are_complete() -> None:
    """But for the PEM files, which have tests of their own."""
    tried = {*SAMPLES, *(f"{path}_file" for path in SAMPLES)}
    assert {path for path in ROWS if path not in tried} == {
        "upstream.ca_file",
        "listen.tls_certificate_file",
        "listen.tls_key_file",
        "listen.tls_client_ca_file",
    }


@pytest.mark.parametrize("path", SAMPLES)
def test_every_setting_can_come_from_the_environment(path: str) -> None:
    """A variable sets its own setting and no other."""
    row = ROWS[path]
    assert row.sample is not None
    env = CREDENTIALS | {variable(other): text for other, text in row.needs.items()}
    after = load(None, env | {variable(path): row.sample}).effective()
    before = load(None, CREDENTIALS).effective()
    for other, text in row.needs.items():
        before[other] = "set" if f"{other}_file" in ROWS else text
    assert after == before | {path: row.expected()}


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """Also over what would be wrong there; the rest of the file stays."""
    config = tmp_path / "config.yaml"
    config.write_text("listen: {port: wrong, host: localhost}\noauth: {password: 5}\n")
    settings = load(config, CREDENTIALS | {f"{P}LISTEN__PORT": "81"})
    assert (settings.listen.port, settings.listen.host) == (81, ("localhost",))
    assert settings.oauth.password.reveal() == "made-up-password"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ("a",)),
        (" a , b,c ", ("a", "b", "c")),
        ("[::1]", ("[::1]",)),
        ("[::1],a", ("[::1]", "a")),
        ('["a"]', ("a",)),
        (' ["a", "[::1]"] ', ("a", "[::1]")),
        ("*", ("*",)),
    ],
)
def test_a_list_is_a_json_array_or_has_commas(text: str, expected: tuple[str, ...]) -> None:
    """An address in brackets is not JSON."""
    settings = load(None, CREDENTIALS | {f"{P}LISTEN__ALLOWED_HOSTS": text})
    assert settings.listen.allowed_hosts == expected


@pytest.mark.parametrize("text", ["a,,b", ",", "[]", "[1]", '["a"', "[" * 5000, '{"a": 1}', " "])
def test_a_list_that_makes_no_sense_is_refused(text: str) -> None:
    """Empty lists and entries, entries that are not text, broken JSON."""
    why = problems(CREDENTIALS | {f"{P}LISTEN__ALLOWED_HOSTS": text})
    assert all(line.startswith("listen.allowed_hosts") for line in why)


def test_booleans_have_three_spellings() -> None:
    """True, yes, 1; false, no, 0."""
    name = f"{P}OAUTH__LOGOUT_ON_SHUTDOWN"
    for text in ("true", "1", "Yes", " TRUE "):
        assert load(None, CREDENTIALS | {name: text}).oauth.logout_on_shutdown is True
    for text in ("false", "0", "no"):
        assert load(None, CREDENTIALS | {name: text}).oauth.logout_on_shutdown is False


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("LISTEN__PORT", "http", 'must be a whole number from 0 to 65535, not "http".'),
        ("LISTEN__PORT", "9" * 5000, "must be a whole number from 0 to 65535."),
        ("OAUTH__WAIT_SECONDS", "10s", 'must be a number above 0 and up to 3600, not "10s".'),
        ("LOG__LEVEL", "loud", 'must be one of debug, info, warning, error, not "loud".'),
        ("LOG__LEVEL", "x" * 50, "must be one of debug, info, warning, error."),
    ],
)
def test_a_text_that_means_nothing_is_refused(name: str, text: str, why: str) -> None:
    """With setting, variable, expectation, and the text if it is short."""
    assert problems(CREDENTIALS | {P + name: text}) == [f"{path_of(name)} (from {P}{name}): {why}"]


@pytest.mark.parametrize("path", [path for path in SAMPLES if not path.startswith("oauth.")])
def test_an_empty_variable_means_not_set(path: str, tmp_path: Path) -> None:
    """The setting has its default, whatever the file says."""
    config = tmp_path / "config.yaml"
    config.write_text("listen: {port: 81}\nupstream: {max_connections: 2}\nlog: {format: json}\n")
    effective = load(config, CREDENTIALS | {variable(path): ""}).effective()
    assert effective[path] == ROWS[path].default


@pytest.mark.parametrize("name", CREDENTIALS)
def test_an_empty_credential_is_missing(name: str) -> None:
    """A required setting may not be empty."""
    (why,) = problems(CREDENTIALS | {name: ""})
    assert why.startswith(f"{path_of(name.removeprefix(P))}: is missing. ")


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
        ("ADMIN__SERVICE_HOST", REMOVE),
        ("CONFIGURATION", REMOVE),
        ("", REMOVE),
    ],
)
def test_an_unknown_variable_is_refused(name: str, hint: str) -> None:
    """With the nearest known one; in small letters and inside Kubernetes, too."""
    kubernetes = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    for env in (CREDENTIALS, CREDENTIALS | kubernetes):
        assert problems(env | {P + name: "8080"}) == [f"{P}{name}: is not a setting.{hint}"]
    small = problems(CREDENTIALS | {"telenor_proxy_log__level": "debug"})
    assert small == [f"telenor_proxy_log__level: is not a setting. Did you mean {P}LOG__LEVEL?"]


def test_other_variables_are_of_no_interest() -> None:
    """Only names with the prefix count."""
    env = CREDENTIALS | {
        "PATH": "/bin",
        "TELENOR_PROXY": "x",
        "XTELENOR_PROXY_A": "x",
        "HTTPS_PROXY": "http://a",
        f"{P}CONFIG": "proxy.yaml",  # for the command line
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
    """A Service called telenor-proxy sets such variables in every container."""
    service = {P + name: text for name, text in SERVICE.items()}
    env = CREDENTIALS | {"KUBERNETES_SERVICE_HOST": "10.0.0.1"} | service
    assert load(None, env) == load(None, CREDENTIALS)


@pytest.mark.parametrize("name", SERVICE)
def test_outside_kubernetes_such_variables_are_refused(name: str) -> None:
    """No cluster has set them."""
    assert len(problems(CREDENTIALS | {P + name: SERVICE[name]})) == 1


# --- defaults, bounds and types ---------------------------------------------------------------

BOUNDS = {path: row.bounds for path, row in ROWS.items() if row.bounds is not None}


def test_every_setting_has_the_default_that_is_promised() -> None:
    """With nothing but the credentials; there is no other setting."""
    assert load(None, CREDENTIALS).effective() == {path: row.default for path, row in ROWS.items()}


def test_every_bounded_setting_is_in_the_table() -> None:
    """No number is without bounds."""
    numbers = {
        path
        for path, setting in SETTINGS.items()
        if setting.kind.schema.get("type") in {"integer", "number"}
    }
    assert numbers == set(BOUNDS)


@pytest.mark.parametrize("path", BOUNDS)
def test_bounds_hold(path: str) -> None:
    """Both bounds are accepted; nothing infinite is."""
    least, greatest, below, above = BOUNDS[path]
    env = CREDENTIALS | {variable(other): text for other, text in ROWS[path].needs.items()}
    for text in (least, greatest):
        assert load(None, env | {variable(path): text}).effective()[path] == float(text)
    for text in (below, above, "nan", "inf", "-inf", "1e999"):
        with pytest.raises(ConfigError, match=f"{path}.*must be a (whole )?number (from|above)"):
            load(None, env | {variable(path): text})


def test_settings_are_frozen() -> None:
    """Nothing can be changed."""
    settings = load(None, CREDENTIALS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.listen.port = 1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.log = settings.log  # type: ignore[misc]
    assert isinstance(settings.upstream.allowed_paths, tuple)
    assert isinstance(settings.listen.allowed_hosts, tuple)


def test_values_have_the_types_that_the_parts_rely_on() -> None:
    """Secrets wrapped, durations as floats, paths as `Path`."""
    env = {"listen.client_key": "made-up-key", "listen.unix_socket": "a.sock"}
    env["oauth.wait_seconds"] = "3"
    settings = load(None, CREDENTIALS | {variable(path): text for path, text in env.items()})
    assert settings.oauth.client_secret == Secret("made-up-secret")
    assert settings.oauth.password == Secret("made-up-password")
    assert settings.listen.client_key == Secret("made-up-key")
    assert (settings.oauth.client_id, settings.oauth.username) == ("made-up-id", "api0000000000")
    assert settings.listen.unix_socket == Path("a.sock")
    assert isinstance(settings.oauth.wait_seconds, float)
    assert isinstance(settings.upstream.idle_timeout_seconds, float)


def test_the_effective_settings_are_json_without_credentials(tmp_path: Path) -> None:
    """As the status page shows them; of a file, its path."""
    file = tmp_path / "key"
    file.write_text("made-up-key")
    env = CREDENTIALS | {variable("listen.client_key_file"): str(file)}
    effective = load(None, env).effective()
    assert json.loads(json.dumps(effective)) == effective
    assert effective["listen.client_key_file"] == str(file)
    assert not [value for value in CREDENTIALS.values() if value in json.dumps(effective)]


def test_words_of_the_log_may_be_written_in_any_case() -> None:
    """Level and format."""
    words = {variable("log.level"): "eRRor", variable("log.format"): "JSON"}
    log = load(None, CREDENTIALS | words).log
    assert (log.level, log.format) == ("error", "json")
