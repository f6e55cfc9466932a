"""Orders with an Idempotency-Key: recorded before they are sent, answered once, sent once."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.clock import SystemClock
from proxy.errors import TokenUnavailable
from proxy.orders.desk import Desk
from proxy.orders.keeper import Keeper
from proxy.orders.memory import MemoryStore
from proxy.orders.states import Answer, OrderRecord, State
from proxy.orders.store import StoreAway
from tests.gateway.client import ORDER, ORDERS, chunks, order, request, until
from tests.gateway.conftest import Gateway, Lab
from tests.scripted import Act, reply

KEY = b"Idempotency-Key: k-1"
PLACED = b'{"orderId": "1"}'


class Watched(MemoryStore):
    """A store that notes at each step what had been sent to the API and to the client by then."""

    def __init__(self) -> None:
        super().__init__("aa", SystemClock().now)
        self.steps: list[tuple[str, int, int]] = []
        self.gateway: Gateway | None = None
        self.away = False
        self.gate: asyncio.Event | None = None

    @property
    def names(self) -> list[str]:
        """The steps so far."""
        return [name for name, _, _ in self.steps]

    async def _note(self, step: str) -> None:
        if self.away:
            raise StoreAway("The store is away. Wait for it.")
        if self.gate is not None:
            await self.gate.wait()
        assert self.gateway is not None
        left = sum(len(connection.received) for connection in self.gateway.upstream.connections)
        came = sum(len(client.received) for client in self.gateway.clients)
        self.steps.append((step, left, came))

    async def reserve(  # type: ignore[override] # as a store that has to be awaited
        self, record: OrderRecord
    ) -> OrderRecord | None:
        """Note it."""
        await self._note("reserve")
        return super().reserve(record)

    async def enter(  # type: ignore[override] # the same
        self, record: OrderRecord, state: State, answer: Answer | None = None
    ) -> None:
        """Note it."""
        await self._note(state.value)
        super().enter(record, state, answer)


class House:
    """A gateway whose orders are remembered."""

    def __init__(self) -> None:
        self.store = Watched()
        self.keeper = Keeper(self.store, SystemClock(), lambda _: None)
        self.gateway: Gateway

    async def states(self) -> list[State]:
        """Return the states of all records, after what waits is done."""
        await self.keeper.look_after()
        return [record.state for record in await self.store.listing(unknown=False)]


async def house_of(lab: Lab, *, guard: float = 0.0, **changes: Any) -> House:
    """Build one."""
    house = House()
    desk = Desk(house.keeper, remember_seconds=3600, guard_seconds=guard)
    house.gateway = house.store.gateway = await lab.gateway(desk=desk, **changes)
    house.gateway.upstream.usual = [
        Act.WHOLE,
        reply(201, PLACED, b"Content-Type: application/json"),
    ]
    return house


@pytest.fixture
async def house(lab: Lab) -> House:
    """Build one without guard."""
    return await house_of(lab)


# --- Recorded before anything happens ----------------------------------------------------------


async def test_it_is_recorded_before_its_first_byte_leaves(house: House) -> None:
    """The record precedes the first byte to the API, its answer the first byte to the client."""
    answer = await house.gateway.ask(order(KEY))
    assert (answer.status, bytes(answer.content)) == (201, PLACED)
    assert house.store.names == ["reserve", "sent", "answered"]
    assert [left for _, left, _ in house.store.steps][:2] == [0, 0]
    assert [came for _, _, came in house.store.steps] == [0, 0, 0]
    (received,) = house.gateway.upstream.requests
    assert received.content == ORDER
    assert received.values(b"idempotency-key") == [b"k-1"]


async def test_a_repetition_gets_the_same_answer(house: House) -> None:
    """With the first request's id and its own; nothing is sent, and the connection goes on."""
    first = await house.gateway.ask(order(KEY, b"X-Request-Id: first"))
    client = await house.gateway.connect()
    for spelling in (KEY, b'Idempotency-Key: "k-1"'):
        answer = await client.ask(order(spelling, b"X-Request-Id: second"))
        assert (answer.status, answer.content) == (first.status, first.content)
        assert answer.values(b"content-type") == [b"application/json"]
        assert answer.values(b"idempotency-replayed") == [b"true"]
        assert answer.values(b"idempotency-original-id") == [b"first"]
        assert answer.values(b"x-request-id") == [b"second"]
        assert answer.proxy_error is None
    assert len(house.gateway.upstream.requests) == 1
    said = [record.fields() for record in house.gateway.records]
    assert [(each["status"], each["attempts"]) for each in said] == [(201, 1), (201, 0), (201, 0)]
    assert [each.get("replayed_from", "") for each in said] == ["", "first", "first"]


async def test_other_calls_are_not_recorded(house: House) -> None:
    """A safe call with the field, and an order without it."""
    for asked in (request(b"GET", ORDERS, KEY), order()):
        assert (await house.gateway.ask(asked)).status == 201
    assert house.store.steps == []


@pytest.mark.parametrize("status", [204, 299, 303, 400, 404, 409])
async def test_every_final_answer_is_replayed(house: House, status: int) -> None:
    """Whatever its status."""
    content = b"" if status == 204 else b"words"
    house.gateway.upstream.usual = [Act.WHOLE, reply(status, content, b"A: b", b"Connection: A")]
    for _ in range(2):
        answer = await house.gateway.ask(order(KEY))
        assert (answer.status, bytes(answer.content)) == (status, content)
        assert answer.values(b"a") == []
    assert len(house.gateway.upstream.requests) == 1


async def test_two_at_the_same_moment(house: House) -> None:
    """One is sent; the other gets 409 and Retry-After."""
    opened = asyncio.Event()
    house.gateway.upstream.usual = [Act.WHOLE, opened, reply(201, PLACED)]
    first = asyncio.create_task(house.gateway.ask(order(KEY)))
    await until(lambda: house.gateway.upstream.whole)
    answer = await house.gateway.refuses(order(KEY), status=409, kind="order-in-flight")
    assert answer.values(b"retry-after") == [b"2"]
    opened.set()
    assert (await first).status == 201
    assert len(house.gateway.upstream.requests) == 1


async def test_another_order_under_the_same_key(house: House) -> None:
    """422 for another content or target."""
    await house.gateway.ask(order(KEY))
    await house.gateway.refuses(order(KEY, content=b"{}"), status=422, kind="order-key-reused")
    other = request(b"POST", ORDERS + b"?a=1", KEY, content=ORDER)
    await house.gateway.refuses(other, status=422, kind="order-key-reused")


@pytest.mark.parametrize(
    "fields", [[b"Idempotency-Key:"], [KEY, KEY], [b"Idempotency-Key: a b"], [KEY + b"x" * 256]]
)
async def test_a_malformed_key_is_refused(house: House, fields: list[bytes]) -> None:
    """400, before its content has arrived, and nothing is sent."""
    head = order(*fields, b"Expect: 100-continue")[: -len(ORDER)]
    answer = await house.gateway.refuses(head, status=400, kind="order-key")
    assert answer.interim == []
    assert house.store.steps == []


# --- Its content -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 1000, 65_536, 65_537, 300_000])
async def test_its_content_arrives_whole(lab: Lab, size: int, is_chunked: bool) -> None:  # noqa: FBT001 # a parameter
    """Held in memory or in a file, sent in one piece or several."""
    house = await house_of(lab, limits__max_replay_bytes=1000)
    content = bytes(index * 7 % 251 for index in range(size))
    asked = (
        request(b"PUT", ORDERS, KEY, b"Transfer-Encoding: chunked")
        + chunks(*([content] if size else []))
        if is_chunked
        else request(b"PUT", ORDERS, KEY, content=content)
    )
    half = len(asked) // 2
    assert (await house.gateway.ask(asked[:half], asked[half:])).status == 201
    (received,) = house.gateway.upstream.requests
    assert bytes(received.content) == content
    assert (await house.gateway.ask(asked)).values(b"idempotency-replayed") == [b"true"]


async def test_it_is_held_until_it_is_whole(house: House) -> None:
    """A client that disconnects inside its content has placed nothing, and leaves no record."""
    client = await house.gateway.connect()
    await client.send(order(KEY)[:-10])
    await until(lambda: house.gateway.listener.in_flight)
    client.reset()
    await until(lambda: house.gateway.records)
    assert house.gateway.upstream.requests == []
    assert house.store.steps == []


async def test_expect_is_answered(house: House) -> None:
    """A client that waits for `100 Continue` gets it, and then its answer."""
    client = await house.gateway.connect()
    await client.send(order(KEY, b"Expect: 100-continue")[: -len(ORDER)])
    answering = asyncio.create_task(client.answer())
    await until(lambda: b"100 Continue" in client.received)
    await client.send(ORDER)
    assert (await answering).status == 201


async def test_bounds_of_its_content(lab: Lab) -> None:
    """Too large gets 413, broken 400, silent 408, as for any other request."""
    house = await house_of(lab, limits__max_body_bytes=10, limits__body_timeout_seconds=0.1)
    chunked = request(b"POST", ORDERS, KEY, b"Transfer-Encoding: chunked")
    await house.gateway.refuses(chunked + chunks(b"x" * 11), status=413)
    await house.gateway.refuses(chunked + b"zz\r\n", status=400)
    await house.gateway.refuses(chunked + b"5\r\nhel", status=408)
    assert house.store.steps == []


# --- Not sent, or unknown ----------------------------------------------------------------------


async def test_an_order_that_was_not_sent_leaves_no_record(house: House) -> None:
    """No token, no connection, or a client that disconnected: the next one is sent."""
    tokens = house.gateway.tokens
    tokens.lose()
    tokens.failure = TokenUnavailable("timeout", "It took too long. Wait.")
    answer = await house.gateway.ask(order(KEY))
    assert (answer.status, answer.problem["outcome"]) == (503, "not_sent")
    assert await house.states() == []
    tokens.failure, tokens.gate = None, asyncio.Event()
    client = await house.gateway.connect()
    await client.send(order(KEY))
    await until(lambda: tokens.waiting)
    client.reset()
    await until(lambda: not tokens.waiting)
    await until(lambda: len(house.gateway.records) == 2)
    assert await house.states() == []
    tokens.gate.set()
    assert (await house.gateway.ask(order(KEY))).status == 201


async def test_an_api_that_cannot_be_reached(house: House) -> None:
    """502 `not_sent`, and the record is removed."""
    await house.gateway.upstream.stop_listening()
    answer = await house.gateway.ask(order(KEY))
    assert (answer.status, answer.problem["outcome"]) == (502, "not_sent")
    assert house.store.names == ["reserve", "sent"]
    assert await house.states() == []


@pytest.mark.parametrize(
    "script",
    [
        [Act.WHOLE, Act.FIN],
        [Act.WHOLE, Act.RST],
        [Act.WHOLE, b"HTTP/1.1 201 Created\r\nContent-Le", Act.FIN],
        [Act.WHOLE, b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\nhalf", Act.FIN],
        [Act.WHOLE, b"no http\r\n\r\n"],
    ],
)
async def test_an_answer_that_broke_off_is_unknown(house: House, script: Any) -> None:
    """502 `unknown`, then 409 with the first id until the record is forgotten."""
    house.gateway.upstream.scripts.append(script)
    answer = await house.gateway.ask(order(KEY, b"X-Request-Id: first"))
    assert (answer.status, answer.problem["outcome"]) == (502, "unknown")
    assert (await house.gateway.noted()).recorded
    assert await house.states() == [State.UNKNOWN]
    again = await house.gateway.refuses(order(KEY), status=409, kind="order-unknown")
    assert again.problem["outcome"] == "unknown"
    assert "first" in again.problem["detail"]
    assert len(house.gateway.upstream.requests) == 1
    (record,) = await house.store.listing(unknown=True)
    assert f"orders forget {record.id}" in again.problem["detail"]
    assert await house.keeper.forget(record.id) is None
    assert (await house.gateway.ask(order(KEY))).status == 201


async def test_a_long_answer_that_broke_off_is_to_be_looked_up(house: House) -> None:
    """Its order was answered, but its client does not know: the status page goes on naming it."""
    head = b"HTTP/1.1 201 Created\r\nContent-Length: 200000\r\n\r\n"
    house.gateway.upstream.scripts.append([Act.WHOLE, head + b"x" * 150_000, Act.FIN])
    client = await house.gateway.connect()
    await client.send(order(KEY))
    record = await house.gateway.noted()
    assert (record.outcome, record.recorded) == ("unknown", False)
    assert await house.states() == [State.ANSWERED]


async def test_a_5xx_of_the_api_is_unknown(house: House) -> None:
    """Unless its code says that the gateway did not pass the order on."""
    house.gateway.upstream.scripts.append([Act.WHOLE, reply(500, b'{"code": "50001"}')])
    assert (await house.gateway.ask(order(KEY))).content == b'{"code": "50001"}'
    await house.gateway.refuses(order(KEY), status=409, kind="order-unknown")
    other = b"Idempotency-Key: k-2"
    house.gateway.upstream.scripts.append([Act.WHOLE, reply(500, b'{"code": "50002"}')])
    for _ in range(2):
        assert (await house.gateway.ask(order(other))).content == b'{"code": "50002"}'
    assert len(house.gateway.upstream.requests) == 2


@pytest.mark.parametrize("status", [401, 429])
async def test_an_order_that_was_not_accepted_may_be_sent_again(house: House, status: int) -> None:
    """401 for a reason that no token cures, and 429."""
    house.gateway.upstream.scripts.append([Act.WHOLE, reply(status, b'{"code": "40101"}')])
    assert (await house.gateway.ask(order(KEY))).status == status
    assert (await house.gateway.ask(order(KEY))).status == 201


async def test_a_401_is_cured_within_one_order(house: House) -> None:
    """The proxy sends it twice, with one record."""
    house.gateway.upstream.scripts.append([Act.WHOLE, reply(401, b'{"code": "40106"}')])
    assert (await house.gateway.ask(order(KEY))).status == 201
    received = house.gateway.upstream.requests
    assert [bytes(request.content) for request in received] == [ORDER, ORDER]
    assert house.store.names == ["reserve", "sent", "answered"]


async def test_a_large_answer_is_streamed_and_not_replayed(house: House) -> None:
    """The client gets all of it; a repetition gets 409, which names its status."""
    content = b"x" * 200_000
    house.gateway.upstream.usual = [Act.WHOLE, reply(200, content)]
    assert (await house.gateway.ask(order(KEY))).content == content
    answer = await house.gateway.refuses(order(KEY), status=409, kind="order-answered")
    assert "200" in answer.problem["detail"]


async def test_an_order_is_completed_after_its_client_disconnects(house: House) -> None:
    """Its answer is kept for the repetition."""
    opened = asyncio.Event()
    house.gateway.upstream.usual = [Act.WHOLE, opened, reply(201, PLACED)]
    client = await house.gateway.begin(order(KEY))
    client.reset()
    await until(lambda: not house.gateway.listener.connections or _left(house))
    await house.gateway.refuses(order(KEY), status=409, kind="order-in-flight")
    opened.set()
    await until(lambda: len(house.gateway.records) == 2)
    answer = await house.gateway.ask(order(KEY))
    assert answer.content == PLACED
    assert answer.values(b"idempotency-replayed") == [b"true"]
    assert len(house.gateway.upstream.requests) == 1


def _left(house: House) -> bool:
    return any(client.lost for client in house.gateway.listener._service.clients)


async def test_a_shutdown_in_the_middle_is_unknown(house: House) -> None:
    """The record of an order that was cut short says so."""
    house.gateway.upstream.usual = [Act.WHOLE, asyncio.Event()]
    client = await house.gateway.begin(order(KEY))
    assert await house.gateway.listener.close(0) == 1
    assert (await client.answer()).problem["outcome"] == "unknown"
    assert await house.states() == [State.UNKNOWN]


# --- A store that is away ----------------------------------------------------------------------


async def test_a_client_that_disconnects_while_its_order_is_recorded(house: House) -> None:
    """Nothing is sent, and no record is left."""
    house.store.gate = asyncio.Event()
    client = await house.gateway.connect()
    await client.send(order(KEY))
    await until(lambda: house.gateway.listener.in_flight)
    await asyncio.sleep(0.01)
    client.reset()
    await until(lambda: house.gateway.records)
    house.store.gate.set()
    assert await house.states() == []
    assert house.gateway.upstream.requests == []


# --- The guard ---------------------------------------------------------------------------------


@pytest.mark.parametrize("is_reset", [False, True])
async def test_the_guard_gives_a_missed_answer_once(lab: Lab, *, is_reset: bool) -> None:
    """A repetition gets 409, then the missed answer; the one after that is a new order.

    A connection that is closed looks like a half-closed one.
    """
    house = await house_of(lab, guard=60.0)
    opened = asyncio.Event()
    house.gateway.upstream.scripts.append([Act.WHOLE, opened, reply(201, PLACED)])
    client = await house.gateway.begin(order())
    if is_reset:
        client.reset()
    else:
        client.close()
    await until(lambda: house.store.names == ["reserve", "sent"])
    await house.gateway.refuses(order(), status=409, kind="order-in-flight")
    opened.set()
    await until(lambda: house.store.names == ["reserve", "sent", "answered"])
    answer = await house.gateway.ask(order())
    assert bytes(answer.content) == PLACED
    assert answer.values(b"idempotency-replayed") == [b"true"]
    assert len(house.gateway.upstream.requests) == 1
    assert (await house.gateway.ask(order())).values(b"idempotency-replayed") == []
    assert len(house.gateway.upstream.requests) == 2


async def test_the_guard_ignores_answered_orders(lab: Lab) -> None:
    """Two identical orders whose clients got their answers are two orders."""
    house = await house_of(lab, guard=60.0)
    for _ in range(3):
        assert (await house.gateway.ask(order())).status == 201
    assert len(house.gateway.upstream.requests) == 3
    assert house.store.steps == []


async def test_a_key_without_a_store_is_warned_of_once(gateway: Gateway) -> None:
    """The field goes to the API as it came; without one there is no warning."""
    with capture_logs() as logged:
        assert (await gateway.ask(order())).status == 200
        before = len(logged)
        for _ in range(2):
            assert (await gateway.ask(order(b"Idempotency-Key: 7"))).status == 200
    (warning,) = (event for event in logged if event["event"] == "orders.key_ignored")
    assert logged.index(warning) >= before
    assert "orders.store" in warning["detail"]
