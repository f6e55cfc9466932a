"""Listening sockets: bound on several hosts and both families or handed over; takes clients in.

Laws
1. `localhost` is every loopback family that there is, `::` takes IPv4 as well, and a host that
   leads to several addresses gets them all.
2. A renewed TLS context counts for connections that are accepted from then on; the sockets stay.
3. A client's connection never takes a descriptor that is kept for the admin listener, the API and
   files: it is closed instead.
4. When the system has none left, accepting pauses; it never spins. Both are logged once a minute at
   most, and so are failed TLS handshakes.

aiofastnet's own server lacks the last two: out of descriptors, it calls a method that sockets do
not have, and is called again at once.
"""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from proxy import descriptors
from proxy.network import transport

Address = tuple[socket.AddressFamily, str]

#: Connections taken in one turn of the event loop, so that a storm of them does not hold up calls.
_MOST_PER_TURN: Final = 64
#: Seconds until accepting is tried again (asyncio takes 1).
RETRY_SECONDS: Final = 0.5
#: Seconds between two log events.
REPORT_SECONDS: Final = 60.0
#: Seconds that a client has for its TLS handshake (asyncio: 60), as for a request's head.
HANDSHAKE_SECONDS: Final = 15.0
_NO_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: Attempts to find a port that is free on all hosts, where the system chooses it.
_TRIES: Final = 8
#: Turns of the event loop in which asyncio's server, on Windows, makes a connection.
_ACCEPTING_TURNS: Final = 5
_LOOPBACK: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_EVERY_IPV6: Final = "::"
_EVERY_IPV4: Final = "0.0.0.0"  # noqa: S104 # what `::` means where there is no IPv6
#: A family, or an address of it, that this machine does not have.
_MISSING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})

log = structlog.get_logger("proxy.network")


class Server:
    """Accepts connections on sockets that it owns. Built inside a running event loop.

    is_shared: others hold the same sockets open, so clients wait in the kernel once it is closed.
    ceiling: see `descriptors.ceiling`.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.Protocol],
        sockets: Iterable[socket.socket],
        *,
        is_shared: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._tls: ssl.SSLContext | None = None
        self._beginning: set[asyncio.Task[None]] = set()
        self._retries: dict[socket.socket, asyncio.TimerHandle] = {}
        self._reported_at: dict[str, float] = {}
        self._windows: list[asyncio.Server] = []
        self.sockets: Sequence[socket.socket] = tuple(sockets)
        self.is_shared = is_shared
        self.ceiling = descriptors.ceiling(descriptors.limit())

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        """Accept from now on; with a context, on TLS. Raises `OSError`."""
        await self.renew(context)
        if sys.platform != "win32":
            for listening in self.sockets:
                listening.setblocking(False)
                listening.listen(transport.BACKLOG)
                self._resume(listening)

    async def renew(self, context: ssl.SSLContext | None) -> None:
        """Accept with another context from now on. Raises `OSError`, and goes on as before then."""
        self._tls = context
        if sys.platform == "win32":  # its event loop has no add_reader
            # Both accept from the system's one queue until the old one is closed.
            begun = [
                await self._loop.create_server(
                    self._factory, sock=each.dup(), ssl=context, backlog=transport.BACKLOG
                )
                for each in self.sockets
            ]
            old, self._windows = self._windows, begun
            for server in old:
                server.close()

    def close(self) -> None:
        """Accept no more. Connections stay as they are."""
        for server in self._windows:
            server.close()
        sockets, self.sockets = self.sockets, ()
        for listening in sockets:
            retry = self._retries.pop(listening, None)
            if retry is not None:
                retry.cancel()
            if sys.platform != "win32":
                self._loop.remove_reader(listening)
            listening.close()

    async def settled(self, seconds: float) -> None:
        """Wait until all accepted ones are connections, or end their handshakes after so long."""
        if self._beginning:
            _, unfinished = await asyncio.wait(self._beginning, timeout=seconds)
            for task in unfinished:
                task.cancel()
        for _ in range(_ACCEPTING_TURNS if self._windows else 0):
            await asyncio.sleep(0)

    def _resume(self, listening: socket.socket) -> None:
        self._retries.pop(listening, None)
        self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_MOST_PER_TURN):
            try:
                connected, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # Other errors are of one connection, which was lost meanwhile (Linux, accept(2)).
                if error.errno in _NO_RESOURCES:
                    self._pause(listening)
                    return
                continue
            if self.ceiling is not None and connected.fileno() >= self.ceiling:
                connected.close()
                self._report_descriptors()
                continue
            task = self._loop.create_task(self._begin(connected, address))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, connected: socket.socket, address: tuple[str, int]) -> None:
        """Put a protocol on a connection; drop it if it ends in its TLS handshake."""
        try:
            connected.setblocking(False)
            await transport.accept(
                self._factory, connected, tls=self._tls, handshake_seconds=HANDSHAKE_SECONDS
            )
        except BaseException as error:
            if isinstance(error, ssl.SSLError):
                self._report_handshake(address[0], error)
            connected.close()
            if not isinstance(error, OSError):  # TLS errors and timeouts are some
                raise

    def _pause(self, listening: socket.socket) -> None:
        self._loop.remove_reader(listening)
        self._retries[listening] = self._loop.call_later(RETRY_SECONDS, self._resume, listening)
        self._report_descriptors()

    def _report_handshake(self, address: str, error: ssl.SSLError) -> None:
        with contextlib.suppress(Exception):  # accepting goes on without a log
            if self._is_due("handshake"):
                log.warning(
                    "listener.handshake_failed",
                    reason=error.reason or type(error).__name__,  # OpenSSL's name for it
                    client_address=address,
                    detail="A client was turned away in its TLS handshake. HTTP_REQUEST: use"
                    " https:// in its URL. PEER_DID_NOT_RETURN_A_CERTIFICATE: give it the"
                    " certificate that listen.tls_client_ca_file asks for. ALERT_UNKNOWN_CA: let"
                    " it trust this listener's certificate.",
                )

    def _report_descriptors(self) -> None:
        with contextlib.suppress(Exception):  # as above
            if self._is_due("descriptors"):
                log.warning(
                    "listener.out_of_descriptors",
                    detail="Clients are turned away without an answer: the process has too many"
                    " files and connections open. Let clients keep or close their connections, or"
                    " raise the hard limit (ulimit -Hn; systemd: LimitNOFILE=; Docker: --ulimit"
                    " nofile=).",
                )

    def _is_due(self, what: str) -> bool:
        """Whether this was not logged in the last minute."""
        now = self._loop.time()
        if now - self._reported_at.get(what, -REPORT_SECONDS) < REPORT_SECONDS:
            return False
        self._reported_at[what] = now
        return True


async def bind(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Return sockets that listen on each host, all on one port; 0: one free on all.

    Raises `OSError`.
    """
    addresses = await _addresses(hosts)
    is_optional = "localhost" in {host.lower() for host in hosts}
    for attempt in range(_TRIES):
        try:
            return _bind_all(addresses, port, is_optional=is_optional)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE or attempt == _TRIES - 1:
                raise
    raise AssertionError  # the last try returns or raises


async def _addresses(hosts: Sequence[str]) -> list[Address]:
    """Return the addresses to bind, each once; those that `::` takes anyway are left out."""
    found: dict[Address, None] = {}
    for host in hosts:
        if host.lower() == "localhost":
            found |= dict.fromkeys(_LOOPBACK)
            continue
        infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found |= {(info[0], str(info[4][0])): None for info in infos}
    every = (socket.AF_INET6, _EVERY_IPV6)
    return [every] if every in found else list(found)


def _bind_all(addresses: Sequence[Address], port: int, *, is_optional: bool) -> list[socket.socket]:
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in addresses:
            try:
                # The first socket's, if the system chose it.
                found = int(bound[0].getsockname()[1]) if bound else 0
                bound.append(_bind(family, address, port or found))
            except OSError as error:
                is_loopback = is_optional and (family, address) in _LOOPBACK
                if error.errno not in _MISSING or not is_loopback:
                    raise
                missing = error
    except BaseException:
        for listening in bound:
            listening.close()
        raise
    if missing is not None and not bound:
        raise missing
    return bound


def _bind(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    try:
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if (address, error.errno) != (_EVERY_IPV6, errno.EAFNOSUPPORT):
            raise
        return _bind(socket.AF_INET, _EVERY_IPV4, port)
    try:
        if os.name == "posix":  # on Windows it would take the port from another process
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            only = address != _EVERY_IPV6
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        listening.bind((address, port))
        listening.listen(transport.BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening
