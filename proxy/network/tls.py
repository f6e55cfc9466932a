"""Whom we trust on TLS: the one place that makes an `SSLContext`.

Never by `ssl.create_default_context`, which writes session keys to the file in SSLKEYLOGFILE.
"""

import ssl
from pathlib import Path


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that verifies certificate and host name, for HTTP/1.1 over TLS 1.2 or later.

    ca_file: a PEM bundle to trust instead of the system's. Raises `OSError` if it cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies both, by definition
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A connection that ends without close_notify was cut (RFC 8446 section 6.1).
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=ca_file)
    return context


def proxy_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return one for the company's proxy at an `https://` address: the system is trusted too."""
    context = client_context(None)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def server_context(certificate: Path, key: Path | None, client_ca: Path | None) -> ssl.SSLContext:
    """Return a context for the listener; with `client_ca` a client's certificate is required.

    Raises `OSError` (an `ssl.SSLError` among them) if the files cannot be read or do not belong
    together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Forward secrecy and authenticated encryption only, also in TLS 1.2 (RFC 9325 section 4.2).
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["http/1.1"])
    context.options |= (
        ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    )
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    # A session that is resumed is not judged by the authorities of clients that hold now.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    # Without a passphrase of its own OpenSSL would ask for one on the terminal.
    context.load_cert_chain(certificate, key, password=lambda: "")
    if client_ca is not None:
        context.load_verify_locations(cafile=client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
