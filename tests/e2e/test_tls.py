"""The listener over TLS, end to end."""

import signal
import ssl
from pathlib import Path

import aiohttp
import trustme

from tests.e2e.process import ORDER, ORDERS, Api, Starter, call, configuration


def write(authority: trustme.CA, folder: Path) -> dict[str, str]:
    """Write a pair for localhost; give the settings that name it."""
    issued = authority.issue_cert("localhost", "127.0.0.1")
    (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(folder / "tls.key"))
    return {
        "tls_certificate_file": str(folder / "tls.crt"),
        "tls_key_file": str(folder / "tls.key"),
    }


async def placed(http: aiohttp.ClientSession, port: int, authority: trustme.CA) -> int:
    """Place an order over TLS; return the status."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    url = f"https://localhost:{port}{ORDERS}"
    return (await call(http, url, "POST", json=ORDER, ssl=context)).status


async def test_a_changed_certificate_is_taken_up_at_sighup(
    start: Starter, api: Api, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Once `configuration.reloaded` is logged, the new certificate is shown."""
    new = trustme.CA()
    running = await start.ready(configuration(api.url, listen=write(trustme.CA(), tmp_path)))
    port = (await running.event("listener.started"))["port"]
    write(new, tmp_path)
    running.send(signal.SIGHUP)
    await running.event("configuration.reloaded")
    assert await placed(http, port, new) == 201
    await running.stop()


async def test_a_changed_certificate_is_shown_to_new_connections(
    start: Starter, api: Api, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Without a restart, while open connections are served on."""
    old, new = trustme.CA(), trustme.CA()
    running = await start.ready(configuration(api.url, listen=write(old, tmp_path)))
    port = (await running.event("listener.started"))["port"]
    assert await placed(http, port, old) == 201
    write(new, tmp_path)
    await running.event("listener.certificate_renewed")
    async with aiohttp.ClientSession() as other:
        assert await placed(other, port, new) == 201
    await running.stop()
