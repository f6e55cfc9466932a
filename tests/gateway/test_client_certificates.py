"""Clients that are known by their certificate, on the listener's own TLS connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from typing import TYPE_CHECKING, Any, Final

import pytest
import trustme

from proxy.network import serving
from tests.gateway.client import ORDERS, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.gateway.conftest import Gateway, Lab

SHOP: Final = b"key-of-the-shop"
CLIENTS: Final[list[dict[str, Any]]] = [
    {"name": "erp", "certificate": "erp.internal"},
    {"name": "shop", "key": SHOP.decode(), "certificate": "shop.internal"},
]
_LENGTH: Final = re.compile(rb"\r\nContent-Length: ([0-9]+)\r\n")


class Door:
    """A listener's connections over TLS that ask for a certificate of this authority."""

    def __init__(self, gateway: Gateway, authority: trustme.CA) -> None:
        self.gateway = gateway
        self.port = 0
        self._authority = authority

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Door]:
        """Listen as long as the context lasts."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert("127.0.0.1").configure_cert(context)
        self._authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        bound = await serving.bind(["127.0.0.1"], 0)
        server = serving.Server(self.gateway.listener._connection, bound)
        await server.start(context)
        with contextlib.closing(server):
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def ask(self, raw: bytes, *names: str, common_name: str | None = None) -> bytes:
        """Send a request on a connection with a certificate of these names; give the answer."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority.configure_trust(context)
        self._authority.issue_cert(*names, common_name=common_name).configure_cert(context)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        try:
            writer.write(raw)
            async with asyncio.timeout(5):
                head = await reader.readuntil(b"\r\n\r\n")
                return head + await reader.readexactly(int(_LENGTH.findall(head)[0]))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.fixture
async def door(lab: Lab, tmp_path: Path) -> AsyncIterator[Door]:
    """Build a gateway whose clients have certificates."""
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    files = {name: tmp_path / name for name in ("certificate", "key", "ca")}
    own.cert_chain_pems[0].write_to_path(str(files["certificate"]))
    own.private_key_pem.write_to_path(str(files["key"]))
    authority.cert_pem.write_to_path(str(files["ca"]))
    gateway = await lab.gateway(
        listen__clients=json.dumps(CLIENTS),
        listen__tls_certificate_file=files["certificate"],
        listen__tls_key_file=files["key"],
        listen__tls_client_ca_file=files["ca"],
    )
    async with Door(gateway, authority).open() as door:
        yield door


@pytest.mark.parametrize(
    ("names", "fields", "client"),
    [
        (["erp.internal"], [], "erp"),
        (["ERP.internal", "other.internal"], [], "erp"),
        (["shop.internal"], [], "shop"),
        (["erp.internal"], [b"X-Proxy-Key: " + SHOP], "shop"),
        (["other.internal"], [b"X-Proxy-Key: " + SHOP], "shop"),
        (["erp.internal"], [b"X-Proxy-Key: some-other-key"], None),
        (["other.internal"], [], None),
        (["erp.internal", "shop.internal"], [], None),
        (["*.internal"], [], None),
    ],
)
async def test_the_key_or_the_certificate_names_the_client(
    door: Door, names: list[str], fields: list[bytes], client: str | None
) -> None:
    """The key decides if there is one, else the one client with the certificate's name; or 403."""
    answer = await door.ask(request(b"GET", ORDERS, b"Connection: close", *fields), *names)
    status = 200 if client else 403
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert (b"client-key" in answer) == (client is None)
    record = door.gateway.record
    assert (record.client, record.status, record.client_address) == (client, status, "127.0.0.1")


async def test_a_common_name_does_not_count_beside_a_dns_name(door: Door) -> None:
    """RFC 9525 section 2: a certificate with DNS names is known by these alone."""
    raw = request(b"GET", ORDERS, b"Connection: close")
    answer = await door.ask(raw, "other.internal", common_name="erp.internal")
    assert answer.startswith(b"HTTP/1.1 403 ")
