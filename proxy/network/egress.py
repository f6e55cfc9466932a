"""The way out: straight to the API, or through the company's proxy.

What the settings say, and what the environment's variables say.

Pure, but for the TLS context of an `https://` proxy. No error repeats the text that was judged:
such a URL often holds a password.
"""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from proxy.errors import ConfigError
from proxy.network import tls
from proxy.secret import Secret
from proxy.settings.kinds import Origin

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from proxy.settings import UpstreamSettings

#: The port of a proxy whose URL names none: that of its scheme, as curl and Python's requests do
#: not agree on another.
_OWN_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Login:
    """Basic credentials for the company's proxy (RFC 7617)."""

    username: str
    password: Secret

    def field_value(self) -> bytes:
        """Return the value of `Proxy-Authorization`."""
        pair = f"{self.username}:{self.password.reveal()}".encode()
        return b"Basic " + base64.b64encode(pair)


@dataclass(frozen=True, slots=True)
class CompanyProxy:
    """The proxy that all connections to the API go through.

    tls: whom to trust, if it is spoken to over TLS.
    """

    origin: Origin
    login: Login | None = None
    tls: ssl.SSLContext | None = field(default=None, repr=False, compare=False)

    @property
    def hop(self) -> str:
        """The proxy as `host:port`, as `Proxy-Status` and the log name it."""
        host = f"[{self.origin.host}]" if ":" in self.origin.host else self.origin.host
        return f"{host}:{self.origin.port}"


def company_proxy(upstream: UpstreamSettings, environ: Mapping[str, str]) -> CompanyProxy | None:
    """Return the proxy to go through, None for the straight way.

    environ: looked at only if `upstream.proxy_url` is `environment`. Raises `ConfigError`, whose
    words show no value.
    """
    if upstream.proxy_url is None:
        return None
    password = upstream.proxy_password
    login = None if password is None else Login(upstream.proxy_username or "", password)
    origin = upstream.proxy_origin
    if origin is None:
        try:
            found = from_environment(upstream.origin, environ)
        except ValueError as error:
            raise ConfigError([f"upstream.proxy_url: is environment, and {error}."]) from None
        if found is None:
            return None
        origin, own = found
        login = login or own
    try:
        context = tls.proxy_context(upstream.ca_file) if origin.is_tls else None
    except OSError:
        raise ConfigError(
            ["upstream.ca_file: the file cannot be read. Check its path and rights."]
        ) from None
    return CompanyProxy(origin, login, context)


# --- The environment ---------------------------------------------------------------------------


def from_environment(
    upstream: Origin, environ: Mapping[str, str]
) -> tuple[Origin, Login | None] | None:
    """Return what the variables say for this upstream: the proxy and the credentials in its URL.

    None for the straight way.

    `HTTPS_PROXY` (for an http upstream `HTTP_PROXY`), then `ALL_PROXY`; lower case goes before
    upper case, as in curl. `NO_PROXY` takes the upstream out. Raises `ValueError`, whose words name
    the variable and nothing of its value.
    """
    for variable in ("https_proxy" if upstream.is_tls else "http_proxy", "all_proxy"):
        for name in (variable, variable.upper()):
            if environ.get(name, "").strip():
                if is_excepted(upstream, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
                    return None
                try:
                    return _with_login(environ[name].strip())
                except ValueError as error:
                    raise ValueError(f"{name} {error}") from None
    return None


def _with_login(url: str) -> tuple[Origin, Login | None]:
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "http", url  # `proxy.example:3128`, which curl takes for http
    if scheme.lower() not in _OWN_PORTS:
        raise ValueError(
            "must begin with http:// or https://: other kinds of proxies are not supported"
        )
    authority = rest.partition("/")[0]
    user_info, at, address = authority.rpartition("@")
    try:
        origin = Origin.parse(f"{scheme}://{address}")
    except ValueError as error:
        raise ValueError(str(error)) from None
    if not at:
        return origin, None
    username, _, password = user_info.partition(":")
    name = unquote(username)
    if ":" in name:
        raise ValueError("holds a user name with a colon, which Basic credentials cannot have")
    return origin, Login(name, Secret(unquote(password)))


def is_excepted(upstream: Origin, no_proxy: str) -> bool:
    """Whether `NO_PROXY` takes this upstream out.

    `*`, a host, a domain with or without a dot in front, an address or a network, a port.
    """
    return any(_fits(entry.lower(), upstream) for entry in no_proxy.replace(",", " ").split())


def _fits(entry: str, upstream: Origin) -> bool:
    host = upstream.host
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # one of the two is no address
    name, _, port = entry.rpartition(":")
    if name and port.isascii() and port.isdigit():
        return int(port) == upstream.port and _fits(name, upstream)
    domain = entry.removeprefix("*").strip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))
