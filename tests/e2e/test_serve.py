"""`serve` end to end: orders, ended tokens, and the ways to configure and reach it."""

import stat

import aiohttp
import pytest

from tests.e2e.conftest import Standing
from tests.e2e.process import (
    CREDENTIALS,
    ORDER,
    ORDERS,
    Api,
    Starter,
    call,
    configuration,
    order,
)


async def test_an_order_arrives_once_with_our_authorization(
    start: Starter, tls_api: Api, http: aiohttp.ClientSession
) -> None:
    """With exactly one valid Authorization, and the client's request id."""
    upstream = {"ca_file": str(tls_api.ca_file)}
    proxy = await start.ready(configuration(tls_api.url, upstream=upstream))
    fields = {"X-Request-Id": "order-4711", "Authorization": "Bearer mine"}
    answer = await order(http, await proxy.url(ORDERS), **fields)
    assert answer.status == 201
    assert "Proxy-Status" not in answer.fields
    (arrived,) = tls_api.sandbox.orders
    assert answer.json()["orderId"] == arrived.id
    assert arrived.body == ORDER
    assert arrived.authorization_fields == 1
    assert arrived.request_id == "order-4711"
    assert tls_api.counter("api_calls_by_status") == {"201": 1}
    for page in ("/startup", "/readiness", "/liveness"):
        assert (await call(http, await proxy.admin_url(page))).status == 200, page
    assert await proxy.stop() == 0


@pytest.mark.parametrize(
    ("fault", "status", "outcome", "times"),
    [
        ("order_drop", 502, "unknown", 0),
        ("order_drop_after", 502, "unknown", 1),
        ("order_silent", 504, "unknown", 1),
        ("order_placed_twice", 201, None, 2),
    ],
)
@pytest.mark.asyncio(loop_scope="session")
async def test_the_sandbox_counts_what_the_proxy_cannot_know(
    standing: Standing, fault: str, status: int, outcome: str | None, times: int
) -> None:
    """The proxy says that it does not know; the sandbox says how often the order was placed."""
    proxy, api, http = standing
    api.sandbox.fault(fault, count=1)
    answer = await order(http, await proxy.url(ORDERS))
    assert (answer.status, answer.json().get("outcome")) == (status, outcome)
    assert [row["times"] for row in api.sandbox.placed_shown()] == ([times] if times else [])


async def test_wrong_credentials_do_not_end_it(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """It is not ready, says why on pages, in the log and to clients, and logs in once."""
    proxy = await start("serve", configuration(api.url, oauth={"password": "not the password"}))
    failure = await proxy.event("token.renewal_failed")
    assert (failure["reason"], failure["code"]) == ("refused", "20")
    assert failure["next_attempt_in"] == 30.0
    assert "oauth.password" in failure["detail"]
    pages = {"/startup": 503, "/readiness": 503, "/liveness": 200, "/status": 200}
    shown = {page: await call(http, await proxy.admin_url(page)) for page in pages}
    assert {page: answer.status for page, answer in shown.items()} == pages
    assert "oauth.password" in shown["/readiness"].json()["detail"]
    assert shown["/status"].json()["ready"] is False
    assert "oauth.password" in shown["/status"].json()["problem"]
    answer = await order(http, await proxy.url(ORDERS))
    assert answer.status == 503
    assert 0 < int(answer.fields["Retry-After"]) <= 30
    assert "oauth.password" in answer.json()["detail"]
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
    assert (await order(http, await proxy.url(ORDERS))).status == 201


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
    second = await start.run("serve", config=config)
    assert second.status == 1
    says = "listen.unix_socket: the socket could not be made: Address already in use."
    assert second.errors.startswith(f"telenor-proxy: {says}")
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as http:
        assert (await order(http, f"http://localhost{ORDERS}")).status == 201
    assert await proxy.stop() == 0
    assert len(api.sandbox.orders) == 1
