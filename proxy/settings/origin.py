"""Where the upstream is, and what a host is. Pure: nothing here resolves a name or opens a connection.

No error repeats the text that was judged: a URL may hold a password.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal, Self

#: Characters (RFC 1035, section 2.3.4).
_LONGEST_HOST: Final = 253
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")


def is_ipv6(text: str) -> bool:
    """Whether this is an IPv6 address, without brackets and zone."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def is_host(text: str) -> bool:
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


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, so that nothing crosses a network: localhost, 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


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
        if match is None or not (is_ipv6(literal) or is_host(host)):
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
        """Whether it is this machine, so that nothing crosses a network."""
        return is_loopback(self.host)

    @property
    def host_header(self) -> bytes:
        """The value of the Host field: the port only when it is not the scheme's own (RFC 9110, section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        own = 443 if self.is_tls else 80
        return (host if self.port == own else f"{host}:{self.port}").encode("ascii")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header.decode('ascii')}"
