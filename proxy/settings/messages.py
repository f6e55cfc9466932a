"""The words for what is wrong with a setting, where they have to be worked out; fixed words stand where the problem is found.

Pure. No message shows a secret, nor what stands in place of a secret's file name.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from proxy.settings.catalogue import SETTINGS, environment_name, split
from proxy.settings.kinds import Kind, UnlikeError

#: Where the user finds each credential; half of all support is about this (Telenor's developer pages).
WHERE_TO_FIND: Final[Mapping[str, str]] = MappingProxyType(
    {
        "oauth.client_id": "You find it in Telenor's developer portal, on the app's page in the dashboard.",
        "oauth.client_secret": "You find it in Telenor's developer portal, on the app's page in the dashboard.",
        "oauth.username": "It is the machine user's name, which a company administrator finds in Min Bedrift, under APIs; "
        "not a Telenor ID (formerly Connect ID).",
        "oauth.password": "It is the machine user's password, generated in Min Bedrift and sent to a mobile phone.",
    }
)

#: How alike a setting of another section must be to be proposed: `true` is not `store`.
_ALIKE: Final = 0.7
#: Characters. A longer value is not repeated in a message.
_LONGEST_SHOWN: Final = 40


def unknown(meant: Sequence[str]) -> str:
    """Say that a name is none of the settings, and which ones were probably meant."""
    if not meant:
        return "is not a setting. Remove it, or look its name up in the table of settings (README)"
    return f"is not a setting. Did you mean {' or '.join(meant)}?"


def missing(path: str) -> str:
    """Say in which ways a credential can be given, and where the user finds it."""
    ways = f"Set it in the file, as {environment_name(path)}, or name a file in {path}_file"
    return f"is missing. {ways}. {WHERE_TO_FIND[path].removesuffix('.')}"


def wrong(fault: ValueError, *, may_show: bool, in_file: bool) -> str:
    """Say what should stand there, what stands there if that may be shown, and how to put it right.

    in_file: whether the value stands in the YAML file, where quotes decide what it is.
    """
    if not isinstance(fault, UnlikeError):
        return str(fault)
    words = f"must be {fault.kind.expected}{_shown(fault.value) if may_show else ''}"
    advice = _advice(fault.kind, fault.value, in_file=in_file)
    return f"{words}. {advice}" if advice else words


def _advice(kind: Kind[Any], value: object, *, in_file: bool) -> str:
    if not isinstance(value, str):
        return "" if kind.unquoted else "Put it in quotes"
    return kind.unquoted if in_file and kind.from_text(value) != value else ""


def _shown(value: object) -> str:
    if not isinstance(value, (bool, int, float, str)):
        return ""
    try:
        text = json.dumps(value)
    except ValueError:  # a number of more than 4300 digits
        return ""
    return f", not {text}" if len(text) <= _LONGEST_SHOWN else ""


def meant(name: str, sections: Collection[str] = ()) -> list[str]:
    """Return the settings or sections that whoever wrote an unknown name probably meant."""
    from difflib import get_close_matches  # noqa: PLC0415 # costs 1 ms, and only a misspelled name needs it

    plain = name.lower().replace("-", "_")
    if plain in SETTINGS:
        return [plain]
    section, _, key = plain.rpartition(".")
    if same_key := [path for path in SETTINGS if split(path)[1] == key]:
        return same_key
    if near := get_close_matches(plain, sections, n=1):
        return near
    everywhere = {split(path)[1]: path for path in SETTINGS}
    siblings = {split(path)[1]: path for path in SETTINGS if split(path)[0] == section}
    if near := get_close_matches(key, siblings, n=1):
        return [siblings[near[0]]]
    if not siblings and (near := get_close_matches(plain, SETTINGS, n=1)):
        return near
    return [everywhere[key] for key in get_close_matches(key, everywhere, n=1, cutoff=_ALIKE)]
