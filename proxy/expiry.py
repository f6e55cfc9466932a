"""When the certificates of the settings and of the API end, in words for `check`.

Never: whether a certificate is trusted, which OpenSSL decides.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from proxy.findings import Finding, failed, ok, warning
from proxy.network import certificates, listener_tls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.settings import Settings

_FILES: Final = "certificates"
_RENEW: Final = "Replace it by a new one."
_NOT_OURS: Final = "The operator of the API has to replace it. Ask there if that does not happen."


def of_files(settings: Settings, now: float) -> Iterator[Finding]:
    """Say when each file of certificates ends. now: seconds since the epoch.

    An expired certificate of the listener has failed, since the proxy would not start with it.
    """
    listen = settings.listen
    if listen.tls_certificate_file is not None:
        # The settings have judged the file.
        with contextlib.suppress(OSError, ValueError, IndexError):
            end = certificates.end_of_leaf(listen.tls_certificate_file)
            subject = "listen.tls_certificate_file: the certificate"
            expired = failed(_FILES, listener_tls.EXPIRED)
            yield expired if end <= now else _told(_FILES, subject, end, now, _RENEW)
    bundles = {
        "listen.tls_client_ca_file": listen.tls_client_ca_file,
        "upstream.ca_file": settings.upstream.ca_file,
    }
    for path, file in bundles.items():
        first = certificates.end_of_file(file)
        if first is not None:
            yield _told(_FILES, f"{path}: the first of its certificates", first, now, _RENEW)


def of_api(text: str, not_after: float, now: float) -> Finding:
    """Say behind a text when the API's certificate ends. Both in seconds since the epoch."""
    return _told("certificate", f"{text} It", not_after, now, _NOT_OURS)


def _told(name: str, subject: str, end: float, now: float, advice: str) -> Finding:
    text = f"{subject} {certificates.ending(end, now)}."
    if certificates.standing(end, now) == certificates.GOOD:
        return ok(name, text)
    return warning(name, f"{text} {advice}")
