"""Clients that disconnect: a safe call is cancelled, an order is followed to its end."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from tests.gateway.client import ACCOUNTS, ORDERS, chunks, order, request, until
from tests.gateway.conftest import Gateway, Lab
from tests.scripted import Act, Drip, Flood, Received, Script, Step, reply

CHUNKED = b"Transfer-Encoding: chunked"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "begun"),
    [
        (b"GET", b""),
        (b"HEAD", b""),
        (b"OPTIONS", b""),
        (b"GET", b"HTTP/1.1 103 X\r\n\r\n"),
        (b"GET", HEAD[:20]),
        (b"GET", HEAD),
        (b"GET", HEAD + b"hello"),
        (b"OPTIONS", HEAD + b"hello"),
    ],
)
async def test_a_safe_call_is_cancelled_when_its_client_disconnects(
    gateway: Gateway, method: bytes, begun: bytes
) -> None:
    """Its answer changes nothing, so the upstream's connection is aborted at once."""
    gateway.upstream.usual = [Act.WHOLE, begun, asyncio.Event()]
    client = await gateway.begin(request(method))
    await asyncio.sleep(0.01)
    client.reset()
    await until(lambda: gateway.upstream.connections[0].ended == "rst")
    record = await gateway.noted()
    assert record.error == "client_left"
    assert record.status == (200 if begun.startswith(HEAD) else 499)
    await until(lambda: gateway.pool.connections == (0, 0))


async def disconnected(gateway: Gateway, raw: bytes, *steps: Step, begun: bytes = b"") -> None:
    """Send a request, and disconnect; only then let the upstream play these steps."""
    opened = asyncio.Event()
    gateway.upstream.scripts.append([Act.WHOLE, begun, opened, *steps])
    client = await gateway.begin(raw)
    served = await gateway.served()
    client.reset()
    await until(lambda: served.lost)
    opened.set()
    assert (await gateway.noted()).attempts == 1
    assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE"])
@pytest.mark.parametrize("status", [201, 409])
@pytest.mark.parametrize("at", [0, 9, 1000])
async def test_an_order_is_followed_to_its_end_when_its_client_disconnects(
    gateway: Gateway, method: bytes, status: int, at: int
) -> None:
    """The upstream may have acted: its answer is read and recorded, and the connection is kept."""
    raw = request(method, ORDERS, content=b"{}")
    answer = reply(status, b"x" * 200_000)
    await disconnected(gateway, raw, answer[at:], begun=answer[:at])
    assert (gateway.record.status, gateway.record.error) == (status, "client_left")
    await until(lambda: gateway.pool.connections == (0, 1))
    assert (await gateway.ask(request())).status == 200
    assert len(gateway.upstream.connections) == 1


@pytest.mark.parametrize(("code", "status"), [(40105, 499), (40101, 401)])
async def test_an_order_is_not_sent_again_once_its_client_has_disconnected(
    gateway: Gateway, code: int, status: int
) -> None:
    """A 401 says that nothing was placed, and the client may have repeated its order elsewhere."""
    await disconnected(gateway, order(), reply(401, b'{"code": %d}' % code))
    assert (gateway.record.status, gateway.record.error) == (status, "client_left")


@pytest.mark.parametrize("fault", [Act.FIN, Act.RST])
async def test_an_order_that_is_lost_after_its_client_disconnected_is_recorded(
    gateway: Gateway, fault: Act
) -> None:
    """The record says that its outcome is unknown."""
    await disconnected(gateway, order(), fault)
    assert gateway.record.error == "connection_terminated"


@pytest.mark.parametrize("raw", [request(), order()])
async def test_a_client_that_disconnects_while_waiting_for_a_token_is_not_served(
    gateway: Gateway, raw: bytes
) -> None:
    """Its request is not sent, and the other clients get their token."""
    gateway.tokens.lose()
    gateway.tokens.gate = asyncio.Event()
    staying = asyncio.create_task(gateway.ask(order()))
    leaving = [await gateway.connect() for _ in range(10)]
    for client in leaving:
        await client.send(raw)
    await until(lambda: gateway.tokens.waiting == 11)
    for client in leaving:
        client.reset()
    await until(lambda: gateway.tokens.waiting == 1)
    gateway.tokens.gate.set()
    assert (await staying).status == 200
    assert len(gateway.upstream.requests) == 1
    assert sorted(record.status for record in gateway.records) == [200] + [499] * 10


@pytest.mark.parametrize("raw", [request(), order()])
async def test_a_client_that_disconnects_while_waiting_for_a_connection_is_not_served(
    lab: Lab, raw: bytes
) -> None:
    """Its place in the queue is given up, and the request behind it is served."""
    gateway = await lab.gateway(upstream__max_connections=1)
    opened = gateway.upstream.hold(reply(200))
    first = asyncio.create_task(gateway.ask(order()))
    await until(lambda: gateway.upstream.requests)
    leaving = [await gateway.connect() for _ in range(10)]
    for client in leaving:
        await client.send(raw)
    await until(lambda: gateway.listener.in_flight == 11)
    last = asyncio.create_task(gateway.ask(order()))
    await until(lambda: gateway.listener.in_flight == 12)
    for client in leaving:
        client.reset()
    opened.set()
    assert (await first).status == 200
    assert (await last).status == 200
    assert [seen.method for seen in gateway.upstream.requests] == [b"POST", b"POST"]


async def test_a_permit_granted_to_a_cancelled_waiter_is_passed_on(lab: Lab) -> None:
    """A connection that becomes free as the first in line is cancelled goes to the second."""
    gateway = await lab.gateway(upstream__max_connections=1)
    held = await gateway.pool.acquire()
    for cancelled_first in (True, False) * 3:
        leaving, staying = (asyncio.create_task(gateway.pool.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        if cancelled_first:
            leaving.cancel()
        gateway.pool.discard(held)
        leaving.cancel()
        held = await asyncio.wait_for(staying, 5)
        assert leaving.cancelled()
    gateway.pool.discard(held)


@pytest.mark.parametrize("tls", [False, True])
async def test_a_client_that_disconnects_while_a_connection_is_made_leaks_nothing(
    lab: Lab, *, tls: bool
) -> None:
    """The connection is closed, or kept for the next call."""
    gateway = await lab.gateway(tls=tls, upstream__max_connections=3)
    for turns in range(40):
        client = await gateway.connect()
        await client.send(request())
        for _ in range(turns):
            await asyncio.sleep(0)
        client.reset()
    await until(lambda: not gateway.listener.connections)
    assert (await gateway.ask(order())).status == 200


def moody(dice: random.Random) -> Script:
    """Return a script that answers now so, now so."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    def script(seen: Received) -> Sequence[Step]:
        moods: list[Sequence[Step]] = [
            [Act.WHOLE, reply(200, seen.target)],
            [Act.WHOLE, Drip(reply(200, b"x" * 50), 7)],
            [Act.WHOLE, b"HTTP/1.1 103 X\r\n\r\n", reply(200, b"x" * 300_000)],
            [Act.WHOLE, chunked, Flood(chunks(b"x" * 4096)[:-5], 60), b"0\r\n\r\n"],
            [Act.WHOLE, reply(401)],
            [Act.WHOLE, reply(200, b"bye", b"Connection: close"), Act.FIN],
            [reply(413, b"early")],
            [Act.WHOLE, Act.FIN],
            [Act.WHOLE, HEAD + b"half", Act.RST],
            [Act.WHOLE, b"garbage\r\n\r\n"],
        ]
        return dice.choice(moods)

    return script


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tls", [False, True])
async def test_two_hundred_clients_that_disconnect_anywhere_leak_nothing(
    lab: Lab, seed: int, *, tls: bool
) -> None:
    """Every permit, task and socket is released, and the next client is served."""
    dice = random.Random(seed)  # noqa: S311 # no secret depends on it
    gateway = await lab.gateway(
        tls=tls,
        upstream__max_connections=5,
        upstream__response_timeout_seconds=5,
    )
    gateway.cut_short = None
    gateway.upstream.usual = moody(dice)
    requests = [
        request(),
        order(),
        request(b"DELETE"),
        request(b"POST", ORDERS, CHUNKED) + chunks(b"hello", b"world"),
        request() * 3,
        order(content=b"x" * 100_000),
        request(b"GET", b"/nowhere") * 50,
        b"GET / HTTP/1.1\r\n\r\n",
    ]

    async def come_and_go() -> None:
        client = await gateway.connect(receive_buffer=4096)
        raw = dice.choice(requests)
        try:
            if dice.random() < 0.4:
                at = dice.randrange(len(raw))
                await client.send(raw[:at])
                for _ in range(dice.randrange(20)):
                    await asyncio.sleep(0)
                raw = raw[at:]
            if dice.random() < 0.8:
                await client.send(raw)
        except ConnectionError:
            pass
        for _ in range(dice.randrange(40)):
            await asyncio.sleep(0)
        dice.choice([client.reset, client.reset, client.close])()

    for _ in range(20):
        await asyncio.gather(*[come_and_go() for _ in range(10)])
    await until(lambda: not gateway.listener.connections)
    assert gateway.free_permits == 5
    gateway.upstream.usual = [Act.WHOLE, reply(200)]
    answers = await asyncio.gather(*[gateway.ask(request(b"GET", ACCOUNTS)) for _ in range(10)])
    assert [answer.status for answer in answers] == [200] * 10
