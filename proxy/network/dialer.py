"""The way to the API: addresses, a race between them, the company's proxy if any, a TLS handshake.

Laws
1. Connections go to the configured origin only, and on TLS only to a server that proves to be it,
   also inside a tunnel.
2. The company's proxy gets the request for a tunnel (`tunnel.request`) and nothing else.
3. A fault before the tunnel is open is a `TunnelError`; a fault inside it is the API's.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final

import aiohappyeyeballs
import structlog

from proxy import faults
from proxy.network import transport, tunnel
from proxy.network.egress import CompanyProxy
from proxy.network.stream import Gone, Stream
from proxy.settings import Origin

_HAPPY_EYEBALLS_DELAY: Final = 0.25  # seconds, RFC 8305 section 5

log = structlog.get_logger("proxy.network")


class Dialer:
    """Connects to one origin.

    tls: whom to trust, for an https origin. through: gives the company's proxy at each connection,
    None without one. not_after: when the API's certificate ends, in seconds since the epoch, once
    one was seen. tunnel_seconds: longest time for a connection through that proxy.
    """

    def __init__(
        self,
        origin: Origin,
        tls: ssl.SSLContext | None,
        through: Callable[[], CompanyProxy | None] = lambda: None,
        tunnel_seconds: float | None = None,
    ) -> None:
        self.tunnel_seconds = tunnel_seconds
        self.not_after: float | None = None
        self.origin = origin
        self.tls = tls
        self.through = through

    async def dial(
        self, factory: Callable[[], asyncio.Protocol], seconds: float | None = None
    ) -> None:
        """Put a protocol on a new connection, within so many seconds.

        Without them, deadlines are the caller's. Raises `OSError` or `UnicodeError`, which
        `faults.explain` takes; a `TunnelError` among them says that the company's proxy failed,
        also by not answering in time, which a deadline of the caller's cannot say.
        """
        host, company, timing = self.origin.host, self.through(), Timing()
        if company is not None and self.tunnel_seconds is not None:
            seconds = self.tunnel_seconds if seconds is None else min(seconds, self.tunnel_seconds)
        until = None if seconds is None else asyncio.get_running_loop().time() + seconds
        name = host if self.tls is not None else None
        try:
            way = None if company is None else await self._open_tunnel(company, until, timing)
            async with asyncio.timeout_at(until):
                if way is None:
                    raw = await reach(self.origin, timing)
                    peer = raw.getpeername()
                    timing.next("tls")
                    made = await transport.connect(factory, raw, tls=self.tls, server_hostname=name)
                else:
                    peer = way.get_extra_info("peername")
                    timing.next("tls")
                    made = await transport.upgrade(
                        way, factory(), tls=self.tls, server_hostname=name
                    )
        except BaseException as error:  # cancelled: the caller's deadline has passed
            reason = _reason(error)
            log.debug("upstream.connect_failed", host=host, reason=reason, **timing.so_far())
            raise
        self._note_end_of_certificate(made)
        log.debug("upstream.connected", host=host, address=peer[0], port=peer[1], **timing.so_far())

    def _note_end_of_certificate(self, made: asyncio.BaseTransport) -> None:
        encryption = made.get_extra_info("ssl_object") if self.tls is not None else None
        if encryption is not None:
            self.not_after = ssl.cert_time_to_seconds(encryption.getpeercert()["notAfter"])

    async def _open_tunnel(
        self, company: CompanyProxy, until: float | None, timing: Timing
    ) -> asyncio.Transport:
        """Return the connection that leads through a proxy. Raises `TunnelError`."""
        login = None if company.login is None else company.login.field_value()
        name = company.origin.host if company.tls is not None else None
        stream = Stream(asyncio.get_running_loop())
        try:
            async with asyncio.timeout_at(until):
                raw = await reach(company.origin, timing)
                timing.next("tunnel")
                await transport.connect(lambda: stream, raw, tls=company.tls, server_hostname=name)
                request = tunnel.request(self.origin, login)
                await tunnel.opened(stream, request, company.hop, has_login=login is not None)
        except BaseException as error:
            if hasattr(stream, "transport"):  # it was connected
                stream.transport.abort()
            if isinstance(error, Gone):
                error = ConnectionResetError()
            if isinstance(error, (OSError, UnicodeError)):
                raise faults.to_company_proxy(error, company.hop) from None
            raise
        return stream.transport


async def reach(origin: Origin, timing: Timing) -> socket.socket:
    """Return a connected socket. Raises `OSError` or `UnicodeError`.

    In two steps: aiofastnet 1.2 and asyncio's staggered race lose or reuse a socket of their own
    when they are cancelled.
    """
    addresses = await asyncio.get_running_loop().getaddrinfo(
        origin.host, origin.port, type=socket.SOCK_STREAM
    )
    timing.next("connect")
    return await aiohappyeyeballs.start_connection(
        addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY
    )


class Timing:
    """How long the steps to a connection take, for the log; the last one is under way."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = [("dns", self._loop.time())]

    def next(self, step: str) -> None:
        """Begin another step."""
        self._began.append((step, self._loop.time()))

    def so_far(self) -> dict[str, float]:
        """Return `dns_ms`, `connect_ms`, `tunnel_ms` through a proxy, and `tls_ms`, so far."""
        ends = [*(at for _, at in self._began[1:]), self._loop.time()]
        return {
            f"{step}_ms": round((end - at) * 1000, 2)
            for (step, at), end in zip(self._began, ends, strict=True)
        }


def _reason(error: BaseException) -> str:
    """Name what failed, without its text."""
    if isinstance(error, faults.TunnelError):
        return error.fault.reason
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return type(error).__name__
