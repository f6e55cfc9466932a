"""The clients by name: what `listen.clients` takes, and what it becomes.

Everything that is wrong with the list is found at once, each with its place; no message shows a key
or a part of one.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from proxy.secret import Secret
from proxy.settings import files
from proxy.settings.kinds import EntriesError, Kind, list_of, number, text
from proxy.settings.values import (
    ALLOWED_PATHS,
    CLIENT_KEY,
    FILE_NAME,
    check_client_name,
    check_dns_name,
    check_method,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """One client.

    keys: any of them in X-Proxy-Key says that it is this client. certificate: so does a client certificate with this name.
    allowed_paths, allowed_methods: None if it may do what `upstream.allowed_paths` and the listener allow.
    """

    name: str = ""
    keys: tuple[Secret, ...] = ()
    key_file: Path | None = None
    certificate: str | None = None
    allowed_paths: tuple[str, ...] | None = None
    allowed_methods: tuple[str, ...] | None = None
    requests_per_second: float | None = None

    def plain(self) -> dict[str, object]:
        """Return it for JSON; of its keys only how many there are."""
        return {
            "name": self.name,
            "keys": len(self.keys),
            "key_file": None if self.key_file is None else files.writable(self.key_file),
            "certificate": self.certificate,
            "allowed_paths": None if self.allowed_paths is None else list(self.allowed_paths),
            "allowed_methods": None if self.allowed_methods is None else list(self.allowed_methods),
            "requests_per_second": self.requests_per_second,
        }


class _Entry(NamedTuple):
    """What is declared of one setting of a client."""

    kind: Kind[Any]
    description: str


_KEYS: Final[Mapping[str, _Entry]] = {
    "name": _Entry(
        text(check_client_name), description="Name of the client: 1 to 64 of a-z, 0-9 and the hyphen."
    ),
    "key": _Entry(CLIENT_KEY, description="The client sends it in `X-Proxy-Key`."),
    "key_file": _Entry(
        FILE_NAME, description="File that holds one or several such keys, one a line, all of them valid."
    ),
    "certificate": _Entry(
        text(check_dns_name), description="DNS name, or else the CN, of its client certificate."
    ),
    "allowed_paths": _Entry(
        ALLOWED_PATHS, description="Path prefixes that it may call, within `upstream.allowed_paths`."
    ),
    "allowed_methods": _Entry(list_of(text(check_method)), description="Methods that it may use."),
    "requests_per_second": _Entry(number(100_000.0), description="Requests a second that it may make."),
}
_SCHEMA: Final[Mapping[str, object]] = {
    "type": "array",
    "minItems": 1,
    "items": {
        "additionalProperties": False,
        "anyOf": [{"required": [key]} for key in ("key", "key_file", "certificate")],
        "not": {"required": ["key", "key_file"]},
        "properties": {
            key: dict(sorted({"description": entry.description, **entry.kind.schema}.items()))
            for key, entry in _KEYS.items()
        },
        "required": ["name"],
        "type": "object",
    },
}
_IDENTITIES: Final = ("key", "key_file", "certificate")


def _take(values: list[object]) -> tuple[ClientSettings, ...]:
    faults: dict[str, ValueError] = {}
    taken = tuple(_take_one(value, f"[{index}]", faults) for index, value in enumerate(values))
    _refuse_twice(taken, "name", lambda client: [client.name] if client.name else [], faults)
    _refuse_twice(taken, "key", lambda client: client.keys, faults)
    _refuse_twice(taken, "certificate", lambda client: filter(None, [client.certificate]), faults)
    if faults:
        raise EntriesError(faults, taken)
    return taken


def _take_one(value: object, place: str, faults: dict[str, ValueError]) -> ClientSettings:
    """Take one entry; what is wrong with it is added to the faults, and has its default."""
    if not isinstance(value, dict):
        faults[place] = ValueError("must be a client: a name, and what else is set for it, indented equally")
        return ClientSettings()
    given = {key: held for key, held in value.items() if held is not None}
    held = _take_settings(given, place, faults)
    if "name" not in given:
        faults[f"{place}.name"] = ValueError("is missing. Give every client a name")
    if not set(_IDENTITIES) & set(given):
        faults[place] = ValueError("has no key, key_file or certificate. Give it one, or remove it")
    if "key" in given and "key_file" in given:
        faults[f"{place}.key"] = ValueError("is given together with key_file. Keep one of them")
    keys = [held.pop("key")] if "key" in held else []
    if "key_file" in held and "key" not in given:
        try:
            keys += _read_keys(held["key_file"])
        except ValueError as error:
            faults[f"{place}.key_file"] = error
    return ClientSettings(keys=tuple(keys), **held)


def _take_settings(given: Mapping[str, object], place: str, faults: dict[str, ValueError]) -> dict[str, Any]:
    """Take what is set for one client, each by its kind."""
    held = {}
    for key, content in given.items():
        if key not in _KEYS:
            fault = ValueError(f"is not a setting of a client. Use one of {', '.join(_KEYS)}")
            faults[f"{place}.{files.printable(key)}"] = fault
            continue
        try:
            held[key] = _KEYS[key].kind.take(content)
        except EntriesError as error:
            faults |= {f"{place}.{key}{inner}": fault for inner, fault in error.faults.items()}
        except ValueError as error:
            faults[f"{place}.{key}"] = error
    return held


def _read_keys(path: Path) -> list[Secret]:
    """Read the keys of a file; the same one twice in it is one key. Raises ValueError."""
    lines = dict.fromkeys(line for line in files.read_secret(path).splitlines() if line)
    keys = []
    for number_, line in enumerate(lines, start=1):
        try:
            keys.append(CLIENT_KEY.take(line))
        except ValueError as error:
            raise ValueError(f"{error} (key {number_} of the file)") from None
    return keys


def _refuse_twice(
    clients: Iterable[ClientSettings],
    what: str,
    held: Callable[[ClientSettings], Iterable[str | Secret]],
    faults: dict[str, ValueError],
) -> None:
    """Refuse what two clients have in common that only one may have."""
    owned: list[tuple[int, str | Secret]] = []
    for index, client in enumerate(clients):
        place = f"[{index}].{'key_file' if what == 'key' and client.key_file else what}"
        for mine in held(client):
            first = next((owner for owner, theirs in owned if owner != index and theirs == mine), None)
            if first is not None and place not in faults:
                faults[place] = ValueError(f"belongs to [{first}] too. Give each client its own")
            owned.append((index, mine))


def _from_text(value: str) -> object:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


CLIENTS: Final[Kind[tuple[ClientSettings, ...]]] = Kind(
    expected="a list with at least one client (in the environment: a JSON array of objects)",
    schema=_SCHEMA,
    fits=lambda value: isinstance(value, list) and len(value) > 0,
    convert=_take,
    parse=_from_text,
    unquoted="Begin each client with a dash, and indent what belongs to it equally",
    plain=lambda clients: [client.plain() for client in clients],
    holds_secrets=True,
)
