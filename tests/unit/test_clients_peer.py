"""What a connection says of its client: its address and the names in its certificate.

tests/gateway (test_clients, test_client_certificates) has the same of real connections.
"""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Final

import pytest

from proxy.clients import peer


class Made(asyncio.Transport):
    """A transport that knows only these facts."""

    def __init__(self, **known: object) -> None:
        super().__init__(known)


@pytest.mark.parametrize(
    ("known", "address"),
    [
        ({}, None),
        ({"peername": None}, None),
        ({"peername": ()}, None),
        ({"peername": ""}, None),
        ({"peername": ("192.0.2.7", 40000)}, "192.0.2.7"),
        ({"peername": ("2001:db8::7", 40000, 0, 0)}, "2001:db8::7"),
        ({"peername": ("::ffff:192.0.2.7", 40000, 0, 0)}, "192.0.2.7"),
        ({"peername": ("::ffff:0:192.0.2.7", 40000, 0, 0)}, "::ffff:0:192.0.2.7"),
        ({"peername": ("fe80::1%eth0", 40000, 0, 2)}, "fe80::1%eth0"),
    ],
)
def test_an_address_is_given_without_its_port(
    known: Mapping[str, Any], address: str | None
) -> None:
    """A mapped address is given as IPv4."""
    assert peer.address(Made(**known)) == address


def test_a_closed_socket_has_no_user() -> None:
    """A client that has disconnected has no address, and nothing fails."""
    gone = socket.socket(socket.AF_UNIX)
    gone.close()
    assert peer.address(Made(socket=gone)) is None


CN: Final = ((("countryName", "NO"),), (("commonName", "Order System"),))
ALTERNATIVE: Final = (("DNS", "a"), ("IP Address", "192.0.2.7"), ("DNS", "b"), ("DNS", "A"))


@pytest.mark.parametrize(
    ("certificate", "names"),
    [
        ({}, ()),
        ({"subject": CN}, ("order system",)),
        ({"subject": CN, "subjectAltName": (("DNS", "Erp.Internal"),)}, ("erp.internal",)),
        ({"subject": CN, "subjectAltName": ALTERNATIVE}, ("a", "b")),
        (
            {"subject": CN, "subjectAltName": (("email", "a@b"), ("URI", "spiffe://x"))},
            ("order system",),
        ),
        ({"subject": ((("commonName", "a"), ("commonName", "b")),)}, ("a", "b")),
    ],
)
def test_the_names_are_dns_names_or_else_common_names(
    certificate: Mapping[str, Any], names: tuple[str, ...]
) -> None:
    """A common name counts only where there is no DNS name."""
    assert peer.names_of(certificate) == names
