"""The way to the API: addresses, a race between them, the company's proxy if there is one, a TLS handshake.

Laws
1. Connections go to the configured origin only, and on TLS only to who proves to be it, also inside a tunnel.
2. The company's proxy gets the request for a tunnel (`tunnel.request`) and nothing else.
3. What goes wrong before the tunnel is open is a `TunnelError`; what goes wrong inside it is the API's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

import aiohappyeyeballs
import structlog

from proxy import faults
from proxy.network import certificates, transport, tunnel
from proxy.network.stream import Gone, Stream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from proxy.network.egress import CompanyProxy
    from proxy.settings import Origin

_HAPPY_EYEBALLS_DELAY: Final = 0.25  # seconds, RFC 8305 section 5
_ONE_READ: Final = 65536  # bytes


def straight() -> None:
    """Go to the API without a company's proxy."""


log = structlog.get_logger("proxy.network")


class Dialer:
    """Connects to one origin.

    tls: whom to trust, for an https origin. through: the company's proxy, asked for at each
    connection; None for the straight way. not_after: when the API's certificate ends, in seconds
    since the epoch, once one was seen. tunnel_seconds: longest time that a connection through that
    proxy may take, whatever else is allowed.
    """

    def __init__(
        self,
        origin: Origin,
        tls: ssl.SSLContext | None,
        through: Callable[[], CompanyProxy | None] = straight,
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

        Without them, deadlines are the caller's.

        Raises `OSError` or `UnicodeError`, which `faults.explain` takes; a `TunnelError` among them
        says that it is the company's proxy that failed, also by not answering in time, which a
        deadline of the caller's cannot.
        """
        host, company, timing = self.origin.host, self.through(), Timing()
        if company is not None and self.tunnel_seconds is not None:
            seconds = self.tunnel_seconds if seconds is None else min(seconds, self.tunnel_seconds)
        until = None if seconds is None else asyncio.get_running_loop().time() + seconds
        try:
            if company is None:
                async with asyncio.timeout_at(until):
                    raw = await reach(self.origin, timing)
                    peer = raw.getpeername()
                    timing.next("tls")
                    made = await transport.connect(
                        factory, raw, tls=self.tls, server_hostname=self._name
                    )
            elif company.tls is None:
                raw = await self._open_tunnel(company, until, timing)
                peer = raw.getpeername()
                timing.next("tls")
                async with asyncio.timeout_at(until):
                    made = await transport.connect(
                        factory, raw, tls=self.tls, server_hostname=self._name
                    )
            else:
                stream = await self._open_tunnel_on_tls(company, until, timing)
                peer = stream.transport.get_extra_info("peername")
                timing.next("tls")
                async with asyncio.timeout_at(until):
                    made = await transport.upgrade(
                        stream.transport, factory(), tls=self.tls, server_hostname=self._name
                    )
        except BaseException as error:  # cancelled: the caller's deadline has passed
            log.debug(
                "upstream.connect_failed", host=host, reason=_reason(error), **timing.so_far()
            )
            raise
        self._look_at(made)
        log.debug("upstream.connected", host=host, address=peer[0], port=peer[1], **timing.so_far())

    def _look_at(self, made: asyncio.BaseTransport) -> None:
        """Note when the API's certificate ends."""
        encryption = made.get_extra_info("ssl_object") if self.tls is not None else None
        if encryption is not None:
            with contextlib.suppress(
                ValueError
            ):  # one that OpenSSL takes, and that cannot be read here
                self.not_after = certificates.validity(
                    encryption.getpeercert(binary_form=True)
                ).not_after

    @property
    def _name(self) -> str | None:
        return self.origin.host if self.tls is not None else None

    async def _open_tunnel(
        self, company: CompanyProxy, until: float | None, timing: Timing
    ) -> socket.socket:
        """Return a socket that leads through a proxy that is spoken to in plaintext.

        Raises `TunnelError`.
        """
        loop = asyncio.get_running_loop()
        login = None if company.login is None else company.login.field_value()
        try:
            async with asyncio.timeout_at(until):
                raw = await reach(company.origin, timing)
                timing.next("tunnel")
                try:
                    await loop.sock_sendall(
                        raw, tunnel.request(self.origin.host, self.origin.port, login)
                    )
                    received = bytearray()
                    while not tunnel.is_open(received, company.hop, has_login=login is not None):
                        data = await loop.sock_recv(raw, _ONE_READ)
                        if not data:
                            raise ConnectionResetError  # noqa: TRY301 # it ended before its answer did
                        received += data
                except BaseException:
                    raw.close()
                    raise
        except (OSError, UnicodeError) as error:
            raise faults.to_company_proxy(error, company.hop) from None
        return raw

    async def _open_tunnel_on_tls(
        self, company: CompanyProxy, until: float | None, timing: Timing
    ) -> Stream:
        """Return a stream that leads through a proxy that is spoken to over TLS.

        Raises `TunnelError`.
        """
        stream = Stream(asyncio.get_running_loop())
        login = None if company.login is None else company.login.field_value()
        try:
            async with asyncio.timeout_at(until):
                raw = await reach(company.origin, timing)
                timing.next("tunnel")
                await transport.connect(
                    lambda: stream, raw, tls=company.tls, server_hostname=company.origin.host
                )
                try:
                    stream.write(tunnel.request(self.origin.host, self.origin.port, login))
                    while not tunnel.is_open(
                        stream.buffer, company.hop, has_login=login is not None
                    ):
                        await stream.more(None)
                except BaseException:
                    stream.abort()
                    raise
        except Gone:
            raise faults.to_company_proxy(ConnectionResetError(), company.hop) from None
        except (OSError, UnicodeError) as error:
            raise faults.to_company_proxy(error, company.hop) from None
        return stream


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
    """How long the steps to a connection take, for the log.

    Milliseconds by step, the last one being under way.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = [("dns", self._loop.time())]

    def next(self, step: str) -> None:
        """Begin another step."""
        self._began.append((step, self._loop.time()))

    def so_far(self) -> dict[str, float]:
        """Return `dns_ms`, `connect_ms`, `tunnel_ms` through a company's proxy, and `tls_ms`, as far as it came."""
        ends = [*(at for _, at in self._began[1:]), self._loop.time()]
        return {
            f"{step}_ms": round((end - at) * 1000, 2)
            for (step, at), end in zip(self._began, ends, strict=True)
        }


def _reason(error: BaseException) -> str:
    """Name what failed, without its text."""
    if isinstance(error, faults.TunnelError):
        return error.fault.reason
    number = (
        error.errno
        if isinstance(error, OSError) and not isinstance(error, socket.gaierror)
        else None
    )
    return os.strerror(number) if number else type(error).__name__
