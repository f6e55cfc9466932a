"""The defaults and bounds of the settings, and what a finished `Settings` promises."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.secret import Secret
from proxy.settings import load
from proxy.settings.catalogue import SETTINGS
from tests.settings_table import ROWS
from tests.unit.made import CREDENTIALS, variable

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
    """As the status page shows them."""
    file = tmp_path / "key"
    file.write_text("made-up-key")
    env = CREDENTIALS | {
        variable("listen.client_key_file"): str(file),
        variable("listen.unix_socket"): "a.sock",
    }
    effective = load(None, env).effective()
    assert json.loads(json.dumps(effective)) == effective
    assert effective["listen.client_key"] == "set"
    assert effective["listen.client_key_file"] == str(file)
    assert effective["listen.unix_socket"] == "a.sock"
    assert not [value for value in CREDENTIALS.values() if value in json.dumps(effective)]


@pytest.mark.parametrize("level", ["DEBUG", "Info", "warning", "eRRor"])
def test_words_of_the_log_may_be_written_in_any_case(level: str) -> None:
    """Level and format."""
    words = {variable("log.level"): level, variable("log.format"): "JSON"}
    log = load(None, CREDENTIALS | words).log
    assert (log.level, log.format) == (level.lower(), "json")
