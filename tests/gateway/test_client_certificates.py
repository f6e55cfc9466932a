"""Clients that are known by their certificate, on the listener's own TLS connections."""

import json
import ssl
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from proxy.network.tls import server_context
from tests.gateway.client import ORDERS, Answer, request
from tests.gateway.conftest import Gateway, Lab

SHOP: Final = b"key-of-the-shop"
CLIENTS: Final[list[dict[str, Any]]] = [
    {"name": "erp", "certificate": "erp.internal"},
    {"name": "shop", "key": SHOP.decode(), "certificate": "shop.internal"},
]


class Door:
    """A gateway that asks its clients for a certificate of the authority."""

    def __init__(self, gateway: Gateway, authority: trustme.CA) -> None:
        self.gateway = gateway
        self._authority = authority

    async def ask(
        self, *names: str, fields: list[bytes] | None = None, common_name: str | None = None
    ) -> Answer:
        """Send a request on a connection with a certificate of these names."""
        self.gateway.trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority.configure_trust(self.gateway.trust)
        shown = self._authority.issue_cert(*names, common_name=common_name)
        shown.configure_cert(self.gateway.trust)
        return await self.gateway.ask(request(b"GET", ORDERS, *(fields or [])))


@pytest.fixture
async def door(lab: Lab, tmp_path: Path) -> Door:
    """Build a gateway whose clients have certificates."""
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    files = {name: tmp_path / name for name in ("certificate", "key", "ca")}
    own.cert_chain_pems[0].write_to_path(str(files["certificate"]))
    own.private_key_pem.write_to_path(str(files["key"]))
    authority.cert_pem.write_to_path(str(files["ca"]))
    gateway = await lab.gateway(
        shown=server_context(*files.values()),
        listen__clients=json.dumps(CLIENTS),
        listen__tls_certificate_file=files["certificate"],
        listen__tls_key_file=files["key"],
        listen__tls_client_ca_file=files["ca"],
    )
    return Door(gateway, authority)


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
    answer = await door.ask(*names, fields=fields)
    status = 200 if client else 403
    assert answer.status == status
    assert client is not None or answer.kind == "client-key"
    record = door.gateway.record
    assert (record.client, record.status, record.client_address) == (client, status, "127.0.0.1")


async def test_a_common_name_does_not_count_beside_a_dns_name(door: Door) -> None:
    """RFC 9525 section 2: a certificate with DNS names is known by these alone."""
    assert (await door.ask("other.internal", common_name="erp.internal")).status == 403
