"""All settings together: `Settings`, and of each its path, its variable, whether it is secret and whether it can change.

Also what is written from that for people and editors: the schema of the YAML file, and the table of
settings. Everything here is derived from `model`; a setting is declared there and nowhere else.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_type_hints

from proxy.secret import Secret
from proxy.settings.kinds import Section, Setting
from proxy.settings.model import (
    AdminSettings,
    LimitsSettings,
    ListenSettings,
    LogSettings,
    OAuthSettings,
    OrdersSettings,
    PacingSettings,
    ShutdownSettings,
    TelemetrySettings,
    UpstreamSettings,
)

# --- All settings ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. Frozen; `load` makes one from a file and the environment."""

    listen: ListenSettings
    admin: AdminSettings
    upstream: UpstreamSettings
    oauth: OAuthSettings
    limits: LimitsSettings
    pacing: PacingSettings
    orders: OrdersSettings
    shutdown: ShutdownSettings
    log: LogSettings
    telemetry: TelemetrySettings

    def effective(self) -> dict[str, object]:
        """Every setting by its path, ready for JSON. Of credentials and keys only whether they are set."""
        effective = {}
        for name, section in SECTIONS.items():
            for key, declared in section.settings().items():
                value = getattr(getattr(self, name), key)
                shown = _marked(value) if section.is_secret(key) else declared.shown(value)
                effective[f"{name}.{key}"] = shown
        return effective

    def secrets(self) -> Iterator[tuple[str, str | Secret]]:
        """Yield the path and the value of each credential and key that is set."""
        for name, section in SECTIONS.items():
            for key in section.settings():
                value = getattr(getattr(self, name), key)
                if section.is_secret(key) and value is not None:
                    yield f"{name}.{key}", value
        for index, client in enumerate(self.listen.clients):
            for held in client.keys:
                yield f"listen.clients[{index}]", held

    def secret_files(self) -> set[Path]:
        """Return the files that credentials and keys were read from."""
        named = [
            getattr(getattr(self, name), f"{key}_file")
            for name, section in SECTIONS.items()
            for key in section.settings()
            if section.is_secret(key)
        ]
        named += [client.key_file for client in self.listen.clients]
        return {path for path in named if path is not None}


SECTIONS: Final[Mapping[str, type[Section]]] = get_type_hints(Settings)


def _marked(secret: object) -> str:
    return "not set" if secret is None else "set"


ENVIRONMENT_PREFIX: Final = "TELENOR_PROXY_"
#: Names the file when the command line does not; the one variable with the prefix that is no
#: setting.
CONFIG_VARIABLE: Final = "TELENOR_PROXY_CONFIG"

#: Every setting by its path, such as `listen.port`.
SETTINGS: Final[Mapping[str, Setting]] = {
    f"{name}.{key}": setting
    for name, section in SECTIONS.items()
    for key, setting in section.settings().items()
}
#: The paths of values that may come from a file, and are never shown.
SECRETS: Final = frozenset(
    f"{name}.{key}"
    for name, section in SECTIONS.items()
    for key in section.settings()
    if section.is_secret(key)
)
#: The paths of what is taken up at run time. The files are: from then on the new one is watched.
CHANGEABLE: Final = frozenset(path for path, setting in SETTINGS.items() if setting.changes)


def split(path: str) -> tuple[str, str]:
    """Return the section and the key of a path."""
    section, _, key = path.partition(".")
    return section, key


def environment_name(path: str) -> str:
    """Return the environment variable of a setting: `TELENOR_PROXY_LISTEN__PORT` for `listen.port`."""
    return ENVIRONMENT_PREFIX + path.replace(".", "__").upper()


PATH_OF_VARIABLE: Final[Mapping[str, str]] = {environment_name(path): path for path in SETTINGS}


# --- The schema and the table ---------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the YAML file, for editors.

    Nothing is required in it, because the environment may bring what the file leaves out.
    """
    definitions = {section.__name__: _definition(section) for section in SECTIONS.values()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": dict(sorted(definitions.items())),
        "additionalProperties": False,
        "description": "The configuration file of telenor-proxy.",
        "properties": {name: {"$ref": f"#/$defs/{section.__name__}"} for name, section in SECTIONS.items()},
        "title": "telenor-proxy",
        "type": "object",
    }


def _definition(section: type[Section]) -> dict[str, Any]:
    definition: dict[str, Any] = {
        "additionalProperties": False,
        "description": section.__doc__,
        "properties": {key: _property(setting) for key, setting in section.settings().items()},
        "title": section.__name__,
        "type": ["object", "null"],
    }
    secrets = [key for key in section.settings() if section.is_secret(key)]
    if secrets:
        definition["allOf"] = [
            {"not": {"type": "object", "required": [key, f"{key}_file"]}} for key in secrets
        ]
    return definition


def _property(setting: Setting) -> dict[str, Any]:
    schema = {"description": setting.description, **setting.kind.schema}
    if setting.default in (None, ()):
        schema = {"anyOf": [setting.kind.schema, {"type": "null"}], "description": setting.description}
    if not setting.is_required:
        schema["default"] = setting.shown(setting.default)
    return dict(sorted(schema.items()))


def settings_table() -> str:
    """Return all settings as a Markdown table, for the README."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for path, setting in SETTINGS.items():
        if setting.is_required:
            default = "required"
        elif setting.default in (None, ()):
            default = "none"
        else:
            default = f"`{_written(setting.shown(setting.default))}`"
        rows.append(f"| `{path}` | {default} | {setting.description} |")
    return "\n".join(rows) + "\n"


def _written(default: object) -> str:
    """Return a default as one would write it in the file."""
    if isinstance(default, str):
        return default
    return f"{default:g}" if isinstance(default, float) else json.dumps(default)
