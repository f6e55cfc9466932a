"""The words for what is wrong with a setting, where they have to be worked out; fixed words stand where the problem is found.

Pure. No message shows a secret, nor what stands in place of a secret's file name.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, get_args

from pydantic import SecretStr

from proxy.settings.catalogue import FIELDS, SECRETS, environment_name, from_text, kind_of, split

#: Where the user finds each credential; half of all support is about this (Telenor's developer pages).
WHERE_TO_FIND: Final[Mapping[str, str]] = MappingProxyType(
    {
        "oauth.client_id": "You find it in Telenor's developer portal, on the app's page in the dashboard.",
        "oauth.client_secret": "You find it in Telenor's developer portal, on the app's page in the dashboard.",
        "oauth.username": "It is the machine user's name, which a company administrator finds in Min Bedrift, under APIs.",
        "oauth.password": "It is the machine user's password, generated in Min Bedrift and sent to a mobile phone.",
    }
)

#: Characters. A longer value is not repeated in a message.
_LONGEST_SHOWN: Final = 40

_EXPECTED: Final[Mapping[object, str]] = {
    bool: "true or false",
    tuple: "a list with at least one entry",
    Path: "the path of a file, as text",
}


def unknown(meant: Sequence[str]) -> str:
    """Say that a name is none of the settings, and which ones were probably meant."""
    if not meant:
        return "is not a setting. Remove it, or look its name up in the table of settings (README)"
    return f"is not a setting. Did you mean {' or '.join(meant)}?"


def missing(path: str) -> str:
    """Say in which ways a credential can be given, and where the user finds it."""
    ways = f"Set it in the file, as {environment_name(path)}, or name a file in {path}_file"
    return f"is missing. {ways}. {WHERE_TO_FIND[path].removesuffix('.')}"


def wrong(path: str, value: object, index: tuple[int | str, ...], *, in_file: bool) -> str:
    """Say what should stand there, what stands there if that may be shown, and how to put it right.

    index: the place of the wrong entry in a list, or nothing.
    in_file: whether the value stands in the YAML file, where quotes decide what it is.
    """
    kind, expected = kind_of(path), _expected(path)
    if index and isinstance(value, list):
        kind, expected, value = str, "text that is not empty", value[int(index[0])]
    words = f"must be {expected}{_shown(path, value)}"
    if not isinstance(value, str) and kind in {str, SecretStr, Path, Literal}:
        return f"{words}. Put it in quotes"
    if isinstance(value, str) and in_file and kind in {int, float, bool, tuple}:
        if kind is tuple:
            return f"{words}. Put each entry on a line of its own, after a dash"
        if not isinstance(from_text(kind, value), str):
            return f"{words}. Write it without quotes{'' if kind is bool else ' and in plain digits'}"
    return words


def _shown(path: str, value: object) -> str:
    # Whoever mistook `password_file` for `password` wrote a secret there.
    if path.removesuffix("_file") in SECRETS or not isinstance(value, (bool, int, float, str)):
        return ""
    try:
        text = json.dumps(value)
    except ValueError:  # a number of more than 4300 digits
        return ""
    return f", not {text}" if len(text) <= _LONGEST_SHOWN else ""


def _expected(path: str) -> str:
    """Describe in plain words what a setting takes."""
    field, kind = FIELDS[path], kind_of(path)
    if kind is Literal:
        return f"one of {', '.join(get_args(field.annotation))}"
    if kind not in {int, float}:
        return _EXPECTED.get(kind, "text that is not empty")
    bounds = {
        name: getattr(item, name)
        for item in field.metadata
        for name in ("gt", "ge", "le")
        if hasattr(item, name)
    }
    if kind is int:
        return f"a whole number from {bounds['ge']} to {bounds['le']}"
    low = f"from {bounds['ge']:g} to" if "ge" in bounds else f"above {bounds['gt']:g} and up to"
    return f"a number {low} {bounds['le']:g}"


def meant(name: str, sections: Collection[str] = ()) -> list[str]:
    """Return the settings or sections that whoever wrote an unknown name probably meant."""
    from difflib import get_close_matches  # noqa: PLC0415 # costs 1 ms, and only a misspelled name needs it

    plain = name.lower().replace("-", "_")
    if plain in FIELDS:
        return [plain]
    section, _, key = plain.rpartition(".")
    if same_key := [path for path in FIELDS if split(path)[1] == key]:
        return same_key
    if near := get_close_matches(plain, sections, n=1):
        return near
    everywhere = {split(path)[1]: path for path in FIELDS}
    siblings = {split(path)[1]: path for path in FIELDS if split(path)[0] == section}
    if near := get_close_matches(key, siblings, n=1):
        return [siblings[near[0]]]
    if not siblings and (near := get_close_matches(plain, FIELDS, n=1)):
        return near
    return [everywhere[key] for key in get_close_matches(key, everywhere, n=1)]
