"""Named clients over real sockets: rights, rates, changes of both, and logins answered here."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from proxy import settings
from proxy.clients.login import MADE_UP_TOKEN
from proxy.settings import Settings
from tests.gateway.client import ACCOUNTS, ORDERS, Answer, chunks, order, request, until
from tests.gateway.conftest import SENTINEL, Gateway, Lab, _text

ERP, ERP_NEXT, SHOP, BATCH = (
    b"key-of-the-erp",
    b"next-key-of-the-erp",
    b"key-of-the-shop",
    b"key-of-the-batch",
)
CLIENTS: Final[list[dict[str, Any]]] = [
    {"name": "erp", "key": ERP.decode()},
    {
        "name": "shop",
        "key": SHOP.decode(),
        "allowed_paths": ["/corporate-mobile-subscriptions/"],
        "allowed_methods": ["GET", "POST"],
    },
    {"name": "batch", "key": BATCH.decode(), "requests_per_second": 0.1},
]
TOKEN, LOGOUT = b"/oauth/v2/token", b"/oauth/v2/logout"
#: The only content that a login gets.
ANSWER: Final = b'{"access_token" : "%b", "expires_in" : "3600"}' % MADE_UP_TOKEN


def key(shown: bytes) -> bytes:
    """Return the field that shows a key."""
    return b"X-Proxy-Key: " + shown


async def named(lab: Lab, *clients: dict[str, Any], **changes: Any) -> Gateway:
    """Build a gateway with these clients."""
    return await lab.gateway(listen__clients=json.dumps(clients or CLIENTS), **changes)


def changed(gateway: Gateway, *clients: dict[str, Any]) -> Settings:
    """Return the gateway's settings with other clients."""
    values = {
        **{
            f"oauth__{name}": "made-up"
            for name in ("client_id", "client_secret", "username", "password")
        },
        "upstream__url": gateway.settings.upstream.url,
        "listen__clients": json.dumps(clients),
    }
    return settings.load(
        None, {f"TELENOR_PROXY_{name.upper()}": _text(value) for name, value in values.items()}
    )


# --- who may do what ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "method", "path", "client", "error"),
    [
        ((), b"POST", TOKEN, None, "client-key"),
        ((key(b"some-other-key"),), b"GET", ORDERS, None, "client-key"),
        ((key(ERP), key(ERP)), b"GET", ORDERS, None, "client-key"),
        ((key(ERP),), b"DELETE", ORDERS, "erp", None),
        ((key(SHOP),), b"GET", ORDERS, "shop", None),
        ((key(SHOP),), b"HEAD", ORDERS, "shop", "client-not-allowed"),
        ((key(SHOP),), b"GET", ACCOUNTS, "shop", "client-not-allowed"),
        ((key(SHOP),), b"POST", TOKEN, "shop", "path-not-allowed"),
    ],
)
async def test_a_client_gets_what_its_rights_and_the_listener_allow(
    lab: Lab, shown: tuple[bytes, ...], method: bytes, path: bytes, client: str, error: str | None
) -> None:
    """All else gets 403; tests/unit/test_clients_register.py has every combination."""
    gateway = await named(lab)
    answer = await gateway.ask(request(method, path, *shown), method=method)
    assert answer.status == (200 if error is None else 403)
    assert error is None or method == b"HEAD" or answer.kind == error
    assert (gateway.record.client, gateway.record.error) == (client, error)
    assert gateway.record.refused == (error is not None)
    assert len(gateway.upstream.requests) == (error is None)


async def test_a_removed_key_ends_its_right_on_an_open_connection(lab: Lab) -> None:
    """Its next request gets 403 and the end; the key that was added before goes on."""
    gateway = await named(lab)
    old, other = await gateway.connect(), await gateway.connect()
    for client, shown in ((old, ERP), (other, SHOP)):
        assert (await client.ask(request(b"GET", ORDERS, key(shown)))).status == 200
    gateway.listener.follow(changed(gateway, {"name": "erp", "key": ERP_NEXT.decode()}, CLIENTS[1]))
    refused = await old.ask(request(b"GET", ORDERS, key(ERP)))
    assert (refused.status, refused.kind) == (403, "client-key")
    assert await old.closed() == "fin"
    assert (await other.ask(request(b"GET", ORDERS, key(SHOP)))).status == 200
    assert (await gateway.ask(request(b"GET", ORDERS, key(ERP_NEXT)))).status == 200


async def test_changed_rights_hold_for_the_next_request(lab: Lab) -> None:
    """A right that is taken away ends on an open connection too."""
    gateway = await named(lab)
    client = await gateway.connect()
    assert (await client.ask(order(key(ERP)))).status == 200
    gateway.listener.follow(changed(gateway, {**CLIENTS[0], "allowed_methods": ["GET"]}))
    assert (await client.ask(order(key(ERP)))).kind == "client-not-allowed"


async def test_no_key_is_passed_on_or_shown(lab: Lab) -> None:
    """No key, right or wrong, reaches the API, an answer or a record."""
    gateway = await named(lab)
    for shown in (ERP, b"hunter2-hunter2"):
        answer = await gateway.ask(request(b"GET", ORDERS, key(shown), b"X_Proxy_Key: " + shown))
        assert shown not in bytes(answer.content)
        assert shown.decode() not in repr(gateway.records)
    assert all(ERP not in connection.received for connection in gateway.upstream.connections)


# --- rates -------------------------------------------------------------------------------------


async def test_a_client_beyond_its_rate_gets_429_and_the_others_go_on(lab: Lab) -> None:
    """Also without `pacing.requests_per_second`; the client's connection goes on."""
    gateway = await named(lab, pacing__max_wait_seconds=1)
    client = await gateway.connect()
    assert (await client.ask(order(key(BATCH)))).status == 200
    answer = await client.ask(order(key(BATCH)))
    assert answer.status == 429
    assert answer.kind == "client-rate"
    assert json.loads(answer.content)["outcome"] == "not_sent"
    assert 1 < int(answer.values(b"retry-after")[0]) <= 10
    assert (await client.ask(order(key(ERP)))).status == 200
    assert [record.client for record in gateway.records] == ["batch", "batch", "erp"]
    assert len(gateway.upstream.requests) == 2


async def test_a_call_waits_in_its_clients_queue_only(lab: Lab) -> None:
    """While a call of the batch waits, another client's is answered."""
    batch = {**CLIENTS[2], "requests_per_second": 2}
    gateway = await named(lab, CLIENTS[0], batch)
    first, second = await gateway.connect(), await gateway.connect()
    assert (await first.ask(request(b"GET", ORDERS, key(BATCH)))).status == 200
    await second.send(request(b"GET", ORDERS, key(BATCH)))
    assert (await first.ask(request(b"GET", ORDERS, key(ERP)))).status == 200
    assert len(gateway.records) == 2  # the second call of the batch still waits
    assert (await second.answer()).status == 200
    assert gateway.records[-1].seconds > 0.2


# --- where it calls from -----------------------------------------------------------------------


async def test_the_record_has_the_client_address(lab: Lab) -> None:
    """Of a served request and of a refused one; a client without a name has an address, too."""
    gateway = await lab.gateway()
    await gateway.ask(request(b"GET", ACCOUNTS))
    await gateway.ask(b"nonsense\r\n\r\n")
    assert [(record.client, record.client_address) for record in gateway.records] == [
        (None, "127.0.0.1")
    ] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="SO_PEERCRED is Linux'")
async def test_on_a_unix_socket_the_address_is_user_and_process(lab: Lab, tmp_path: Path) -> None:
    """As the kernel gives them (SO_PEERCRED)."""
    gateway = await lab.gateway(listen__unix_socket=tmp_path / "listener")
    await gateway.ask(request(b"GET", ACCOUNTS))
    assert gateway.record.client_address == f"{os.getuid()}:{os.getpid()}"


# --- logins that are answered here -------------------------------------------------------------


@pytest.fixture
async def answering(lab: Lab) -> Gateway:
    """Build a gateway that answers logins, of anybody."""
    return await lab.gateway(
        listen__answer_login=True, limits__max_body_bytes=100_000, limits__body_timeout_seconds=0.2
    )


def login(*fields: bytes, content: bytes | None = b"grant_type=password") -> bytes:
    """Return a login with these fields."""
    return request(b"POST", TOKEN, b"Authorization: Basic " + SENTINEL, *fields, content=content)


def is_login(answer: Answer) -> bool:
    """Whether this is the one answer that a login gets."""
    assert answer.status == 200
    assert answer.values(b"content-type") == [b"application/json"]
    assert answer.values(b"proxy-status") == []
    return bytes(answer.content) == ANSWER


async def test_a_flow_of_login_calls_and_logout_on_one_connection(answering: Gateway) -> None:
    """The made-up token is dropped like any credential, and the API sees the calls alone."""
    client = await answering.connect()
    assert is_login(await client.ask(login(), method=b"POST"))
    bearer = b"Authorization: Bearer " + MADE_UP_TOKEN
    assert (await client.ask(request(b"GET", ACCOUNTS, bearer))).status == 200
    bye = await client.ask(request(b"GET", LOGOUT, bearer))
    assert (bye.status, bytes(bye.content)) == (200, b"OK!")
    assert bye.values(b"content-type") == [b"text/plain"]
    assert [received.target for received in answering.upstream.requests] == [ACCOUNTS]
    shown = [(record.path, record.status, record.attempts) for record in answering.records]
    assert shown == [
        (TOKEN.decode(), 200, 0),
        (ACCOUNTS.decode(), 200, 1),
        (LOGOUT.decode(), 200, 0),
    ]
    assert [record.bytes_out for record in answering.records][::2] == [len(ANSWER), 3]


@pytest.mark.parametrize(
    "raw",
    [
        login(content=b""),
        login(content=b"\x00" * 100_000),
        request(b"POST", TOKEN, b"Transfer-Encoding: chunked") + b"5\r\nabcde\r\n0\r\n\r\n",
        request(b"POST", TOKEN + b"?grant_type=password", content=b"{}"),
        request(b"POST", b"http://localhost" + TOKEN, content=b"{}"),
    ],
)
async def test_content_of_any_kind_is_dropped(answering: Gateway, raw: bytes) -> None:
    """None, bytes, chunks, a query, an absolute form: the same answer, and then a call."""
    client = await answering.connect()
    assert is_login(await client.ask(raw, method=b"POST"))
    assert (await client.ask(request(b"GET", ACCOUNTS))).status == 200


async def test_a_login_in_pieces_is_answered_when_it_is_whole(answering: Gateway) -> None:
    """The answer comes after its last byte, and a pipelined request is served."""
    client = await answering.connect()
    raw = login()
    await client.send(raw[:-5])
    await asyncio.sleep(0.05)
    assert not client.received
    assert is_login(await client.ask(raw[-5:] + request(b"GET", ACCOUNTS), method=b"POST"))
    assert (await client.answer()).status == 200


async def test_a_login_that_expects_100_continue_gets_it(answering: Gateway) -> None:
    """As .NET Framework sends it: the content comes after the interim answer."""
    client = await answering.connect()
    await client.send(request(b"POST", TOKEN, b"Expect: 100-continue", b"Content-Length: 4"))
    reading = asyncio.create_task(client.answer(b"POST"))
    await until(lambda: b"HTTP/1.1 100 Continue\r\n\r\n" in client.received)
    await client.send(b"a=bc")
    answer = await reading
    assert is_login(answer)
    assert len(answer.interim) == 1


async def test_http_1_0_is_answered_too(answering: Gateway) -> None:
    """The connection ends behind the answer."""
    client = await answering.connect()
    assert is_login(
        await client.ask(
            b"POST /oauth/v2/token HTTP/1.0\r\nContent-Length: 3\r\n\r\na=b", method=b"POST"
        )
    )
    assert await client.closed() == "fin"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (login(content=b"x" * 100_001), 413),
        (
            request(b"POST", TOKEN, b"Transfer-Encoding: chunked") + chunks(b"x" * 100_001),
            413,
        ),
        (request(b"POST", TOKEN, b"Transfer-Encoding: chunked") + b"nonsense\r\n", 400),
        (request(b"POST", TOKEN, b"Content-Length: 5") + b"abc", 408),
    ],
)
async def test_the_limits_of_any_call_hold(answering: Gateway, raw: bytes, status: int) -> None:
    """Too large, malformed, silent: refused, and the connection ends."""
    await answering.refuses(raw, status=status, method=b"POST")


@pytest.mark.plain_tcp("TLS does not end one direction only")
async def test_a_login_that_ends_early_is_refused(answering: Gateway) -> None:
    """A client that closes its side in the middle of its content gets 400."""
    client = await answering.connect()
    await client.send(request(b"POST", TOKEN, b"Content-Length: 5") + b"abc")
    client.half_close()
    assert (await client.answer(b"POST")).status == 400


@pytest.mark.parametrize(("method", "path"), [(b"GET", TOKEN), (b"POST", b"/oauth/v1/token")])
async def test_nothing_else_below_oauth_is_answered(
    answering: Gateway, method: bytes, path: bytes
) -> None:
    """Other methods and paths get 403."""
    await answering.refuses(request(method, path), status=403, kind="path-not-allowed")


async def test_a_login_asks_for_a_client_as_any_call_does(lab: Lab) -> None:
    """Without a key 403; with one, the answer, whatever the client's rights: it grants nothing."""
    gateway = await named(lab, listen__answer_login=True)
    await gateway.refuses(login(), status=403, kind="client-key")
    assert is_login(await gateway.ask(login(key(SHOP)), method=b"POST"))
    assert [(record.client, record.status) for record in gateway.records] == [
        (None, 403),
        ("shop", 200),
    ]
