"""The way to the API: addresses, a race between them, a TLS handshake. Connections go to the configured origin only."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final

import aiohappyeyeballs
import structlog

from proxy.network import transport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from proxy.settings import Origin

_HAPPY_EYEBALLS_DELAY: Final = 0.25  # seconds, RFC 8305 section 5

log = structlog.get_logger("proxy.network")


class Dialer:
    """Connects to one origin. tls: whom to trust, for an https origin."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None) -> None:
        self.origin = origin
        self.tls = tls

    async def dial(self, factory: Callable[[], asyncio.Protocol]) -> None:
        """Put a protocol on a new connection. Raises `OSError`; deadlines are the caller's.

        In two steps: aiofastnet 1.2 and asyncio's staggered race lose or reuse a socket of their own when they are cancelled.
        """
        host, loop, timing = self.origin.host, asyncio.get_running_loop(), _Timing()
        try:
            addresses = await loop.getaddrinfo(host, self.origin.port, type=socket.SOCK_STREAM)
            timing.next("connect")
            raw = await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY
            )
            timing.next("tls")
            peer = raw.getpeername()
            await transport.connect(
                factory, raw, tls=self.tls, server_hostname=host if self.tls is not None else None
            )
        except BaseException as error:  # cancelled: the caller's deadline has passed
            log.debug("upstream.connect_failed", host=host, reason=_reason(error), **timing.so_far())
            raise
        log.debug("upstream.connected", host=host, address=peer[0], port=peer[1], **timing.so_far())


class _Timing:
    """How long the steps to a connection take, for the log: milliseconds by step, the last one being under way."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = [("dns", self._loop.time())]

    def next(self, step: str) -> None:
        """Begin another step."""
        self._began.append((step, self._loop.time()))

    def so_far(self) -> dict[str, float]:
        """Return `dns_ms`, `connect_ms` and `tls_ms`, as far as it came."""
        ends = [*(at for _, at in self._began[1:]), self._loop.time()]
        return {
            f"{step}_ms": round((end - at) * 1000, 2)
            for (step, at), end in zip(self._began, ends, strict=True)
        }


def _reason(error: BaseException) -> str:
    """Name what failed, without its text."""
    number = error.errno if isinstance(error, OSError) and not isinstance(error, socket.gaierror) else None
    return os.strerror(number) if number else type(error).__name__
