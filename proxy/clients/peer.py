"""What a connection says of its client. Asked once, when the connection begins."""

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

#: struct ucred of Linux (unix(7)): process, user and group, noted when the client connected.
_UCRED: Final = struct.Struct("3i")


def address(transport: asyncio.BaseTransport) -> str | None:
    """Return where the client is: its IP address, or on a Unix socket `uid:pid`, if known.

    The pid is 0 for a client in another pid namespace, such as a container (pid_namespaces(7)).
    """
    connected = transport.get_extra_info("socket")
    if connected is not None and connected.family == getattr(socket, "AF_UNIX", None):
        return _credentials(connected)
    peer = transport.get_extra_info("peername")
    return _plain(peer[0]) if isinstance(peer, tuple) and peer else None


def _credentials(connected: socket.socket) -> str | None:
    if not hasattr(socket, "SO_PEERCRED"):  # Linux alone has it
        return None
    try:
        found = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return None
    pid, uid, _ = _UCRED.unpack(found)
    return f"{uid}:{pid}"


def _plain(host: str) -> str:
    """Return the IPv4 address of a client on a socket for both families (RFC 4291, 2.5.5.2)."""
    if not host.startswith("::ffff:"):
        return host
    mapped = ipaddress.IPv6Address(host).ipv4_mapped
    return host if mapped is None else str(mapped)


def certificate_names(transport: asyncio.BaseTransport) -> tuple[str, ...]:
    """Return the names in the client's certificate, in lower case; none without one."""
    tls = transport.get_extra_info("ssl_object")
    return () if tls is None else names_of(tls.getpeercert() or {})


def names_of(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a certificate's DNS names, or else its common names (RFC 9525 section 2).

    certificate: verified, as `ssl.SSLSocket.getpeercert` gives it.
    """
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    if not names:
        subject = (pair for part in certificate.get("subject", ()) for pair in part)
        names = [value for kind, value in subject if kind == "commonName"]
    return tuple(dict.fromkeys(name.lower() for name in names))
