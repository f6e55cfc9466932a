"""The sandbox over real sockets: answers, faults, and the control API."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from proxy.sandbox.faults import FAULTS
from proxy.sandbox.server import _reachable, running
from proxy.sandbox.state import DEFAULT_CREDENTIALS, Sandbox

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

    def __init__(self) -> None:
        self.sandbox = Sandbox()
        self.lines: list[str] = []
        self.slept: list[float] = []
        self.held, self.let_go = asyncio.Event(), asyncio.Event()
        self.let_go.set()
        self.url = ""
        self.session = aiohttp.ClientSession()

    async def sleep(self, seconds: float) -> None:
        """Note what the sandbox wanted to wait, and wait for `let_go`, which is set at first."""
        self.slept.append(seconds)
        self.held.set()
        await self.let_go.wait()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Serve the sandbox."""
        async with running(self.sandbox, log=self.lines.append, sleep=self.sleep) as self.url:
            yield

    async def ask(self, method: str, path: str, **options: Any) -> aiohttp.ClientResponse:
        """Make one call; the whole answer is read."""
        url = self.url + path
        answer = await self.session.request(method, url, allow_redirects=False, **options)
        await answer.read()
        return answer

    async def log_in(self, **form: str) -> aiohttp.ClientResponse:
        """Call the token endpoint."""
        return await self.ask("POST", TOKEN, data=FORM | form, headers={"Authorization": BASIC})

    async def order(self) -> aiohttp.ClientResponse:
        """Place an order with a token that is valid."""
        return await self.ask("POST", ORDERS, json=ORDER, headers=self.bearer())

    async def log_out(self) -> aiohttp.ClientResponse:
        """Log out a token that is valid."""
        return await self.ask("GET", LOGOUT, headers=self.bearer())

    def bearer(self) -> dict[str, str]:
        """Get a token without the token endpoint."""
        return {"Authorization": f"Bearer {self.sandbox.log_in()[0]}"}

    async def raw(self, head: str, body: bytes = b"") -> bytes:
        """Send bytes, and read what comes back until the connection ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.url.rpartition(":")[2])
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    def order_head(self, length: int) -> str:
        """Write the head of an order whose connection closes, with a second Authorization field."""
        return (
            f"POST {ORDERS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            "X-Request-Id: r-1\r\n"
            f"Authorization: {self.bearer()['Authorization']}\r\nauthorization: Basic x\r\n"
            f"Content-Length: {length}\r\n\r\n"
        )


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Give a client of a fresh sandbox that does not really sleep."""
    made = Client()
    async with made.session, made.served():
        yield made


async def test_heads_are_plain(client: Client) -> None:
    """No Server field, and no Content-Type without content."""
    client.sandbox.settings.error_shape = "empty"
    answer = await client.ask("GET", "/nothing")
    assert (answer.status, await answer.read()) == (404, b"")
    assert answer.headers["Content-Length"] == "0"
    assert answer.headers.keys() == {"Content-Length", "Date"}


@pytest.mark.parametrize("times", [1, 2])
async def test_an_order_keeps_what_was_sent(client: Client, times: int) -> None:
    """Field lines as they came; a second answer has the same bytes as the first."""
    if times > 1:
        client.sandbox.fault("order_answered_twice", count=1)
    body = orjson.dumps(ORDER)
    answer = await client.raw(client.order_head(len(body)), body)
    assert answer.startswith(b"HTTP/1.1 201 Created\r\n")
    assert answer == answer[: len(answer) // times] * times
    assert answer.count(b"sandbox-order-1") == times
    (order,) = client.sandbox.orders
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
            return (await call()).status
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


ILLEGAL = r'{"access_token":"illegal\r\nX-Injected: ø","expires_in":3599,"token_type":"Bearer"}'


@pytest.mark.parametrize(
    ("name", "content_type", "body"),
    [
        ("token_empty", None, b""),
        ("token_html", "text/html", b"<html><body>Please wait</body></html>\n"),
        ("token_broken_json", "application/json", b'{"access_token": "cut o'),
        ("token_missing", "application/json", b'{"expires_in": 3599, "token_type": "Bearer"}'),
        ("token_illegal", "application/json", ILLEGAL.encode()),
    ],
)
async def test_unusable_token_answers(
    client: Client, name: str, content_type: str | None, body: bytes
) -> None:
    """A 200 without a token, or with characters that no header may hold."""
    client.sandbox.fault(name)
    answer = await client.log_in()
    got = (answer.status, answer.headers.get("Content-Type"), await answer.read())
    assert got == (200, content_type, body)


async def test_a_redirect_leads_where_it_is_counted(client: Client) -> None:
    """To a page that counts, with the same method, or to the fault's value."""
    for value, location in (None, "/_sandbox/redirected"), ("https://elsewhere.example/x", None):
        client.sandbox.fault("token_redirect", value)
        answer = await client.log_in()
        assert (answer.status, answer.headers["Location"]) == (307, location or value)
    await client.ask("POST", "/_sandbox/redirected")
    assert client.sandbox.counters["redirects_followed"] == 1


async def test_an_order_is_placed_before_its_slow_answer(client: Client) -> None:
    """While the answer is held back, the order is placed already."""
    client.sandbox.fault("api_slow", 60)
    client.let_go.clear()
    order = asyncio.create_task(client.order())
    await client.held.wait()
    assert (len(client.sandbox.orders), order.done()) == (1, False)
    client.let_go.set()
    assert (await order).status == 201


async def test_the_end_does_not_wait_for_a_slow_answer() -> None:
    """A sandbox that holds an answer back ends all the same, and the caller is cut off."""
    client = Client()
    client.sandbox.fault("api_slow", 60)
    client.let_go.clear()
    async with client.session:
        async with client.served():
            call = asyncio.create_task(client.order())
            await client.held.wait()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await call


@pytest.mark.parametrize(
    "method_and_path", [("GET", f"{ORDERS}/sandbox-order-1"), ("POST", "/nothing")]
)
async def test_a_fault_of_orders_meets_orders_only(
    client: Client, method_and_path: tuple[str, str]
) -> None:
    """A look-up, or another POST, does not use it up."""
    client.sandbox.fault("order_drop_after", count=1)
    answer = await client.ask(*method_and_path, headers=client.bearer())
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


async def test_the_log_has_one_line_per_call_and_no_secret(client: Client) -> None:
    """Method, path, status, code, fault, reason; no credential, token, query or body."""
    await client.log_in()
    await client.log_in(password="guess")
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
    answer = await client.raw("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
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
    head = f"OPTIONS {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await client.raw(head)
    assert answer.startswith(b"HTTP/1.1 404 ")
    counters: Any = client.sandbox.shown()["counters"]
    assert counters["token_calls"] == 0


@pytest.mark.parametrize(
    "request_head",
    [
        "GET / HTTP/1.1\r\nAuthorization Bearer s3cret\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\ns3cret\r\n",
    ],
    ids=["no colon", "no chunk"],
)
async def test_a_malformed_request_is_refused_without_quoting_it(
    client: Client, caplog: pytest.LogCaptureFixture, request_head: str
) -> None:
    """400; its bytes, which may be a credential, are not logged."""
    with caplog.at_level(logging.DEBUG):
        answer = await client.raw(request_head)
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert "a broken request" in caplog.text
    assert "s3cret" not in caplog.text


async def test_a_caller_that_disconnects_inside_the_body_places_no_order(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so in one line, without a traceback."""
    _, writer = await asyncio.open_connection("127.0.0.1", client.url.rpartition(":")[2])
    writer.write(client.order_head(99).encode() + b'{"productId"')
    await writer.drain()
    # The next call is answered after the server has seen the first one's head: both came in before
    # it.
    await client.ask("GET", "/nothing")
    writer.close()
    await writer.wait_closed()
    while not caplog.records:  # noqa: ASYNC110 # a log has no event
        await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.getMessage() == "the sandbox got a broken request: ConnectionResetError"
    assert (record.exc_info, client.sandbox.orders) == (None, [])


async def test_large_orders_pass(client: Client) -> None:
    """An order of 10 MiB, the largest that the proxy lets through, is not refused for its size."""
    large = io.BytesIO(orjson.dumps(ORDER | {"note": "x" * 10 * 1024 * 1024}))
    answer = await client.ask("POST", ORDERS, data=large, headers=client.bearer())
    assert answer.status == 201


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
