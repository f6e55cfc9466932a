"""The way out: straight to the API, or through the company's proxy of settings or environment.

Pure, but for the TLS context of an `https://` proxy. No error repeats the text that was judged:
such a URL often holds a password.
"""

import base64
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from proxy.errors import ConfigError
from proxy.network import tls
from proxy.secret import Secret
from proxy.settings import UpstreamSettings
from proxy.settings.kinds import Origin, must


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
    """The proxy that all connections to the API go through. tls: whom to trust on https."""

    origin: Origin
    login: Login | None = None
    tls: ssl.SSLContext | None = field(default=None, repr=False, compare=False)

    @property
    def hop(self) -> str:
        """The proxy as `host:port`, as `Proxy-Status` and the log name it."""
        return self.origin.authority


def company_proxy(upstream: UpstreamSettings, environ: Mapping[str, str]) -> CompanyProxy | None:
    """Return the proxy to go through, None without one. Raises `ConfigError`, without any value.

    environ: looked at only if `upstream.proxy_url` is `environment`.
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
        words = "upstream.ca_file: the file cannot be read. Check its path and rights."
        raise ConfigError([words]) from None
    return CompanyProxy(origin, login, context)


# --- The environment ---------------------------------------------------------------------------


def from_environment(
    upstream: Origin, environ: Mapping[str, str]
) -> tuple[Origin, Login | None] | None:
    """Return the proxy and the credentials that the variables name for this upstream, if any.

    `HTTPS_PROXY` (for an http upstream `HTTP_PROXY`), then `ALL_PROXY`; lower case goes before
    upper case, as in curl. `NO_PROXY` takes the upstream out. Raises `ValueError`, whose words name
    the variable and nothing of its value.
    """
    own = "https_proxy" if upstream.is_tls else "http_proxy"
    for name in (own, own.upper(), "all_proxy", "ALL_PROXY"):
        url = environ.get(name, "").strip()
        if not url:
            continue
        if is_excepted(upstream, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
            return None
        try:
            return _with_login(url)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return None


def _with_login(url: str) -> tuple[Origin, Login | None]:
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "http", url  # `proxy.example:3128`, which curl takes for http
    must(
        scheme.lower() in {"http", "https"},
        "must begin with http:// or https://: other kinds of proxies are not supported",
    )
    user_info, at, address = rest.partition("/")[0].rpartition("@")
    origin = Origin.parse(f"{scheme}://{address}")
    if not at:
        return origin, None
    username, _, password = user_info.partition(":")
    name = unquote(username)
    must(":" not in name, "holds a user name with a colon, which Basic credentials cannot have")
    return origin, Login(name, Secret(unquote(password)))


def is_excepted(upstream: Origin, no_proxy: str) -> bool:
    """Whether `NO_PROXY` takes this upstream out: by `*`, host, domain, network or port."""
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
