"""The kinds of settings, how a setting is declared, and what an origin is.

A section is a frozen dataclass; each field is a setting with a kind, a default and one sentence.
YAML is taken strictly: a number in quotes is text, true is not 1. Nothing here resolves a name or
opens a connection. No error repeats the text that was judged: a URL may hold a password.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Generic, Literal, Self, TypeVar, cast

from proxy.secret import Secret
from proxy.settings.files import AlteredText, writable

# --- The kinds ---------------------------------------------------------------------------------

T = TypeVar("T")

_BOOLEANS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_DIGITS: Final = "Write it without quotes and in plain digits"


def plain(value: object) -> object:
    """Return what a setting holds as a value for JSON."""
    if isinstance(value, tuple):
        return list(value)
    return writable(value) if isinstance(value, Path) else value


@dataclass(frozen=True)
class Kind(Generic[T]):
    """What a setting can be.

    expected: what should stand there, in plain words. schema: the same as JSON Schema.
    fits: whether a value of YAML is of this kind. convert: makes of it what the setting holds, or
    raises ValueError with words. parse: makes of a text from the environment the value that would
    stand in YAML, or raises ValueError. unquoted: how to write it in YAML, if it is not text.
    plain: makes of what the setting holds a value for JSON, without secrets. holds_secrets: a
    value may contain a secret, so no message shows it.
    """

    expected: str
    schema: Mapping[str, object]
    fits: Callable[[Any], bool]
    convert: Callable[[Any], T]
    parse: Callable[[str], object] = str
    unquoted: str = ""
    plain: Callable[[Any], object] = plain
    holds_secrets: bool = False

    def take(self, value: object) -> T:
        """Return what the setting holds for a value of YAML, or raise ValueError."""
        if not self.fits(value):
            raise UnlikeError(self, value)
        return self.convert(value)

    def from_text(self, text: str) -> object:
        """Return the value that a text stands for; the text itself, to be refused, if for none."""
        try:
            return self.parse(text)
        except (ValueError, RecursionError):
            return text


def must(holds: object, words: str) -> None:
    """Raise ValueError with these words unless a condition holds."""
    if not holds:
        raise ValueError(words)


def that(holds: Callable[[Any], object], words: str) -> Callable[[Any], None]:
    """Make a check that raises ValueError with these words unless a condition holds."""
    return lambda value: must(holds(value), words)


class UnlikeError(ValueError):
    """A value that is not of the kind; `reading` has the words, which depend on its place."""

    def __init__(self, kind: Kind[Any], value: object) -> None:
        super().__init__()
        self.kind = kind
        self.value = value


class EntriesError(ValueError):
    """A list with entries that are wrong.

    faults: why, by place behind the setting's path, such as `[0]` or `[2].name`.
    rest: the list with defaults in place of what is wrong, every entry at its index; or None.
    """

    def __init__(self, faults: Mapping[str, ValueError], rest: object = None) -> None:
        super().__init__()
        self.faults = faults
        self.rest = rest


TRUTH: Final = Kind(
    expected="true or false",
    schema={"type": "boolean"},
    fits=lambda value: isinstance(value, bool),
    convert=bool,
    parse=lambda text: _BOOLEANS.get(text.strip().lower(), text),
    unquoted="Write it without quotes",
)


def whole_number(least: int, greatest: int) -> Kind[int]:
    """Make the kind of a whole number between bounds, both included."""
    return Kind(
        expected=f"a whole number from {least} to {greatest}",
        schema={"maximum": greatest, "minimum": least, "type": "integer"},
        fits=lambda value: type(value) is int and least <= value <= greatest,
        convert=int,
        parse=int,
        unquoted=_DIGITS,
    )


def number(greatest: float, *, may_be_zero: bool = False) -> Kind[float]:
    """Make the kind of a number above 0 (or from 0) up to a bound, which is included."""
    least, words = ("minimum", "from 0") if may_be_zero else ("exclusiveMinimum", "above 0 and up")
    return Kind(
        expected=f"a number {words} to {greatest:g}",
        schema={least: 0, "maximum": greatest, "type": "number"},
        fits=lambda value: (
            type(value) in {int, float} and 0 <= value <= greatest and (may_be_zero or value != 0)
        ),
        convert=float,
        parse=float,
        unquoted=_DIGITS,
    )


def text(
    *checks: Callable[[str], object], exact: bool = False, to: Callable[[str], str] = str
) -> Kind[str]:
    """Make the kind of a text that is not empty. checks: each may raise ValueError.

    exact: a text that YAML has cut or joined is refused. to: makes of it what the setting holds.
    """

    def convert(value: str) -> str:
        if exact and isinstance(value, AlteredText):
            words = f"{value.why}. Put the whole value in quotes, on one line"
            raise ValueError(words)
        for check in checks:
            check(value)
        return to(str(value))

    return Kind(
        expected="text that is not empty",
        schema={"minLength": 1, "type": "string"},
        fits=lambda value: isinstance(value, str) and value != "",
        convert=convert,
    )


def secret(check: Callable[[str], object]) -> Kind[Secret]:
    """Make the kind of an exact text that is never shown once it was taken."""
    open_text = text(check, exact=True)
    schema = {"format": "password", **open_text.schema, "writeOnly": True}
    fits, convert = open_text.fits, open_text.convert
    return Kind(open_text.expected, schema, fits, lambda value: Secret(convert(value)))


def choice(words: tuple[T, ...]) -> Kind[T]:
    """Make the kind of one of these words, in upper or lower case."""
    by_text = {str(word).lower(): word for word in words}
    return Kind(
        expected=f"one of {', '.join(map(str, words))}",
        schema={"enum": list(words), "type": "string"},
        fits=lambda value: isinstance(value, str) and value.lower() in by_text,
        convert=lambda value: by_text[value.lower()],
    )


def file_name(*checks: Callable[[Path], object]) -> Kind[Path]:
    """Make the kind of the path of a file. checks: each may raise ValueError."""

    def convert(name: str) -> Path:
        must(name and "\0" not in name, "must be the path of a file")
        for check in checks:
            check(Path(name))
        return Path(name)

    return Kind(
        expected="the path of a file, as text",
        schema={"format": "path", "type": "string"},
        fits=lambda value: isinstance(value, str),
        convert=convert,
    )


def list_of(entry: Kind[T]) -> Kind[tuple[T, ...]]:
    """Make the kind of a list with at least one entry; in the environment JSON, or with commas."""

    def convert(values: Iterable[object]) -> tuple[T, ...]:
        taken, faults = [], {}
        for index, value in enumerate(values):
            try:
                taken.append(entry.take(value))
            except ValueError as fault:
                faults[f"[{index}]"] = fault
        if faults:
            raise EntriesError(faults)
        return tuple(taken)

    return Kind(
        expected="a list with at least one entry",
        schema={"items": entry.schema, "minItems": 1, "type": "array"},
        fits=lambda value: isinstance(value, list) and len(value) > 0,
        convert=convert,
        parse=_list_from_text,
        unquoted="Put each entry on a line of its own, after a dash",
    )


def one_or_list_of(entry: Kind[str], same: Callable[[str], object]) -> Kind[tuple[str, ...]]:
    """Make the kind of one text or a list of texts, held as a tuple.

    same: gives equal values for two spellings of one entry.
    """
    several = list_of(entry)

    def convert(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            return (entry.take(value),)
        taken = several.take(value)
        known = [same(text) for text in taken]
        firsts = [known.index(each) for each in known]
        faults = {
            f"[{index}]": ValueError(f"is the same as [{first}]. Remove one of the two")
            for index, first in enumerate(firsts)
            if first != index
        }
        if faults:
            raise EntriesError(faults)
        return taken

    def parse(text: str) -> object:
        entries = _list_from_text(text)
        return entries if len(entries) != 1 or text.strip().startswith('["') else entries[0]

    return Kind(
        expected=entry.expected,
        schema={"anyOf": [entry.schema, {**several.schema, "uniqueItems": True}]},
        fits=lambda _: True,
        convert=convert,
        parse=parse,
        plain=lambda held: held[0] if len(held) == 1 else list(held),
    )


def _list_from_text(text: str) -> list[object]:
    """Read a JSON array, or entries between commas: `[::1],localhost` begins like an array."""
    bare = text.strip()
    if bare.startswith("["):
        try:
            entries = json.loads(bare)
        except (ValueError, RecursionError):
            entries = None
        if isinstance(entries, list):
            return entries
    return [entry.strip() for entry in bare.split(",")]


# --- How a setting is declared -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """What is declared of one setting.

    default: None if it may be left out, MISSING if it may not. changes: a change is taken up
    without a restart.
    """

    kind: Kind[Any]
    default: object
    description: str
    changes: bool = False

    @property
    def is_required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING

    def shown(self, value: object) -> object:
        """Return what it holds as a value for JSON; None for an empty list."""
        return None if value in (None, ()) else self.kind.plain(value)


def setting(kind: Kind[T], default: T, description: str, *, changes: bool = False) -> T:
    """Declare a setting with a default."""
    declared = Setting(kind, default, description, changes)
    return field(default=default, metadata={"setting": declared})


def optional(kind: Kind[T], description: str, *, changes: bool = False) -> T | None:
    """Declare a setting that is None when it is left out."""
    return setting(cast("Kind[T | None]", kind), None, description, changes=changes)


def required(kind: Kind[T], description: str, *, changes: bool = False) -> T:
    """Declare a setting that must be given."""
    return setting(kind, cast("T", MISSING), description, changes=changes)


def holding(what: str, *, changes: bool = False) -> Path | None:
    """Declare the file that holds a secret; its name is that of the secret and `_file`."""
    description = f"File that holds {what}, relative to the working directory."
    return optional(file_name(), description, changes=changes)


@dataclass(frozen=True, slots=True)
class Section:
    """What all sections have in common."""

    @classmethod
    def settings(cls) -> Mapping[str, Setting]:
        """Return what is declared, by key."""
        return {field.name: field.metadata["setting"] for field in fields(cls)}

    @classmethod
    def is_secret(cls, key: str) -> bool:
        """Whether the value may come from a file of its own, and is never shown."""
        return f"{key}_file" in cls.__dataclass_fields__

    def __repr__(self) -> str:
        shown = (
            f"{key}={getattr(self, key)!r}" for key in self.settings() if not self.is_secret(key)
        )
        return f"{type(self).__name__}({', '.join(shown)})"


# --- Origins and hosts -------------------------------------------------------------------------

#: Characters (RFC 1035, section 2.3.4).
_LONGEST_HOST: Final = 253
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_OWN_PORTS: Final = {"http": 80, "https": 443}


def is_ipv6(text: str) -> bool:
    """Whether this is an IPv6 address, without brackets and zone."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def is_host(text: str) -> bool:
    """Whether this is a host name or an IPv4 address.

    A name that ends in a number is neither (WHATWG URL, "ends in a number").
    """
    labels = text.split(".")
    if len(text) > _LONGEST_HOST or not all(map(_LABEL.fullmatch, labels)):
        return False
    if not re.fullmatch(r"[0-9]+|0[xX][0-9A-Fa-f]*", labels[-1]):
        return True
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: localhost, 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host (lower case, IPv6 without brackets) and port of a URL."""

    scheme: Literal["http", "https"]
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read scheme, host and optional port, and nothing more; raise ValueError otherwise."""
        scheme, separator, rest = url.partition("://")
        scheme = scheme.lower()
        words = "must begin with https:// (or http:// for a loopback host)"
        must(separator and scheme in _OWN_PORTS, words)
        words = "must not hold a user or a password: the credentials belong under oauth"
        must("@" not in rest, words)
        authority, _, path = rest.partition("/")
        words = "must end after the host and the port, without path, query or fragment"
        must(not path and set(rest).isdisjoint("?#\\"), words)
        must(
            authority.isascii(),
            "must name the host in ASCII; an international name has a form that begins with xn--",
        )
        match = _AUTHORITY.fullmatch(authority)
        host = match["host"].lower() if match else ""
        literal = host[1:-1] if host.startswith("[") else ""
        if match is None or not (is_ipv6(literal) or is_host(host)):
            raise ValueError(
                "must hold a valid host name or address, and a port only as a number;"
                " IPv6 goes in brackets"
            )
        port = int(match["port"] or _OWN_PORTS[scheme])
        must(1 <= port <= 65535, "must hold a port from 1 to 65535, or none")  # noqa: PLR2004
        return cls("https" if scheme == "https" else "http", literal or host, port)

    @property
    def is_tls(self) -> bool:
        """Whether connections to it are encrypted."""
        return self.scheme == "https"

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, so that nothing crosses a network."""
        return is_loopback(self.host)

    @property
    def authority(self) -> str:
        """Host and port, with brackets around IPv6."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> bytes:
        """The Host field's value: the port only if it is not the scheme's (RFC 9110, 7.2)."""
        return self.authority.removesuffix(f":{_OWN_PORTS[self.scheme]}").encode("ascii")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header.decode('ascii')}"
