"""Whom we trust on TLS: the one place that makes an `SSLContext`.

Never `ssl.create_default_context`: that one writes session keys to the file that SSLKEYLOGFILE names.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that verifies certificate and host name, for HTTP/1.1 over TLS 1.2 or later.

    ca_file: a PEM bundle to trust instead of the system's. Raises `OSError` if it cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies both, by definition
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A connection that ends without close_notify was cut (RFC 8446 section 6.1): an answer that ends there is not whole.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=ca_file)
    return context


def proxy_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context for the company's proxy at an `https://` address: as above, but it trusts the system's authorities as well."""
    context = client_context(None)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context
