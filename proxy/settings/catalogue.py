"""All settings together: `Settings`, what is known of each by its path, and what contradicts what.

A contradiction, of values that are right one by one, is refused. A doubt is no fault: the value may
be right all the same, and is used; the operator is warned before a login that may lock the machine
user. No word of a credential is ever shown.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final, NamedTuple, get_type_hints

from proxy.secret import Secret
from proxy.settings import files
from proxy.settings.kinds import Origin, Section, Setting
from proxy.settings.model import (
    AdminSettings,
    LimitsSettings,
    ListenSettings,
    LogSettings,
    OAuthSettings,
    OrdersSettings,
    PacingSettings,
    ShutdownSettings,
    TelemetrySettings,
    UpstreamSettings,
)
from proxy.settings.values import is_below

# --- All settings -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. Frozen; `load` makes one from a file and the environment."""

    listen: ListenSettings
    admin: AdminSettings
    upstream: UpstreamSettings
    oauth: OAuthSettings
    limits: LimitsSettings
    pacing: PacingSettings
    orders: OrdersSettings
    shutdown: ShutdownSettings
    log: LogSettings
    telemetry: TelemetrySettings

    def effective(self) -> dict[str, object]:
        """Every setting by its path, ready for JSON.

        Of credentials and keys only whether they are set.
        """
        effective = {}
        for name, section in SECTIONS.items():
            for key, declared in section.settings().items():
                value = getattr(getattr(self, name), key)
                shown = _marked(value) if section.is_secret(key) else declared.shown(value)
                effective[f"{name}.{key}"] = shown
        return effective

    def secrets(self) -> Iterator[tuple[str, str | Secret]]:
        """Yield the path and the value of each credential and key that is set."""
        for name, section in SECTIONS.items():
            for key in section.settings():
                value = getattr(getattr(self, name), key)
                if section.is_secret(key) and value is not None:
                    yield f"{name}.{key}", value
        for index, client in enumerate(self.listen.clients):
            for held in client.keys:
                yield f"listen.clients[{index}]", held

    def secret_files(self) -> set[Path]:
        """Return the files that credentials and keys were read from."""
        named = [
            getattr(getattr(self, name), f"{key}_file")
            for name, section in SECTIONS.items()
            for key in section.settings()
            if section.is_secret(key)
        ]
        named += [client.key_file for client in self.listen.clients]
        return {path for path in named if path is not None}


SECTIONS: Final[Mapping[str, type[Section]]] = get_type_hints(Settings)


def _marked(secret: object) -> str:
    return "not set" if secret is None else "set"


ENVIRONMENT_PREFIX: Final = "TELENOR_PROXY_"
#: Names the file when the command line does not; the one variable with the prefix that is no
#: setting.
CONFIG_VARIABLE: Final = "TELENOR_PROXY_CONFIG"

#: Every setting by its path, such as `listen.port`.
SETTINGS: Final[Mapping[str, Setting]] = {
    f"{name}.{key}": setting
    for name, section in SECTIONS.items()
    for key, setting in section.settings().items()
}
#: The paths of values that may come from a file, and are never shown.
SECRETS: Final = frozenset(
    f"{name}.{key}"
    for name, section in SECTIONS.items()
    for key in section.settings()
    if section.is_secret(key)
)
#: The paths of what is taken up at run time. The files are: from then on the new one is watched.
CHANGEABLE: Final = frozenset(path for path, setting in SETTINGS.items() if setting.changes)


def split(path: str) -> tuple[str, str]:
    """Return the section and the key of a path."""
    section, _, key = path.partition(".")
    return section, key


def environment_name(path: str) -> str:
    """Return the environment variable of a setting.

    `TELENOR_PROXY_LISTEN__PORT` for `listen.port`.
    """
    return ENVIRONMENT_PREFIX + path.replace(".", "__").upper()


PATH_OF_VARIABLE: Final[Mapping[str, str]] = {environment_name(path): path for path in SETTINGS}


# --- Contradictions ----------------------------------------------------------------------------


#: The paths concerned, and the words for the first of them.
Contradiction = tuple[tuple[str, ...], str]


def contradictions(settings: Settings, given: Collection[str]) -> Iterator[Contradiction]:
    """Yield what is right one by one but not together.

    The paths concerned, and the words for the first of them.

    given: the paths of the settings that somebody has set, be it to their default.
    """
    listen, admin, upstream = settings.listen, settings.admin, settings.upstream
    if listen.unix_socket is not None:
        address = [path for path in ("listen.host", "listen.port") if path in given]
        if address:
            words = f"cannot be used together with {' and '.join(address)}. Remove one or the other"
            yield ("listen.unix_socket", *address), words
    elif listen.port and listen.port == admin.port and _overlap(listen.host, admin.host):
        words = (
            f"is {admin.port}, the same address as the listener's. Give one of them another port"
        )
        yield (
            ("admin.port", "admin.host", "listen.port", "listen.host", "listen.unix_socket"),
            words,
        )
    if not (upstream.origin.is_tls or upstream.origin.is_loopback or upstream.allow_plaintext):
        words = (
            "would send the credentials and the token unencrypted. Use https, or set upstream.allow_plaintext"
            " to true if you trust every network on the way"
        )
        yield ("upstream.url", "upstream.allow_plaintext"), words
    yield from _circles(settings)
    yield from _own_paths(settings)
    yield from _about_tls(listen)
    yield from _about_clients(settings, given)
    yield from _about_proxy(upstream)
    yield from _about_orders(settings.orders)


def _circles(settings: Settings) -> Iterator[Contradiction]:
    """Find ways that lead back to the proxy itself."""
    listen, upstream = settings.listen, settings.upstream
    targets = [
        ("upstream.url", upstream.origin, "Set it to the API (https://api.telenor.no)"),
        ("upstream.proxy_url", upstream.proxy_origin, "Set it to the company's proxy"),
    ]
    for path, origin, advice in targets:
        for name, ours in (("listen", listen), ("admin", settings.admin)):
            if origin is None or (name == "listen" and listen.unix_socket is not None):
                continue
            if any(_leads_to(origin, host, ours.port) for host in ours.host):
                words = (
                    f"leads back to the proxy itself, by {name}.host and {name}.port."
                    f" {advice}, or {name}.port to another port"
                )
                yield (path, f"{name}.host", f"{name}.port", "listen.unix_socket"), words


def _own_paths(settings: Settings) -> Iterator[Contradiction]:
    oauth = settings.oauth
    for index, entry in enumerate(settings.upstream.allowed_paths):
        for name, own in (
            ("oauth.token_path", oauth.token_path),
            ("oauth.logout_path", oauth.logout_path),
        ):
            if is_below(entry, own):
                words = f"can never be called, since {name} is the proxy's own business. Remove the entry"
                yield (f"upstream.allowed_paths[{index}]", "upstream.allowed_paths", name), words


def _about_tls(listen: ListenSettings) -> Iterator[Contradiction]:
    certificate, key = listen.tls_certificate_file, listen.tls_key_file
    if listen.unix_socket is not None and certificate is not None:
        words = "cannot be used together with listen.unix_socket, on which no TLS is spoken. Remove one of them"
        yield ("listen.tls_certificate_file", "listen.unix_socket"), words
        return
    if certificate is not None:
        fault = _why_no_pair(certificate, key)
        if fault is not None:
            paths = ("listen.tls_certificate_file", "listen.tls_key_file")
            yield paths if key is None else paths[::-1], fault
        return
    needs = "needs listen.tls_certificate_file as well. Set that, or remove this"
    if key is not None:
        yield ("listen.tls_key_file", "listen.tls_certificate_file"), needs
    if listen.tls_client_ca_file is not None:
        yield ("listen.tls_client_ca_file", "listen.tls_certificate_file"), needs


def _why_no_pair(certificate: Path, key: Path | None) -> str | None:
    """Say why a certificate and a private key cannot be used together; None if they can."""
    import ssl  # noqa: PLC0415 # costs 10 ms, and only those who set the files need it here

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certificate, key, password=lambda: ""
        )
    except ssl.SSLError as error:
        if "KEY_VALUES_MISMATCH" in str(error.reason):
            return "is not the key of the certificate in listen.tls_certificate_file. Set both to the files of one pair"
        if key is None:
            return "holds no private key. Set listen.tls_key_file to the file that does"
        return "cannot be used with listen.tls_certificate_file: one of the two is incomplete. Write them anew"
    except OSError as error:
        return f"names a file that {files.unreadable(error)}"
    return None


def _about_clients(settings: Settings, given: Collection[str]) -> Iterator[Contradiction]:
    listen, allowed = settings.listen, settings.upstream.allowed_paths
    if listen.client_key is not None and (listen.clients or "listen.clients" in given):
        words = "cannot be used together with listen.clients. Give it to one of them"
        yield ("listen.client_key",), words
    for index, client in enumerate(listen.clients):
        place = f"listen.clients[{index}]"
        if client.certificate is not None and listen.tls_client_ca_file is None:
            words = "needs listen.tls_client_ca_file, so that clients are asked for a certificate. Set that as well"
            yield (f"{place}.certificate", "listen.tls_client_ca_file"), words
        for position, path in enumerate(client.allowed_paths or ()):
            if not path.startswith(allowed):
                words = "is outside of upstream.allowed_paths. Remove the entry, or add it there"
                yield (f"{place}.allowed_paths[{position}]", "upstream.allowed_paths"), words


def _about_proxy(upstream: UpstreamSettings) -> Iterator[Contradiction]:
    named = {
        "upstream.proxy_username": upstream.proxy_username,
        "upstream.proxy_password": upstream.proxy_password,
    }
    for path, value in named.items():
        other = next(name for name in named if name != path)
        if value is not None and upstream.proxy_url is None:
            yield (
                (path, "upstream.proxy_url"),
                "needs upstream.proxy_url as well. Set that, or remove this",
            )
        elif value is not None and named[other] is None:
            yield (path, other), f"needs {other} as well. Set both, or none"


def _about_orders(orders: OrdersSettings) -> Iterator[Contradiction]:
    if orders.guard_seconds and orders.store is None:
        words = (
            "needs orders.store, where orders are remembered. Set that as well, such as to memory"
        )
        yield ("orders.guard_seconds", "orders.store"), words
    if orders.store_password is not None and orders.store_kind != "redis":
        words = "needs the URL of a Valkey or Redis in orders.store. Set that, or remove this"
        yield ("orders.store_password", "orders.store"), words


def _leads_to(origin: Origin, host: str, port: int) -> bool:
    """Whether a connection to the origin ends at what listens there.

    Localhost is 127.0.0.1, and perhaps ::1.
    """
    names = {"127.0.0.1" if name == "localhost" else name for name in (origin.host, host.lower())}
    every = {"::"} if ":" in origin.host else {"0.0.0.0", "::"}  # noqa: S104 # compared, not bound
    return origin.port == port and (len(names) == 1 or (host in every and origin.is_loopback))


def _overlap(ones: Collection[str], others: Collection[str]) -> bool:
    """Whether one host of each would claim the same address, be it as one of all that a wildcard takes."""
    return any(_claim_the_same(one.lower(), other.lower()) for one in ones for other in others)


def _claim_the_same(one: str, other: str) -> bool:
    if one == other or "::" in (one, other):
        return True
    hosts = {one, other}
    if "0.0.0.0" in hosts:  # noqa: S104 # compared, not bound
        return not any(":" in host for host in hosts)
    return "localhost" in hosts and not hosts.isdisjoint({"127.0.0.1", "::1"})


# --- Doubts about credentials: pure ------------------------------------------------------------


#: The name of a machine user: `api` and digits (Telenor's developer pages, "Get access").
_MACHINE_USER: Final = re.compile(r"api[0-9]{6,}", re.IGNORECASE)
_QUOTES: Final = {
    '"': '"',
    "'": "'",
    "`": "`",
    "\u201c": "\u201d",
    "\u2018": "\u2019",
    "\u00ab": "\u00bb",
}
#: `CLIENT_ID=`, `export TELENOR_PROXY_OAUTH__PASSWORD=`, `password: `.
_NAME: Final = re.compile(
    r"(?:export\s+)?[\w.-]*(?:client_?id|client_?secret|user_?name|password|passord|secret|key)\s*(?:=|:\s)",
    re.IGNORECASE,
)
#: What a browser or a word processor puts between or into words, and no one sees.
_INVISIBLE: Final = re.compile(r"[\u00a0\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u2064\ufeff]")


class Doubt(NamedTuple):
    """The path of a setting, and whole sentences about its value.

    What is doubtful, and what to do.
    """

    path: str
    text: str


def doubts(settings: Settings) -> Iterator[Doubt]:
    """Yield what is visibly wrong with the credentials and keys in force."""
    for path, value in settings.secrets():
        words = _about(_text(value))
        if words is not None:
            yield Doubt(path, f"{path} {words}.")
    yield from _mixed_up(settings)


def _text(value: str | Secret) -> str:
    return value if isinstance(value, str) else value.reveal()


def _about(value: str) -> str | None:
    """Say what does not look like a part of a value; None if all does."""
    if _NAME.match(value):
        return "begins with a name and = or a colon, as a line of another file does. Remove that from the value"
    if len(value) > 1 and _QUOTES.get(value[0]) == value[-1]:
        return (
            "has quotes that are a part of the value: neither a file that holds a secret nor docker's --env-file"
            " needs any. Remove them"
        )
    if value != value.strip(" "):
        return "begins or ends with a space, which is sent as it is. Remove it"
    if _INVISIBLE.search(value):
        return "holds a character that cannot be seen, such as a no-break space from a web page. Write it anew by hand"
    return None


def _mixed_up(settings: Settings) -> Iterator[Doubt]:
    oauth = settings.oauth
    values: dict[str, str | Secret] = {
        "oauth.client_id": oauth.client_id,
        "oauth.client_secret": oauth.client_secret,
        "oauth.username": oauth.username,
        "oauth.password": oauth.password,
    }
    for path, value in values.items():
        if path != "oauth.username" and _MACHINE_USER.fullmatch(_text(value)):
            text = (
                f"{path} looks like the name of a machine user, which belongs in oauth.username."
                " Check whether the two are swapped."
            )
            yield Doubt(path, text)
    for (one, first), (other, second) in combinations(values.items(), 2):
        if _text(first) == _text(second):
            text = f"{one} and {other} have the same value, which no application has. Compare both with what Telenor gave you."
            yield Doubt(one, text)
