"""Opens a tunnel through a company's proxy (CONNECT, RFC 9110 section 9.3.6).

Laws
1. The proxy gets one line and three fields: where to connect, its own credentials, and the user
   agent. Nothing of a call, a token or a form.
2. Only a 2xx opens a tunnel, and only if no byte stands behind its head: such bytes would be taken
   for the API's.
3. No fault holds a byte that the proxy sent, except its status.
"""

import re
from typing import Final

import proxy
from proxy import faults
from proxy.http1 import grammar
from proxy.network.message import read_response_head
from proxy.network.stream import Stream
from proxy.settings import Origin

_SWITCHING, _OK, _NO_LONGER_OK = 101, 200, 300
#: A challenge begins a field value or stands behind a comma (RFC 9110 section 11.6.1).
_BASIC: Final = re.compile(rb"(?:^|,)[ \t]*basic(?=[ \t,]|$)", re.IGNORECASE)
_USER_AGENT: Final = f"telenor-proxy/{proxy.__version__}".encode("ascii")


def request(origin: Origin, login: bytes | None) -> bytes:
    """Return the request for a tunnel. login: the value of `Proxy-Authorization`."""
    authority = origin.authority.encode("ascii")
    credentials = b"" if login is None else b"Proxy-Authorization: %b\r\n" % login
    line = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (authority, authority)
    return line + credentials + b"User-Agent: %b\r\n\r\n" % _USER_AGENT


async def opened(stream: Stream, request: bytes, hop: str, *, has_login: bool) -> None:
    """Ask for a tunnel, and wait for it. hop: the proxy, as `host:port`.

    Raises `TunnelError`, and `Gone` if the proxy ends the connection. Deadlines are the caller's.
    """
    stream.write(request)
    try:
        while (head := await read_response_head(stream, lambda: None)).status < _OK:
            if head.status == _SWITCHING:
                break
    except grammar.Malformed as error:
        raise faults.unreadable(str(error), hop) from None
    if not _OK <= head.status < _NO_LONGER_OK:
        challenges = head.known.get(b"proxy-authenticate", [])
        takes_basic = not challenges or any(map(_BASIC.search, challenges))
        raise faults.no_tunnel(head.status, hop, has_login=has_login, takes_basic=takes_basic)
    # Content-Length and Transfer-Encoding mean nothing here (RFC 9110 section 9.3.6).
    if stream.buffer:
        raise faults.unreadable("bytes came behind its head, before anything was asked", hop)
