"""The defaults and bounds of the settings, and what a finished `Settings` promises."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.secret import Secret
from proxy.settings import ENVIRONMENT_PREFIX, judge, load

CREDENTIALS = {
    "TELENOR_PROXY_OAUTH__CLIENT_ID": "made-up-id",
    "TELENOR_PROXY_OAUTH__CLIENT_SECRET": "made-up-secret",
    "TELENOR_PROXY_OAUTH__USERNAME": "api0000000000",
    "TELENOR_PROXY_OAUTH__PASSWORD": "made-up-password",
}

DEFAULTS: dict[str, object] = {
    "listen.host": "127.0.0.1",
    "listen.port": 8080,
    "listen.unix_socket": None,
    "listen.allowed_hosts": ["localhost", "127.0.0.1", "[::1]"],
    "listen.client_key": "not set",
    "listen.client_key_file": None,
    "listen.clients": None,
    "listen.tls_certificate_file": None,
    "listen.tls_key_file": None,
    "listen.tls_client_ca_file": None,
    "listen.answer_login": False,
    "admin.host": "127.0.0.1",
    "admin.port": 9090,
    "upstream.url": "https://api.telenor.no",
    "upstream.allow_plaintext": False,
    "upstream.ca_file": None,
    "upstream.proxy_url": None,
    "upstream.proxy_username": "not set",
    "upstream.proxy_username_file": None,
    "upstream.proxy_password": "not set",
    "upstream.proxy_password_file": None,
    "upstream.allowed_paths": [
        "/corporate-mobile-subscriptions/",
        "/corporate-accounts/",
        "/corporate-agreements/",
        "/organizations/",
    ],
    "upstream.connect_timeout_seconds": 5,
    "upstream.response_timeout_seconds": 60,
    "upstream.max_connections": 100,
    "upstream.idle_timeout_seconds": 30,
    "upstream.max_age_seconds": 300,
    "upstream.keep_warm": True,
    "upstream.transport": "fast",
    "oauth.token_path": "/oauth/v2/token",
    "oauth.logout_path": "/oauth/v2/logout",
    "oauth.client_id": "set",
    "oauth.client_id_file": None,
    "oauth.client_secret": "set",
    "oauth.client_secret_file": None,
    "oauth.username": "set",
    "oauth.username_file": None,
    "oauth.password": "set",
    "oauth.password_file": None,
    "oauth.scope": None,
    "oauth.refresh_ahead_seconds": 300,
    "oauth.wait_seconds": 10,
    "oauth.request_timeout_seconds": 10,
    "oauth.logout_on_shutdown": False,
    "limits.max_body_bytes": 10485760,
    "limits.max_replay_bytes": 1048576,
    "limits.max_header_bytes": 32768,
    "limits.max_header_fields": 128,
    "limits.max_target_bytes": 8192,
    "limits.max_connections": 1000,
    "limits.request_head_timeout_seconds": 15,
    "limits.idle_timeout_seconds": 75,
    "limits.body_timeout_seconds": 30,
    "pacing.requests_per_second": None,
    "pacing.max_wait_seconds": 10,
    "orders.store": None,
    "orders.store_password": "not set",
    "orders.store_password_file": None,
    "orders.remember_seconds": 86400,
    "orders.guard_seconds": 0,
    "shutdown.delay_seconds": 0,
    "shutdown.grace_seconds": 30,
    "log.level": "info",
    "log.format": "auto",
    "telemetry.otlp_endpoint": None,
}

#: Setting: the least and the greatest value taken, and the nearest ones that are not.
HOUR = ("0.001", "3600", "0", "3600.5")
BOUNDS: dict[str, tuple[str, str, str, str]] = {
    "listen.port": ("0", "65535", "-1", "65536"),
    "admin.port": ("0", "65535", "-1", "65536"),
    "upstream.connect_timeout_seconds": HOUR,
    "upstream.response_timeout_seconds": HOUR,
    "upstream.max_connections": ("1", "1000000", "0", "1000001"),
    "upstream.idle_timeout_seconds": HOUR,
    "upstream.max_age_seconds": ("0", "86400", "-0.1", "86401"),
    "oauth.refresh_ahead_seconds": ("0", "86400", "-0.1", "86401"),
    "oauth.wait_seconds": HOUR,
    "oauth.request_timeout_seconds": HOUR,
    "limits.max_body_bytes": ("1", "1099511627776", "0", "1099511627777"),
    "limits.max_replay_bytes": ("0", "1073741824", "-1", "1073741825"),
    "limits.max_header_bytes": ("256", "1048576", "255", "1048577"),
    "limits.max_header_fields": ("1", "10000", "0", "10001"),
    "limits.max_target_bytes": ("1", "1048576", "0", "1048577"),
    "limits.max_connections": ("1", "1000000", "0", "1000001"),
    "limits.request_head_timeout_seconds": HOUR,
    "limits.idle_timeout_seconds": HOUR,
    "limits.body_timeout_seconds": HOUR,
    "pacing.requests_per_second": ("0.001", "100000", "0", "100001"),
    "pacing.max_wait_seconds": HOUR,
    "orders.remember_seconds": ("0.001", "2678400", "0", "2678401"),
    "orders.guard_seconds": ("0", "86400", "-1", "86401"),
    "shutdown.delay_seconds": ("0", "3600", "-1", "3601"),
    "shutdown.grace_seconds": HOUR,
}


def variable(path: str) -> str:
    """Name the environment variable of a setting."""
    return ENVIRONMENT_PREFIX + path.replace(".", "__").upper()


def test_every_setting_has_the_default_that_is_promised() -> None:
    """With nothing but the credentials, every setting has its documented default, and there is no other setting."""
    assert load(None, CREDENTIALS).effective() == DEFAULTS


def test_every_bounded_setting_is_in_the_table() -> None:
    """No number among the settings is without bounds."""
    numbers = {path for path, value in DEFAULTS.items() if type(value) in {int, float}}
    assert numbers | {"pacing.requests_per_second"} == set(BOUNDS)


@pytest.mark.parametrize("path", BOUNDS)
def test_bounds_hold(path: str) -> None:
    """A number is taken up to its bounds, both included, and not beyond; what is not finite is never taken."""
    least, greatest, below, above = BOUNDS[path]
    env = CREDENTIALS | {variable("orders.store"): "memory"}
    for text in (least, greatest):
        assert load(None, env | {variable(path): text}).effective()[path] == float(text)
    for text in (below, above, "nan", "inf", "-inf", "1e999"):
        with pytest.raises(ConfigError, match=f"{path}.*must be a (whole )?number (from|above)"):
            load(None, env | {variable(path): text})


def test_settings_are_frozen() -> None:
    """Nothing can be changed once the settings are made."""
    settings = load(None, CREDENTIALS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.listen.port = 1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.log = settings.log  # type: ignore[misc]
    assert isinstance(settings.upstream.allowed_paths, tuple)
    assert isinstance(settings.listen.allowed_hosts, tuple)


def test_values_have_the_types_that_the_parts_rely_on() -> None:
    """Secrets come wrapped, durations as floats, paths as `Path`."""
    env = {"LISTEN__CLIENT_KEY": "made-up-key", "LISTEN__UNIX_SOCKET": "a.sock", "OAUTH__WAIT_SECONDS": "3"}
    settings = load(None, CREDENTIALS | {ENVIRONMENT_PREFIX + name: text for name, text in env.items()})
    assert settings.oauth.client_secret == Secret("made-up-secret")
    assert settings.oauth.password == Secret("made-up-password")
    assert settings.listen.client_key == Secret("made-up-key")
    assert (settings.oauth.client_id, settings.oauth.username) == ("made-up-id", "api0000000000")
    assert settings.listen.unix_socket == Path("a.sock")
    assert isinstance(settings.oauth.wait_seconds, float)
    assert isinstance(settings.upstream.idle_timeout_seconds, float)


def test_the_effective_settings_are_json_without_credentials(tmp_path: Path) -> None:
    """What the status page shows can be written as JSON, with words in place of every credential and key."""
    file = tmp_path / "key"
    file.write_text("made-up-key")
    env = CREDENTIALS | {
        variable("listen.client_key_file"): str(file),
        variable("listen.unix_socket"): "a.sock",
    }
    effective = load(None, env).effective()
    assert json.loads(json.dumps(effective)) == effective
    assert (effective["listen.client_key"], effective["listen.client_key_file"]) == ("set", str(file))
    assert effective["listen.unix_socket"] == "a.sock"
    assert not [value for value in CREDENTIALS.values() if value in json.dumps(effective)]


def test_settings_can_be_made_without_a_file() -> None:
    """Parts and tests may make settings from plain data, which is judged the same way."""
    oauth = {"client_id": "a", "client_secret": "b", "username": "c", "password": "d"}
    assert judge({"oauth": oauth, "listen": {"port": 0}}, {}).listen.port == 0
    with pytest.raises(ConfigError, match="unencrypted"):
        judge({"oauth": oauth, "upstream": {"url": "http://api.example"}}, {})


@pytest.mark.parametrize("level", ["DEBUG", "Info", "warning", "eRRor"])
def test_words_of_the_log_may_be_written_in_any_case(level: str) -> None:
    """The level and the format of the log are taken in capitals too."""
    settings = load(None, CREDENTIALS | {variable("log.level"): level, variable("log.format"): "JSON"})
    assert (settings.log.level, settings.log.format) == (level.lower(), "json")
