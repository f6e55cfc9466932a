"""The transports: the only module that knows aiofastnet.

aiofastnet is young and follows private structures of CPython, so a point release of either may
break it. Where it cannot be imported, or `use` says so, the event loop's own transports are used.
tests/gateway holds every law on both.
"""

import asyncio
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Literal

try:
    import aiofastnet
except Exception:  # noqa: BLE001 # whatever it fails of, there is another way
    _AVAILABLE = False
else:
    _AVAILABLE = True

#: Connections that the kernel completes before they are accepted.
BACKLOG = 1024


class _Choice:
    """Which transports new connections and servers get."""

    fast = _AVAILABLE


def use(setting: Literal["fast", "asyncio"]) -> str:
    """Choose what new connections get, as `upstream.transport` says; return what is in use."""
    _Choice.fast = setting == "fast" and _AVAILABLE
    return "aiofastnet" if _Choice.fast else "asyncio"


def foundations() -> dict[str, str]:
    """Return `event_loop`, `transports` and `openssl`, with their versions."""
    return {
        "event_loop": "asyncio" if sys.platform == "win32" else f"uvloop {version('uvloop')}",
        "transports": f"aiofastnet {aiofastnet.__version__}" if _Choice.fast else "asyncio",
        "openssl": ssl.OPENSSL_VERSION,
    }


async def connect(
    factory: Callable[[], asyncio.Protocol],
    connected: socket.socket,
    *,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> asyncio.BaseTransport:
    """Put a protocol on a connected socket, after the TLS handshake if `tls` is given.

    Return its transport. Raises `OSError`.
    """
    loop = asyncio.get_running_loop()
    make = partial(aiofastnet.create_connection, loop) if _Choice.fast else loop.create_connection
    made, _ = await make(factory, sock=connected, ssl=tls, server_hostname=server_hostname)
    return made


async def upgrade(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    *,
    tls: ssl.SSLContext | None,
    server_hostname: str | None,
) -> asyncio.BaseTransport:
    """Put another protocol on a connection, after a TLS handshake inside it if `tls` is given.

    Return its transport. Raises `OSError`.
    """
    if tls is None:
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return transport
    loop = asyncio.get_running_loop()
    start_tls = partial(aiofastnet.start_tls, loop) if _Choice.fast else loop.start_tls
    inner = await start_tls(transport, protocol, tls, server_hostname=server_hostname)
    if inner is None or inner.is_closing():  # it was lost in the same turn of the loop
        raise ConnectionResetError
    protocol.connection_made(inner)
    return inner


def is_cut(transport: asyncio.BaseTransport) -> bool:
    """Whether a connection that has ended was cut: it had no close_notify (RFC 8446 section 6.1).

    asyncio and uvloop report both ends alike; aiofastnet, with TLS objects of its own, does not.
    """
    encryption = transport.get_extra_info("ssl_object")
    if not isinstance(encryption, ssl.SSLObject):
        return False
    try:
        return encryption.read(1) != b""
    except ssl.SSLError:  # it would wait for more
        return True


async def accept(
    factory: Callable[[], asyncio.Protocol],
    accepted: socket.socket,
    *,
    tls: ssl.SSLContext | None = None,
    handshake_seconds: float,
) -> None:
    """Put a protocol on a connection that was accepted, after the TLS handshake if `tls` is given.

    handshake_seconds: longest time of that. Raises `OSError`.
    """
    loop = asyncio.get_running_loop()
    longest = None if tls is None else handshake_seconds
    own = loop.connect_accepted_socket
    make = partial(aiofastnet.connect_accepted_socket, loop) if _Choice.fast else own
    await make(factory, accepted, ssl=tls, ssl_handshake_timeout=longest)
