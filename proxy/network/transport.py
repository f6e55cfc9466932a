"""The transports: with `accepting`, the only modules that know aiofastnet."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, cast

import aiofastnet

from proxy import descriptors
from proxy.network.accepting import BACKLOG, Accepting

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable


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
    on_windows = (
        sys.platform == "win32"
    )  # its event loop cannot wait for a listening socket as `Accepting` does
    server = await aiofastnet.create_server(
        asyncio.get_running_loop(), factory, host, port, backlog=BACKLOG, ssl=tls, start_serving=on_windows
    )
    if on_windows:
        return server
    bound = [each.dup() for each in server.sockets]
    server.close()
    return _accepting(bound, factory, tls)


async def serve_unix(factory: Callable[[], asyncio.Protocol], bound: socket.socket) -> asyncio.Server:
    """Accept connections on a bound Unix socket. Raises `OSError`."""
    return _accepting([bound], factory, None)


def _accepting(
    bound: list[socket.socket], factory: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None
) -> asyncio.Server:
    accepting = Accepting(bound, factory, tls, descriptors.ceiling(descriptors.limit()))
    return cast("asyncio.Server", accepting)  # of which callers use `sockets` and `close`
