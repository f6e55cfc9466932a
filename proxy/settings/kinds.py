"""How a setting is declared, what kinds of settings there are, and what an origin is.

A section is a frozen dataclass, and a setting is a field of it, with its kind, its default and one
sentence. `reading` judges the values and makes the sections. YAML is taken strictly: a number in
quotes is a text, true is not 1. Nothing here resolves a name or opens a connection, and no error
repeats the text that was judged: a URL may hold a password.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Generic, Literal, Self, TypeVar, cast

from proxy.secret import Secret
from proxy.settings.files import AlteredText, writable

# --- What kinds there are -----------------------------------------------------------------------


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

    expected: what should stand there, in plain words. schema: the same for editors, as JSON Schema.
    fits: whether a value of YAML is of this kind. convert: makes of such a value what the setting
    holds, or raises ValueError with words for why it cannot work. parse: makes of a text from the
    environment the value that would stand in YAML, or raises ValueError. unquoted: how to write it
    in YAML, if text is not what it is. plain: makes of what the setting holds a value for JSON,
    without secrets. holds_secrets: whether a secret may stand inside a value, so that no message
    shows it.
    """

    expected: str
    schema: Mapping[str, object]
    fits: Callable[[Any], bool]
    convert: Callable[[Any], T]
    parse: Callable[[str], object] = str
    unquoted: str = ""
    plain: Callable[[Any], object] = plain  # the function above
    holds_secrets: bool = False

    def take(self, value: object) -> T:
        """Return what the setting holds for a value of YAML, or raise ValueError.

        Of this file, or with words.
        """
        if not self.fits(value):
            raise UnlikeError(self, value)
        return self.convert(value)

    def from_text(self, text: str) -> object:
        """Return the value that a text stands for.

        The text itself, to be refused later, if it stands for none.
        """
        try:
            return self.parse(text)
        except (ValueError, RecursionError):
            return text


class UnlikeError(ValueError):
    """A value that is not of the kind at all.

    The words for it depend on where it stands: `messages` has them.
    """

    def __init__(self, kind: Kind[Any], value: object) -> None:
        super().__init__()
        self.kind = kind
        self.value = value


class EntriesError(ValueError):
    """A list with entries that are wrong.

    faults: why, by place behind the setting's path, such as `[0]` or `[2].name`.
    rest: what is right of the list, with every entry at its index; None if there is no such thing.
    """

    def __init__(self, faults: Mapping[str, ValueError], rest: object = None) -> None:
        super().__init__()
        self.faults = faults
        self.rest = rest


def truth() -> Kind[bool]:
    """Make the kind of what is true or false."""
    return Kind(
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
        fits=lambda value: _is_number(value, int) and least <= value <= greatest,
        convert=int,
        parse=int,
        unquoted=_DIGITS,
    )


def number(greatest: float, *, may_be_zero: bool = False) -> Kind[float]:
    """Make the kind of a number above 0 (or from 0) up to a bound, which is included."""
    return Kind(
        expected=f"a number {'from 0 to' if may_be_zero else 'above 0 and up to'} {greatest:g}",
        schema={
            "minimum" if may_be_zero else "exclusiveMinimum": 0,
            "maximum": greatest,
            "type": "number",
        },
        fits=lambda value: (
            _is_number(value, int, float)
            and (0 < value <= greatest or (may_be_zero and value == 0))
        ),
        convert=float,
        parse=float,
        unquoted=_DIGITS,
    )


def text(check: Callable[[str], str]) -> Kind[str]:
    """Make the kind of a text that is not empty.

    check: returns it, or raises ValueError with words.
    """
    return Kind(
        expected="text that is not empty",
        schema={"minLength": 1, "type": "string"},
        fits=lambda value: isinstance(value, str) and value != "",
        convert=lambda value: check(str(value)),
    )


def credential(check: Callable[[str], str]) -> Kind[str]:
    """Make the kind of a text that must be exactly what stands in the file.

    What YAML has cut or joined is refused.
    """
    plain = text(check)

    def convert(value: str) -> str:
        if isinstance(value, AlteredText):
            raise ValueError(f"{value.why}. Put the whole value in quotes, on one line")  # noqa: TRY004 # words for a person
        return plain.convert(value)

    return replace(plain, convert=convert)


def secret(check: Callable[[str], str]) -> Kind[Secret]:
    """Make the kind of a text that nothing shows once it was taken."""
    plain = credential(check)
    return Kind(
        expected=plain.expected,
        schema={"format": "password", **plain.schema, "writeOnly": True},
        fits=plain.fits,
        convert=lambda value: Secret(plain.convert(value)),
    )


def choice(words: tuple[T, ...]) -> Kind[T]:
    """Make the kind of one word out of these, which may be written in any case."""
    by_text = {str(word): word for word in words}
    return Kind(
        expected=f"one of {', '.join(by_text)}",
        schema={"enum": list(words), "type": "string"},
        fits=lambda value: isinstance(value, str) and value.lower() in by_text,
        convert=lambda value: by_text[value.lower()],
    )


def file_name(check: Callable[[Path], Path] = Path) -> Kind[Path]:
    """Make the kind of the path of a file. check: returns it, or raises ValueError with words."""
    return Kind(
        expected="the path of a file, as text",
        schema={"format": "path", "type": "string"},
        fits=lambda value: isinstance(value, str),
        convert=lambda name: check(_path(name)),
    )


def list_of(entry: Kind[T]) -> Kind[tuple[T, ...]]:
    """Make the kind of a list with at least one entry.

    In the environment it is a JSON array, or has commas.
    """
    return Kind(
        expected="a list with at least one entry",
        schema={"items": entry.schema, "minItems": 1, "type": "array"},
        fits=lambda value: isinstance(value, list) and len(value) > 0,
        convert=lambda values: _entries(entry, values),
        parse=_list_from_text,
        unquoted="Put each entry on a line of its own, after a dash",
    )


def one_or_list_of(entry: Kind[str], same: Callable[[str], object]) -> Kind[tuple[str, ...]]:
    """Make the kind of one text or a list of texts.

    Held as a tuple, and shown as it may be written.

    same: what two entries have in common that are the same one written in two ways.
    """
    several = list_of(entry)

    def convert(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            return (entry.take(value),)
        taken = several.take(value)
        places: dict[object, int] = {}
        faults: dict[str, ValueError] = {}
        for index, text in enumerate(taken):
            first = places.setdefault(same(text), index)
            if first != index:
                faults[f"[{index}]"] = ValueError(
                    f"is the same as [{first}]. Remove one of the two"
                )
        if faults:
            raise EntriesError(faults)
        return taken

    return Kind(
        expected=entry.expected,
        schema={"anyOf": [entry.schema, {**several.schema, "uniqueItems": True}]},
        fits=lambda _: True,
        convert=convert,
        parse=_one_or_list_from_text,
        plain=lambda held: held[0] if len(held) == 1 else list(held),
    )


def _one_or_list_from_text(text: str) -> object:
    entries = _list_from_text(text)
    return entries if len(entries) != 1 or text.strip().startswith('["') else entries[0]


def _is_number(value: object, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _path(name: str) -> Path:
    if not name or "\0" in name:
        raise ValueError("must be the path of a file")
    return Path(name)


def _entries(kind: Kind[T], values: list[object]) -> tuple[T, ...]:
    taken, faults = [], {}
    for index, value in enumerate(values):
        try:
            taken.append(kind.take(value))
        except ValueError as fault:
            faults[f"[{index}]"] = fault
    if faults:
        raise EntriesError(faults)
    return tuple(taken)


def _list_from_text(text: str) -> list[object]:
    """Read a JSON array, or entries between commas.

    `[::1],localhost` begins like an array but is none.
    """
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

    default: None if it may be left out, MISSING if it may not. changes: whether a change is taken
    up without a restart.
    """

    kind: Kind[Any]
    default: object
    description: str
    changes: bool = False

    @property
    def is_required(self) -> bool:
        """Whether the proxy cannot do without it."""
        return self.default is MISSING

    def shown(self, value: object) -> object:
        """Return what it holds as a value for JSON.

        None for an empty list, which is none at all.
        """
        return None if value in (None, ()) else self.kind.plain(value)


def setting(kind: Kind[T], default: T, description: str, *, changes: bool = False) -> T:
    """Declare a setting with a default."""
    return cast("T", _declared(Setting(kind, default, description, changes)))


def optional(kind: Kind[T], description: str, *, changes: bool = False) -> T | None:
    """Declare a setting that is None when it is left out."""
    return cast("T | None", _declared(Setting(kind, None, description, changes)))


def required(kind: Kind[T], description: str, *, changes: bool = False) -> T:
    """Declare a setting that must be given."""
    return cast("T", _declared(Setting(kind, MISSING, description, changes)))


def holding(what: str, *, changes: bool = False) -> Path | None:
    """Declare the file that holds a secret; its name is that of the secret and `_file`."""
    return optional(
        file_name(), f"File that holds {what}, relative to the working directory.", changes=changes
    )


def _declared(declared: Setting) -> Any:  # noqa: ANN401 # a field of a dataclass, and in each of its objects what the kind makes
    return field(default=declared.default, metadata={"setting": declared})


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
    """Whether a host is this machine, so that nothing crosses a network.

    Localhost, 127.0.0.0/8 or ::1.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the upstream is: the scheme, the host (lower case, IPv6 without brackets) and the port of `upstream.url`."""

    scheme: Literal["http", "https"]
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read scheme, host and optional port.

        Anything more is a ValueError whose words never repeat the URL.
        """
        scheme, separator, rest = url.partition("://")
        scheme = scheme.lower()
        if not separator or scheme not in {"https", "http"}:
            raise ValueError("must begin with https:// (or http:// for a loopback host)")
        if "@" in rest:
            raise ValueError(
                "must not hold a user or a password: the credentials belong under oauth"
            )
        authority, _, path = rest.partition("/")
        if path or not set(rest).isdisjoint("?#\\"):
            raise ValueError(
                "must end after the host and the port, without path, query or fragment"
            )
        if not authority.isascii():
            raise ValueError(
                "must name the host in ASCII; an international name has a form that begins with xn--"
            )
        match = _AUTHORITY.fullmatch(authority)
        host = match["host"].lower() if match else ""
        literal = host[1:-1] if host.startswith("[") else ""
        if match is None or not (is_ipv6(literal) or is_host(host)):
            raise ValueError(
                "must hold a valid host name or address, and a port only as a number; IPv6 goes in brackets"
            )
        port = int(match["port"]) if match["port"] else (443 if scheme == "https" else 80)
        if not 1 <= port <= 65535:  # noqa: PLR2004 # the port numbers of TCP
            raise ValueError("must hold a port from 1 to 65535, or none")
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
    def host_header(self) -> bytes:
        """The value of the Host field.

        The port only when it is not the scheme's own (RFC 9110, section 7.2).
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        own = 443 if self.is_tls else 80
        return (host if self.port == own else f"{host}:{self.port}").encode("ascii")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header.decode('ascii')}"
