"""What the model tells about each setting: its path, its environment variable, its kind, and how its value is written as text.

Everything here is derived from `model`; a setting is declared there and nowhere else.
"""

import json
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Final, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from proxy.settings.model import Section, Settings

ENVIRONMENT_PREFIX: Final = "TELENOR_PROXY_"
#: Names the file when the command line does not; the one variable with the prefix that is no setting.
CONFIG_VARIABLE: Final = "TELENOR_PROXY_CONFIG"

_BOOLEANS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

SECTIONS: Final[Mapping[str, type[Section]]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
#: Every setting by its path, such as `listen.port`.
FIELDS: Final[Mapping[str, FieldInfo]] = {
    f"{name}.{key}": field
    for name, section in SECTIONS.items()
    for key, field in section.model_fields.items()
}
#: The paths of values that may come from a file, and are never shown.
SECRETS: Final = frozenset(
    f"{name}.{key}"
    for name, section in SECTIONS.items()
    for key in section.model_fields
    if section.is_secret(key)
)


def split(path: str) -> tuple[str, str]:
    """Return the section and the key of a path."""
    section, _, key = path.partition(".")
    return section, key


def environment_name(path: str) -> str:
    """Return the environment variable of a setting: `TELENOR_PROXY_LISTEN__PORT` for `listen.port`."""
    return ENVIRONMENT_PREFIX + path.replace(".", "__").upper()


PATH_OF_VARIABLE: Final[Mapping[str, str]] = {environment_name(path): path for path in FIELDS}


def kind_of(path: str) -> object:
    """Return the bare type of a setting: `int`, `float`, `bool`, `str`, `SecretStr`, `Path`, `tuple` or `Literal`."""
    kind: object = FIELDS[path].annotation
    if get_origin(kind) in {Union, UnionType}:
        kind = next(choice for choice in get_args(kind) if choice is not NoneType)
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_origin(kind) or kind


def from_text(kind: object, text: str) -> object:
    """Return the value that a text from the environment stands for; the text itself, to be refused later, if it stands for none."""
    bare = text.strip()
    if kind is bool:
        return _BOOLEANS.get(bare.lower(), text)
    if kind is tuple:
        return _list_from_text(bare)
    try:
        return int(bare) if kind is int else float(bare) if kind is float else text
    except ValueError:
        return text


def _list_from_text(text: str) -> list[object]:
    """Read a JSON array, or entries between commas; `[::1],localhost` begins like an array but is none."""
    if text.startswith("["):
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError):
            entries = None
        if isinstance(entries, list):
            return entries
    return [entry.strip() for entry in text.split(",")]
