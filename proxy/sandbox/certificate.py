"""A certificate for the sandbox from an authority that exists for this one run.

Its private keys are never kept on disk.
"""

from __future__ import annotations

import ssl

import trustme


def make_certificate(host: str) -> tuple[ssl.SSLContext, bytes]:
    """Make a context that serves TLS for loopback names and `host`, and its authority's PEM."""
    authority = trustme.CA(organization_name="telenor-proxy sandbox")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(
        *dict.fromkeys(("localhost", "127.0.0.1", "::1", host or "localhost"))
    ).configure_cert(context)
    return context, authority.cert_pem.bytes()
