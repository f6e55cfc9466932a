"""The sandbox over real sockets: answers, faults, and the control API."""

from __future__ import annotations

import asyncio
import io
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from proxy.sandbox.faults import FAULTS
from proxy.sandbox.server import _reachable, running
from proxy.sandbox.state import DEFAULT_CREDENTIALS, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "/oauth/v2/token"
LOGOUT = "/oauth/v2/logout"
ORDERS = "/corporate-mobile-subscriptions/v2/orders"
ORDER = {"productId": "50795", "msisdn": "4799885577", "type": "ADD_PRODUCT"}
BASIC = aiohttp.encode_basic_auth(DEFAULT_CREDENTIALS.client_id, DEFAULT_CREDENTIALS.client_secret)
FORM = {
    "grant_type": "password",
    "username": DEFAULT_CREDENTIALS.username,
    "password": DEFAULT_CREDENTIALS.password,
}


class Client:
    """A client of the sandbox, with everything that a test watches."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.lines: list[str] = []
        self.slept: list[float] = []
        self._session = session
        self.url = ""

    async def sleep(self, seconds: float) -> None:
        """Note what the sandbox wanted to wait."""
        self.slept.append(seconds)

    async def ask(
        self, method: str, path: str, **options: Any
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """Make one call; the whole answer is read."""
        async with self._session.request(
            method, self.url + path, allow_redirects=False, **options
        ) as answer:
            return answer, await answer.read()

    async def log_in(self) -> tuple[aiohttp.ClientResponse, bytes]:
        """Call the token endpoint as one should."""
        return await self.ask("POST", TOKEN, data=FORM, headers={"Authorization": BASIC})

    async def order(self) -> tuple[aiohttp.ClientResponse, bytes]:
        """Place an order with a token that is valid."""
        return await self.ask("POST", ORDERS, json=ORDER, headers=self.bearer())

    async def log_out(self) -> tuple[aiohttp.ClientResponse, bytes]:
        """Log out a token that is valid."""
        return await self.ask("GET", LOGOUT, headers=self.bearer())

    def bearer(self) -> dict[str, str]:
        """Get a token without the token endpoint."""
        return {"Authorization": f"Bearer {self.sandbox.log_in()[0]}"}


@asynccontextmanager
async def client_of(sandbox: Sandbox) -> AsyncIterator[Client]:
    """Serve a sandbox that never really sleeps, and connect to it."""
    async with aiohttp.ClientSession() as session:
        made = Client(sandbox, session)
        async with running(sandbox, log=made.lines.append, sleep=made.sleep) as made.url:
            yield made


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Give a client of a fresh sandbox."""
    async with client_of(Sandbox()) as made:
        yield made


async def test_login_order_logout(client: Client) -> None:
    """Log in, place an order, see it completed, log out, be refused."""
    client.sandbox.settings.order_delay_seconds = 0
    answer, body = await client.log_in()
    token = (await _json(answer, body))["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    answer, body = await client.ask("POST", ORDERS, json=ORDER, headers=bearer)
    order_id = (await _json(answer, body))["orderId"]
    answer, body = await client.ask("GET", f"{ORDERS}/{order_id}", headers=bearer)
    assert (await _json(answer, body))["status"] == "COMPLETED"
    answer, body = await client.ask("GET", LOGOUT, headers=bearer)
    assert (answer.status, answer.content_type, body) == (200, "text/plain", b"OK!")
    answer, body = await client.ask("POST", ORDERS, json=ORDER, headers=bearer)
    assert (answer.status, (await _json(answer, body))["code"]) == (401, 40105)
    assert len(client.sandbox.orders) == 1


async def _raw(url: str, request: bytes) -> bytes:
    """Send bytes and read what comes back until the connection ends."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def _json(answer: aiohttp.ClientResponse, body: bytes) -> Any:
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == str(len(body))
    return await answer.json()


async def test_heads_are_plain(client: Client) -> None:
    """No Server field, and no Content-Type without content."""
    client.sandbox.settings.error_shape = "empty"
    answer, body = await client.ask("GET", "/nothing")
    assert (answer.status, body, answer.headers["Content-Length"]) == (404, b"", "0")
    assert answer.headers.keys() == {"Content-Length", "Date"}


async def test_the_query_is_not_part_of_the_path(client: Client) -> None:
    """A call with a query is the same call."""
    answer, _ = await client.ask("POST", f"{ORDERS}?trace=1", json=ORDER, headers=client.bearer())
    assert answer.status == 201


async def test_an_order_keeps_what_was_sent(client: Client) -> None:
    """Two Authorization fields count as two, and the request id is kept."""
    body = orjson.dumps(ORDER)
    head = (
        f"POST {ORDERS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Request-Id: r-1\r\n"
        f"Authorization: {client.bearer()['Authorization']}\r\nauthorization: Basic "
        f"x\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    assert (await _raw(client.url, head.encode() + body)).startswith(b"HTTP/1.1 201 ")
    order = client.sandbox.orders[0]
    assert (order.authorization_fields, order.request_id, order.body) == (2, "r-1", ORDER)


#: Seconds after which a caller gives up on the fault that never answers, and on all others.
_SHORT, _LONG = 0.2, 30.0
#: Fault: what the caller gets (None: the connection breaks off, or nothing comes), and how many
#: tokens, orders and logouts there are afterwards.
OUTCOMES: dict[str, tuple[int | None, int]] = {
    "token_error": (401, 0),
    "token_status": (503, 0),
    "token_slow": (200, 1),
    "token_empty": (200, 0),
    "token_html": (200, 0),
    "token_broken_json": (200, 0),
    "token_missing": (200, 0),
    "token_illegal": (200, 0),
    "token_redirect": (307, 0),
    "token_drop": (None, 0),
    "token_drop_after": (None, 1),
    "token_half": (None, 1),
    "logout_error": (401, 0),
    "logout_slow": (200, 1),
    "logout_drop": (None, 0),
    "api_error": (401, 0),
    "api_error_after": (401, 1),
    "api_status": (503, 0),
    "api_slow": (201, 1),
    "api_drop": (None, 0),
    "api_drop_after": (None, 1),
    "api_half": (None, 1),
    "order_slow": (201, 1),
    "order_silent": (None, 1),
    "order_drop": (None, 0),
    "order_drop_after": (None, 1),
    "order_half": (None, 1),
    "order_answered_twice": (201, 1),
    "order_placed_twice": (201, 2),
}


def test_the_table_of_outcomes_is_complete() -> None:
    """No fault is left out of the test below."""
    assert list(OUTCOMES) == list(FAULTS)


async def _status(client: Client, place: str, patience: float = _LONG) -> int | None:
    call = {"token": client.log_in, "logout": client.log_out}.get(place, client.order)
    try:
        async with asyncio.timeout(patience):
            return (await call())[0].status
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, TimeoutError):
        return None


def _done(sandbox: Sandbox, place: str) -> int:
    """Count what a call of that place does when it is carried out."""
    if place == "token":
        return sandbox.counters["tokens_issued"]
    return (
        sum(token.ended for token in sandbox.issued) if place == "logout" else len(sandbox.orders)
    )


@pytest.mark.parametrize("name", OUTCOMES)
async def test_a_fault_breaks_calls_until_it_is_switched_off(client: Client, name: str) -> None:
    """It does what its name says, with the call carried out or not; without it calls work again."""
    # No count: aiohttp's client sends a GET again by itself when a connection breaks.
    place = name.partition("_")[0]
    sandbox = client.sandbox
    sandbox.fault(name)
    patience = _SHORT if name == "order_silent" else _LONG
    assert (await _status(client, place, patience), _done(sandbox, place)) == OUTCOMES[name]
    assert all(line.endswith(f" fault={name}") for line in client.lines)
    sandbox.fault(name, count=0)
    assert await _status(client, place) in {200, 201}
    assert "fault=" not in client.lines[-1]
    assert client.slept == ([5] if name.endswith("_slow") else [])


@pytest.mark.parametrize(
    ("name", "content_type", "body"),
    [
        ("token_empty", None, b""),
        ("token_html", "text/html", b"<html><body>Please wait</body></html>\n"),
        ("token_broken_json", "application/json", b'{"access_token": "cut o'),
        ("token_missing", "application/json", b'{"expires_in": 3599, "token_type": "Bearer"}'),
    ],
)
async def test_unusable_token_answers(
    client: Client, name: str, content_type: str | None, body: bytes
) -> None:
    """The 200 without a token arrives as it was configured."""
    client.sandbox.fault(name)
    answer, got = await client.log_in()
    assert (answer.status, answer.headers.get("Content-Type"), got) == (200, content_type, body)


async def test_an_illegal_token_reaches_the_caller(client: Client) -> None:
    """The token with characters that no header may hold arrives in good JSON."""
    client.sandbox.fault("token_illegal")
    answer, body = await client.log_in()
    assert "\r\n" in (await _json(answer, body))["access_token"]


async def test_a_redirect_leads_where_it_is_counted(client: Client) -> None:
    """To a page that counts, with the same method, or to the fault's value."""
    client.sandbox.fault("token_redirect")
    answer, _ = await client.log_in()
    assert (answer.status, answer.headers["Location"]) == (307, "/_sandbox/redirected")
    await client.ask("POST", answer.headers["Location"])
    assert client.sandbox.counters["redirects_followed"] == 1
    client.sandbox.fault("token_redirect", "https://elsewhere.example/token")
    answer, _ = await client.log_in()
    assert answer.headers["Location"] == "https://elsewhere.example/token"


async def test_an_order_is_placed_before_its_slow_answer() -> None:
    """While the answer is held back, the order is placed already."""
    held, go_on = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        held.set()
        await go_on.wait()

    sandbox = Sandbox()
    sandbox.fault("api_slow", 60)
    headers = {"Authorization": f"Bearer {sandbox.log_in()[0]}"}
    async with running(sandbox, sleep=sleep) as url, aiohttp.ClientSession() as session:
        order = asyncio.create_task(session.post(url + ORDERS, json=ORDER, headers=headers))
        await held.wait()
        assert (len(sandbox.orders), order.done()) == (1, False)
        go_on.set()
        async with await order as answer:
            assert answer.status == 201


@pytest.mark.parametrize(
    "method_and_path", [("GET", f"{ORDERS}/sandbox-order-1"), ("POST", "/nothing")]
)
async def test_a_fault_of_orders_meets_orders_only(
    client: Client, method_and_path: tuple[str, str]
) -> None:
    """A look-up, or another POST, does not use it up."""
    client.sandbox.fault("order_drop_after", count=1)
    answer, _ = await client.ask(*method_and_path, headers=client.bearer())
    assert answer.status == 404
    assert await _status(client, "order") is None
    assert await _status(client, "order") == 201
    assert [row["times"] for row in client.sandbox.placed_shown()] == [2]


async def test_an_order_without_an_answer_lasts_as_long_as_its_caller(client: Client) -> None:
    """The order is placed, no answer comes, and the call ends when its caller gives up."""
    before = asyncio.all_tasks()
    client.sandbox.fault("order_silent", count=1)
    assert await _status(client, "order", _SHORT) is None
    assert len(client.sandbox.orders) == 1
    assert client.lines[-1] == f"POST {ORDERS} silent fault=order_silent"
    _, still_there = await asyncio.wait(asyncio.all_tasks() - before, timeout=5)
    assert still_there == set()


async def test_the_same_answer_comes_twice(client: Client) -> None:
    """The same bytes follow the answer, as if the client had asked twice on one connection."""
    client.sandbox.fault("order_answered_twice", count=1)
    body = orjson.dumps(ORDER)
    bearer = client.bearer()["Authorization"]
    head = (
        f"POST {ORDERS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\nConnection: "
        "close\r\n"
    )
    raw = await _raw(client.url, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    first, again = raw[: len(raw) // 2], raw[len(raw) // 2 :]
    assert first.startswith(b"HTTP/1.1 201 Created\r\n")
    assert first == again
    assert len(client.sandbox.orders) == 1


async def test_the_end_does_not_wait_for_a_slow_answer() -> None:
    """A sandbox that holds an answer back ends all the same, and the caller is cut off."""
    held = asyncio.Event()

    async def sleep(_: float) -> None:
        held.set()
        await asyncio.Event().wait()

    sandbox = Sandbox()
    sandbox.fault("api_slow", 60)
    async with aiohttp.ClientSession() as session:
        async with running(sandbox, sleep=sleep) as url:
            call = asyncio.create_task(session.post(url + ORDERS))
            await held.wait()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await call


async def test_the_log_has_one_line_per_call_and_no_secret(client: Client) -> None:
    """Method, path, status, code, fault, reason; no credential, token, query or body."""
    await client.log_in()
    await client.ask(
        "POST", TOKEN, data=FORM | {"password": "guess"}, headers={"Authorization": BASIC}
    )
    client.sandbox.fault("api_drop_after", count=1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.order()
    await client.ask("GET", "/nothing?password=hunter2")
    assert client.lines == [
        "POST /oauth/v2/token 200",
        "POST /oauth/v2/token 401 code=20 (the password is not the sandbox's)",
        f"POST {ORDERS} dropped fault=api_drop_after",
        "GET /nothing 404 code=40401",
    ]


async def test_a_half_answer_has_a_whole_head(client: Client) -> None:
    """The head promises the full length, half of the content comes, and the connection ends."""
    client.sandbox.fault("api_half")
    head, _, body = (
        await _raw(client.url, b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    ).partition(b"\r\n\r\n")
    promised = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
    assert head.startswith(b"HTTP/1.1 404 ")
    assert len(body) == int(promised.removeprefix(b"Content-Length: ")) // 2


@pytest.mark.parametrize(
    "target",
    [
        "//corporate-accounts/v2/accounts",
        "http://localhost/oauth/v2/token",
        "/oauth/v2/%74oken",
        "*",
    ],
)
async def test_odd_targets_are_not_repaired(client: Client, target: str) -> None:
    """A target in another spelling is not found, and its call is no login."""
    answer = await _raw(
        client.url,
        f"OPTIONS {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(),
    )
    assert answer.startswith(b"HTTP/1.1 404 ")
    counters: Any = client.sandbox.shown()["counters"]
    assert counters["token_calls"] == 0


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"GET / HTTP/1.1\r\nAuthorization Bearer s3cret\r\n\r\n", id="no colon"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\ns3cret\r\n",
            id="no chunk",
        ),
    ],
)
async def test_a_malformed_request_is_refused_without_quoting_it(
    client: Client, caplog: pytest.LogCaptureFixture, request_bytes: bytes
) -> None:
    """400; its bytes, which may be a credential, are not logged."""
    with caplog.at_level(logging.DEBUG):
        answer = await _raw(client.url, request_bytes)
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert "a broken request" in caplog.text
    assert "s3cret" not in caplog.text


class Heard(logging.Handler):
    """Keeps the newest record as text and says when there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        self.text = self.format(record)
        self.event.set()


async def test_a_caller_that_disconnects_inside_the_body_places_no_order(client: Client) -> None:
    """The log says so in one line, without a traceback."""
    logger, heard = logging.getLogger("proxy.sandbox"), Heard()
    logger.addHandler(heard)
    bearer = client.bearer()["Authorization"]
    host, _, port = client.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {ORDERS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: "
        f"{bearer}\r\nContent-Length: 99\r\n\r\n"
    )
    writer.write(head.encode() + b'{"productId"')
    await writer.drain()
    # The next call is answered after the server has seen the first one's head: both came in before
    # it.
    await client.ask("GET", "/nothing")
    writer.close()
    await writer.wait_closed()
    await heard.event.wait()
    logger.removeHandler(heard)
    assert heard.text == "the sandbox got a broken request: ConnectionResetError"
    assert client.sandbox.orders == []


async def test_large_orders_pass(client: Client) -> None:
    """An order of 10 MiB, the largest that the proxy lets through, is not refused for its size."""
    large = io.BytesIO(orjson.dumps(ORDER | {"note": "x" * 10 * 1024 * 1024}))
    answer, _ = await client.ask("POST", ORDERS, data=large, headers=client.bearer())
    assert answer.status == 201


async def test_it_is_driven_over_the_same_port(client: Client) -> None:
    """The control API works while the sandbox runs, and counts as no call of the API."""
    for method, page, content in (
        ("PATCH", "settings", {"retry_after_seconds": 7}),
        ("POST", "faults", {"name": "api_error", "value": 42901, "count": 1}),
        ("POST", "revoke", None),
    ):
        answer, _ = await client.ask(method, f"/_sandbox/{page}", json=content)
        assert answer.status == 200
    answer, _ = await client.order()
    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    await client.order()
    answer, body = await client.ask("GET", "/_sandbox/state")
    counters = (await _json(answer, body))["counters"]
    assert (counters["api_calls_by_status"], counters["orders"]) == ({"429": 1, "201": 1}, 1)
    answer, body = await client.ask("GET", "/_sandbox/orders")
    assert [order["body"] for order in (await _json(answer, body))["orders"]] == [ORDER]
    await client.ask("POST", "/_sandbox/reset")
    assert client.sandbox.orders == []


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("localhost", "localhost")])
async def test_the_base_url_can_be_used(host: str, shown: str) -> None:
    """The URL that is given out leads to the sandbox, also when it listens on all interfaces."""
    async with running(Sandbox(), host) as url, aiohttp.ClientSession() as session:
        assert url.startswith(f"http://{shown}:")
        async with session.get(f"{url}/_sandbox/state") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("::1", "[::1]"),
        ("::", "[::1]"),
        ("192.0.2.1", "192.0.2.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("a.example", "a.example"),
    ],
)
def test_every_host_has_a_form_for_urls(host: str, shown: str) -> None:
    """IPv6 addresses are bracketed, and an unspecified address becomes the loopback one."""
    assert _reachable(host) == shown


async def test_a_port_in_use_is_an_os_error(client: Client) -> None:
    """Two sandboxes cannot have one port; the second one says so and leaves nothing behind."""
    port = int(client.url.rpartition(":")[2])
    with pytest.raises(OSError, match="address already in use"):
        async with running(Sandbox(), port=port):
            pass
