"""Limits and slow peers: what exceeds them is refused or cut, at no cost to other clients."""

import asyncio

import pytest

from tests.gateway.client import (
    ACCOUNTS,
    ORDER,
    ORDERS,
    Gone,
    chunks,
    framed,
    order,
    request,
    until,
)
from tests.gateway.conftest import Gateway, Lab
from tests.scripted import Act, Flood, reply

CHUNKED = b"Transfer-Encoding: chunked"
NEXT = request(b"GET", b"/corporate-accounts/next")


@pytest.mark.parametrize("is_in_pieces", [False, True])
@pytest.mark.parametrize(
    ("head", "status", "kind"),
    [
        (b"GET %b?%%b HTTP/1.1\r\n" % ACCOUNTS, 414, "target-too-long"),
        (b"GET %b HTTP/1.1\r\nX-Padding: %%b\r\n" % ACCOUNTS, 431, "head-too-large"),
    ],
)
async def test_the_size_of_a_head_is_limited(
    gateway: Gateway, head: bytes, status: int, kind: str, *, is_in_pieces: bool
) -> None:
    """A target of 8 KiB passes, and a head of 32 KiB; a byte more is refused."""
    whole = head + b"Host: localhost\r\n\r\n"
    size = 32_768 - len(whole % b"") if status == 431 else 8192 - len(ACCOUNTS + b"?")
    for more in (0, 1):
        raw = whole % (b"x" * (size + more))
        pieces = [raw[:5000], raw[5000:20_000], raw[20_000:]] if is_in_pieces else [raw]
        if more:
            await gateway.refuses(*pieces, NEXT, status=status, kind=kind)
        else:
            assert (await gateway.ask(*pieces)).status == 200


async def test_a_head_without_end_is_refused_when_it_is_too_large(gateway: Gateway) -> None:
    """431 does not wait for the end of the head."""
    raw = request()[:-2] + b"X-Padding: x\r\n" * 3000
    await gateway.refuses(raw, status=431)


@pytest.mark.parametrize("expect", [[], [b"Expect: 100-continue"]])
@pytest.mark.parametrize("method", [b"POST", b"GET"])
async def test_a_length_over_the_limit_is_refused_at_once(
    lab: Lab, method: bytes, expect: list[bytes]
) -> None:
    """413 comes before the body, and nothing goes upstream."""
    gateway = await lab.gateway(limits__max_body_bytes=1000)
    raw = request(method, ORDERS, b"Content-Length: 1001", *expect)
    answer = await gateway.refuses(raw, status=413, kind="content-too-large")
    assert not answer.interim
    assert not gateway.upstream.connections


@pytest.mark.parametrize(
    "body",
    [
        chunks(b"x" * 1001),
        chunks(b"x" * 1000, b"x"),
        chunks(*[b"x"] * 1001),
        b"3e9\r\n" + b"x" * 1001,
        b"fffffff\r\n" + b"x" * 5000,
    ],
    ids=["whole", "last chunk", "many chunks", "no end", "a long chunk"],
)
@pytest.mark.parametrize("split", [0, 1, 500])
async def test_a_chunked_body_over_the_limit_is_never_whole(
    lab: Lab, body: bytes, split: int
) -> None:
    """413 comes when the limit is passed; what has gone upstream by then breaks off."""
    gateway = await lab.gateway(limits__max_body_bytes=1000)
    gateway.cut_short = None
    for passes in (framed(b"x" * 1000, chunked=True), order(content=b"x" * 1000)):
        assert (await gateway.ask(passes)).status == 200
    head = request(b"POST", ORDERS, CHUNKED)
    rest = NEXT if body.endswith(b"0\r\n\r\n") else b""
    pieces = [head + body + rest] if split == 0 else [head + body[:split], body[split:] + rest]
    await gateway.refuses(*pieces, status=413, kind="content-too-large")
    assert len(gateway.upstream.whole) == 2


async def test_a_client_that_goes_on_sending_reads_its_refusal(lab: Lab) -> None:
    """The answer is not lost in a reset while the client still sends."""
    gateway = await lab.gateway(limits__max_body_bytes=1000)
    answer = await gateway.ask(
        request(b"POST", ORDERS, b"Content-Length: 3000000"), *[b"x" * 300_000] * 10
    )
    assert (answer.status, answer.kind) == (413, "content-too-large")


@pytest.mark.parametrize(
    "raw", [b"G", b"GET / HTTP/1.1", request()[:-1], request()[:-2], b"GET /corporate-accounts/"]
)
async def test_half_a_head_has_a_deadline(lab: Lab, raw: bytes) -> None:
    """A client that begins a request and does not go on gets 408."""
    gateway = await lab.gateway(limits__request_head_timeout_seconds=0.1)
    await gateway.refuses(raw, status=408, kind="client-timeout")


async def test_a_trickle_does_not_extend_the_deadline_of_a_head(lab: Lab) -> None:
    """The deadline is for the whole head, not for the next byte."""
    gateway = await lab.gateway(limits__request_head_timeout_seconds=0.15)
    client = await gateway.connect()

    async def trickle() -> None:
        await client.send(request()[:-2])
        while True:
            await client.send(b"X: 1\r\n")
            await asyncio.sleep(0.03)

    trickling = asyncio.create_task(trickle())
    answer = await client.answer()
    trickling.cancel()
    assert answer.status == 408


async def test_the_deadline_of_a_head_begins_with_its_first_byte(lab: Lab) -> None:
    """A connection may idle longer than a head may take."""
    gateway = await lab.gateway(limits__request_head_timeout_seconds=0.1)
    client = await gateway.connect()
    await asyncio.sleep(0.15)
    for _ in range(2):
        assert (await client.ask(request())).status == 200
        await asyncio.sleep(0.15)


@pytest.mark.parametrize("framing", [b"Content-Length: 100", CHUNKED])
@pytest.mark.parametrize("begun", [b"", b"1\r\nx"])
async def test_silence_inside_a_body_has_a_deadline(lab: Lab, framing: bytes, begun: bytes) -> None:
    """The client gets 408, and the upstream never sees the request whole."""
    gateway = await lab.gateway(limits__body_timeout_seconds=0.1)
    gateway.cut_short = 1
    await gateway.refuses(
        request(b"POST", ORDERS, framing) + begun, status=408, kind="client-timeout"
    )
    await until(lambda: gateway.upstream.connections[0].ended == "rst")


async def test_a_slow_body_is_accepted(lab: Lab) -> None:
    """The body timeout is for silence, not for the whole body."""
    gateway = await lab.gateway(limits__body_timeout_seconds=0.3)
    client = await gateway.connect()
    await client.send(request(b"POST", ORDERS, b"Content-Length: %d" % len(ORDER)))
    for at in range(len(ORDER)):
        await client.send(ORDER[at : at + 1])
        await asyncio.sleep(0.006)
    assert (await client.answer()).status == 200
    assert bytes(gateway.upstream.requests[0].content) == ORDER


@pytest.mark.parametrize("asked", [0, 1, 2])
async def test_an_idle_client_is_closed(lab: Lab, asked: int) -> None:
    """A connection on which nothing happens is closed in order, without an answer."""
    gateway = await lab.gateway(limits__idle_timeout_seconds=0.1)
    client = await gateway.connect()
    for _ in range(asked):
        assert (await client.ask(request())).status == 200
    assert await client.closed() == "fin"
    assert len(gateway.records) == asked


async def test_a_call_in_flight_is_not_idle(lab: Lab) -> None:
    """The deadlines of clients do not run while a client waits for its answer."""
    gateway = await lab.gateway(
        limits__idle_timeout_seconds=0.2,
        limits__request_head_timeout_seconds=0.2,
        limits__body_timeout_seconds=0.2,
    )
    opened = gateway.upstream.hold(reply(200))
    client = await gateway.begin(order())
    await asyncio.sleep(0.3)
    opened.set()
    assert (await client.answer()).status == 200


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_client_that_does_not_read_is_cut(lab: Lab, method: bytes) -> None:
    """Its upstream connection is cut too; others are served meanwhile."""
    gateway = await lab.gateway(limits__body_timeout_seconds=0.2, upstream__max_connections=2)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    flood = Flood(b"10000\r\n" + b"x" * 65536 + b"\r\n", 2000)
    gateway.upstream.scripts.append([Act.WHOLE, head, flood])
    client = await gateway.connect(receive_buffer=65536)  # of TLS only whole records can be read
    await client.send(request(method))
    await until(lambda: gateway.upstream.requests)
    assert (await gateway.ask(order())).status == 200
    await until(lambda: len(gateway.records) == 2)
    assert {record.error for record in gateway.records} == {None, "client_slow"}
    await until(lambda: gateway.upstream.connections[0].ended)
    answer = await client.answer()
    assert not answer.whole
    assert client.ended == "rst"


@pytest.mark.parametrize(
    "last", [request(b"DELETE", ACCOUNTS, b"Connection: close"), request(b"GET", b"/nowhere"), b""]
)
async def test_a_client_that_does_not_read_its_last_bytes_is_cut(lab: Lab, last: bytes) -> None:
    """It cannot keep its connection open: ended, refused or idle, it is cut."""
    gateway = await lab.gateway(
        limits__body_timeout_seconds=0.2, limits__idle_timeout_seconds=1 if last else 0.2
    )
    gateway.upstream.usual = [Act.WHOLE, reply(200, b"x" * 30_000)]
    client = await gateway.connect(receive_buffer=4096)
    served = await gateway.served()
    asked = 0
    while not served.transport.get_write_buffer_size():
        asked += 1
        await client.send(request())
        await until(lambda: len(gateway.records) == asked)  # noqa: B023 # it is awaited here
    gateway.upstream.usual = [Act.WHOLE, reply(204)]
    await client.send(last)
    await until(lambda: served.lost)


@pytest.mark.parametrize("limit", [1, 3])
async def test_clients_over_the_limit_get_503_at_once(lab: Lab, limit: int) -> None:
    """The next client gets 503 before it sends; after one disconnects, there is room again."""
    gateway = await lab.gateway(limits__max_connections=limit)
    inside = [await gateway.connect() for _ in range(limit)]
    for client in inside:
        assert (await client.ask(request())).status == 200
    late = await gateway.connect()
    answer = await late.answer()
    assert (answer.status, answer.kind) == (503, "too-many-connections")
    assert answer.problem["outcome"] == "not_sent"
    assert answer.values(b"retry-after") == [b"1"]
    assert answer.values(b"connection") == [b"close"]
    assert await late.closed() == "fin"
    inside[0].close()
    await until(lambda: gateway.listener.connections < limit)
    assert (await gateway.ask(request())).status == 200


async def test_a_crowd_over_the_limit_costs_nothing(lab: Lab) -> None:
    """Some get 503, the rest is cut; a client inside the limit is served all the time."""
    gateway = await lab.gateway(limits__max_connections=1)
    inside = await gateway.connect()
    assert (await inside.ask(request())).status == 200
    crowd = [await gateway.connect() for _ in range(150)]
    assert (await inside.ask(order())).status == 200
    assert len(gateway.listener._service.turned_away) <= 100
    ends = []
    for client in crowd:
        try:
            ends.append((await client.answer()).status)
        except Gone:
            ends.append(0)
    assert set(ends) == {0, 503}
    assert gateway.listener.connections == 1


async def test_calls_over_the_limit_of_upstream_connections_wait_in_turn(lab: Lab) -> None:
    """One connection serves all, one after the other, first come first served."""
    gateway = await lab.gateway(upstream__max_connections=1)
    opened = gateway.upstream.hold(reply(200))
    targets = [b"/corporate-accounts/%d" % number for number in range(10)]
    clients = [await gateway.connect() for _ in targets]
    for number, (client, target) in enumerate(zip(clients, targets, strict=True), 1):
        await client.send(request(b"GET", target))
        await until(lambda: gateway.listener.in_flight == number)  # noqa: B023 # it is awaited here
    opened.set()
    for client in clients:
        assert (await client.answer()).status == 200
    assert [seen.target for seen in gateway.upstream.requests] == targets
    assert len(gateway.upstream.connections) == 1


async def test_the_wait_for_an_upstream_connection_is_bounded(lab: Lab) -> None:
    """A call that gets no connection in time gets 503, `not_sent` and Retry-After."""
    gateway = await lab.gateway(upstream__max_connections=1, upstream__connect_timeout_seconds=0.1)
    opened = gateway.upstream.hold(reply(200))
    first = asyncio.create_task(gateway.ask(order()))
    await until(lambda: gateway.upstream.requests)
    answer = await gateway.ask(order())
    assert (answer.status, answer.kind) == (503, "upstream-busy")
    assert answer.proxy_error == "connection_limit_reached"
    assert answer.problem["outcome"] == "not_sent"
    assert answer.values(b"retry-after") == [b"1"]
    opened.set()
    assert (await first).status == 200
    assert (await gateway.ask(order())).status == 200


async def test_an_upload_waits_for_an_upstream_that_does_not_read(lab: Lab) -> None:
    """The body stays with the client, so that memory does not grow; in the end it gets 504."""
    gateway = await lab.gateway(
        upstream__response_timeout_seconds=0.3, limits__max_body_bytes=100_000_000
    )
    gateway.cut_short = 1
    gateway.upstream.usual = [Act.DEAF]
    client = await gateway.connect()
    await client.send(request(b"POST", ORDERS, b"Content-Length: 100000000"))
    sending = asyncio.create_task(client.send(b"x" * 100_000_000))
    answer = await client.answer()
    assert (answer.status, answer.proxy_error) == (504, "connection_write_timeout")
    assert answer.problem["outcome"] == "unknown"
    assert not sending.done()
    sending.cancel()
    assert gateway.record.bytes_in < 30_000_000


async def test_silent_uploads_give_way_to_waiting_calls(lab: Lab) -> None:
    """Clients that announce a body and send none hold connections only while no call waits."""
    gateway = await lab.gateway(upstream__max_connections=2, upstream__connect_timeout_seconds=10)
    gateway.cut_short = 2
    raw = request(b"POST", ORDERS, b"Content-Length: 5")
    silent = [await gateway.begin(raw, whole=False) for _ in range(2)]
    assert (await gateway.ask(request())).status == 200
    assert (await silent[0].answer()).status == 408


async def test_empty_lines_do_not_extend_the_idle_timeout(lab: Lab) -> None:
    """The time that a client may be idle does not begin anew with each empty line."""
    gateway = await lab.gateway(limits__idle_timeout_seconds=0.3)
    client = await gateway.connect()

    async def trickle() -> None:
        while client.ended is None:
            await client.send(b"\r\n")
            await asyncio.sleep(0.05)

    trickling = asyncio.create_task(trickle())
    await client.closed()
    await trickling
    assert not gateway.records
