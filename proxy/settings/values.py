"""The kinds of single settings, and the list of clients.

Each check says what must be, never what was given, which may be a secret in the wrong place. What
several settings must be together is the business of `catalogue`.
"""

import ipaddress
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from proxy.secret import Secret
from proxy.settings import files
from proxy.settings.kinds import (
    EntriesError,
    Kind,
    Origin,
    Setting,
    credential,
    file_name,
    is_host,
    is_ipv6,
    list_of,
    number,
    one_or_list_of,
    plain,
    secret,
    text,
    truth,
    whole_number,
)

#: Seconds. A timeout longer than an hour was most likely meant as milliseconds.
LONGEST_WAIT: Final = 3600.0
#: Bytes: the size of sun_path in Linux (unix(7)), without the closing NUL.
_LONGEST_SOCKET_PATH: Final = 107
#: Characters. Shorter keys can be tried out over a network.
_SHORTEST_CLIENT_KEY: Final = 8

# RFC 6749, section 3.3: scope tokens of NQCHAR, one space between them.
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")
# Lone surrogates stand for bytes in the environment that are not UTF-8 (PEP 383).
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
#: A sequence that begins with a sequence (RFC 5280, section 4.1), unlike a PKCS #12 file.
_DER_CERTIFICATE: Final = re.compile(rb"\x30[\x80-\x84].{0,4}?\x30[\x80-\x84]", re.DOTALL)
_CLIENT_NAME: Final = re.compile(r"[a-z0-9-]{1,64}")
_STORE_SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys")
#: The methods that the listener forwards.
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _check_url(url: str) -> str:
    Origin.parse(url)
    return url


def _check_collector(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    if scheme.lower() not in {"http", "https"} or not separator:
        raise ValueError("must begin with http:// or https://")
    if "@" in authority:
        raise ValueError(
            "must not hold a user or a password: a collector's key goes into the variable OTEL_EXPORTER_OTLP_HEADERS"
        )
    Origin.parse(f"{scheme}://{authority}")
    if path:
        _check_path(f"/{path}")
    if f"/{path}".rstrip("/").endswith("/v1/traces"):
        raise ValueError("must be without /v1/traces, which is added to it")
    return url


def _check_proxy_url(url: str) -> str:
    """Judge the URL of a company's proxy.

    There is no port that all of them use, so that it has to be named.
    """
    if url.lower() == "environment":
        return "environment"
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in {"http", "https"}:
        raise ValueError('must begin with http:// or https://, or be the word "environment"')
    if "@" in rest:
        raise ValueError(
            "must not hold a user or a password: they belong in upstream.proxy_username and upstream.proxy_password"
        )
    origin = Origin.parse(url)
    if not re.search(r":[0-9]+/?\Z", rest):
        raise ValueError(
            f"must end with the proxy's port, such as {origin.scheme}://proxy.example:3128"
        )
    return url


def _check_store(store: str) -> str:
    """Judge where orders are remembered.

    Whether a file can be written is known when it is opened.
    """
    if store.lower() == "memory":
        return "memory"
    scheme, separator, rest = store.partition("://")
    if not separator:
        if store.partition(":")[0].lower() in _STORE_SCHEMES:
            raise ValueError("must have // behind the scheme, such as redis://cache.example:6379/0")
        if "\0" in store or store.endswith("/"):
            raise ValueError("must be the path of a file")
        return store
    if scheme.lower() not in _STORE_SCHEMES:
        raise ValueError(
            f'must be the word "memory", the path of a file, or a URL with {", ".join(_STORE_SCHEMES)}'
        )
    user, at, address = rest.rpartition("@")
    authority, _, database = address.partition("/")
    database, has_authorities, authorities = database.partition("?ssl_ca_certs=")
    if ":" in user or "password" in database:
        raise ValueError("must not hold a password: it belongs in orders.store_password")
    is_encrypted = scheme.lower() in {"rediss", "valkeys"}
    if has_authorities and not (
        is_encrypted and re.fullmatch(r"[\x21-\x25\x27-\x7e]+", authorities)
    ):
        raise ValueError("?ssl_ca_certs= needs rediss:// and a file, with %20 for a space")
    if has_authorities:
        _check_ca_file(Path(unquote(authorities)))
    if (at and not _VISIBLE.fullmatch(user)) or not re.fullmatch(r"[0-9]{0,5}", database):
        raise ValueError(
            "must be host, port and the number of a database, such as redis://cache.example:6379/0"
        )
    Origin.parse(f"http://{authority}")
    return store


def _check_bind_host(host: str) -> str:
    if not (is_host(host) or is_ipv6(host)):
        raise ValueError(
            "must be a host name or an address alone, without scheme, port or brackets"
        )
    return host


def _same_host(host: str) -> object:
    return ipaddress.IPv6Address(host) if is_ipv6(host) else host.lower()


def _check_allowed_host(host: str) -> str:
    if (
        host == "*"
        or is_host(host)
        or (host[:1] == "[" and host[-1:] == "]" and is_ipv6(host[1:-1]))
    ):
        return host
    if is_ipv6(host):
        raise ValueError("must have the IPv6 address in brackets")
    raise ValueError(
        'must be a host name or an address without scheme, port or path, or "*" alone for all'
    )


def _check_path(path: str) -> str:
    if not path.startswith("/") or not _VISIBLE.fullmatch(path):
        raise ValueError('must begin with "/" and hold visible ASCII characters only')
    if (
        not set(path).isdisjoint("?#%\\")
        or "//" in path
        or not {".", ".."}.isdisjoint(path.split("/"))
    ):
        raise ValueError('must be a plain path, without "?", "#", "%", "\\", "//" and dot segments')
    return path


def _check_allowed_path(path: str) -> str:
    if is_below(_check_path(path).lower(), "/oauth"):
        raise ValueError(
            "can never be called: everything below /oauth/ is the proxy's own business. Remove the entry"
        )
    return path


def is_below(path: str, root: str) -> bool:
    """Whether a path is the root itself or stands below it, segment by segment."""
    return f"{path}/".startswith(f"{root.rstrip('/')}/")


def _check_scope(scope: str) -> str:
    if not _SCOPE.fullmatch(scope):
        raise ValueError("must be scope names with one space between them (RFC 6749, section 3.3)")
    return scope


def _check_controls(text: str) -> str:
    first, newline, _ = text.partition("\n")
    if newline:
        raise ValueError(
            f"must be one line, but a line break stands after {len(first.rstrip())} characters. Remove it and what stands behind it"
        )
    if _CONTROL.search(text):
        raise ValueError("must be one line of UTF-8 text without control characters")
    return text


def _check_client_id(text: str) -> str:
    if ":" in text:
        raise ValueError(
            'must not contain ":", which separates it from the secret (RFC 7617, section 2)'
        )
    return _check_controls(text)


def _check_client_key(key: str) -> str:
    if len(key) < _SHORTEST_CLIENT_KEY or not _VISIBLE.fullmatch(key):
        raise ValueError(
            f"must be at least {_SHORTEST_CLIENT_KEY} visible ASCII characters without spaces, so that it fits in a header field"
        )
    return key


def _check_client_name(name: str) -> str:
    if not _CLIENT_NAME.fullmatch(name):
        raise ValueError("must be 1 to 64 of the letters a-z, the digits and the hyphen")
    return name


def _check_dns_name(name: str) -> str:
    if not is_host(name):
        raise ValueError("must be a DNS name or an address, as the client's certificate has it")
    return name.lower()


def _check_method(method: str) -> str:
    if method.upper() not in METHODS:
        raise ValueError(f"must be one of {', '.join(METHODS)}")
    return method.upper()


def _check_socket(path: Path) -> Path:
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ValueError(
            f"must be at most {_LONGEST_SOCKET_PATH} bytes long, the system's limit for socket paths"
        )
    return path


def _check_ca_file(path: Path) -> Path:
    import ssl  # noqa: PLC0415 # costs 10 ms, and only those who set the file need it here

    content = files.read_pem(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        certificates = 0
    else:
        certificates = context.cert_store_stats()["x509"]
    if not certificates and _DER_CERTIFICATE.match(content):
        raise ValueError(
            "names a certificate in DER form, where PEM is needed. Write it anew with"
            " `openssl x509 -inform der -in FILE -out FILE.pem`, and set this to the new file"
        )
    if not certificates:
        raise ValueError(
            'names a file without a certificate in PEM form. Check that it holds "-----BEGIN CERTIFICATE-----"'
        )
    return path


def _check_key_file(path: Path) -> Path:
    content = files.read_pem(path)
    if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in content or b"Proc-Type: 4,ENCRYPTED" in content:
        raise ValueError(
            "names a private key that a passphrase protects. Write it without one, with `openssl pkey -in KEY -out NEW`,"
            " and let only the proxy's user read it"
        )
    if b"PRIVATE KEY-----" not in content:
        raise ValueError(
            'names a file without a private key in PEM form. Check that it holds "-----BEGIN PRIVATE KEY-----"'
        )
    return path


TRUTH: Final = truth()
LINE: Final = credential(_check_controls)

SECONDS: Final = number(LONGEST_WAIT)
CONNECTIONS: Final = whole_number(1, 1_000_000)
PORT: Final = whole_number(0, 65535)

BIND_HOSTS: Final = one_or_list_of(text(_check_bind_host), same=_same_host)
ALLOWED_HOSTS: Final = list_of(text(_check_allowed_host))
URL: Final = text(_check_url)
PROXY_URL: Final = text(_check_proxy_url)
STORE: Final = text(_check_store)
COLLECTOR_URL: Final = text(_check_collector)
OWN_PATH: Final = text(_check_path)
ALLOWED_PATHS: Final = list_of(text(_check_allowed_path))

FILE_NAME: Final = file_name()
SOCKET_NAME: Final = file_name(_check_socket)
CA_FILE: Final = file_name(_check_ca_file)
KEY_FILE: Final = file_name(_check_key_file)

CLIENT_ID: Final = credential(_check_client_id)
SCOPE: Final = text(_check_scope)
SECRET: Final = secret(_check_controls)
CLIENT_KEY: Final = secret(_check_client_key)


# --- Clients by name ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """One client: any of `keys` in X-Proxy-Key, or a certificate with the name, identifies it.

    allowed_paths, allowed_methods: None for what `upstream.allowed_paths` and the listener allow.
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
        held = {each.name: plain(getattr(self, each.name)) for each in fields(self)}
        return held | {"keys": len(self.keys)}


_KEYS: Final[Mapping[str, Setting]] = {
    "name": Setting(
        text(_check_client_name), None, "Name of the client: 1 to 64 of a-z, 0-9 and the hyphen."
    ),
    "key": Setting(CLIENT_KEY, None, "The client sends it in `X-Proxy-Key`."),
    "key_file": Setting(
        FILE_NAME, None, "File that holds one or several such keys, one a line, all of them valid."
    ),
    "certificate": Setting(
        text(_check_dns_name), None, "DNS name, or else the CN, of its client certificate."
    ),
    "allowed_paths": Setting(
        ALLOWED_PATHS, None, "Path prefixes that it may call, within `upstream.allowed_paths`."
    ),
    "allowed_methods": Setting(list_of(text(_check_method)), None, "Methods that it may use."),
    "requests_per_second": Setting(number(100_000.0), None, "Requests a second that it may make."),
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
        faults[place] = ValueError(
            "must be a client: a name, and what else is set for it, indented equally"
        )
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


def _take_settings(
    given: Mapping[str, object], place: str, faults: dict[str, ValueError]
) -> dict[str, Any]:
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
            first = next(
                (owner for owner, theirs in owned if owner != index and theirs == mine), None
            )
            if first is not None and place not in faults:
                faults[place] = ValueError(f"belongs to [{first}] too. Give each client its own")
            owned.append((index, mine))


CLIENTS: Final[Kind[tuple[ClientSettings, ...]]] = Kind(
    expected="a list with at least one client (in the environment: a JSON array of objects)",
    schema=_SCHEMA,
    fits=lambda value: isinstance(value, list) and len(value) > 0,
    convert=_take,
    parse=json.loads,
    unquoted="Begin each client with a dash, and indent what belongs to it equally",
    plain=lambda clients: [client.plain() for client in clients],
    holds_secrets=True,
)
