"""What a connection says of its client: its address and the names in its certificate."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
import trustme

from proxy.clients import peer
from proxy.network import serving

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


class Made(asyncio.Transport):
    """A transport that knows only these facts."""

    def __init__(self, **known: object) -> None:
        super().__init__(known)


class Witness(asyncio.Protocol):
    """Notes address and names of the client once connected."""

    def __init__(self) -> None:
        self.seen: asyncio.Future[tuple[str | None, tuple[str, ...]]] = (
            asyncio.get_running_loop().create_future()
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note both."""
        self.seen.set_result((peer.address(transport), peer.certificate_names(transport)))


async def serve(
    witness: Witness, sockets: Iterable[socket.socket], tls: ssl.SSLContext | None = None
) -> serving.Server:
    """Let it have the connections of these sockets."""
    server = serving.Server(lambda: witness, sockets)
    await server.start(tls)
    return server


async def test_a_client_on_tcp_has_its_ip_address() -> None:
    """IPv4 or IPv6; without TLS there are no names."""
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        witness = Witness()
        try:
            server = await serve(witness, await serving.bind([host], 0))
        except OSError:
            pytest.skip(f"{host} is not there")
        with contextlib.closing(server), socket.socket(family) as client:
            client.connect((host, server.sockets[0].getsockname()[1]))
            assert await asyncio.wait_for(witness.seen, 5) == (host, ())


@pytest.mark.skipif(sys.platform != "linux", reason="SO_PEERCRED is Linux'")
async def test_a_client_on_a_unix_socket_has_user_and_process(tmp_path: Path) -> None:
    """The kernel gives both."""
    witness = Witness()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.setblocking(False)
        listening.listen()
        server = await serve(witness, [listening])
        with contextlib.closing(server), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))
            assert await asyncio.wait_for(witness.seen, 5) == (f"{os.getuid()}:{os.getpid()}", ())


async def test_a_client_with_a_certificate_has_its_names() -> None:
    """Read through the transports of the listener."""
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    server_side.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_side)
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client_side)
    issued = authority.issue_cert("ERP.internal", "shop.internal", common_name="other")
    issued.configure_cert(client_side)
    witness = Witness()
    server = await serve(witness, await serving.bind(["127.0.0.1"], 0), server_side)
    with contextlib.closing(server):
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_side)
        names = ("erp.internal", "shop.internal")
        assert await asyncio.wait_for(witness.seen, 5) == ("127.0.0.1", names)
        writer.close()


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
