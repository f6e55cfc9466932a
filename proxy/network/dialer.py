"""The way to the API: addresses, a race between them, a TLS handshake. Connections go to the configured origin only."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

import aiohappyeyeballs

from proxy.network import transport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from proxy.settings import Origin

_HAPPY_EYEBALLS_DELAY: Final = 0.25  # seconds, RFC 8305 section 5


class Dialer:
    """Connects to one origin. tls: whom to trust, for an https origin."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None) -> None:
        self.origin = origin
        self.tls = tls

    async def dial(self, factory: Callable[[], asyncio.Protocol]) -> None:
        """Put a protocol on a new connection. Raises `OSError`; deadlines are the caller's.

        In two steps: aiofastnet 1.2 and asyncio's staggered race lose or reuse a socket of their own when they are cancelled.
        """
        host = self.origin.host
        addresses = await asyncio.get_running_loop().getaddrinfo(
            host, self.origin.port, type=socket.SOCK_STREAM
        )
        raw = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY)
        await transport.connect(
            factory, raw, tls=self.tls, server_hostname=host if self.tls is not None else None
        )
