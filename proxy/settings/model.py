"""The settings themselves: what is written here is also the schema, the README's table and the status page.

A section holds settings that are right one by one; `contradictions` finds those that are not right together. Everything is frozen.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, get_args, get_type_hints

from proxy.secret import Secret
from proxy.settings.kinds import choice, number, whole_number
from proxy.settings.origin import Origin, is_loopback
from proxy.settings.section import Section, optional, required, setting
from proxy.settings.values import (
    ALLOWED_HOSTS,
    ALLOWED_PATHS,
    BIND_HOST,
    CA_FILE,
    CLIENT_ID,
    CLIENT_KEY,
    COLLECTOR_URL,
    CONNECTIONS,
    FILE_NAME,
    LINE,
    LONGEST_WAIT,
    OWN_PATH,
    PORT,
    SCOPE,
    SECONDS,
    SECRET,
    SOCKET_NAME,
    TRUTH,
    URL,
    is_below,
)

#: Seconds. No access token is known to live longer than a day.
_LONGEST_AHEAD: Final = 86_400.0

# A process has one upstream, so one answer is kept. It stands beside the section, which has no room for more than its settings.
_origin = lru_cache(maxsize=1)(Origin.parse)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ListenSettings(Section):
    """The listener: where clients connect, and who may."""

    host: str = setting(BIND_HOST, "127.0.0.1", description="Host name or address that clients connect to.")
    port: int = setting(
        PORT,
        8080,
        description="Port that clients connect to; 0 takes any free one and logs it in `listener.started`.",
    )
    unix_socket: Path | None = optional(
        SOCKET_NAME,
        description="Path of a Unix socket to listen on instead of host and port, relative to the working directory.",
    )
    allowed_hosts: tuple[str, ...] = setting(
        ALLOWED_HOSTS,
        ("localhost", "127.0.0.1", "[::1]"),
        description='Values of `Host` that are accepted, without port; `"*"` accepts all, others get 421.',
    )
    client_key: Secret | None = optional(
        CLIENT_KEY, description="When set, a client must send it in `X-Proxy-Key`, otherwise it gets 403."
    )
    client_key_file: Path | None = optional(
        FILE_NAME, description="File that holds the client key, relative to the working directory."
    )

    @property
    def is_open(self) -> bool:
        """Whether programs on other machines may reach the listener, and nothing asks who they are."""
        return self.unix_socket is None and self.client_key is None and not is_loopback(self.host)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AdminSettings(Section):
    """The admin listener: probes, metrics and the status page, for operators."""

    host: str = setting(BIND_HOST, "127.0.0.1", description="Host name or address of the admin listener.")
    port: int = setting(
        PORT,
        9090,
        description="Port of the admin listener; 0 takes any free one and logs it in `admin.started`.",
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class UpstreamSettings(Section):
    """The upstream: Telenor's API, and how the proxy connects to it."""

    url: str = setting(
        URL,
        "https://api.telenor.no",
        description="Scheme, host and optional port of the API; `http` only for loopback hosts, unless `upstream.allow_plaintext` is true.",
    )
    allow_plaintext: bool = setting(
        TRUTH,
        False,
        description="Accept `http` for any host, which sends credentials, token and orders unencrypted.",
    )
    ca_file: Path | None = optional(
        CA_FILE,
        description="PEM bundle of authorities to trust instead of the system's, relative to the working directory.",
    )
    allowed_paths: tuple[str, ...] = setting(
        ALLOWED_PATHS,
        (
            "/corporate-mobile-subscriptions/",
            "/corporate-accounts/",
            "/corporate-agreements/",
            "/organizations/",
        ),
        description="Path prefixes that clients may call; all else gets 403, and `/oauth/` always does.",
    )
    connect_timeout_seconds: float = setting(
        SECONDS, 5.0, description="Longest time to connect, TLS handshake included."
    )
    response_timeout_seconds: float = setting(
        SECONDS,
        60.0,
        description="Longest silence of the upstream, before the head of its answer or inside the body.",
    )
    max_connections: int = setting(CONNECTIONS, 100, description="Connections to the upstream at once.")
    idle_timeout_seconds: float = setting(
        SECONDS, 30.0, description="An unused pooled connection is closed after this many seconds."
    )
    keep_warm: bool = setting(
        TRUTH,
        True,
        description="Keep a connection open while there is nothing to do, so that a first call does not wait for a handshake.",
    )

    @property
    def origin(self) -> Origin:
        """The parsed `url`."""
        return _origin(self.url)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OAuthSettings(Section):
    """The credentials, and how the access token is fetched and renewed."""

    token_path: str = setting(
        OWN_PATH, "/oauth/v2/token", description="Path of the token endpoint on the upstream's host."
    )
    logout_path: str = setting(
        OWN_PATH, "/oauth/v2/logout", description="Path of the logout endpoint on the upstream's host."
    )
    client_id: str = required(
        CLIENT_ID, description="Client id of the application, from Telenor's developer portal."
    )
    client_id_file: Path | None = optional(
        FILE_NAME, description="File that holds the client id, relative to the working directory."
    )
    client_secret: Secret = required(
        SECRET, description="Client secret of the application, from the same page of the developer portal."
    )
    client_secret_file: Path | None = optional(
        FILE_NAME, description="File that holds the client secret, relative to the working directory."
    )
    username: str = required(LINE, description="Name of the machine user, from Min Bedrift, under APIs.")
    username_file: Path | None = optional(
        FILE_NAME, description="File that holds the machine user's name, relative to the working directory."
    )
    password: Secret = required(
        SECRET, description="Password of the machine user, which Min Bedrift sends to a mobile phone."
    )
    password_file: Path | None = optional(
        FILE_NAME,
        description="File that holds the machine user's password, relative to the working directory.",
    )
    scope: str | None = optional(
        SCOPE, description="Scope to ask for; without it the token endpoint gives its default."
    )
    refresh_ahead_seconds: float = setting(
        number(_LONGEST_AHEAD, may_be_zero=True),
        300.0,
        description="Renew the token this long before it expires, and never later than at half of its life.",
    )
    wait_seconds: float = setting(
        SECONDS, 10.0, description="Longest time that a request waits for a usable token before it gets 503."
    )
    request_timeout_seconds: float = setting(
        SECONDS, 10.0, description="Longest time for one call to the token endpoint."
    )
    logout_on_shutdown: bool = setting(
        TRUTH,
        False,
        description="Invalidate the token when the proxy stops, which may end the token of another instance.",
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LimitsSettings(Section):
    """What a client may ask of the proxy."""

    max_body_bytes: int = setting(
        whole_number(1, 1 << 40), 10_485_760, description="Larger request bodies get 413."
    )
    max_replay_bytes: int = setting(
        whole_number(0, 1 << 30),
        1_048_576,
        description="Request bodies up to this size are kept in memory to send them again after a 401; 0 turns that off.",
    )
    max_header_bytes: int = setting(
        whole_number(256, 1 << 20), 32_768, description="Larger request heads get 431."
    )
    max_header_fields: int = setting(
        whole_number(1, 10_000), 128, description="Request heads with more header fields get 431."
    )
    max_target_bytes: int = setting(
        whole_number(1, 1 << 20), 8_192, description="Longer request targets get 414."
    )
    max_connections: int = setting(
        CONNECTIONS, 1_000, description="Client connections at once; further ones get 503."
    )
    request_head_timeout_seconds: float = setting(
        SECONDS, 15.0, description="A client has this long to send a whole request head."
    )
    idle_timeout_seconds: float = setting(
        SECONDS, 75.0, description="An idle client connection is closed after this many seconds."
    )
    body_timeout_seconds: float = setting(
        SECONDS,
        30.0,
        description="Longest silence of a client inside its request body (408), or while it does not read its answer (cut).",
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PacingSettings(Section):
    """Smooths bursts toward the upstream."""

    requests_per_second: float | None = optional(
        number(100_000.0),
        description="Requests a second that are let through to the upstream; not set, nothing is held back.",
    )
    max_wait_seconds: float = setting(
        SECONDS, 10.0, description="A request that would have to wait longer gets 429 with `Retry-After`."
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ShutdownSettings(Section):
    """What happens between SIGTERM and the end."""

    delay_seconds: float = setting(
        number(LONGEST_WAIT, may_be_zero=True),
        0.0,
        description="After SIGTERM the listener goes on accepting for this long, readiness already 503.",
    )
    grace_seconds: float = setting(
        SECONDS, 30.0, description="After the delay, requests in flight have this long to complete."
    )


_Level = Literal["debug", "info", "warning", "error"]
_Format = Literal["auto", "json", "console"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LogSettings(Section):
    """The log on standard output."""

    level: _Level = setting(
        choice(get_args(_Level)),
        "info",
        description="Least severe level that is written: `debug`, `info`, `warning` or `error`.",
    )
    format: _Format = setting(
        choice(get_args(_Format)),
        "auto",
        description="`json`, `console`, or `auto`: console on a terminal, else JSON.",
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TelemetrySettings(Section):
    """Spans for an OpenTelemetry collector; needs the extra `otel`."""

    otlp_endpoint: str | None = optional(
        COLLECTOR_URL,
        description="Base URL of a collector that takes spans by OTLP over HTTP, such as `http://127.0.0.1:4318`; needs the extra `otel`.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. Frozen; `load` makes one from a file and the environment."""

    listen: ListenSettings
    admin: AdminSettings
    upstream: UpstreamSettings
    oauth: OAuthSettings
    limits: LimitsSettings
    pacing: PacingSettings
    shutdown: ShutdownSettings
    log: LogSettings
    telemetry: TelemetrySettings

    def effective(self) -> dict[str, object]:
        """Every setting by its path, ready for JSON. Of credentials and keys only whether they are set."""
        effective = {}
        for name, section in SECTIONS.items():
            for key in section.settings():
                value = getattr(getattr(self, name), key)
                effective[f"{name}.{key}"] = _marked(value) if section.is_secret(key) else _plain(value)
        return effective


SECTIONS: Final[Mapping[str, type[Section]]] = get_type_hints(Settings)


def _marked(secret: object) -> str:
    return "not set" if secret is None else "set"


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def contradictions(settings: Settings, given: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is right one by one but not together: the paths concerned, and the words for the first of them.

    given: the paths of the settings that somebody has set, be it to their default.
    """
    listen, admin, upstream, oauth = settings.listen, settings.admin, settings.upstream, settings.oauth
    if listen.unix_socket is not None:
        address = [path for path in ("listen.host", "listen.port") if path in given]
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
    for name, ours in (("listen", listen), ("admin", admin)):
        if (name == "admin" or listen.unix_socket is None) and _leads_to(
            upstream.origin, ours.host, ours.port
        ):
            words = (
                f"leads back to the proxy itself, by {name}.host and {name}.port. Set it to the API"
                f" (https://api.telenor.no), or {name}.port to another port"
            )
            yield ("upstream.url", f"{name}.host", f"{name}.port", "listen.unix_socket"), words
    for index, entry in enumerate(upstream.allowed_paths):
        for name, own in (("oauth.token_path", oauth.token_path), ("oauth.logout_path", oauth.logout_path)):
            if is_below(entry, own):
                words = f"can never be called, since {name} is the proxy's own business. Remove the entry"
                yield (f"upstream.allowed_paths[{index}]", "upstream.allowed_paths", name), words


def _leads_to(origin: Origin, host: str, port: int) -> bool:
    """Whether a connection to the origin certainly ends at what listens there; localhost is 127.0.0.1 everywhere, and only perhaps ::1."""
    names = {"127.0.0.1" if name == "localhost" else name for name in (origin.host, host.lower())}
    every = "::" if ":" in origin.host else "0.0.0.0"  # noqa: S104 # compared, not bound
    return origin.port == port and (len(names) == 1 or (host == every and origin.is_loopback))


def _overlap(one: str, other: str) -> bool:
    """Whether both hosts would claim the same port: the same one, or 0.0.0.0, which takes the port on every IPv4 address."""
    hosts = {one.lower(), other.lower()}
    return len(hosts) == 1 or ("0.0.0.0" in hosts and not any(":" in host for host in hosts))  # noqa: S104 # compared, not bound
