"""The settings: every name, default and bound, and how a YAML file and the environment become one frozen `Settings`.

The laws:
1. All problems of a configuration are found before one `ConfigError` tells them, each with its path.
2. Nothing is guessed: an unknown name, a wrong type or a contradiction is refused. YAML is taken strictly, the environment is text and is parsed.
3. No message ever shows the value of a secret, not even when it stands in the wrong place of the file.

Not built on pydantic-settings: it costs 110 ms and 17 MB at import and ignores unknown environment variables.
"""

import ipaddress
import json
import os
import re
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Self, Union, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from proxy.errors import ConfigError

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

ENVIRONMENT_PREFIX: Final = "TELENOR_PROXY_"

#: Where the user finds each credential; half of all support is about this (Telenor's developer pages).
WHERE_TO_FIND: Final[Mapping[str, str]] = MappingProxyType(
    {
        "oauth.client_id": "You find it in Telenor's developer portal, on the app's page in the dashboard.",
        "oauth.client_secret": "You find it in Telenor's developer portal, on the app's page in the dashboard.",
        "oauth.username": "It is the machine user's name, which a company administrator finds in Min Bedrift, under APIs.",
        "oauth.password": "It is the machine user's password, generated in Min Bedrift and sent to a mobile phone.",
    }
)

#: Seconds. No timeout or wait is longer than an hour: such a number was most likely meant as milliseconds.
_LONGEST_WAIT: Final = 3600.0
#: Seconds. No access token is known to live longer than a day.
_LONGEST_AHEAD: Final = 86_400.0
#: Bytes. A configuration file is some kilobytes; the bound keeps a wrong path (a device, a log file) from filling the memory.
_LARGEST_FILE: Final = 1 << 20
#: Levels. The settings stand on the second, the entries of lists on the third.
_DEEPEST_NESTING: Final = 20
#: Bytes. Credentials are some tens of bytes long.
_LARGEST_SECRET_FILE: Final = 64 << 10
#: Bytes, without the closing NUL: the size of sun_path in Linux (unix(7)).
_LONGEST_SOCKET_PATH: Final = 107
#: Characters. Shorter keys can be tried out over a network.
_SHORTEST_CLIENT_KEY: Final = 8
#: Characters. A longer value is not repeated in a message.
_LONGEST_SHOWN: Final = 40
#: Characters (RFC 1035, section 2.3.4).
_LONGEST_HOST: Final = 253

_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
# RFC 6749, section 3.3: scope tokens of NQCHAR, one space between them.
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")
# Lone surrogates are what Python makes of bytes in the environment that are not UTF-8 (PEP 383); they cannot be sent.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")


# --- values: each check says what must be, never what was given -------------------------------------------------------


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def _is_host(text: str) -> bool:
    """Whether this is a host name or an IPv4 address. A name that ends in a number is neither (WHATWG URL, "ends in a number")."""
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


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the upstream is: the scheme, the host (lower case, IPv6 without brackets) and the port of `upstream.url`."""

    scheme: Literal["http", "https"]
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read scheme, host and optional port; anything more is a ValueError whose words never repeat the URL."""
        scheme, separator, rest = url.partition("://")
        scheme = scheme.lower()
        if not separator or scheme not in {"https", "http"}:
            raise ValueError("must begin with https:// (or http:// for a loopback host)")
        if "@" in rest:
            raise ValueError("must not hold a user or a password: the credentials belong under oauth")
        authority, _, path = rest.partition("/")
        if path or not set(rest).isdisjoint("?#\\"):
            raise ValueError("must end after the host and the port, without path, query or fragment")
        if not authority.isascii():
            raise ValueError(
                "must name the host in ASCII; an international name has a form that begins with xn--"
            )
        match = _AUTHORITY.fullmatch(authority)
        host = match["host"].lower() if match else ""
        literal = host[1:-1] if host.startswith("[") else ""
        if match is None or not (_is_ipv6(literal) or _is_host(host)):
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
        """Whether it is this machine, so that nothing crosses a network: localhost, 127.0.0.0/8 or ::1."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def host_header(self) -> bytes:
        """The value of the Host field: the port only when it is not the scheme's own (RFC 9110, section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        own = 443 if self.is_tls else 80
        return (host if self.port == own else f"{host}:{self.port}").encode("ascii")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header.decode('ascii')}"


def _check_url(url: str) -> str:
    Origin.parse(url)
    return url


def _check_bind_host(host: str) -> str:
    if not (_is_host(host) or _is_ipv6(host)):
        raise ValueError("must be a host name or an address alone, without scheme, port or brackets")
    return host


def _check_allowed_host(host: str) -> str:
    if host == "*" or _is_host(host) or (host[:1] == "[" and host[-1:] == "]" and _is_ipv6(host[1:-1])):
        return host
    if _is_ipv6(host):
        raise ValueError("must have the IPv6 address in brackets")
    raise ValueError('must be a host name or an address without scheme, port or path, or "*" alone for all')


def _check_path(path: str) -> str:
    if not path.startswith("/") or not _VISIBLE.fullmatch(path):
        raise ValueError('must begin with "/" and hold visible ASCII characters only')
    if not set(path).isdisjoint("?#%\\") or "//" in path or not {".", ".."}.isdisjoint(path.split("/")):
        raise ValueError('must be a plain path, without "?", "#", "%", "\\", "//" and dot segments')
    return path


def _check_allowed_path(path: str) -> str:
    if _is_below(_check_path(path).lower(), "/oauth"):
        raise ValueError("can never be called: everything below /oauth/ is the proxy's own business")
    return path


def _is_below(path: str, root: str) -> bool:
    return f"{path}/".startswith(f"{root.rstrip('/')}/")


def _check_scope(scope: str) -> str:
    if not _SCOPE.fullmatch(scope):
        raise ValueError("must be scope names with one space between them (RFC 6749, section 3.3)")
    return scope


def _check_controls(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must be one line of UTF-8 text without control characters")
    return text


def _check_client_id(text: str) -> str:
    if ":" in text:
        raise ValueError('must not contain ":", which separates it from the secret (RFC 7617, section 2)')
    return _check_controls(text)


def _check_secret(secret: SecretStr) -> SecretStr:
    _check_controls(secret.get_secret_value())
    return secret


def _check_client_key(secret: SecretStr) -> SecretStr:
    key = secret.get_secret_value()
    if len(key) < _SHORTEST_CLIENT_KEY or not _VISIBLE.fullmatch(key):
        raise ValueError(
            f"must be at least {_SHORTEST_CLIENT_KEY} visible ASCII characters without spaces, so that it fits in a header field"
        )
    return secret


def _wrap(value: object) -> object:
    """Make a secret of a text. Whatever else YAML made of it is left to be refused; pydantic itself would take bytes too."""
    return SecretStr(value) if isinstance(value, str) else value


def _check_file_name(value: object) -> object:
    if isinstance(value, str) and (not value or "\0" in value):
        raise ValueError("must be the path of a file")
    return value


def _check_socket(path: Path) -> Path:
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ValueError(
            f"must be at most {_LONGEST_SOCKET_PATH} bytes long, the system's limit for socket paths"
        )
    return path


def _check_ca_file(path: Path) -> Path:
    import ssl  # noqa: PLC0415 # costs 10 ms, and only those who set the file need it here

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        certificates = 0
    except OSError as error:
        raise ValueError(
            f"names a file that cannot be read ({error.strerror}); check the path and its rights"
        ) from None
    else:
        certificates = context.cert_store_stats()["x509"]
    if not certificates:
        raise ValueError('names a file without a certificate in PEM form ("-----BEGIN CERTIFICATE-----")')
    return path


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


_Text = Annotated[str, Field(min_length=1)]
_Secret = Annotated[SecretStr, Field(min_length=1), BeforeValidator(_wrap)]
_FileName = Annotated[Path, Field(strict=False), BeforeValidator(_check_file_name)]
_BindHost = Annotated[_Text, AfterValidator(_check_bind_host)]
_OwnPath = Annotated[_Text, AfterValidator(_check_path)]
_Port = Annotated[int, Field(ge=0, le=65535)]
_Seconds = Annotated[float, Field(gt=0, le=_LONGEST_WAIT)]
_Connections = Annotated[int, Field(ge=1, le=1_000_000)]


# --- the settings: what is written here is also the schema, the README's table and the status page --------------------


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class ListenSettings(_Section):
    """The listener: where clients connect, and who may."""

    host: _BindHost = Field("127.0.0.1", description="Host name or address that clients connect to.")
    port: _Port = Field(
        8080,
        description="Port that clients connect to; 0 takes any free one and logs it in `listener.started`.",
    )
    unix_socket: Annotated[_FileName, AfterValidator(_check_socket)] | None = Field(
        None,
        description="Path of a Unix socket to listen on instead of host and port, relative to the working directory.",
    )
    allowed_hosts: tuple[Annotated[_Text, AfterValidator(_check_allowed_host)], ...] = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        strict=False,
        min_length=1,
        description='Values of `Host` that are accepted, without port; `"*"` accepts all, others get 421.',
    )
    client_key: Annotated[_Secret, AfterValidator(_check_client_key)] | None = Field(
        None, description="When set, a client must send it in `X-Proxy-Key`, otherwise it gets 403."
    )
    client_key_file: _FileName | None = Field(
        None, description="File that holds the client key, relative to the working directory."
    )


class AdminSettings(_Section):
    """The admin listener: probes, metrics and the status page, for operators."""

    host: _BindHost = Field("127.0.0.1", description="Host name or address of the admin listener.")
    port: _Port = Field(
        9090, description="Port of the admin listener; 0 takes any free one and logs it in `admin.started`."
    )


class UpstreamSettings(_Section):
    """The upstream: Telenor's API, and how the proxy connects to it."""

    url: Annotated[_Text, AfterValidator(_check_url)] = Field(
        "https://api.telenor.no",
        description="Scheme, host and optional port of the API; `http` only for loopback hosts, unless `upstream.allow_plaintext` is true.",
    )
    allow_plaintext: bool = Field(
        default=False,
        description="Accept `http` for any host, which sends credentials, token and orders unencrypted.",
    )
    ca_file: Annotated[_FileName, AfterValidator(_check_ca_file)] | None = Field(
        None,
        description="PEM bundle of authorities to trust instead of the system's, relative to the working directory.",
    )
    allowed_paths: tuple[Annotated[_Text, AfterValidator(_check_allowed_path)], ...] = Field(
        ("/corporate-mobile-subscriptions/", "/corporate-accounts/"),
        strict=False,
        min_length=1,
        description="Path prefixes that clients may call; all else gets 403, and `/oauth/` always does.",
    )
    connect_timeout_seconds: _Seconds = Field(
        5.0, description="Longest time to connect, TLS handshake included."
    )
    response_timeout_seconds: _Seconds = Field(
        60.0, description="Longest silence of the upstream, before the head of its answer or inside the body."
    )
    max_connections: _Connections = Field(100, description="Connections to the upstream at once.")
    idle_timeout_seconds: _Seconds = Field(
        30.0, description="An unused pooled connection is closed after this many seconds."
    )

    @property
    def origin(self) -> Origin:
        """The parsed `url`."""
        return Origin.parse(self.url)


class OAuthSettings(_Section):
    """The credentials, and how the access token is fetched and renewed."""

    token_path: _OwnPath = Field(
        "/oauth/v2/token", description="Path of the token endpoint on the upstream's host."
    )
    logout_path: _OwnPath = Field(
        "/oauth/v2/logout", description="Path of the logout endpoint on the upstream's host."
    )
    client_id: Annotated[_Text, AfterValidator(_check_client_id)] = Field(
        repr=False, description="Client id of the application, from Telenor's developer portal."
    )
    client_id_file: _FileName | None = Field(
        None, description="File that holds the client id, relative to the working directory."
    )
    client_secret: Annotated[_Secret, AfterValidator(_check_secret)] = Field(
        description="Client secret of the application, from the same page of the developer portal."
    )
    client_secret_file: _FileName | None = Field(
        None, description="File that holds the client secret, relative to the working directory."
    )
    username: Annotated[_Text, AfterValidator(_check_controls)] = Field(
        repr=False, description="Name of the machine user, from Min Bedrift, under APIs."
    )
    username_file: _FileName | None = Field(
        None, description="File that holds the machine user's name, relative to the working directory."
    )
    password: Annotated[_Secret, AfterValidator(_check_secret)] = Field(
        description="Password of the machine user, which Min Bedrift sends to a mobile phone."
    )
    password_file: _FileName | None = Field(
        None, description="File that holds the machine user's password, relative to the working directory."
    )
    scope: Annotated[_Text, AfterValidator(_check_scope)] | None = Field(
        None, description="Scope to ask for; without it the token endpoint gives its default."
    )
    refresh_ahead_seconds: float = Field(
        300.0,
        ge=0,
        le=_LONGEST_AHEAD,
        description="Renew the token this long before it expires, and never later than at half of its life.",
    )
    wait_seconds: _Seconds = Field(
        10.0, description="Longest time that a request waits for a usable token before it gets 503."
    )
    request_timeout_seconds: _Seconds = Field(
        10.0, description="Longest time for one call to the token endpoint."
    )
    logout_on_shutdown: bool = Field(
        default=False,
        description="Invalidate the token when the proxy stops, which may end the token of another instance.",
    )


class LimitsSettings(_Section):
    """What a client may ask of the proxy."""

    max_body_bytes: int = Field(10_485_760, ge=1, le=1 << 40, description="Larger request bodies get 413.")
    max_replay_bytes: int = Field(
        1_048_576,
        ge=0,
        le=1 << 30,
        description="Request bodies up to this size are kept in memory to send them again after a 401; 0 turns that off.",
    )
    max_header_bytes: int = Field(32_768, ge=256, le=1 << 20, description="Larger request heads get 431.")
    max_header_fields: int = Field(
        128, ge=1, le=10_000, description="Request heads with more header fields get 431."
    )
    max_target_bytes: int = Field(8_192, ge=1, le=1 << 20, description="Longer request targets get 414.")
    max_connections: _Connections = Field(
        1_000, description="Client connections at once; further ones get 503."
    )
    request_head_timeout_seconds: _Seconds = Field(
        15.0, description="A client has this long to send a whole request head."
    )
    idle_timeout_seconds: _Seconds = Field(
        75.0, description="An idle client connection is closed after this many seconds."
    )
    body_timeout_seconds: _Seconds = Field(
        30.0,
        description="Longest silence of a client inside its request body (408), or while it does not read its answer (cut).",
    )


class PacingSettings(_Section):
    """Smooths bursts toward the upstream."""

    requests_per_second: float | None = Field(
        None,
        gt=0,
        le=100_000.0,
        description="Requests a second that are let through to the upstream; not set, nothing is held back.",
    )
    max_wait_seconds: _Seconds = Field(
        10.0, description="A request that would have to wait longer gets 429 with `Retry-After`."
    )


class ShutdownSettings(_Section):
    """What happens between SIGTERM and the end."""

    delay_seconds: float = Field(
        0.0,
        ge=0,
        le=_LONGEST_WAIT,
        description="After SIGTERM the listener goes on accepting for this long, readiness already 503.",
    )
    grace_seconds: _Seconds = Field(
        30.0, description="After the delay, requests in flight have this long to complete."
    )


class LogSettings(_Section):
    """The log on standard output."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        "info", description="Least severe level that is written: `debug`, `info`, `warning` or `error`."
    )
    format: Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)] = Field(
        "auto", description="`json`, `console`, or `auto`: console on a terminal, else JSON."
    )


class Settings(_Section):
    """Everything that can be set. Frozen; `load` makes one from a file and the environment."""

    listen: ListenSettings = Field(default_factory=ListenSettings)
    admin: AdminSettings = Field(default_factory=AdminSettings)
    upstream: UpstreamSettings = Field(default_factory=UpstreamSettings)
    oauth: OAuthSettings
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    pacing: PacingSettings = Field(default_factory=PacingSettings)
    shutdown: ShutdownSettings = Field(default_factory=ShutdownSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if found := list(_contradictions(self)):
            raise _ContradictionsError(found)
        return self

    def effective(self) -> dict[str, object]:
        """Every setting by its path, ready for JSON. Of credentials and keys only whether they are set."""
        shown = {}
        for path in _FIELDS:
            section, key = _split(path)
            shown[path] = _plain(path, getattr(getattr(self, section), key))
        return shown


class _ContradictionsError(ValueError):
    """Settings that are right one by one but not together: for each, the paths concerned and the words for the first of them."""

    def __init__(self, found: list[tuple[tuple[str, ...], str]]) -> None:
        super().__init__("; ".join(f"{paths[0]}: {words}" for paths, words in found))
        self.found = found


def _contradictions(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    listen, admin, upstream, oauth = settings.listen, settings.admin, settings.upstream, settings.oauth
    if listen.unix_socket is not None:
        address = [f"listen.{key}" for key in ("host", "port") if key in listen.model_fields_set]
        if address:
            words = f"cannot be used together with {' and '.join(address)}. Remove one or the other"
            yield ("listen.unix_socket", *address), words
    elif listen.port and listen.port == admin.port and _overlap(listen.host, admin.host):
        words = f"is {admin.port}, the same address as the listener's. Give one of them another port"
        yield ("admin.port", "admin.host", "listen.port", "listen.host", "listen.unix_socket"), words
    if not (upstream.origin.is_tls or upstream.origin.is_loopback or upstream.allow_plaintext):
        words = (
            "would send the credentials and the token unencrypted. Use https, or set upstream.allow_plaintext"
            " to true if you trust every network on the way"
        )
        yield ("upstream.url", "upstream.allow_plaintext"), words
    for index, entry in enumerate(upstream.allowed_paths):
        for name, own in (("oauth.token_path", oauth.token_path), ("oauth.logout_path", oauth.logout_path)):
            if _is_below(entry, own):
                words = f"can never be called, since {name} is the proxy's own business. Remove the entry"
                yield (f"upstream.allowed_paths[{index}]", "upstream.allowed_paths", name), words


def _overlap(one: str, other: str) -> bool:
    """Whether both hosts would claim the same port: the same one, or 0.0.0.0, which takes the port on every IPv4 address."""
    hosts = {one.lower(), other.lower()}
    return len(hosts) == 1 or ("0.0.0.0" in hosts and not any(":" in host for host in hosts))  # noqa: S104 # compared, not bound


# --- what the models tell about themselves ---------------------------------------------------------------------------

_SECTIONS: Final[Mapping[str, type[BaseModel]]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
#: Every setting by its path.
_FIELDS: Final[Mapping[str, FieldInfo]] = {
    f"{section}.{key}": field
    for section, model in _SECTIONS.items()
    for key, field in model.model_fields.items()
}
#: The paths of values that may come from a file, and are never shown.
_SECRETS: Final = frozenset(path for path in _FIELDS if f"{path}_file" in _FIELDS)


def _split(path: str) -> tuple[str, str]:
    section, _, key = path.partition(".")
    return section, key


def _environment_name(path: str) -> str:
    return ENVIRONMENT_PREFIX + path.replace(".", "__").upper()


_PATH_OF_VARIABLE: Final[Mapping[str, str]] = {_environment_name(path): path for path in _FIELDS}


def _kind(field: FieldInfo) -> object:
    """Return the bare type of a setting: `int`, `float`, `bool`, `str`, `SecretStr`, `Path`, `tuple` or `Literal`."""
    kind: object = field.annotation
    if get_origin(kind) in {Union, UnionType}:
        kind = next(choice for choice in get_args(kind) if choice is not NoneType)
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_origin(kind) or kind


def _plain(path: str, value: object) -> object:
    if path in _SECRETS:
        return "not set" if value is None else "set"
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the YAML file, for editors.

    Nothing is required in it, because the environment may bring what the file leaves out.
    """
    schema = Settings.model_json_schema()
    for section, model in _SECTIONS.items():
        definition = schema["$defs"][model.__name__]
        definition.pop("required", None)
        definition["type"] = ["object", "null"]
        for key, declared in definition["properties"].items():
            del declared["title"]
            if f"{section}.{key}" in _SECRETS:
                definition.setdefault("allOf", []).append(
                    {"not": {"type": "object", "required": [key, f"{key}_file"]}}
                )
    del schema["required"]
    schema.update(title="telenor-proxy", description="The configuration file of telenor-proxy.")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def settings_table() -> str:
    """Return all settings as a Markdown table, for the README."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for path, field in _FIELDS.items():
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


# --- reading: a draft collects values and problems from the file, then the environment, then the secret files ---------

_BOOLEANS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
#: Takes the place of a required value that is missing or wrong while the other settings are checked against each other.
_STAND_IN: Final = "stand-in"
#: What Kubernetes sets in every container when a Service's name begins with `telenor-proxy` ("Environment variables" in its page on Services).
_SERVICE_LINK: Final = re.compile(
    r"(?!\w*__)[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)=.*"
    r"|(?!\w*__)[A-Z0-9_]+_PORT=(?:tcp|udp|sctp)://.*"
)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Make the settings from a YAML file (or none) and the environment, which wins.

    Reads the files that the settings name as well. Raises ConfigError with all problems at once, except that a file that is
    not readable YAML is the only problem told. The error holds nothing of what was read: neither as its cause nor as its context.
    """
    draft = _Draft()
    if path is not None:
        _take_file(draft, path)
    _take_environment(draft, environ)
    _take_secret_files(draft)
    settings = _judge(draft)
    if settings is None or draft.problems:
        raise ConfigError(draft.problems)
    return settings


class _Draft:
    """A configuration on its way to `Settings`."""

    def __init__(self) -> None:
        #: What was given, by path; never None.
        self.values: dict[str, object] = {}
        #: For values that do not stand in the file: where they came from.
        self.sources: dict[str, str] = {}
        self.problems: list[str] = []
        #: The paths that have a problem, so that no second one is told about them.
        self.faulty: set[str] = set()

    def problem(self, path: str, words: str) -> None:
        source = self.sources.get(path.partition("[")[0])
        end = "" if words.endswith("?") else "."
        self.problems.append(f"{path} ({source}): {words}{end}" if source else f"{path}: {words}{end}")
        self.faulty |= {path, path.partition("[")[0]}

    def unknown(self, name: str, meant: list[str]) -> None:
        self.problem(name, "is not a setting" + (f". Did you mean {' or '.join(meant)}?" if meant else ""))


def _take_file(draft: _Draft, path: Path) -> None:
    document = _parse(path)
    if document is None:
        return
    if not isinstance(document, dict):
        sections = ", ".join(_SECTIONS)
        raise ConfigError(
            [f"{path}: must hold the sections {sections}, each with its settings indented below it."]
        )
    for section, content in document.items():
        if section in _FIELDS:
            draft.problem(section, "must be split at the dot: the section first, the rest indented below it")
        elif section not in _SECTIONS:
            draft.unknown(_printable(section), _meant(_printable(section), _SECTIONS))
        elif isinstance(content, dict):
            _take_section(draft, section, content)
        elif content is not None:
            draft.problem(section, "must be a group of settings, each on a line of its own and indented")


def _take_section(draft: _Draft, section: str, content: dict[object, object]) -> None:
    for key, value in content.items():
        path = f"{section}.{key}"
        if path in _FIELDS:
            if value is not None:
                draft.values[path] = value
        elif isinstance(key, str) and ":" in key:
            draft.problem(f"{section}.{_printable(key.partition(':')[0])}", "needs a space after the colon")
        else:
            path = f"{section}.{_printable(key)}"
            draft.unknown(path, _meant(path))


def _take_environment(draft: _Draft, environ: Mapping[str, str]) -> None:
    given = {path: environ[name] for name, path in _PATH_OF_VARIABLE.items() if name in environ}
    for path, text in given.items():
        if not text:
            draft.values.pop(path, None)
            continue
        partner = path.removesuffix("_file") if path.endswith("_file") else f"{path}_file"
        if not given.get(partner):
            draft.values.pop(partner, None)
        draft.values[path] = _from_text(_kind(_FIELDS[path]), text)
        draft.sources[path] = f"from {_environment_name(path)}"
    for name in sorted(environ):
        if not name.upper().startswith(ENVIRONMENT_PREFIX) or name in _PATH_OF_VARIABLE:
            continue
        if "KUBERNETES_SERVICE_HOST" in environ and _SERVICE_LINK.fullmatch(f"{name}={environ[name]}"):
            continue
        dotted = name[len(ENVIRONMENT_PREFIX) :].replace("__", ".")
        draft.unknown(name, [_environment_name(path) for path in _meant(dotted)])


def _take_secret_files(draft: _Draft) -> None:
    for path in sorted(_SECRETS & {name.removesuffix("_file") for name in draft.values}):
        file_path = f"{path}_file"
        name = draft.values.get(file_path)
        if name is None:
            continue
        if path in draft.values:
            draft.problem(path, f"is given together with {file_path}. Keep one of them")
        elif isinstance(name, str) and name and "\0" not in name:
            try:
                draft.values[path] = _read_secret(Path(name))
            except ValueError as error:
                draft.problem(file_path, str(error))
            else:
                draft.sources[path] = f"read from {file_path}"
        if path not in draft.values:
            draft.faulty.add(path)


def _judge(draft: _Draft) -> Settings | None:
    settings, errors = _validate(draft.values)
    for error in errors:
        _tell(draft, error)
    if errors:
        sound = {path: value for path, value in draft.values.items() if path not in draft.faulty}
        required = {path: _STAND_IN for path, field in _FIELDS.items() if field.is_required()}
        _, errors = _validate(required | sound)
    for error in errors:
        reason = error.get("ctx", {}).get("error")
        for paths, words in reason.found if isinstance(reason, _ContradictionsError) else ():
            if draft.faulty.isdisjoint(paths):
                draft.problem(paths[0], words)
    return settings


def _validate(values: Mapping[str, object]) -> tuple[Settings | None, list[ErrorDetails]]:
    tree: dict[str, dict[str, object]] = {section: {} for section in _SECTIONS}
    for path, value in values.items():
        section, key = _split(path)
        tree[section][key] = value
    try:
        return Settings.model_validate(tree), []
    except ValidationError as error:
        return None, error.errors(include_url=False, include_input=False)


def _tell(draft: _Draft, error: ErrorDetails) -> None:
    """Say in plain words what pydantic found wrong with one setting."""
    location = error["loc"]
    if not location:
        return  # contradictions, which are told when every single setting is known to be right
    path = ".".join(map(str, location[:2]))
    value = draft.values.get(path)
    match error["type"]:
        case "missing":
            if draft.faulty.isdisjoint({path, str(location[0])}):
                ways = f"Set it in the file, as {_environment_name(path)}, or name a file in {path}_file"
                draft.problem(path, f"is missing. {ways}. {WHERE_TO_FIND[path].removesuffix('.')}")
        case "too_short" if value and isinstance(value, list):
            pass  # pydantic counts the entries that are left after it refused some, which are told already
        case "value_error":
            draft.problem(_entry(path, location), str(error["ctx"]["error"]))
        case _:
            draft.problem(_entry(path, location), _wrong(draft, path, value, location[2:]))


def _entry(path: str, location: tuple[int | str, ...]) -> str:
    return path + "".join(f"[{index}]" for index in location[2:])


def _wrong(draft: _Draft, path: str, value: object, index: tuple[int | str, ...]) -> str:
    """Say what should stand there, what stands there if that may be shown, and how to put it right."""
    kind, expected = _kind(_FIELDS[path]), _expected(_FIELDS[path])
    if index and isinstance(value, list):
        kind, expected, value = str, "text that is not empty", value[int(index[0])]
    words = f"must be {expected}{_shown(path, value)}"
    if not isinstance(value, str) and kind in {str, SecretStr, Path, Literal}:
        return f"{words}. Put it in quotes"
    if isinstance(value, str) and path not in draft.sources and kind in {int, float, bool, tuple}:
        if kind is tuple:
            return f"{words}. Put each entry on a line of its own, after a dash"
        if not isinstance(_from_text(kind, value), str):
            return f"{words}. Write it without quotes{'' if kind is bool else ' and in plain digits'}"
    return words


def _shown(path: str, value: object) -> str:
    # Whoever mistook `password_file` for `password` wrote a secret there.
    if path.removesuffix("_file") in _SECRETS or not isinstance(value, (bool, int, float, str)):
        return ""
    try:
        text = json.dumps(value)
    except ValueError:  # a number of more than 4300 digits
        return ""
    return f", not {text}" if len(text) <= _LONGEST_SHOWN else ""


_EXPECTED: Final[Mapping[object, str]] = {
    bool: "true or false",
    tuple: "a list with at least one entry",
    Path: "the path of a file, as text",
}


def _expected(field: FieldInfo) -> str:
    """Describe in plain words what a setting takes."""
    kind = _kind(field)
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


def _from_text(kind: object, text: str) -> object:
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


def _printable(key: object) -> str:
    """Return a key of the file as far as it looks like a name; what follows may be a secret that slipped into the key."""
    name = re.match(r"[\w.-]{0,40}", str(key), re.ASCII)
    return name[0] if name and name[0] == str(key) else f"{name[0] if name else ''}..."


def _meant(name: str, sections: Collection[str] = ()) -> list[str]:
    """Return the settings or sections that whoever wrote an unknown name probably meant."""
    plain = name.lower().replace("-", "_")
    if plain in _FIELDS:
        return [plain]
    section, _, key = plain.rpartition(".")
    if same_key := [path for path in _FIELDS if _split(path)[1] == key]:
        return same_key
    if near := get_close_matches(plain, sections, n=1):
        return near
    everywhere = {_split(path)[1]: path for path in _FIELDS}
    siblings = {_split(path)[1]: path for path in _FIELDS if _split(path)[0] == section}
    if near := get_close_matches(key, siblings, n=1):
        return [siblings[near[0]]]
    if not siblings and (near := get_close_matches(plain, _FIELDS, n=1)):
        return near
    return [everywhere[key] for key in get_close_matches(key, everywhere, n=1)]


# --- files -----------------------------------------------------------------------------------------------------------


class _YamlError(yaml.YAMLError):
    """What this module itself refuses in a YAML file: the line, and words that may be shown."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__()
        self.told = f", line {line}: {words}"


class _Loader(_SafeLoader):
    """PyYAML's safe loader, except that a key may stand only once in a mapping (YAML 1.2, section 3.2.1.1)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 # PyYAML's signature
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    name = _printable(key.value)
                    raise _YamlError(
                        key.start_mark.line + 1, f"{name} is set a second time. Keep one of them."
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _check_depth(text: str) -> None:
    """Refuse what would overflow the stack: the composer of PyYAML's binding to libyaml recurses without a bound."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST_NESTING:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise _YamlError(line, "is nested too deeply to be a configuration.")


def _parse(path: Path) -> object:
    """Read the document of a YAML file. What PyYAML says is not repeated: it quotes the file, which may hold secrets."""
    try:
        text = _read_text(path, _LARGEST_FILE)
    except ValueError as error:
        fault = f"{path}: {error}."
    else:
        try:
            _check_depth(text)
            return yaml.load(text, _Loader)  # noqa: S506 # it is a safe loader
        except _YamlError as error:
            fault = f"{path}{error.told}"
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            fault = (
                f"{path}{where}: is not valid YAML. Look for a tab in the indentation, a missing space after a colon,"
                " or a value with special characters that needs quotes."
            )
        except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            # Beside its own errors, PyYAML lets those of int(), datetime() and the like pass: a date with month 13, `!!int x`.
            fault = (
                f"{path}: is not valid YAML. Look for control characters, impossible dates and unusual tags."
            )
    raise ConfigError([fault])


def _read_secret(path: Path) -> str:
    secret = _read_text(path, _LARGEST_SECRET_FILE).rstrip("\r\n")
    if not secret:
        raise ValueError("the file is empty. Write the value into it")
    return secret


def _read_text(path: Path, largest: int) -> str:
    """Read a whole small file. The ValueError says what is wrong and what to do, without its name and content."""
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
        text = content.decode("utf-8-sig") if len(content) <= largest else None
    except FileNotFoundError:
        fault = "the file does not exist. Check the path; a relative one begins at the working directory"
    except OSError as error:
        fault = f"the file cannot be read ({error.strerror}). Check the path and the rights"
    except UnicodeDecodeError:
        fault = "the file is not UTF-8 text. Save it as UTF-8"
    else:
        if text is not None:
            return text
        fault = f"the file is larger than {largest} bytes. Check the path"
    raise ValueError(fault)
