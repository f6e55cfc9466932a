"""The transports: the only module that knows aiofastnet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiofastnet

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

#: Connections that the kernel completes before they are accepted.
BACKLOG = 1024


async def connect(
    factory: Callable[[], asyncio.Protocol],
    connected: socket.socket,
    *,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> None:
    """Put a protocol on a connected socket, after the TLS handshake if `tls` is given. Raises `OSError`."""
    await aiofastnet.create_connection(
        asyncio.get_running_loop(), factory, sock=connected, ssl=tls, server_hostname=server_hostname
    )


async def serve(
    factory: Callable[[], asyncio.Protocol], host: str, port: int, *, tls: ssl.SSLContext | None = None
) -> asyncio.Server:
    """Accept connections on TCP. Raises `OSError`."""
    return await aiofastnet.create_server(
        asyncio.get_running_loop(), factory, host, port, backlog=BACKLOG, ssl=tls
    )


async def serve_unix(factory: Callable[[], asyncio.Protocol], bound: socket.socket) -> asyncio.Server:
    """Accept connections on a bound Unix socket. Raises `OSError`."""
    return await aiofastnet.create_unix_server(
        asyncio.get_running_loop(), factory, sock=bound, backlog=BACKLOG
    )
