"""The certificate that the listener shows: loaded from files, taken up anew when they change.

Laws
1. A pair that cannot be used (missing, of two pairs, expired, encrypted, half written) leaves the
   old one in force, and is logged.
2. What changes counts for new connections only.
"""

import ssl
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Final

import structlog

from proxy.clock import Clock
from proxy.network import certificates, tls
from proxy.settings import catalogue
from proxy.threads import in_daemon_thread

EXPIRED: Final = (
    "listen.tls_certificate_file: the certificate has expired. Replace it by a new one."
)

log = structlog.get_logger("proxy.network.listener_tls")


class UnusableError(Exception):
    """The files cannot be used; the text is whole sentences, with the setting's path in front."""


class ListenerTls:
    """The listener's TLS. Raises `UnusableError` if the files cannot be used at the start.

    context: the one in force. not_after: when its certificate ends, in seconds since the epoch;
    clients_not_after: the first of the authorities for clients, None without any. refused: why the
    files as they are now cannot be used; empty if they can.
    """

    def __init__(
        self, certificate: Path, key: Path | None, client_ca: Path | None, clock: Clock
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._clock = clock
        self.refused = ""
        self._found = self._read()
        self.context, self.not_after = self._load()
        self.clients_not_after = certificates.end_of_file(client_ca)

    def files(self) -> Collection[Path]:
        """Return the files whose change matters, for `watching.watch`."""
        named = (self._certificate, self._key, self._client_ca)
        return [path for path in named if path is not None]

    async def look(self, renew: Callable[[ssl.SSLContext], Awaitable[None]]) -> bool:
        """Take up changed files, `renew` the context; return whether they could be used."""
        try:
            found = await in_daemon_thread(self._read)
            if found == self._found:
                self.refused = ""
                return True
            context, not_after = await in_daemon_thread(self._load)
        except UnusableError as error:
            self._refuse(str(error))
            return False
        await renew(context)
        self.context, self.not_after, self._found, self.refused = context, not_after, found, ""
        self.clients_not_after = certificates.end_of_file(self._client_ca)
        log.info("listener.certificate_renewed", not_after=int(not_after))
        return True

    def _refuse(self, problem: str) -> None:
        if problem != self.refused:
            self.refused = problem
            log.error(
                "listener.certificate_refused",
                problem=problem,
                detail="The changed certificate cannot be used; the one in force stays."
                " Correct what `problem` says.",
            )

    def _read(self) -> list[bytes]:
        try:
            return [path.read_bytes() for path in self.files()]
        except OSError:
            raise UnusableError(
                "listen.tls_certificate_file: a file of the listener's certificate cannot be read."
                " Check path and rights of it, of listen.tls_key_file and of"
                " listen.tls_client_ca_file."
            ) from None

    def _load(self) -> tuple[ssl.SSLContext, float]:
        try:
            context = tls.server_context(self._certificate, self._key, self._client_ca)
            not_after = certificates.end_of_leaf(self._certificate)
        except ssl.SSLError:
            raise UnusableError(self._why_unusable()) from None
        except (OSError, ValueError):
            raise UnusableError(
                "listen.tls_certificate_file: the file holds no whole certificate. Write it anew."
            ) from None
        if not_after <= self._clock.wall():
            raise UnusableError(EXPIRED)
        return context, not_after

    def _why_unusable(self) -> str:
        fault = catalogue.why_no_pair(self._certificate, self._key)
        if fault is None and self._client_ca is not None:
            return "listen.tls_client_ca_file: the file holds no whole certificate. Write it anew."
        if fault is None:  # it was being written, and is whole by now
            return "listen.tls_certificate_file: certificate or key was not whole. Write both anew."
        (path, *_), words = fault
        return f"{path}: {words}."
