"""When the certificates of the settings and of the API end, in words for `check`.

Pure but for the files that it reads. Never: whether a certificate is trusted, which OpenSSL decides.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from proxy.network import certificates, listener_tls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.settings import Settings

_RENEW: Final = "Replace it by a new one."
_NOT_OURS: Final = "The operator of the API has to replace it. Ask there if that does not happen."


def of_files(settings: Settings, now: float) -> Iterator[tuple[str, str]]:
    """Give the name of a `Mark` and a sentence for each file of certificates. now: seconds since the epoch.

    An expired certificate of the listener is `FAILED`, since the proxy would not start with it.
    """
    listen = settings.listen
    if listen.tls_certificate_file is not None:
        with contextlib.suppress(OSError, ValueError, IndexError):  # the settings have judged the file
            end = certificates.end_of_leaf(listen.tls_certificate_file)
            subject = "listen.tls_certificate_file: the certificate"
            yield ("FAILED", listener_tls.EXPIRED) if end <= now else _told(subject, end, now, _RENEW)
    bundles = {
        "listen.tls_client_ca_file": listen.tls_client_ca_file,
        "upstream.ca_file": settings.upstream.ca_file,
    }
    for path, file in bundles.items():
        first = certificates.end_of_file(file)
        if first is not None:
            yield _told(f"{path}: the first of its certificates", first, now, _RENEW)


def of_api(not_after: float, now: float) -> tuple[str, str]:
    """Give the name of a `Mark` and a sentence. Both in seconds since the epoch."""
    return _told("It", not_after, now, _NOT_OURS)


def _told(subject: str, end: float, now: float, step: str) -> tuple[str, str]:
    text = f"{subject} {certificates.ending(end, now)}."
    if certificates.standing(end, now) == certificates.GOOD:
        return "OK", text
    return "WARNING", f"{text} {step}"
