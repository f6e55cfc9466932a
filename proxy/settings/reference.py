"""What is written from the settings for people and editors: the schema of the YAML file, and the README's table.

Only `make generate` and the tests need it; the running proxy never imports it.
"""

import json
from typing import Any

from proxy.settings.catalogue import FIELDS, SECTIONS
from proxy.settings.model import Settings


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the YAML file, for editors.

    Nothing is required in it, because the environment may bring what the file leaves out.
    """
    schema = Settings.model_json_schema()
    for model in SECTIONS.values():
        definition = schema["$defs"][model.__name__]
        definition.pop("required", None)
        definition["type"] = ["object", "null"]
        for key, declared in definition["properties"].items():
            del declared["title"]
            if model.is_secret(key):
                definition.setdefault("allOf", []).append(
                    {"not": {"type": "object", "required": [key, f"{key}_file"]}}
                )
    del schema["required"]
    schema.update(title="telenor-proxy", description="The configuration file of telenor-proxy.")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def settings_table() -> str:
    """Return all settings as a Markdown table, for the README."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for path, field in FIELDS.items():
        if field.is_required():
            default = "required"
        elif field.default is None:
            default = "none"
        else:
            default = f"`{_written(field.default)}`"
        rows.append(f"| `{path}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def _written(default: object) -> str:
    """Return a default as one would write it in the file."""
    if isinstance(default, str):
        return default
    return f"{default:g}" if isinstance(default, float) else json.dumps(default)
