"""Opens listener and admin listener, on hosts and ports or on sockets from systemd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from proxy import starting
from proxy.errors import ConfigError, StartError
from proxy.network import serving
from proxy.network.listener_tls import ListenerTls, UnusableError
from proxy.settings.files import writable

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Sequence

    from proxy.clock import Clock
    from proxy.forward.listener import Listener
    from proxy.network.activation import HandedOver
    from proxy.settings import AdminSettings, ListenSettings


async def open_admin(runner: web.AppRunner, admin: AdminSettings, handed: HandedOver) -> int:
    """Open the admin listener; return its port, 0 for a Unix socket. Raises `StartError`."""
    sockets = handed.admin or await _bind("admin", admin.host, admin.port)
    for bound in sockets:
        await web.SockSite(runner, bound).start()
    address = sockets[0].getsockname()
    return int(address[1]) if isinstance(address, tuple) else 0


async def open_listener(
    listener: Listener, listen: ListenSettings, handed: HandedOver, context: ssl.SSLContext | None
) -> dict[str, object]:
    """Open the listener; return where, for the log. context: for TLS. Raises `StartError`."""
    if handed.listener:
        port = await listener.listen(handed.listener, context, is_shared=True)
        return {"handed_over": len(handed.listener), "port": port}
    if listen.unix_socket is not None:
        try:
            await listener.start_unix(str(listen.unix_socket))
        except OSError as error:
            raise StartError(starting.why_no_socket(error)) from None
        return {"unix_socket": writable(listen.unix_socket)}
    port = await listener.listen(await _bind("listen", listen.host, listen.port), context)
    return {"host": starting.hosts(listen.host), "port": port}


async def _bind(section: str, hosts: Sequence[str], port: int) -> Sequence[socket.socket]:
    try:
        return await serving.bind(hosts, port)
    except OSError as error:
        raise StartError(starting.why_not_bound(section, " or ".join(hosts), port, error)) from None


def listener_tls(listen: ListenSettings, clock: Clock) -> ListenerTls | None:
    """Load the listener's certificate, None for plaintext. Raises `ConfigError`."""
    if listen.tls_certificate_file is None:
        return None
    try:
        return ListenerTls(
            listen.tls_certificate_file, listen.tls_key_file, listen.tls_client_ca_file, clock
        )
    except UnusableError as error:
        raise ConfigError([str(error)]) from None
