"""Opens listener and admin listener, on hosts and ports or on sockets from systemd."""

import socket
import ssl

from aiohttp import web

from proxy import starting
from proxy.clock import Clock
from proxy.errors import ConfigError, StartError
from proxy.forward.listener import Listener
from proxy.network import serving
from proxy.network.activation import HandedOver
from proxy.network.listener_tls import ListenerTls, UnusableError
from proxy.settings import AdminSettings, ListenSettings, Settings
from proxy.settings.files import writable


async def open_both(
    runner: web.AppRunner,
    listener: Listener,
    settings: Settings,
    handed: HandedOver,
    context: ssl.SSLContext | None,
) -> tuple[int, dict[str, object]]:
    """Open admin listener and listener, the latter with a context on TLS.

    Return the port of the first (0 for a Unix socket), and where the other is, for the log. Raises
    `StartError`.
    """
    listen = settings.listen
    sockets = await _bind(settings, handed)
    for bound in sockets.admin:
        await web.SockSite(runner, bound).start()
    address = sockets.admin[0].getsockname()
    admin_port = int(address[1]) if isinstance(address, tuple) else 0
    if not sockets.listener:
        try:
            await listener.start_unix(str(listen.unix_socket))
        except OSError as error:
            raise StartError(starting.why_no_socket(error)) from None
        return admin_port, {"unix_socket": writable(str(listen.unix_socket))}
    port = await listener.listen(sockets.listener, context, is_shared=bool(handed.listener))
    if handed.listener:
        return admin_port, {"handed_over": len(handed.listener), "port": port}
    return admin_port, {"host": starting.hosts(listen.host), "port": port}


async def _bind(settings: Settings, handed: HandedOver) -> HandedOver:
    """Return the sockets that were handed over, and bound ones where there are none."""
    sections: dict[str, AdminSettings | ListenSettings]
    sections = {"admin": settings.admin, "listen": settings.listen}
    bound: dict[str, tuple[socket.socket, ...]] = {"admin": handed.admin, "listen": handed.listener}
    faults = []
    for name, section in sections.items():
        if bound[name] or (name == "listen" and settings.listen.unix_socket is not None):
            continue
        try:
            bound[name] = tuple(await serving.bind(section.host, section.port))
        except OSError as error:
            faults.append(starting.why_not_bound(name, section.host, section.port, error))
    sockets = HandedOver(bound["listen"], bound["admin"])
    if faults:
        sockets.close()
        raise StartError(" ".join(faults))
    return sockets


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
