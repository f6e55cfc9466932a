"""The settings themselves, by section: also the source of schema, reference and status page.

`changes=True` stands where a change is taken up without a restart; a setting with a second one of
the same name and `_file` is a secret.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, get_args

from proxy.secret import Secret
from proxy.settings.kinds import (
    TRUTH,
    Origin,
    Section,
    choice,
    holding,
    is_loopback,
    number,
    optional,
    required,
    setting,
    whole_number,
)
from proxy.settings.values import (
    ALLOWED_HOSTS,
    ALLOWED_PATHS,
    BIND_HOSTS,
    CA_FILE,
    CLIENT_ID,
    CLIENT_KEY,
    CLIENTS,
    COLLECTOR_URL,
    CONNECTIONS,
    KEY_FILE,
    LINE,
    LONGEST_WAIT,
    OWN_PATH,
    PORT,
    PROXY_URL,
    SCOPE,
    SECONDS,
    SECRET,
    SOCKET_NAME,
    STORE,
    URL,
    ClientSettings,
)

#: Seconds. No access token is known to live longer than a day, and no connection has to.
_DAY: Final = 86_400.0
_UP_TO_A_DAY: Final = number(_DAY, may_be_zero=True)
#: Seconds. An application that has not repeated an order within a month does not repeat it.
_MONTH: Final = 31 * _DAY
#: The value of `upstream.proxy_url` that stands for HTTPS_PROXY, ALL_PROXY and NO_PROXY.
ENVIRONMENT: Final = "environment"

# A process has one upstream, so one answer is kept.
_origin = lru_cache(maxsize=1)(Origin.parse)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ListenSettings(Section):
    """The listener: where clients connect, and who may."""

    host: tuple[str, ...] = setting(
        BIND_HOSTS, ("127.0.0.1",), "Name or address that clients connect to, or a list of them."
    )
    port: int = setting(
        PORT, 8080, "Port for clients; 0 takes a free one, logged in `listener.started`."
    )
    unix_socket: Path | None = optional(
        SOCKET_NAME, "Path of a Unix socket to listen on, instead of host and port."
    )
    allowed_hosts: tuple[str, ...] = setting(
        ALLOWED_HOSTS,
        ("localhost", "127.0.0.1", "[::1]"),
        'Values of `Host` that are accepted, without port; `"*"` accepts all, others get 421.',
    )
    client_key: Secret | None = optional(
        CLIENT_KEY, "When set, clients must send it in `X-Proxy-Key`, or get 403.", changes=True
    )
    client_key_file: Path | None = holding("the client key", changes=True)
    clients: tuple[ClientSettings, ...] = setting(
        CLIENTS, (), "Clients by name, with key or certificate, paths, methods, rate.", changes=True
    )
    tls_certificate_file: Path | None = optional(
        CA_FILE, "PEM chain with which the listener speaks TLS, 1.2 or newer."
    )
    tls_key_file: Path | None = optional(
        KEY_FILE, "PEM file that holds the private key of that certificate."
    )
    tls_client_ca_file: Path | None = optional(
        CA_FILE, "PEM bundle of authorities; clients must show a certificate of one of them."
    )
    answer_login: bool = setting(
        TRUTH,
        False,
        "Answer logins and logouts here, with a made-up token that is never used.",
        changes=True,
    )

    @property
    def is_open(self) -> bool:
        """Whether other machines may reach the listener, and nothing asks who they are."""
        asks = self.client_key is not None or self.clients or self.tls_client_ca_file is not None
        return self.unix_socket is None and not asks and not all(map(is_loopback, self.host))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AdminSettings(Section):
    """The admin listener: probes, metrics and the status page, for operators."""

    host: tuple[str, ...] = setting(
        BIND_HOSTS, ("127.0.0.1",), "Host name or address of the admin listener, or a list of them."
    )
    port: int = setting(
        PORT, 9090, "Port of the admin listener; 0 takes a free one, logged in `admin.started`."
    )


_Transport = Literal["fast", "asyncio"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class UpstreamSettings(Section):
    """The upstream: Telenor's API, and how the proxy connects to it."""

    url: str = setting(
        URL,
        "https://api.telenor.no",
        "Scheme, host and port of the API; `http` for loopback hosts, or as the next says.",
    )
    allow_plaintext: bool = setting(
        TRUTH, False, "Accept `http` for any host: credentials, token and orders go unencrypted."
    )
    ca_file: Path | None = optional(
        CA_FILE, "PEM bundle of authorities to trust instead of the system's."
    )
    proxy_url: str | None = optional(
        PROXY_URL,
        "`http(s)` URL of the company's proxy, or `environment` (HTTPS_PROXY and others).",
    )
    proxy_username: str | None = optional(
        CLIENT_ID, "User name for the company's proxy (Basic).", changes=True
    )
    proxy_username_file: Path | None = holding("that user name", changes=True)
    proxy_password: Secret | None = optional(
        SECRET, "Password for the company's proxy.", changes=True
    )
    proxy_password_file: Path | None = holding("that password", changes=True)
    allowed_paths: tuple[str, ...] = setting(
        ALLOWED_PATHS,
        (
            "/corporate-mobile-subscriptions/",
            "/corporate-accounts/",
            "/corporate-agreements/",
            "/organizations/",
        ),
        "Path prefixes that clients may call; all else gets 403, and `/oauth/` always does.",
    )
    connect_timeout_seconds: float = setting(
        SECONDS, 5.0, "Longest time to connect, TLS handshake included."
    )
    response_timeout_seconds: float = setting(
        SECONDS, 60.0, "Longest silence of the upstream, before its answer or inside the body."
    )
    max_connections: int = setting(CONNECTIONS, 100, "Connections to the upstream at once.")
    idle_timeout_seconds: float = setting(
        SECONDS, 30.0, "An unused pooled connection is closed after this long."
    )
    max_age_seconds: float = setting(
        _UP_TO_A_DAY, 300.0, "A connection this old is closed, to notice a new address; 0: never."
    )
    keep_warm: bool = setting(
        TRUTH, True, "Keep an idle connection open, so that the next call waits for no handshake."
    )
    transport: _Transport = setting(
        choice(get_args(_Transport)), "fast", "`fast` for aiofastnet, `asyncio` for asyncio's own."
    )

    @property
    def origin(self) -> Origin:
        """The parsed `url`."""
        return _origin(self.url)

    @property
    def proxy_origin(self) -> Origin | None:
        """The parsed `proxy_url`; None without one, and for `environment`."""
        return None if self.proxy_url in (None, ENVIRONMENT) else Origin.parse(self.proxy_url)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OAuthSettings(Section):
    """The credentials, and how the access token is fetched and renewed."""

    token_path: str = setting(
        OWN_PATH, "/oauth/v2/token", "Path of the token endpoint on the upstream's host."
    )
    logout_path: str = setting(
        OWN_PATH, "/oauth/v2/logout", "Path of the logout endpoint on the upstream's host."
    )
    client_id: str = required(
        CLIENT_ID, "Client id of the application, from Telenor's developer portal.", changes=True
    )
    client_id_file: Path | None = holding("the client id", changes=True)
    client_secret: Secret = required(
        SECRET, "Client secret of the application, from the same page.", changes=True
    )
    client_secret_file: Path | None = holding("the client secret", changes=True)
    username: str = required(
        LINE, "Name of the machine user, from Min Bedrift, under APIs.", changes=True
    )
    username_file: Path | None = holding("the machine user's name", changes=True)
    password: Secret = required(
        SECRET, "Password of the machine user, which Min Bedrift sends to a phone.", changes=True
    )
    password_file: Path | None = holding("the machine user's password", changes=True)
    scope: str | None = optional(SCOPE, "Scope to ask for, if not the default.", changes=True)
    refresh_ahead_seconds: float = setting(
        _UP_TO_A_DAY, 300.0, "Renew the token this long before its end, or at half a short life."
    )
    wait_seconds: float = setting(
        SECONDS, 10.0, "Longest time that a request waits for a usable token; then 503."
    )
    request_timeout_seconds: float = setting(
        SECONDS, 10.0, "Longest time for one call to the token endpoint."
    )
    logout_on_shutdown: bool = setting(
        TRUTH, False, "Invalidate the token at the end, which may end that of another instance."
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LimitsSettings(Section):
    """What a client may ask of the proxy."""

    max_body_bytes: int = setting(
        whole_number(1, 1 << 40), 10_485_760, "Larger request bodies get 413."
    )
    max_replay_bytes: int = setting(
        whole_number(0, 1 << 30), 1_048_576, "Largest body that is sent again after a 401; 0: none."
    )
    max_header_bytes: int = setting(
        whole_number(256, 1 << 20), 32_768, "Larger request heads get 431."
    )
    max_header_fields: int = setting(
        whole_number(1, 10_000), 128, "Request heads with more header fields get 431."
    )
    max_target_bytes: int = setting(
        whole_number(1, 1 << 20), 8_192, "Longer request targets get 414."
    )
    max_connections: int = setting(
        CONNECTIONS, 1_000, "Client connections at once; further ones get 503."
    )
    request_head_timeout_seconds: float = setting(
        SECONDS, 15.0, "A client has this long to send a request head."
    )
    idle_timeout_seconds: float = setting(
        SECONDS, 75.0, "An idle client connection is closed after this long."
    )
    body_timeout_seconds: float = setting(
        SECONDS, 30.0, "Longest silence of a client in its body (408), or reading no answer (cut)."
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PacingSettings(Section):
    """Smooths bursts toward the upstream."""

    requests_per_second: float | None = optional(
        number(100_000.0), "Requests a second to the upstream; without it none is held back."
    )
    max_wait_seconds: float = setting(
        SECONDS, 10.0, "A request that would wait longer gets 429 with `Retry-After`."
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OrdersSettings(Section):
    """Remembers orders, so that one that is sent again is not placed twice."""

    store: str | None = optional(
        STORE, "Where orders are remembered: `memory`, a SQLite file, or a Valkey or Redis URL."
    )
    store_password: Secret | None = optional(SECRET, "Password of that Valkey or Redis.")
    store_password_file: Path | None = holding("that password")
    remember_seconds: float = setting(
        number(_MONTH), 86_400.0, "An order is remembered for this many seconds."
    )
    guard_seconds: float = setting(
        _UP_TO_A_DAY,
        0.0,
        "Without `Idempotency-Key`: how long an order whose answer was missed is not sent again.",
    )

    @property
    def store_kind(self) -> Literal["memory", "sqlite", "redis"] | None:
        """What `store` names; None without one."""
        if self.store is None:
            return None
        if self.store == "memory":
            return "memory"
        return "redis" if "://" in self.store else "sqlite"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ShutdownSettings(Section):
    """What happens between SIGTERM and the end."""

    delay_seconds: float = setting(
        number(LONGEST_WAIT, may_be_zero=True),
        0.0,
        "After SIGTERM the listener accepts for this long, with readiness 503.",
    )
    grace_seconds: float = setting(
        SECONDS, 30.0, "After the delay, requests in flight have this long."
    )


_Level = Literal["debug", "info", "warning", "error"]
_Format = Literal["auto", "json", "console"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LogSettings(Section):
    """The log on standard output."""

    level: _Level = setting(
        choice(get_args(_Level)),
        "info",
        "Least severe level that is written: `debug`, `info`, `warning` or `error`.",
        changes=True,
    )
    format: _Format = setting(
        choice(get_args(_Format)),
        "auto",
        "`json`, `console`, or `auto`: console on a terminal, else JSON.",
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TelemetrySettings(Section):
    """Spans for an OpenTelemetry collector; needs the extra `otel`."""

    otlp_endpoint: str | None = optional(
        COLLECTOR_URL, "Base URL of an OTLP collector over HTTP, such as `http://127.0.0.1:4318`."
    )
