"""A call from its first byte to its record: deadlines, both ends closing, drain, mistakes of ours.

Each test has one idle connection in the pool, so that the call under test begins at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from proxy import settings
from proxy.forward import policy, rewrite
from proxy.forward.connection import ClientConnection
from proxy.records import Record
from proxy.settings import Settings
from tests.gateway.client import ACCOUNTS, Client, Gone, order, request, until
from tests.gateway.conftest import CLIENT_KEY, Gateway, Lab
from tests.scripted import Act, Script, Step, reply


async def warmed(gateway: Gateway) -> None:
    """Leave one idle connection in the pool, and nothing else."""
    client = await gateway.connect()
    assert (await client.ask(request())).status == 200
    client.close()
    await until(lambda: not gateway.listener.connections)
    await until(lambda: gateway.pool.connections == (0, 1))
    gateway.records.clear()


def held(opened: asyncio.Event, *steps: Step) -> Script:
    """Return a script that takes these steps after the whole request, once the event is set."""
    return [Act.WHOLE, opened, *steps]


async def begin(gateway: Gateway, raw: bytes) -> tuple[Client, ClientConnection]:
    """Send a request on a new connection, and wait until it is upstream."""
    before = len(gateway.upstream.whole)
    client = await gateway.connect()
    await until(lambda: gateway.listener.connections)
    (served,) = gateway.listener._service.clients
    await client.send(raw)
    await until(lambda: len(gateway.upstream.whole) > before)
    assert served.exchange is not None
    return client, served


def at_rest(served: ClientConnection) -> bool:
    """Whether the connection waits for a next request."""
    return served.exchange is None


@pytest.mark.parametrize("raw", [request(), order()])
@pytest.mark.parametrize(
    "answer", [reply(200), reply(200)[:9], reply(200, b"x", b"Connection: close")]
)
@pytest.mark.parametrize("client_first", [True, False])
async def test_client_and_api_close_in_the_same_turn(
    gateway: Gateway, raw: bytes, answer: bytes, *, client_first: bool
) -> None:
    """In either order: one record, and the pool loses no connection."""
    await warmed(gateway)
    gateway.upstream.scripts.append(held(asyncio.Event()))
    client, served = await begin(gateway, raw)
    (connection,) = gateway.pool._open
    transports = [served.transport, connection.transport]
    for transport in transports if client_first else reversed(transports):
        transport.abort()
    connection.data_received(answer)
    await until(lambda: not gateway.listener.connections)
    assert len(gateway.records) == 1
    assert gateway.record.attempts >= 1
    assert gateway.free_permits == gateway.settings.upstream.max_connections
    with contextlib.suppress(Gone):
        await client.answer()


async def test_a_connection_serves_two_clients_one_after_the_other(lab: Lab) -> None:
    """With one connection to the API, a hundred clients at once are each given their own answer."""
    gateway = await lab.gateway(upstream__max_connections=1)
    await warmed(gateway)

    async def ask(number: int) -> None:
        target = b"%b/%d" % (ACCOUNTS, number)
        answer = await gateway.ask(request(b"POST", target, content=b"%d" % number))
        assert bytes(answer.content) == target

    await asyncio.gather(*[ask(number) for number in range(100)])
    assert len(gateway.upstream.connections) == 1
    assert len({record.request_id for record in gateway.records}) == 100


# Deadlines.


@pytest.mark.parametrize("raw", [request(), order()])
async def test_silence_of_the_api_gets_504(lab: Lab, raw: bytes) -> None:
    """The client's connection goes on, and nothing is sent again."""
    gateway = await lab.gateway(upstream__response_timeout_seconds=0.1)
    await warmed(gateway)
    gateway.upstream.scripts.append(held(asyncio.Event()))
    client, served = await begin(gateway, raw)
    assert (await client.answer()).kind == "upstream-timeout"
    await until(lambda: at_rest(served))
    assert len(gateway.upstream.requests) == 2
    assert gateway.record.seconds < 0.3
    assert (await client.ask(raw)).status == 200


@pytest.mark.parametrize("why", ["the client leaves", "the proxy stops"])
async def test_the_response_timeout_is_never_extended(lab: Lab, why: str) -> None:
    """Neither a client that disconnects nor a drain gives the API more time to answer."""
    gateway = await lab.gateway(upstream__response_timeout_seconds=60)
    await warmed(gateway)
    gateway.upstream.scripts.append(held(asyncio.Event()))
    client, served = await begin(gateway, order())
    (connection,) = gateway.pool._open
    deadline = connection._readable._deadline
    assert deadline is not None
    await asyncio.sleep(0.05)
    closing = None
    if why == "the client leaves":
        client.reset()
        await until(lambda: served.lost)
    else:
        closing = asyncio.create_task(gateway.listener.close(0.2))
        await until(lambda: gateway.listener._server is None)
    assert connection._readable._deadline == pytest.approx(deadline, abs=0.02)
    if closing is not None:
        assert await closing == 1


async def test_a_client_that_reads_no_answers_is_cut(lab: Lab) -> None:
    """It is cut after the body timeout, not the idle one, and recorded as slow."""
    gateway = await lab.gateway(limits__body_timeout_seconds=0.2, limits__idle_timeout_seconds=60)
    await warmed(gateway)
    gateway.upstream.usual = [Act.WHOLE, reply(200, b"x" * 60_000)]
    client = await gateway.connect(receive_buffer=4096)
    await until(lambda: gateway.listener.connections)
    (served,) = gateway.listener._service.clients
    asked = 0
    while not served.clogged:
        await client.send(request())
        asked += 1
        await until(lambda: len(gateway.records) == asked or served.clogged)  # noqa: B023 # it is awaited here
    await until(lambda: not gateway.listener.connections, seconds=2)
    await until(lambda: len(gateway.records) == asked)
    assert gateway.records[-1].error == "client_slow"


# The end of the proxy.


@pytest.mark.parametrize("raw", [request(), order(), order(version=b"1.0")])
async def test_a_call_in_flight_is_finished(gateway: Gateway, raw: bytes) -> None:
    """A call in flight is answered within the grace period, with `Connection: close`."""
    await warmed(gateway)
    opened = asyncio.Event()
    gateway.upstream.scripts.append(held(opened, reply(200)))
    client, _served = await begin(gateway, raw)
    closing = asyncio.create_task(gateway.listener.close(5))
    opened.set()
    answer = await client.answer()
    assert answer.values(b"connection") == [b"close"]
    assert await client.closed() == "fin"
    assert await closing == 0
    assert len(gateway.records) == 1


async def test_an_answer_during_the_drain_ends_the_connection(gateway: Gateway) -> None:
    """During a drain calls go on, and each answer is the last one of its connection."""
    await warmed(gateway)
    opened = asyncio.Event()
    gateway.upstream.scripts.append(held(opened, reply(200)))
    client, _served = await begin(gateway, order())
    gateway.listener.drain()
    opened.set()
    assert (await client.answer()).values(b"connection") == [b"close"]
    assert await client.closed() == "fin"


@pytest.mark.parametrize("raw", [request(), order()])
async def test_a_call_beyond_the_grace_period_gets_503(gateway: Gateway, raw: bytes) -> None:
    """The answer says that the outcome is unknown, and no reset overtakes it."""
    await warmed(gateway)
    gateway.upstream.scripts.append(held(asyncio.Event()))
    client, _ = await begin(gateway, raw)
    assert await gateway.listener.close(0) == 1
    answer = await client.answer()
    assert (answer.kind, answer.problem["outcome"]) == ("draining", "unknown")
    assert gateway.record.error == "proxy_internal_response"
    assert gateway.free_permits == gateway.settings.upstream.max_connections
    assert await client.closed() == "fin"


async def test_half_a_request_at_the_end_of_the_grace_period_gets_503(gateway: Gateway) -> None:
    """A request whose head was not whole by then is answered too: it was not sent."""
    client = await gateway.connect()
    await client.send(order()[:40])
    await until(lambda: any(each.buffer for each in gateway.listener._service.clients))
    await gateway.listener.close(0)
    answer = await client.answer()
    assert (answer.kind, answer.problem["outcome"]) == ("draining", "not_sent")
    assert gateway.record.error == "proxy_internal_response"


async def test_closing_again_without_grace_ends_all_calls(gateway: Gateway) -> None:
    """A close that is cancelled and begun anew leaves no call, record or connection behind."""
    await warmed(gateway)
    gateway.upstream.scripts.append(held(asyncio.Event()))
    client, _served = await begin(gateway, order())
    closing = asyncio.create_task(gateway.listener.close(60))
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert await gateway.listener.close(0) == 1
    assert (await client.answer()).status == 503
    assert len(gateway.records) == 1


async def test_each_request_is_judged_by_the_rules_in_force(lab: Lab) -> None:
    """Changed rules apply to the next request, and so does their return."""
    gateway = await lab.gateway()
    await warmed(gateway)
    raw = request(b"GET", ACCOUNTS + b"/x")
    client = await gateway.connect()
    for _ in range(3):
        assert (await client.ask(raw)).status == 200
    gateway.listener.follow(
        changed(gateway, upstream__allowed_paths="/corporate-mobile-subscriptions/")
    )
    assert (await client.ask(raw)).status == 403
    gateway.listener.follow(changed(gateway, listen__client_key=CLIENT_KEY))
    assert (await gateway.ask(raw)).status == 403
    gateway.listener.follow(changed(gateway, listen__allowed_hosts="elsewhere.example"))
    assert (await gateway.ask(raw)).status == 421
    gateway.listener.follow(gateway.settings)
    assert (await gateway.ask(raw)).status == 200


def changed(gateway: Gateway, **changes: str) -> Settings:
    """Return the settings of a gateway with some of them changed."""
    values = {
        "oauth__client_id": "made-up-client-id",
        "oauth__client_secret": "made-up-client-secret",
        "oauth__username": "api1",
        "oauth__password": "made-up-password",
        "upstream__url": gateway.settings.upstream.url,
        **changes,
    }
    return settings.load(
        None, {f"TELENOR_PROXY_{name.upper()}": value for name, value in values.items()}
    )


# Mistakes of ours.


@pytest.fixture
async def forgiving() -> AsyncIterator[list[object]]:
    """Keep mistakes that a test provokes from the checks of logs and of the event loop."""
    loop, faults = asyncio.get_running_loop(), list[object]()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    with capture_logs() as logs:
        yield faults
    faults += logs
    loop.set_exception_handler(before)


def mistake(*_: object, **__: object) -> None:
    """Raise what no part expects."""
    raise RuntimeError("a mistake")


@pytest.mark.usefixtures("forgiving")
@pytest.mark.parametrize("raw", [request(), order()])
async def test_a_mistake_while_answering_costs_one_call(
    gateway: Gateway, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is answered or cut, a record is made, and the upstream connection given back."""
    await warmed(gateway)
    opened = asyncio.Event()
    gateway.upstream.scripts.append(held(opened, reply(200)))
    client, _ = await begin(gateway, raw)

    with monkeypatch.context() as patch:
        patch.setattr(rewrite, "response_head", mistake)
        opened.set()
        await until(lambda: gateway.records, seconds=2)
    with contextlib.suppress(Gone):
        assert (await client.answer()).status >= 500
    assert gateway.free_permits == gateway.settings.upstream.max_connections


@pytest.mark.usefixtures("forgiving")
@pytest.mark.parametrize("raw", [request(), order()])
async def test_a_mistake_while_sending_costs_one_call(
    gateway: Gateway, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets 500, a record is made, and no connection to the API is lost."""
    await warmed(gateway)
    monkeypatch.setattr(rewrite, "request_head", mistake)
    answer = await gateway.ask(raw)
    assert (answer.kind, answer.problem["outcome"]) == ("internal-error", "unknown")
    assert gateway.record.status == 500
    assert gateway.free_permits == gateway.settings.upstream.max_connections


@pytest.mark.usefixtures("forgiving")
async def test_a_mistake_while_reporting_costs_one_record(gateway: Gateway) -> None:
    """An observer that raises keeps no other call out of the log."""
    await warmed(gateway)
    observed: list[Record] = []

    def observe(record: Record) -> None:
        observed.append(record)
        if len(observed) == 1:
            raise RuntimeError("a mistake")

    gateway.listener._service._observe = observe
    opened = asyncio.Event()
    gateway.upstream.usual = held(opened, reply(200))
    clients = [await gateway.connect() for _ in range(5)]
    for client in clients:
        await client.send(request())
    await until(lambda: len(gateway.upstream.whole) == 6)
    service = gateway.listener._service
    opened.set()
    for client in clients:
        assert (await client.answer()).status == 200
    await until(lambda: not service._unreported)
    assert len(observed) == 5


@pytest.mark.usefixtures("forgiving")
@pytest.mark.parametrize("where", ["parse", "judge", "request_id"])
async def test_a_mistake_while_judging_costs_one_call(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """One answer 500, one record, and the next client is served."""
    with monkeypatch.context() as patch:
        patch.setattr(policy, where, mistake)
        answer = await gateway.ask(order())
    assert (answer.status, answer.kind) == (500, "internal-error")
    assert answer.problem["outcome"] == "not_sent"
    await until(lambda: gateway.records)
    assert (gateway.record.status, gateway.record.error) == (500, "proxy_internal_error")
    assert not gateway.upstream.requests
    assert (await gateway.ask(order())).status == 200
