"""The messages by which a company's proxy opens a tunnel (CONNECT, RFC 9110 section 9.3.6).

Pure.

Laws
1. The proxy gets one line and three fields: where to connect, its own credentials, and the user
   agent. Nothing of a call, a token or a form.
2. Only a 2xx opens a tunnel, and only if no byte stands behind its head: such bytes would be taken
   for the API's.
3. No fault holds a byte that the proxy sent, except its status.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import proxy
from proxy import faults
from proxy.http1 import grammar

if TYPE_CHECKING:
    from proxy.settings import Origin

#: Largest head of an answer, in bytes, as of an API's answer.
MAX_HEAD: Final = 65536
_SWITCHING, _OK, _NO_LONGER_OK = 101, 200, 300
_CHALLENGES: Final = re.compile(rb"\nproxy-authenticate:[ \t]*([^\r\n]*)", re.IGNORECASE)
#: A challenge begins a field value or stands behind a comma (RFC 9110 section 11.6.1).
_BASIC: Final = re.compile(rb"(?:^|,)[ \t]*basic(?=[ \t,]|$)", re.IGNORECASE)
_USER_AGENT: Final = f"telenor-proxy/{proxy.__version__}".encode("ascii")

NOT_HTTP: Final = "it is not HTTP"
TOO_LARGE: Final = "its head is larger than 64 KiB"
BYTES_BEHIND: Final = "bytes came behind its head, before anything was asked"


def request(origin: Origin, login: bytes | None) -> bytes:
    """Return the request for a tunnel. login: the value of `Proxy-Authorization`."""
    authority = origin.authority.encode("ascii")
    credentials = b"" if login is None else b"Proxy-Authorization: %b\r\n" % login
    line = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (authority, authority)
    return line + credentials + b"User-Agent: %b\r\n\r\n" % _USER_AGENT


def is_open(received: bytearray, hop: str, *, has_login: bool) -> bool:
    """Return whether the tunnel is open; false if more of the answer has to come.

    received: all that has come; 1xx answers are taken off it. hop: the proxy, as `host:port`.
    Raises `TunnelError`.
    """
    while True:
        if not b"HTTP/1.".startswith(bytes(received[:7])):
            raise faults.unreadable(NOT_HTTP, hop)
        end = received.find(grammar.EMPTY_LINE) + len(grammar.EMPTY_LINE)
        if end < len(grammar.EMPTY_LINE):
            if len(received) > MAX_HEAD:
                raise faults.unreadable(TOO_LARGE, hop)
            return False
        if end > MAX_HEAD:
            raise faults.unreadable(TOO_LARGE, hop)
        try:
            head = grammar.parse_response(bytes(received[:end]))
        except grammar.Malformed:
            raise faults.unreadable(NOT_HTTP, hop) from None
        if head.status >= _OK or head.status == _SWITCHING:
            break
        del received[:end]
    if not _OK <= head.status < _NO_LONGER_OK:
        challenges = _CHALLENGES.findall(received, 0, end)
        takes_basic = not challenges or any(map(_BASIC.search, challenges))
        raise faults.no_tunnel(head.status, hop, has_login=has_login, takes_basic=takes_basic)
    # Content-Length and Transfer-Encoding mean nothing here (RFC 9110 section 9.3.6).
    if len(received) > end:
        raise faults.unreadable(BYTES_BEHIND, hop)
    return True
