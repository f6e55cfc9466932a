"""The flow of a call: expectations, upgrades, interim and early answers, half-close, no content."""

import asyncio
import contextlib

import pytest

from tests.gateway.client import ACCOUNTS, ORDER, ORDERS, Gone, chunks, order, request, until
from tests.gateway.conftest import Gateway, Lab
from tests.scripted import Act, Drip, reply

CHUNKED = b"Transfer-Encoding: chunked"
EXPECT = b"Expect: 100-continue"
EARLY_HINTS = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nAlt-Svc: h3\r\nConnection: "
    b"x\r\nX: 1\r\n\r\n"
)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    ("framing", "body"),
    [(CHUNKED, chunks(ORDER)), (b"Content-Length: %d" % len(ORDER), ORDER)],
)
async def test_an_expected_continue_is_given_here(
    gateway: Gateway, framing: bytes, body: bytes
) -> None:
    """A client such as curl waits for `100 Continue`: the proxy answers, Expect ends here."""
    client = await gateway.begin(request(b"POST", ORDERS, EXPECT, framing), whole=False)
    await client.saw(CONTINUE)
    answer = await client.ask(body)
    assert (answer.status, answer.interim) == (200, [(100, [])])
    assert bytes(gateway.upstream.requests[0].content) == ORDER
    assert (await client.ask(request())).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        order(EXPECT),
        request(b"POST", ORDERS, EXPECT, CHUNKED) + chunks(ORDER),
        request(b"GET", ACCOUNTS, EXPECT),
        request(b"POST", ORDERS, EXPECT, b"Content-Length: 0"),
    ],
)
async def test_a_client_that_does_not_wait_gets_no_continue(gateway: Gateway, raw: bytes) -> None:
    """Its content has been sent already, or there is none (RFC 9110 section 10.1.1)."""
    answer = await gateway.ask(raw)
    assert (answer.status, answer.interim) == (200, [])


async def test_a_refused_expectation_costs_no_body(gateway: Gateway) -> None:
    """A refusal comes instead of `100 Continue`."""
    client = await gateway.connect()
    answer = await client.ask(request(b"POST", b"/oauth/v2/token", EXPECT, b"Content-Length: 1000"))
    assert (answer.status, answer.interim) == (403, [])
    assert await client.closed() == "fin"


async def test_other_expectations_cannot_be_met(gateway: Gateway) -> None:
    """An expectation that is not known gets 417."""
    raw = order(EXPECT, EXPECT) + request()
    await gateway.refuses(raw, status=417, kind="unknown-expectation")


async def test_an_upgrade_is_ignored(gateway: Gateway) -> None:
    """An offer to upgrade is not taken, and no pipelined request behind it is lost."""
    fields = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
    client = await gateway.connect()
    await client.send(request(b"GET", ACCOUNTS, *fields) + order(*fields) + request())
    assert [(await client.answer()).status for _ in range(3)] == [200, 200, 200]
    for seen in gateway.upstream.requests:
        assert not seen.values(b"upgrade")


async def test_interim_answers_are_passed_on(gateway: Gateway) -> None:
    """1xx but `100 Continue` reach HTTP/1.1 clients at once, without hop-by-hop fields."""
    opened = asyncio.Event()
    gateway.upstream.usual = [
        Act.WHOLE,
        CONTINUE,
        EARLY_HINTS,
        b"HTTP/1.1 102 Processing\r\n\r\n",
        opened,
        reply(200, b"done"),
    ]
    client = await gateway.connect()
    await client.send(order())
    await client.saw(b"102 Processing\r\n\r\n")
    opened.set()
    answer = await client.answer()
    assert (answer.status, bytes(answer.content)) == (200, b"done")
    assert answer.interim == [(103, [(b"Link", b"</x>; rel=preload")]), (102, [])]
    assert (await client.ask(request())).status == 200


async def test_interim_answers_do_not_end_the_expectation(gateway: Gateway) -> None:
    """The client gets one `100 Continue`, not the proxy's and the upstream's."""
    gateway.upstream.usual = [CONTINUE, EARLY_HINTS, Act.WHOLE, CONTINUE, reply(200)]
    client = await gateway.connect()
    await client.send(request(b"POST", ORDERS, EXPECT, b"Content-Length: %d" % len(ORDER)))
    await client.saw(b"103")
    answer = await client.ask(ORDER)
    assert sorted(status for status, _ in answer.interim) == [100, 103]


@pytest.mark.parametrize("count", [16, 17])
async def test_interim_answers_are_counted(gateway: Gateway, count: int) -> None:
    """Sixteen are passed on; the seventeenth makes the answer malformed."""
    gateway.upstream.usual = [Act.WHOLE, b"HTTP/1.1 102 Processing\r\n\r\n" * count, reply(200)]
    assert (await gateway.ask(request())).status == (200 if count == 16 else 502)


@pytest.mark.parametrize("status", [200, 400, 401, 413, 500, 503])
@pytest.mark.parametrize("chunked", [True, False])
async def test_an_early_answer_reaches_a_client_that_still_sends(
    gateway: Gateway, status: int, *, chunked: bool
) -> None:
    """The client gets the answer whole, then the connection ends in order."""
    gateway.cut_short = 1
    gateway.tokens.stubborn = True
    gateway.upstream.usual = [reply(status, b"early")]
    framing = CHUNKED if chunked else b"Content-Length: 100000"
    client = await gateway.connect()
    answer = await client.ask(request(b"POST", ORDERS, framing) + b"5\r\nhello\r\n")
    assert (answer.status, bytes(answer.content), answer.whole) == (status, b"early", True)
    assert answer.values(b"connection") == [b"close"]
    await client.send(b"x" * 1000)
    assert await client.closed() == "fin"
    await until(lambda: gateway.pool.connections == (0, 0))


async def test_an_early_answer_reaches_a_client_that_sends_without_looking(
    gateway: Gateway,
) -> None:
    """A client that writes its whole body before it reads gets the answer; its body is dropped."""
    gateway.cut_short = 1
    gateway.upstream.usual = [Act.DEAF, reply(403, b"no")]
    client = await gateway.connect()
    answer = await client.ask(
        request(b"POST", ORDERS, b"Content-Length: 8000000"), b"x" * 4_000_000
    )
    assert (answer.status, bytes(answer.content)) == (403, b"no")
    client.half_close()
    assert await client.closed() == "fin"


async def test_the_body_may_end_while_the_early_answer_goes_on(gateway: Gateway) -> None:
    """An upload goes on beside an answer that has begun, and both end whole."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
    gateway.upstream.usual = [head, Act.WHOLE, b"world"]
    client = await gateway.connect()
    await client.send(request(b"POST", ORDERS, b"Content-Length: 6") + b"abc")
    await client.saw(b"hello")
    answer = await client.ask(b"def")
    assert (bytes(answer.content), answer.whole) == (b"helloworld", True)
    assert answer.values(b"connection") == [b"close"]
    assert await client.closed() == "fin"
    assert bytes(gateway.upstream.requests[0].content) == b"abcdef"


@pytest.mark.parametrize(
    "fault",
    [
        "silent",
        "malformed",
        pytest.param("ends", marks=pytest.mark.plain_tcp("TLS does not end one direction only")),
    ],
)
async def test_an_answer_that_has_begun_is_completed_after_a_broken_body(
    lab: Lab, fault: str
) -> None:
    """A client may stop sending because it has its answer: it gets the rest."""
    gateway = await lab.gateway(limits__body_timeout_seconds=0.1)
    gateway.cut_short = 1
    opened = asyncio.Event()
    gateway.upstream.usual = [
        b"HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\nhello",
        opened,
        b"world",
    ]
    client = await gateway.connect()
    await client.send(request(b"POST", ORDERS, CHUNKED) + b"3\r\nabc\r\n")
    await client.saw(b"hello")
    if fault == "malformed":
        await client.send(b"nonsense\r\n")
    elif fault == "ends":
        client.half_close()
    await asyncio.sleep(0.2)
    opened.set()
    answer = await client.answer()
    assert (answer.status, bytes(answer.content), answer.whole) == (403, b"helloworld", True)
    assert await client.closed() == "fin"


@pytest.mark.parametrize(
    "raw",
    [request(), order(), request(b"GET", ACCOUNTS, b"Connection: close"), request(version=b"1.0")],
)
@pytest.mark.plain_tcp("TLS does not end one direction only")
async def test_a_half_closed_client_is_answered(gateway: Gateway, raw: bytes) -> None:
    """A client that ends its side after the request gets its answer, even from a slow upstream."""
    opened = gateway.upstream.hold(reply(200, b"late"))
    client = await gateway.begin(raw)
    client.half_close()
    await asyncio.sleep(0.01)
    opened.set()
    answer = await client.answer()
    assert (answer.status, bytes(answer.content)) == (200, b"late")
    assert await client.closed() == "fin"


@pytest.mark.plain_tcp("TLS does not end one direction only")
async def test_a_half_closed_client_gets_all_answers(gateway: Gateway) -> None:
    """The end comes after the last byte of the last answer, also for a client that reads slowly."""
    content = b"x" * 6_000_000
    gateway.upstream.usual = [Act.WHOLE, reply(200, content)]
    client = await gateway.connect(receive_buffer=4096)
    await client.send(request() + order())
    client.half_close()
    for _ in range(2):
        answer = await client.answer()
        assert (answer.status, len(answer.content), answer.whole) == (200, len(content), True)
    assert await client.closed() == "fin"


@pytest.mark.parametrize(
    ("method", "head", "length"),
    [
        (b"HEAD", b"200 OK\r\nContent-Length: 400\r\n", [b"400"]),
        (b"HEAD", b"200 OK\r\nTransfer-Encoding: chunked\r\n", []),
        (b"HEAD", b"200 OK\r\n", []),
        (b"GET", b"204 No Content\r\n", []),
        (b"DELETE", b"204 No Content\r\nContent-Length: 0\r\n", []),
        (b"GET", b"304 Not Modified\r\n", []),
        (b"HEAD", b"304 Not Modified\r\nContent-Length: 400\r\n", [b"400"]),
    ],
)
async def test_answers_to_head_204_and_304_have_no_content(
    gateway: Gateway, method: bytes, head: bytes, length: list[bytes]
) -> None:
    """They end with their heads, and both connections go on."""
    gateway.upstream.scripts.append([Act.WHOLE, b"HTTP/1.1 " + head + b"\r\n"])
    client = await gateway.connect()
    answer = await client.ask(request(method) + request(), method=method)
    assert answer.values(b"content-length") == length
    assert not answer.values(b"transfer-encoding")
    assert bytes((await client.answer()).content) == ACCOUNTS
    assert len(gateway.upstream.connections) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\nConnection: close\r\n\r\n",
    ],
)
async def test_an_answer_without_a_length_is_chunked(gateway: Gateway, head: bytes) -> None:
    """An answer that closing ends reaches an HTTP/1.1 client in chunks; its connection goes on."""
    gateway.upstream.scripts.append([Act.WHOLE, head, b"hello", b"world", Act.FIN])
    client = await gateway.connect()
    answer = await client.ask(request() + request())
    assert bytes(answer.content) == b"helloworld"
    assert answer.values(b"transfer-encoding") == [b"chunked"]
    assert bytes((await client.answer()).content) == ACCOUNTS
    assert len(gateway.upstream.connections) == 2


TOO_LARGE = reply(413, b'{"code": 41301}', b"Connection: close")


async def upload(gateway: Gateway, size: int, *, chunked: bool = False) -> int:
    """Upload so many bytes on a new connection; return the status of the answer, or 0."""
    client = await gateway.connect()
    content = b"x" * size
    framing, body = b"Content-Length: %d" % size, content
    if chunked:
        pieces = [content[at : at + 16_384] for at in range(0, size, 16_384)]
        framing, body = CHUNKED, chunks(*pieces)
    with contextlib.suppress(ConnectionError):
        await client.send(
            request(b"POST", ORDERS, framing),
            *[body[at : at + 50_000] for at in range(0, len(body), 50_000)],
        )
    try:
        return (await client.answer()).status
    except Gone:
        return 0


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [70_000, 3_000_000])
@pytest.mark.parametrize("end", [Act.FIN, Act.RST])
async def test_an_early_refusal_reaches_the_client(
    lab: Lab, size: int, end: Act, *, chunked: bool, tls: bool
) -> None:
    """The API answers 413 before it has read the upload and closes: the client gets the 413."""
    gateway = await lab.gateway(tls=tls)
    gateway.cut_short = None
    gateway.upstream.usual = [TOO_LARGE, end]
    statuses = await asyncio.gather(*(upload(gateway, size, chunked=chunked) for _ in range(6)))
    assert statuses == [413] * 6
    await until(lambda: len(gateway.records) == 6)
    assert {(record.status, record.error, record.outcome) for record in gateway.records} == {
        (413, None, None)
    }


@pytest.mark.parametrize("size", [1, 7, len(TOO_LARGE) - 1])
async def test_an_early_refusal_may_come_in_pieces(gateway: Gateway, size: int) -> None:
    """Nothing is written while an answer arrives, so that no failing write loses the rest of it."""
    gateway.cut_short = None
    gateway.upstream.usual = [Drip(TOO_LARGE, size), Act.RST]
    assert [await upload(gateway, 1_000_000) for _ in range(3)] == [413] * 3


async def test_a_request_that_was_not_sent_whole_ends_its_connection(lab: Lab) -> None:
    """It holds half a request after an early refusal; the next call gets another one."""
    gateway = await lab.gateway(upstream__max_connections=1)
    gateway.cut_short = None
    gateway.upstream.scripts.append([reply(413, b"early")])
    assert await upload(gateway, 3_000_000) == 413
    assert (await gateway.ask(request())).status == 200
    assert len(gateway.upstream.connections) == 2
