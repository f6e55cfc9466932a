"""What is written from the settings for people and editors: the schema of the YAML file, and the README's table.

Only `make generate` and the tests need it; the running proxy never imports it.
"""

import json
from typing import Any

from proxy.settings.catalogue import SECTIONS, SETTINGS
from proxy.settings.section import Section, Setting


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
