"""The way to the API: addresses, a race between them, the company's proxy if there is one, a TLS handshake.

Laws
1. Connections go to the configured origin only, and on TLS only to who proves to be it, also inside a tunnel.
2. The company's proxy gets the request for a tunnel (`tunnel.request`) and nothing else.
3. What goes wrong before the tunnel is open is a `TunnelError`; what goes wrong inside it is the API's.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

import aiohappyeyeballs

from proxy import faults
from proxy.network import transport, tunnel
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


class Dialer:
    """Connects to one origin.

    tls: whom to trust, for an https origin. through: the company's proxy, asked for at each connection; None for the straight way.
    """

    def __init__(
        self,
        origin: Origin,
        tls: ssl.SSLContext | None,
        through: Callable[[], CompanyProxy | None] = straight,
    ) -> None:
        self.origin = origin
        self.tls = tls
        self.through = through

    async def dial(self, factory: Callable[[], asyncio.Protocol], seconds: float | None = None) -> None:
        """Put a protocol on a new connection, within so many seconds; without them, deadlines are the caller's.

        Raises `OSError` or `UnicodeError`, which `faults.explain` takes; a `TunnelError` among them says that it is the company's proxy
        that failed, also by not answering in time, which a deadline of the caller's cannot.
        """
        until = None if seconds is None else asyncio.get_running_loop().time() + seconds
        company = self.through()
        if company is None:
            async with asyncio.timeout_at(until):
                raw = await reach(self.origin)
                await transport.connect(factory, raw, tls=self.tls, server_hostname=self._name)
        elif company.tls is None:
            raw = await self.open_tunnel(company, until)
            async with asyncio.timeout_at(until):
                await transport.connect(factory, raw, tls=self.tls, server_hostname=self._name)
        else:
            stream = await self._open_tunnel_on_tls(company, until)
            async with asyncio.timeout_at(until):
                await transport.upgrade(stream.transport, factory(), tls=self.tls, server_hostname=self._name)

    @property
    def _name(self) -> str | None:
        return self.origin.host if self.tls is not None else None

    async def open_tunnel(self, company: CompanyProxy, until: float | None) -> socket.socket:
        """Return a socket that leads through a proxy that is spoken to in plaintext. Raises `TunnelError`."""
        loop = asyncio.get_running_loop()
        login = None if company.login is None else company.login.field_value()
        try:
            async with asyncio.timeout_at(until):
                raw = await reach(company.origin)
                try:
                    await loop.sock_sendall(raw, tunnel.request(self.origin.host, self.origin.port, login))
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

    async def _open_tunnel_on_tls(self, company: CompanyProxy, until: float | None) -> Stream:
        """Return a stream that leads through a proxy that is spoken to over TLS. Raises `TunnelError`."""
        stream = Stream(asyncio.get_running_loop())
        login = None if company.login is None else company.login.field_value()
        try:
            async with asyncio.timeout_at(until):
                raw = await reach(company.origin)
                await transport.connect(
                    lambda: stream, raw, tls=company.tls, server_hostname=company.origin.host
                )
                try:
                    stream.write(tunnel.request(self.origin.host, self.origin.port, login))
                    while not tunnel.is_open(stream.buffer, company.hop, has_login=login is not None):
                        await stream.more(None)
                except BaseException:
                    stream.abort()
                    raise
        except Gone:
            raise faults.to_company_proxy(ConnectionResetError(), company.hop) from None
        except (OSError, UnicodeError) as error:
            raise faults.to_company_proxy(error, company.hop) from None
        return stream


async def reach(origin: Origin) -> socket.socket:
    """Return a connected socket. Raises `OSError` or `UnicodeError`.

    In two steps: aiofastnet 1.2 and asyncio's staggered race lose or reuse a socket of their own when they are cancelled.
    """
    addresses = await asyncio.get_running_loop().getaddrinfo(
        origin.host, origin.port, type=socket.SOCK_STREAM
    )
    return await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY)
