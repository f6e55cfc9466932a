"""Listening sockets: takes clients in, and goes on when descriptors run out.

Laws
1. A client's connection never takes a descriptor that is kept for the admin listener, the API and
   files: it is closed instead.
2. When the system has none left, accepting pauses; it never spins. Both are logged once a minute at
   most, and so are failed TLS handshakes.

aiofastnet's own server lacks both: out of descriptors, it calls a method that sockets do not have,
and is called again at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from typing import TYPE_CHECKING, Final

import structlog

from proxy.network import transport

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

#: Connections taken in one turn of the event loop, so that a storm of them does not hold up calls.
_MOST_PER_TURN: Final = 64
#: Seconds until accepting is tried again (asyncio takes 1).
RETRY_SECONDS: Final = 0.5
#: Seconds between two log events.
REPORT_SECONDS: Final = 60.0
#: Seconds that a client has for its TLS handshake (asyncio: 60), as for a request's head.
HANDSHAKE_SECONDS: Final = 15.0
_NO_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = structlog.get_logger("proxy.network")


class Accepting:
    """Accepts on bound sockets, which it owns, until `close`. Built inside a running event loop.

    tls: for connections that are accepted from now on. ceiling: see `descriptors.ceiling`.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        factory: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        ceiling: int | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = tuple(sockets)
        self._factory = factory
        self.tls = tls
        self._ceiling = ceiling
        self._beginning: set[asyncio.Task[None]] = set()
        self._retries: dict[socket.socket, asyncio.TimerHandle] = {}
        self._reported_at: dict[str, float] = {}
        for listening in self._sockets:
            listening.setblocking(False)
            listening.listen(transport.BACKLOG)
            self._resume(listening)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets; none once it is closed."""
        return self._sockets

    def close(self) -> None:
        """Accept no more. Connections stay as they are."""
        sockets, self._sockets = self._sockets, ()
        for listening in sockets:
            retry = self._retries.pop(listening, None)
            if retry is not None:
                retry.cancel()
            self._loop.remove_reader(listening)
            listening.close()

    async def settled(self, seconds: float) -> None:
        """Wait until all accepted connections have a protocol; end handshakes after so long."""
        if self._beginning:
            _, unfinished = await asyncio.wait(self._beginning, timeout=seconds)
            for task in unfinished:
                task.cancel()

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
            if self._ceiling is not None and connected.fileno() >= self._ceiling:
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
                self._factory, connected, tls=self.tls, handshake_seconds=HANDSHAKE_SECONDS
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
