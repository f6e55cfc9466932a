"""Which requests are accepted: a listed Host, the client key if one is set, never a web page.

tests/unit (policy, grammar) holds every spelling of what is refused; here is one of each kind.
"""

import stat
from pathlib import Path

import pytest

from tests.gateway.client import ACCOUNTS, order, request
from tests.gateway.conftest import CLIENT_KEY, Gateway, Lab
from tests.scripted import Act, reply


@pytest.mark.parametrize("host", [b"localhost", b"[::1]:8080"])
async def test_listed_hosts_are_served(gateway: Gateway, host: bytes) -> None:
    """A listed name is accepted with any port, and the upstream sees its own host instead."""
    assert (await gateway.ask(request(host=host))).status == 200


@pytest.mark.parametrize(
    ("host", "status", "kind"),
    [
        (b"elsewhere.example", 421, "host-not-allowed"),
        (b"localhost.", 421, "host-not-allowed"),
        (b"", 400, "malformed-request"),
        (b"localhost, localhost", 400, "malformed-request"),
    ],
)
async def test_other_hosts_are_refused(
    gateway: Gateway, host: bytes, status: int, kind: str
) -> None:
    """421, so that DNS rebinding does not let a web page in; 400 if it can be read in two ways."""
    await gateway.refuses(request(host=host), status=status, kind=kind)
    assert not gateway.upstream.connections


@pytest.mark.parametrize(
    "fields",
    [
        [b"Origin: null"],
        [b"sec-fetch-site: none", b"Sec-Fetch-Site: cross-site"],
        [b"Access-Control-Request-Method: POST"],
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS"])
async def test_web_pages_are_kept_out(gateway: Gateway, method: bytes, fields: list[bytes]) -> None:
    """Fields that only a browser sends for a page's request get 403, a preflight too."""
    raw = request(method, ACCOUNTS, *fields)
    answer = await gateway.refuses(raw, status=403, kind="browser-request")
    assert not [name for name, _ in answer.fields if name.lower().startswith(b"access-control")]
    assert not gateway.upstream.connections


async def test_no_answer_opens_the_proxy_to_pages(gateway: Gateway) -> None:
    """CORS fields of the upstream's do not come back."""
    fields = (
        b"Access-Control-Allow-Origin: *",
        b"access-control-allow-credentials: true",
        b"Vary: Origin",
    )
    gateway.upstream.usual = [Act.WHOLE, reply(200, b"", *fields)]
    answer = await gateway.ask(request(b"OPTIONS"))
    assert answer.status == 200
    assert answer.values(b"vary") == [b"Origin"]
    assert not [name for name, _ in answer.fields if name.lower().startswith(b"access-control")]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"X-Proxy-Key: wrong"],
        [b"X-Proxy-Key: " + CLIENT_KEY.encode()[:-1]],
        [b"X-Proxy-Key: wrong", b"X-Proxy-Key: " + CLIENT_KEY.encode()],
        [b"X-Proxy-Key: " + CLIENT_KEY.encode()] * 2,
        [b"X-Proxy-Key: " + CLIENT_KEY.encode() + b", " + CLIENT_KEY.encode()],
        [b"X_Proxy_Key: " + CLIENT_KEY.encode()],
        [b"Authorization: Bearer " + CLIENT_KEY.encode()],
    ],
)
async def test_a_wrong_client_key_is_refused(lab: Lab, fields: list[bytes]) -> None:
    """Where a key is set, it must come once, in its field, and whole."""
    gateway = await lab.gateway(listen__client_key=CLIENT_KEY)
    await gateway.refuses(request(b"GET", ACCOUNTS, *fields), status=403, kind="client-key")
    assert not gateway.upstream.connections


@pytest.mark.parametrize("name", [b"X-Proxy-Key", b"x-proxy-key", b"X-PROXY-KEY"])
@pytest.mark.parametrize(
    "also", [b"Accept: */*", b"Connection: x-proxy-key", b"X_Proxy_Key: " + CLIENT_KEY.encode()]
)
async def test_the_right_client_key_is_accepted_and_removed(
    lab: Lab, name: bytes, also: bytes
) -> None:
    """The client is served, and the key is not sent upstream."""
    gateway = await lab.gateway(listen__client_key=CLIENT_KEY)
    answer = await gateway.ask(request(b"GET", ACCOUNTS, name + b": " + CLIENT_KEY.encode(), also))
    assert answer.status == 200
    assert CLIENT_KEY.encode() not in gateway.upstream.connections[0].received


async def test_a_key_without_a_configured_one_is_not_forwarded(gateway: Gateway) -> None:
    """Without a configured key the field means nothing, and is not forwarded either."""
    assert (await gateway.ask(request(b"GET", ACCOUNTS, b"X-Proxy-Key: abc"))).status == 200
    assert not gateway.upstream.requests[0].values(b"x-proxy-key")


async def test_a_unix_socket_serves_owner_and_group(lab: Lab, tmp_path: Path) -> None:
    """A Unix socket is the listener for those who may open it: mode 0660, whatever the umask."""
    path = tmp_path / "proxy.sock"
    gateway = await lab.gateway(listen__unix_socket=path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    answer = await gateway.ask(request())
    assert (answer.status, bytes(answer.content)) == (200, ACCOUNTS)
    assert (await gateway.ask(order())).status == 200
    await gateway.refuses(request(host=b"elsewhere.example"), status=421)


async def test_a_stale_unix_socket_is_replaced(lab: Lab, tmp_path: Path) -> None:
    """A socket file left by an earlier run is replaced; one that is served is not."""
    path = tmp_path / "proxy.sock"
    first = await lab.gateway(listen__unix_socket=path)
    with pytest.raises(OSError, match="in use"):
        await lab.gateway(listen__unix_socket=path)
    assert (await first.ask(request())).status == 200
    assert first.listener._server is not None
    first.listener._server.close()
    second = await lab.gateway(listen__unix_socket=path)
    assert (await second.ask(request())).status == 200
