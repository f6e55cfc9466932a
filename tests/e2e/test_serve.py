"""`serve` end to end: orders, ended tokens, and the ways to configure and reach it."""

from __future__ import annotations

import asyncio
import json
import stat
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.e2e.process import (
    ACCOUNTS,
    CREDENTIALS,
    DEADLINE,
    ORDER,
    ORDERS,
    Api,
    Starter,
    configuration,
    serving_api,
)

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.sandbox.state import SandboxOrder
    from tests.e2e.conftest import Standing


def only_order(api: Api) -> SandboxOrder:
    """Give the order that arrived, if it is exactly one."""
    (order,) = api.sandbox.orders
    return order


async def place_order(http: aiohttp.ClientSession, url: str, **fields: str) -> dict[str, Any]:
    """Place the order of Telenor's example; it must be accepted."""
    async with http.post(url, json=ORDER, headers=fields) as answer:
        assert answer.status == 201, await answer.text()
        assert "Proxy-Status" not in answer.headers
        accepted = await answer.json()
        assert isinstance(accepted, dict)
        return accepted


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
async def test_an_order_arrives_once_with_our_authorization(
    start: Starter, http: aiohttp.ClientSession, tmp_path: Path, *, secured: bool
) -> None:
    """With exactly one valid Authorization, and the client's request id."""
    async with serving_api(tmp_path if secured else None) as api:
        upstream = {"url": api.url, **({"ca_file": str(api.ca_file)} if secured else {})}
        proxy = await start.ready(configuration(api.url, upstream=upstream))
        url = await proxy.url(ORDERS)
        accepted = await place_order(
            http, url, **{"X-Request-Id": "order-4711", "Authorization": "Bearer mine"}
        )
        order = only_order(api)
        assert accepted["orderId"] == order.id
        assert order.body == ORDER
        assert order.authorization_fields == 1
        assert order.request_id == "order-4711"
        assert api.counter("api_calls_by_status") == {"201": 1}
        assert await proxy.stop() == 0


async def test_an_ended_token_is_renewed_once_and_the_order_sent_again(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """After a revocation the next order succeeds, with one renewal and one order placed."""
    proxy = await start.ready(configuration(api.url))
    api.sandbox.revoke()
    await place_order(http, await proxy.url(ORDERS))
    assert only_order(api).count == 1
    assert api.counter("token_calls") == 2
    assert api.counter("api_calls_by_status") == {"401": 1, "201": 1}
    assert (await proxy.event("request.completed"))["attempts"] == 2
    assert (await proxy.event("token.renewed", 2))["cause"] == "rejected"


async def test_many_orders_at_once_cost_one_renewal(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """However many orders meet an ended token at once, each is placed once and one renewal serves all."""
    proxy = await start.ready(configuration(api.url))
    api.sandbox.revoke()
    url = await proxy.url(ORDERS)
    await asyncio.gather(*(place_order(http, url) for _ in range(20)))
    assert api.counter("orders") == 20
    assert api.counter("token_calls") == 2
    assert api.counter("max_concurrent_token_calls") == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_an_order_that_may_have_been_placed_is_not_sent_again(standing: Standing) -> None:
    """When the API breaks off, the outcome is unknown and no second order is placed."""
    proxy, api, http = standing
    api.sandbox.fault("api_drop_after")
    async with http.post(await proxy.url(ORDERS), json=ORDER) as answer:
        problem = await answer.json(content_type="application/problem+json")
        assert answer.status == 502
        assert answer.headers["Proxy-Status"].startswith("telenor-proxy; error=")
    assert problem["outcome"] == "unknown"
    assert api.counter("orders") == 1


async def test_it_recovers_from_a_fault_of_the_token_endpoint(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """A passing fault at the start is logged and tried again, and then orders pass."""
    api.sandbox.fault("token_status", 503, 1)
    proxy = await start("serve", configuration(api.url))
    failure = await proxy.event("token.renewal_failed")
    assert failure["reason"] == "http_503"
    assert failure["next_attempt_in"] <= 1
    await proxy.event("token.renewed")
    await place_order(http, await proxy.url(ORDERS))
    for page in ("/startup", "/readiness", "/liveness"):
        async with http.get(await proxy.admin_url(page)) as answer:
            assert answer.status == 200, page


async def test_wrong_credentials_do_not_end_it(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """It is not ready, says why on pages, in the log and to clients, and logs in once."""
    proxy = await start("serve", configuration(api.url, oauth={"password": "not the password"}))
    failure = await proxy.event("token.renewal_failed")
    assert (failure["reason"], failure["code"], failure["next_attempt_in"]) == (
        "refused",
        "20",
        30.0,
    )
    assert "oauth.password" in failure["detail"]
    pages = {"/startup": 503, "/readiness": 503, "/liveness": 200, "/status": 200}
    for path, status in pages.items():
        async with http.get(await proxy.admin_url(path)) as answer:
            assert answer.status == status, path
            content = await answer.json()
        if path == "/readiness":
            assert "oauth.password" in content["detail"]
        if path == "/status":
            assert content["ready"] is False
            assert "oauth.password" in content["problem"]
    async with http.post(await proxy.url(ORDERS), json=ORDER) as answer:
        assert answer.status == 503
        assert 0 < int(answer.headers["Retry-After"]) <= 30
        assert (
            "oauth.password"
            in (await answer.json(content_type="application/problem+json"))["detail"]
        )
    assert api.counter("token_calls") == 1
    assert await proxy.stop() == 0


async def test_the_environment_alone_configures_it(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """No file is needed; a secret may come from a file, without its trailing newline."""
    secret = start.directory / "secret"
    secret.write_text(f"{CREDENTIALS.client_secret}\n")
    environ = {
        "TELENOR_PROXY_LISTEN__PORT": "0",
        "TELENOR_PROXY_ADMIN__PORT": "0",
        "TELENOR_PROXY_UPSTREAM__URL": api.url,
        "TELENOR_PROXY_OAUTH__CLIENT_ID": CREDENTIALS.client_id,
        "TELENOR_PROXY_OAUTH__CLIENT_SECRET_FILE": str(secret),
        "TELENOR_PROXY_OAUTH__USERNAME": CREDENTIALS.username,
        "TELENOR_PROXY_OAUTH__PASSWORD": CREDENTIALS.password,
    }
    proxy = await start("serve", environ=environ)
    await proxy.event("token.renewed")
    await place_order(http, await proxy.url(ORDERS))


async def test_a_unix_socket_is_for_owner_and_group(start: Starter, api: Api) -> None:
    """Its mode is 0660; a socket of a killed run is replaced, one in use is not."""
    path = start.directory / "listener"
    listen = {"unix_socket": str(path), "port": None}
    config = configuration(api.url, listen=listen)
    killed = await start.ready(config)
    await killed.close()
    assert path.is_socket()
    proxy = await start.ready(config)
    assert (await proxy.event("listener.started"))["unix_socket"] == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    second = await start("serve", config)
    assert await second.ended() == 1
    expected = (
        "telenor-proxy: listen.unix_socket: the socket could not be made: Address already in use."
    )
    assert second.errors.startswith(expected)
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as http:
        await place_order(http, f"http://localhost{ORDERS}")
    assert await proxy.stop() == 0
    assert len(api.sandbox.orders) == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_free_ports_are_logged(standing: Standing) -> None:
    """Port 0 takes a free port, for both listeners, and each event says which."""
    proxy, _, http = standing
    ports = {
        (await proxy.event("listener.started"))["port"],
        (await proxy.event("admin.started"))["port"],
    }
    assert len(ports) == 2
    assert 0 not in ports
    async with http.get(await proxy.url(ACCOUNTS)) as answer:
        assert answer.status == 200
        assert json.loads(await answer.read()) is not None


@pytest.mark.asyncio(loop_scope="session")
async def test_a_client_that_ends_its_side_gets_a_whole_answer(standing: Standing) -> None:
    """A client that half-closes after its request is answered, without a reset."""
    port = (await standing.proxy.event("listener.started"))["port"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {ACCOUNTS} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    writer.write_eof()
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n[]")
