"""All settings together: `Settings`, their paths, what contradicts what, and doubts.

A contradiction, of values that are right one by one, is refused. A doubt is a warning before a
login that may lock the machine user: the value may be right, and is used. No word of a credential
is ever shown.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from operator import attrgetter
from pathlib import Path
from typing import Final, get_type_hints

from proxy.secret import Secret
from proxy.settings import files, model
from proxy.settings.kinds import Origin, Section, Setting
from proxy.settings.values import KEY_FILE, is_below

# --- All settings ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. Frozen; `load` makes one from a file and the environment."""

    listen: model.ListenSettings
    admin: model.AdminSettings
    upstream: model.UpstreamSettings
    oauth: model.OAuthSettings
    limits: model.LimitsSettings
    pacing: model.PacingSettings
    orders: model.OrdersSettings
    shutdown: model.ShutdownSettings
    log: model.LogSettings
    telemetry: model.TelemetrySettings

    def effective(self) -> dict[str, object]:
        """Every setting by its path, for JSON; of credentials and keys, whether they are set."""
        shown = {path: declared.shown(self.value_of(path)) for path, declared in SETTINGS.items()}
        held = {path: "not set" if shown[path] is None else "set" for path in SECRETS}
        return shown | held

    def secrets(self) -> Iterator[tuple[str, str | Secret]]:
        """Yield the path and the value of each credential and key that is set."""
        for path in SETTINGS:
            value = self.value_of(path) if path in SECRETS else None
            if isinstance(value, str | Secret):
                yield path, value
        for index, client in enumerate(self.listen.clients):
            for held in client.keys:
                yield f"listen.clients[{index}]", held

    def secret_files(self) -> set[Path]:
        """Return the files that credentials and keys were read from."""
        named = [self.value_of(f"{path}_file") for path in SECRETS]
        named += [client.key_file for client in self.listen.clients]
        return {path for path in named if isinstance(path, Path)}

    def value_of(self, path: str) -> object:
        """Return the value of the setting with this path."""
        value: object = attrgetter(path)(self)
        return value


SECTIONS: Final[Mapping[str, type[Section]]] = get_type_hints(Settings)

ENVIRONMENT_PREFIX: Final = "TELENOR_PROXY_"
#: Names the file when the command line does not; the one such variable that is no setting.
CONFIG_VARIABLE: Final = "TELENOR_PROXY_CONFIG"

#: Every setting by its path, such as `listen.port`.
SETTINGS: Final[Mapping[str, Setting]] = {
    f"{name}.{key}": setting
    for name, section in SECTIONS.items()
    for key, setting in section.settings().items()
}
#: The paths of values that may come from a file, and are never shown.
SECRETS: Final = frozenset(path for path in SETTINGS if f"{path}_file" in SETTINGS)
#: The paths of what is taken up at run time. The files are: from then on the new one is watched.
CHANGEABLE: Final = frozenset(path for path, setting in SETTINGS.items() if setting.changes)


def split(path: str) -> tuple[str, str]:
    """Return the section and the key of a path."""
    section, _, key = path.partition(".")
    return section, key


def environment_name(path: str) -> str:
    """Return a setting's variable: `TELENOR_PROXY_LISTEN__PORT` for `listen.port`."""
    return ENVIRONMENT_PREFIX + path.replace(".", "__").upper()


PATH_OF_VARIABLE: Final[Mapping[str, str]] = {environment_name(path): path for path in SETTINGS}

# --- Contradictions ----------------------------------------------------------------------------

#: The paths concerned, and the words for the first of them.
Contradiction = tuple[tuple[str, ...], str]

#: Settings that mean nothing without another one.
_NEEDS: Final = (
    ("listen.tls_key_file", "listen.tls_certificate_file"),
    ("listen.tls_client_ca_file", "listen.tls_certificate_file"),
    ("upstream.proxy_username", "upstream.proxy_url"),
    ("upstream.proxy_username", "upstream.proxy_password"),
    ("upstream.proxy_password", "upstream.proxy_url"),
    ("upstream.proxy_password", "upstream.proxy_username"),
    ("orders.guard_seconds", "orders.store"),
)


def contradictions(settings: Settings, given: Collection[str]) -> Iterator[Contradiction]:
    """Yield what is right one by one but not together.

    given: the paths of the settings that were set, be it to their default.
    """
    listen, admin = settings.listen, settings.admin
    upstream, orders = settings.upstream, settings.orders
    for path, needed in _NEEDS:
        if settings.value_of(path) and settings.value_of(needed) is None:
            yield (path, needed), f"needs {needed} as well. Set that, or remove this"
    if listen.unix_socket is not None:
        address = [path for path in ("listen.host", "listen.port") if path in given]
        if address:
            words = f"cannot be used together with {' and '.join(address)}. Remove one or the other"
            yield ("listen.unix_socket", *address), words
    elif listen.port and listen.port == admin.port and _overlap(listen.host, admin.host):
        words = f"is {admin.port}, the same address as the listener's. Set another port"
        yield (
            ("admin.port", "admin.host", "listen.port", "listen.host", "listen.unix_socket"),
            words,
        )
    if not (upstream.origin.is_tls or upstream.origin.is_loopback or upstream.allow_plaintext):
        words = (
            "would send the credentials and the token unencrypted. Use https, or set"
            " upstream.allow_plaintext to true if you trust every network on the way"
        )
        yield ("upstream.url", "upstream.allow_plaintext"), words
    yield from _loops(settings)
    yield from _own_paths(settings)
    yield from _about_clients(settings, given)
    yield from _about_certificate(listen)
    if orders.store_password is not None and orders.store_kind != "redis":
        words = "needs the URL of a Valkey or Redis in orders.store. Set that, or remove this"
        yield ("orders.store_password", "orders.store"), words


def _loops(settings: Settings) -> Iterator[Contradiction]:
    """Find ways that lead back to the proxy itself."""
    upstream = settings.upstream
    targets = [
        ("upstream.url", upstream.origin, "Set it to the API (https://api.telenor.no)"),
        ("upstream.proxy_url", upstream.proxy_origin, "Set it to the company's proxy"),
    ]
    listeners: dict[str, model.ListenSettings | model.AdminSettings] = {"admin": settings.admin}
    if settings.listen.unix_socket is None:
        listeners["listen"] = settings.listen
    for (path, origin, advice), (name, ours) in product(targets, listeners.items()):
        if origin is not None and any(_leads_to(origin, host, ours.port) for host in ours.host):
            words = (
                f"leads back to the proxy itself, by {name}.host and {name}.port."
                f" {advice}, or {name}.port to another port"
            )
            yield (path, f"{name}.host", f"{name}.port", "listen.unix_socket"), words


def _own_paths(settings: Settings) -> Iterator[Contradiction]:
    for index, entry in enumerate(settings.upstream.allowed_paths):
        for name in ("oauth.token_path", "oauth.logout_path"):
            if is_below(entry, str(settings.value_of(name))):
                words = f"can never be called, since {name} is the proxy's own. Remove the entry"
                yield (f"upstream.allowed_paths[{index}]", "upstream.allowed_paths", name), words


def _about_certificate(listen: model.ListenSettings) -> Iterator[Contradiction]:
    if listen.tls_certificate_file is not None:
        if listen.unix_socket is not None:
            words = "cannot be used together with listen.unix_socket, which has no TLS. Remove one"
            yield ("listen.tls_certificate_file", "listen.unix_socket"), words
        elif fault := why_no_pair(listen.tls_certificate_file, listen.tls_key_file):
            yield fault


def why_no_pair(certificate: Path, key: Path | None) -> Contradiction | None:
    """Return why the listener's certificate and key cannot be used together; None if they can."""
    import ssl  # noqa: PLC0415 # costs 10 ms, and only those who set the files need it here

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        if "KEY_VALUES_MISMATCH" in str(error.reason):
            words = "is not the key of listen.tls_certificate_file. Set both to files of one pair"
        else:
            words = _about_key(certificate, key)
    except OSError as error:
        words = f"names a file that {files.unreadable(error)}"
    else:
        return None
    paths = ("listen.tls_certificate_file", "listen.tls_key_file")
    return paths if key is None else paths[::-1], words


def _about_key(certificate: Path, key: Path | None) -> str:
    """Say why OpenSSL takes no key from these files, or only a part of one."""
    if key is None and b"PRIVATE KEY-----" not in certificate.read_bytes():
        return "holds no private key. Set listen.tls_key_file to the file that does"
    try:
        KEY_FILE.take(str(key or certificate))
    except ValueError as fault:
        return str(fault)
    if key is None:
        return "is incomplete, its certificate or its key. Write the file anew"
    return "cannot be used with listen.tls_certificate_file: one is incomplete. Write them anew"


def _about_clients(settings: Settings, given: Collection[str]) -> Iterator[Contradiction]:
    listen, allowed = settings.listen, settings.upstream.allowed_paths
    if listen.client_key is not None and (listen.clients or "listen.clients" in given):
        words = "cannot be used together with listen.clients. Give it to one of them"
        yield ("listen.client_key",), words
    for index, client in enumerate(listen.clients):
        place = f"listen.clients[{index}]"
        if client.certificate is not None and listen.tls_client_ca_file is None:
            words = "needs listen.tls_client_ca_file as well, to ask clients for one. Set that"
            yield (f"{place}.certificate", "listen.tls_client_ca_file"), words
        for position, path in enumerate(client.allowed_paths or ()):
            if not path.startswith(allowed):
                words = "is outside of upstream.allowed_paths. Remove the entry, or add it there"
                yield (f"{place}.allowed_paths[{position}]", "upstream.allowed_paths"), words


def _leads_to(origin: Origin, host: str, port: int) -> bool:
    """Whether a connection to the origin ends at what listens on this host and port."""
    names = {"127.0.0.1" if name == "localhost" else name for name in (origin.host, host.lower())}
    every = {"::"} if ":" in origin.host else {"0.0.0.0", "::"}  # noqa: S104 # compared, not bound
    return origin.port == port and (len(names) == 1 or (host in every and origin.is_loopback))


def _overlap(ones: Collection[str], others: Collection[str]) -> bool:
    """Whether two of the hosts would claim one address, also by a wildcard."""
    return any(_is_same_address({one.lower(), other.lower()}) for one in ones for other in others)


def _is_same_address(hosts: set[str]) -> bool:
    if len(hosts) == 1 or "::" in hosts:
        return True
    if "0.0.0.0" in hosts:  # noqa: S104 # compared, not bound
        return not any(":" in host for host in hosts)
    return "localhost" in hosts and not hosts.isdisjoint({"127.0.0.1", "::1"})


# --- Doubts about credentials ------------------------------------------------------------------

#: The name of a machine user: `api` and digits (Telenor's developer pages, "Get access").
_MACHINE_USER: Final = re.compile(r"api[0-9]{6,}", re.IGNORECASE)
_QUOTES: Final = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019", "\u00ab\u00bb")
#: `CLIENT_ID=`, `export TELENOR_PROXY_OAUTH__PASSWORD=`, `password: `.
_NAME: Final = re.compile(
    r"(?:export\s+)?[\w.-]*(?:client_?id|client_?secret|user_?name|password|passord|secret|key)"
    r"\s*(?:=|:\s)",
    re.IGNORECASE,
)
#: What a browser or a word processor puts between or into words without showing it.
_INVISIBLE: Final = re.compile(r"[\u00a0\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u2064\ufeff]")


def doubts(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield what is visibly wrong with the credentials and keys in force.

    The path of the setting, and whole sentences: what is doubtful, and what to do.
    """
    held = [(path, _text(value)) for path, value in settings.secrets()]
    for path, value in held:
        words = _about(value)
        if words is not None:
            yield path, f"{path} {words}."
    values = [(path, value) for path, value in held if path.startswith("oauth.")]
    for path, value in values:
        if path != "oauth.username" and _MACHINE_USER.fullmatch(value):
            text = "looks like the name of a machine user, which belongs in oauth.username"
            yield path, f"{path} {text}. Check whether the two are swapped."
    for (one, first), (other, second) in combinations(values, 2):
        if first == second:
            yield one, f"{one} and {other} have the same value. Compare both with Telenor's pages."


def _text(value: str | Secret) -> str:
    return value if isinstance(value, str) else value.reveal()


def _about(value: str) -> str | None:
    """Say what does not look like a part of a value; None if all does."""
    if _NAME.match(value):
        return "begins with a name and = or a colon, as a line of a file does. Remove that"
    if len(value) > 1 and value[0] + value[-1] in _QUOTES:
        return "has quotes that are a part of the value, as in docker's --env-file. Remove them"
    if value != value.strip(" "):
        return "begins or ends with a space, which is sent as it is. Remove it"
    if _INVISIBLE.search(value):
        return "holds a character that cannot be seen, such as a no-break space. Type it by hand"
    return None
