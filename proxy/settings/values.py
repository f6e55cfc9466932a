"""The kinds of single settings, and the list of clients.

Each check says what must be, never what was given, which may be a secret in the wrong place.
`catalogue` checks what several settings must be together.
"""

import contextlib
import ipaddress
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import combinations
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from proxy.secret import Secret
from proxy.settings import files, kinds
from proxy.settings.kinds import Origin, Setting, is_host, is_ipv6, must, optional, setting, that

#: Seconds. A timeout longer than an hour was most likely meant as milliseconds.
LONGEST_WAIT: Final = 3600.0
#: Bytes: the size of sun_path in Linux (unix(7)), without the closing NUL.
_LONGEST_SOCKET_PATH: Final = 107

# RFC 6749, section 3.3: scope tokens of NQCHAR, one space between them.
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")
# Lone surrogates stand for bytes in the environment that are not UTF-8 (PEP 383).
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
#: A sequence that begins with a sequence (RFC 5280, section 4.1), unlike a PKCS #12 file.
_DER_CERTIFICATE: Final = re.compile(rb"\x30[\x80-\x84].{0,4}?\x30[\x80-\x84]", re.DOTALL)
#: Characters. Shorter keys can be guessed over a network.
_SHORTEST_CLIENT_KEY: Final = 8
_STORE_SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys")
_STORE_EXAMPLE: Final = "redis://cache.example:6379/0"
#: The methods that the listener forwards.
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

# --- Checks ------------------------------------------------------------------------------------


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _check_collector(url: str) -> None:
    must(_is_http(url), "must begin with http:// or https://")
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    must(
        "@" not in authority,
        "must not hold a user or a password:"
        " a collector's key goes into the variable OTEL_EXPORTER_OTLP_HEADERS",
    )
    Origin.parse(f"{scheme}://{authority}")
    if path:
        _check_path(f"/{path}")
    is_whole = f"/{path}".rstrip("/").endswith("/v1/traces")
    must(not is_whole, "must be without /v1/traces, which is added to it")


def _check_proxy_url(url: str) -> None:
    """Check the URL of a company's proxy. Its port must be named: they have no common one."""
    if url.lower() == "environment":
        return
    must(_is_http(url), 'must begin with http:// or https://, or be the word "environment"')
    must(
        "@" not in url,
        "must not hold a user or a password:"
        " they belong in upstream.proxy_username and upstream.proxy_password",
    )
    example = f"{Origin.parse(url).scheme}://proxy.example:3128"
    must(re.search(r":[0-9]+/?\Z", url), f"must end with the proxy's port, such as {example}")


def _check_store(store: str) -> None:
    """Check where orders are remembered. Whether a file can be written shows when it is opened."""
    scheme, separator, rest = store.partition("://")
    if not separator:
        is_url = store.partition(":")[0].lower() in _STORE_SCHEMES
        must(not is_url, f"must have // behind the scheme, such as {_STORE_EXAMPLE}")
        must("\0" not in store and not store.endswith("/"), "must be the path of a file")
        return
    must(
        scheme.lower() in _STORE_SCHEMES,
        f'must be the word "memory", the path of a file, or a URL with {", ".join(_STORE_SCHEMES)}',
    )
    user, at, address = rest.rpartition("@")
    authority, _, database = address.partition("/")
    database, has_authorities, authorities = database.partition("?ssl_ca_certs=")
    words = "must not hold a password: it belongs in orders.store_password"
    must(":" not in user and "password" not in database, words)
    if has_authorities:
        is_file = re.fullmatch(r"[\x21-\x25\x27-\x7e]+", authorities)
        words = "?ssl_ca_certs= needs rediss:// and a file, with %20 for a space"
        must(scheme.lower() in {"rediss", "valkeys"} and is_file, words)
        _check_ca_file(Path(unquote(authorities)))
    words = f"must be host, port and the number of a database, such as {_STORE_EXAMPLE}"
    must((not at or _VISIBLE.fullmatch(user)) and re.fullmatch(r"[0-9]{0,5}", database), words)
    Origin.parse(f"http://{authority}")


def _check_allowed_host(host: str) -> None:
    must(not is_ipv6(host), "must have the IPv6 address in brackets")
    in_brackets = host[:1] == "[" and host[-1:] == "]" and is_ipv6(host[1:-1])
    words = 'must be a host name or an address without scheme, port or path, or "*" alone for all'
    must(host == "*" or is_host(host) or in_brackets, words)


def _check_path(path: str) -> None:
    words = 'must begin with "/" and hold visible ASCII characters only'
    must(path.startswith("/") and _VISIBLE.fullmatch(path), words)
    words = 'must be a plain path, without "?", "#", "%", "\\", "//" and dot segments'
    must(not re.search(r"[?#%\\]|//|/\.\.?(?:/|\Z)", path), words)


def is_below(path: str, root: str) -> bool:
    """Whether a path is the root itself or stands below it, segment by segment."""
    return f"{path}/".startswith(f"{root.rstrip('/')}/")


def _check_controls(text: str) -> None:
    first, newline, _ = text.partition("\n")
    must(
        not newline,
        f"must be one line, but a line break stands after {len(first.rstrip())} characters."
        " Remove it and what stands behind it",
    )
    must(not _CONTROL.search(text), "must be one line of UTF-8 text without control characters")


def _check_ca_file(path: Path) -> None:
    import ssl  # noqa: PLC0415 # costs 10 ms, and only those who set the file need it here

    content = files.read_pem(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(OSError):  # an SSLError is one
        context.load_verify_locations(cafile=path)
    must(
        not _DER_CERTIFICATE.match(content),
        "names a certificate in DER form, where PEM is needed. Write it anew with"
        " `openssl x509 -inform der -in FILE -out FILE.pem`, and set this to the new file",
    )
    words = "names a file without a certificate in PEM form (-----BEGIN CERTIFICATE-----)"
    must(context.cert_store_stats()["x509"], words)


def _check_key_file(path: Path) -> None:
    content = files.read_pem(path)
    marks = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")
    must(
        not any(mark in content for mark in marks),
        "names a private key that a passphrase protects. Write it without one, with"
        " `openssl pkey -in KEY -out NEW`, and let only the proxy's user read it",
    )
    words = "names a file without a private key in PEM form (-----BEGIN PRIVATE KEY-----)"
    must(b"PRIVATE KEY-----" in content, words)


# --- Kinds -------------------------------------------------------------------------------------

SECONDS: Final = kinds.number(LONGEST_WAIT)
CONNECTIONS: Final = kinds.whole_number(1, 1_000_000)
PORT: Final = kinds.whole_number(0, 65535)

BIND_HOSTS: Final = kinds.one_or_list_of(
    kinds.text(
        that(
            lambda host: is_host(host) or is_ipv6(host),
            "must be a host name or an address without scheme, port or brackets",
        )
    ),
    same=lambda host: ipaddress.IPv6Address(host) if is_ipv6(host) else host.lower(),
)
ALLOWED_HOSTS: Final = kinds.list_of(kinds.text(_check_allowed_host))
URL: Final = kinds.text(Origin.parse)
PROXY_URL: Final = kinds.text(
    _check_proxy_url, to=lambda url: "environment" if url.lower() == "environment" else url
)
STORE: Final = kinds.text(
    _check_store, to=lambda store: "memory" if store.lower() == "memory" else store
)
COLLECTOR_URL: Final = kinds.text(_check_collector)
OWN_PATH: Final = kinds.text(_check_path)
ALLOWED_PATHS: Final = kinds.list_of(
    kinds.text(
        _check_path,
        that(
            lambda path: not is_below(path.lower(), "/oauth"),
            "can never be called, since /oauth/ is the proxy's own. Remove the entry",
        ),
    )
)

FILE_NAME: Final = kinds.file_name()
SOCKET_NAME: Final = kinds.file_name(
    that(
        lambda path: len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH,
        f"must be at most {_LONGEST_SOCKET_PATH} bytes long, as the system's socket paths",
    )
)
CA_FILE: Final = kinds.file_name(_check_ca_file)
KEY_FILE: Final = kinds.file_name(_check_key_file)

LINE: Final = kinds.text(_check_controls, exact=True)
CLIENT_ID: Final = kinds.text(
    that(lambda text: ":" not in text, 'must not contain ":" (RFC 7617, section 2)'),
    _check_controls,
    exact=True,
)
SCOPE: Final = kinds.text(
    that(_SCOPE.fullmatch, "must be names with one space between them (RFC 6749, section 3.3)")
)
SECRET: Final = kinds.secret(_check_controls)
CLIENT_KEY: Final = kinds.secret(
    that(
        lambda key: len(key) >= _SHORTEST_CLIENT_KEY and _VISIBLE.fullmatch(key),
        f"must be at least {_SHORTEST_CLIENT_KEY} visible ASCII characters without spaces",
    )
)

# --- Clients by name ---------------------------------------------------------------------------

_CLIENT_NAME: Final = kinds.text(
    that(re.compile(r"[a-z0-9-]{1,64}").fullmatch, "must be 1 to 64 of a-z, 0-9 and the hyphen")
)
_DNS_NAME: Final = kinds.text(
    that(is_host, "must be a DNS name or an address, as the client's certificate has it"),
    to=str.lower,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """One client: any of `keys` in X-Proxy-Key, or a certificate with the name, identifies it.

    allowed_paths, allowed_methods: None for what `upstream.allowed_paths` and the listener allow.
    """

    name: str = setting(_CLIENT_NAME, "", "Name of the client: 1 to 64 of a-z, 0-9 and the hyphen.")
    keys: tuple[Secret, ...] = field(
        default=(),
        metadata={"setting": Setting(CLIENT_KEY, None, "The client sends it in `X-Proxy-Key`.")},
    )
    key_file: Path | None = optional(
        FILE_NAME, "File that holds one or several such keys, one a line, all of them valid."
    )
    certificate: str | None = optional(
        _DNS_NAME, "DNS name, or else the CN, of its client certificate."
    )
    allowed_paths: tuple[str, ...] | None = optional(
        ALLOWED_PATHS, "Path prefixes that it may call, within `upstream.allowed_paths`."
    )
    allowed_methods: tuple[str, ...] | None = optional(
        kinds.list_of(kinds.choice(METHODS)), "Methods that it may use."
    )
    requests_per_second: float | None = optional(
        kinds.number(100_000.0), "Requests a second that it may make."
    )

    def plain(self) -> dict[str, object]:
        """Return it for JSON; of its keys only how many there are."""
        held = {each.name: kinds.plain(getattr(self, each.name)) for each in fields(self)}
        return held | {"keys": len(self.keys)}


#: As they are written: one `key`, or a file of several.
_KEYS: Final[Mapping[str, Setting]] = {
    "key" if each.name == "keys" else each.name: each.metadata["setting"]
    for each in fields(ClientSettings)
}
_IDENTITIES: Final = ("key", "key_file", "certificate")
_SCHEMA: Final = {
    "type": "array",
    "minItems": 1,
    "items": {
        "additionalProperties": False,
        "anyOf": [{"required": [key]} for key in _IDENTITIES],
        "not": {"required": ["key", "key_file"]},
        "properties": {
            key: dict(sorted({"description": entry.description, **entry.kind.schema}.items()))
            for key, entry in _KEYS.items()
        },
        "required": ["name"],
        "type": "object",
    },
}


def _take(values: Sequence[object]) -> tuple[ClientSettings, ...]:
    taken: list[ClientSettings] = []
    faults: dict[str, ValueError] = {}
    for index, value in enumerate(values):
        client, wrong = _take_one(value)
        taken.append(client)
        faults |= {f"[{index}]{place}": fault for place, fault in wrong.items()}
    for place, first in _repeated(taken):
        faults.setdefault(place, ValueError(f"belongs to [{first}] too. Give each client its own"))
    if faults:
        raise kinds.EntriesError(faults, tuple(taken))
    return tuple(taken)


def _take_one(value: object) -> tuple[ClientSettings, dict[str, ValueError]]:
    """Take one entry: the client, with defaults in place of what is wrong, and why, by place."""
    if not isinstance(value, dict):
        words = "must be a client: a name, and what else is set for it, indented equally"
        return ClientSettings(), {"": ValueError(words)}
    given = {key: content for key, content in value.items() if content is not None}
    held: dict[str, Any] = {}
    faults: dict[str, ValueError] = {}
    for key, content in given.items():
        try:
            must(key in _KEYS, f"is not a setting of a client. Use one of {', '.join(_KEYS)}")
            held[key] = _KEYS[key].kind.take(content)
        except kinds.EntriesError as error:
            faults |= {f".{key}{place}": fault for place, fault in error.faults.items()}
        except ValueError as error:
            faults[f".{files.printable(key)}"] = error
    if "name" not in given:
        faults[".name"] = ValueError("is missing. Give every client a name")
    if given.keys().isdisjoint(_IDENTITIES):
        faults[""] = ValueError("has no key, key_file or certificate. Give it one, or remove it")
    keys = [held.pop("key")] if "key" in held else []
    if "key" in given and "key_file" in given:
        faults[".key"] = ValueError("is given together with key_file. Keep one of them")
    elif "key_file" in held:
        try:
            keys = _read_keys(held["key_file"])
        except ValueError as error:
            faults[".key_file"] = error
    return ClientSettings(keys=tuple(keys), **held), faults


def _read_keys(path: Path) -> list[Secret]:
    """Read the keys of a file; the same one twice in it is one key. Raises ValueError."""
    lines = dict.fromkeys(line for line in files.read_secret(path).splitlines() if line)
    keys = []
    for position, line in enumerate(lines, start=1):
        try:
            keys.append(CLIENT_KEY.take(line))
        except ValueError as error:
            raise ValueError(f"{error} (key {position} of the file)") from None
    return keys


def _repeated(clients: Sequence[ClientSettings]) -> Iterator[tuple[str, int]]:
    """Yield each place of what an earlier client has too, and the index of that client."""
    for (first, one), (index, other) in combinations(enumerate(clients), 2):
        if one.name and one.name == other.name:
            yield f"[{index}].name", first
        if one.certificate and one.certificate == other.certificate:
            yield f"[{index}].certificate", first
        if any(key in one.keys for key in other.keys):
            yield f"[{index}].{'key_file' if other.key_file else 'key'}", first


CLIENTS: Final[kinds.Kind[tuple[ClientSettings, ...]]] = kinds.Kind(
    expected="a list with at least one client (in the environment: a JSON array of objects)",
    schema=_SCHEMA,
    fits=lambda value: isinstance(value, list) and len(value) > 0,
    convert=_take,
    parse=json.loads,
    unquoted="Begin each client with a dash, and indent what belongs to it equally",
    plain=lambda clients: [client.plain() for client in clients],
    holds_secrets=True,
)
