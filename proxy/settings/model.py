"""The settings themselves: what is written here is also the schema, the README's table and the status page.

A section holds settings that are right one by one; `Settings` refuses those that contradict each other. Everything is frozen.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from proxy.settings.origin import Origin, is_loopback
from proxy.settings.values import (
    LONGEST_WAIT,
    AllowedHost,
    AllowedPath,
    AnyCase,
    BindHost,
    CaFile,
    ClientId,
    ClientKey,
    CollectorUrl,
    Connections,
    FileName,
    Line,
    OwnPath,
    Port,
    Scope,
    Seconds,
    Secret,
    SocketName,
    Url,
    is_below,
)

#: Seconds. No access token is known to live longer than a day.
_LONGEST_AHEAD: Final = 86_400.0

# A process has one upstream, so one answer is kept. It stands beside the model, because a cached property would
# be carried by `model_copy` to another URL.
_origin = lru_cache(maxsize=1)(Origin.parse)


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    @classmethod
    def is_secret(cls, key: str) -> bool:
        """Whether the value may come from a file of its own, and is never shown."""
        return f"{key}_file" in cls.model_fields


class ListenSettings(Section):
    """The listener: where clients connect, and who may."""

    host: BindHost = Field("127.0.0.1", description="Host name or address that clients connect to.")
    port: Port = Field(
        8080,
        description="Port that clients connect to; 0 takes any free one and logs it in `listener.started`.",
    )
    unix_socket: SocketName | None = Field(
        None,
        description="Path of a Unix socket to listen on instead of host and port, relative to the working directory.",
    )
    allowed_hosts: tuple[AllowedHost, ...] = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        strict=False,
        min_length=1,
        description='Values of `Host` that are accepted, without port; `"*"` accepts all, others get 421.',
    )
    client_key: ClientKey | None = Field(
        None, description="When set, a client must send it in `X-Proxy-Key`, otherwise it gets 403."
    )
    client_key_file: FileName | None = Field(
        None, description="File that holds the client key, relative to the working directory."
    )

    @property
    def is_open(self) -> bool:
        """Whether programs on other machines may reach the listener, and nothing asks who they are."""
        return self.unix_socket is None and self.client_key is None and not is_loopback(self.host)


class AdminSettings(Section):
    """The admin listener: probes, metrics and the status page, for operators."""

    host: BindHost = Field("127.0.0.1", description="Host name or address of the admin listener.")
    port: Port = Field(
        9090, description="Port of the admin listener; 0 takes any free one and logs it in `admin.started`."
    )


class UpstreamSettings(Section):
    """The upstream: Telenor's API, and how the proxy connects to it."""

    url: Url = Field(
        "https://api.telenor.no",
        description="Scheme, host and optional port of the API; `http` only for loopback hosts, unless `upstream.allow_plaintext` is true.",
    )
    allow_plaintext: bool = Field(
        default=False,
        description="Accept `http` for any host, which sends credentials, token and orders unencrypted.",
    )
    ca_file: CaFile | None = Field(
        None,
        description="PEM bundle of authorities to trust instead of the system's, relative to the working directory.",
    )
    allowed_paths: tuple[AllowedPath, ...] = Field(
        ("/corporate-mobile-subscriptions/", "/corporate-accounts/"),
        strict=False,
        min_length=1,
        description="Path prefixes that clients may call; all else gets 403, and `/oauth/` always does.",
    )
    connect_timeout_seconds: Seconds = Field(
        5.0, description="Longest time to connect, TLS handshake included."
    )
    response_timeout_seconds: Seconds = Field(
        60.0, description="Longest silence of the upstream, before the head of its answer or inside the body."
    )
    max_connections: Connections = Field(100, description="Connections to the upstream at once.")
    idle_timeout_seconds: Seconds = Field(
        30.0, description="An unused pooled connection is closed after this many seconds."
    )
    keep_warm: bool = Field(
        default=True,
        description="Keep a connection open while there is nothing to do, so that a first call does not wait for a handshake.",
    )

    @property
    def origin(self) -> Origin:
        """The parsed `url`."""
        return _origin(self.url)


class OAuthSettings(Section):
    """The credentials, and how the access token is fetched and renewed."""

    token_path: OwnPath = Field(
        "/oauth/v2/token", description="Path of the token endpoint on the upstream's host."
    )
    logout_path: OwnPath = Field(
        "/oauth/v2/logout", description="Path of the logout endpoint on the upstream's host."
    )
    client_id: ClientId = Field(
        repr=False, description="Client id of the application, from Telenor's developer portal."
    )
    client_id_file: FileName | None = Field(
        None, description="File that holds the client id, relative to the working directory."
    )
    client_secret: Secret = Field(
        description="Client secret of the application, from the same page of the developer portal."
    )
    client_secret_file: FileName | None = Field(
        None, description="File that holds the client secret, relative to the working directory."
    )
    username: Line = Field(repr=False, description="Name of the machine user, from Min Bedrift, under APIs.")
    username_file: FileName | None = Field(
        None, description="File that holds the machine user's name, relative to the working directory."
    )
    password: Secret = Field(
        description="Password of the machine user, which Min Bedrift sends to a mobile phone."
    )
    password_file: FileName | None = Field(
        None, description="File that holds the machine user's password, relative to the working directory."
    )
    scope: Scope | None = Field(
        None, description="Scope to ask for; without it the token endpoint gives its default."
    )
    refresh_ahead_seconds: float = Field(
        300.0,
        ge=0,
        le=_LONGEST_AHEAD,
        description="Renew the token this long before it expires, and never later than at half of its life.",
    )
    wait_seconds: Seconds = Field(
        10.0, description="Longest time that a request waits for a usable token before it gets 503."
    )
    request_timeout_seconds: Seconds = Field(
        10.0, description="Longest time for one call to the token endpoint."
    )
    logout_on_shutdown: bool = Field(
        default=False,
        description="Invalidate the token when the proxy stops, which may end the token of another instance.",
    )


class LimitsSettings(Section):
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
    max_connections: Connections = Field(
        1_000, description="Client connections at once; further ones get 503."
    )
    request_head_timeout_seconds: Seconds = Field(
        15.0, description="A client has this long to send a whole request head."
    )
    idle_timeout_seconds: Seconds = Field(
        75.0, description="An idle client connection is closed after this many seconds."
    )
    body_timeout_seconds: Seconds = Field(
        30.0,
        description="Longest silence of a client inside its request body (408), or while it does not read its answer (cut).",
    )


class PacingSettings(Section):
    """Smooths bursts toward the upstream."""

    requests_per_second: float | None = Field(
        None,
        gt=0,
        le=100_000.0,
        description="Requests a second that are let through to the upstream; not set, nothing is held back.",
    )
    max_wait_seconds: Seconds = Field(
        10.0, description="A request that would have to wait longer gets 429 with `Retry-After`."
    )


class ShutdownSettings(Section):
    """What happens between SIGTERM and the end."""

    delay_seconds: float = Field(
        0.0,
        ge=0,
        le=LONGEST_WAIT,
        description="After SIGTERM the listener goes on accepting for this long, readiness already 503.",
    )
    grace_seconds: Seconds = Field(
        30.0, description="After the delay, requests in flight have this long to complete."
    )


class LogSettings(Section):
    """The log on standard output."""

    level: Annotated[Literal["debug", "info", "warning", "error"], AnyCase] = Field(
        "info", description="Least severe level that is written: `debug`, `info`, `warning` or `error`."
    )
    format: Annotated[Literal["auto", "json", "console"], AnyCase] = Field(
        "auto", description="`json`, `console`, or `auto`: console on a terminal, else JSON."
    )


class TelemetrySettings(Section):
    """Spans for an OpenTelemetry collector; needs the extra `otel`."""

    otlp_endpoint: CollectorUrl | None = Field(
        None,
        description="Base URL of a collector that takes spans by OTLP over HTTP, such as `http://127.0.0.1:4318`; needs the extra `otel`.",
    )


class Settings(Section):
    """Everything that can be set. Frozen; `load` makes one from a file and the environment."""

    listen: ListenSettings = Field(default_factory=ListenSettings)
    admin: AdminSettings = Field(default_factory=AdminSettings)
    upstream: UpstreamSettings = Field(default_factory=UpstreamSettings)
    oauth: OAuthSettings
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    pacing: PacingSettings = Field(default_factory=PacingSettings)
    shutdown: ShutdownSettings = Field(default_factory=ShutdownSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if found := list(_contradictions(self)):
            raise ContradictionsError(found)
        return self

    def effective(self) -> dict[str, object]:
        """Every setting by its path, ready for JSON. Of credentials and keys only whether they are set."""
        return {
            f"{name}.{key}": _marked(value) if section.is_secret(key) else _plain(value)
            for name, section in self
            for key, value in section
        }


def _marked(secret: object) -> str:
    return "not set" if secret is None else "set"


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


class ContradictionsError(ValueError):
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
