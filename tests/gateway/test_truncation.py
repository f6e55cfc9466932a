"""Truncated requests and answers never look whole to the peer that receives them."""

import asyncio

import pytest

from tests.gateway.client import ORDER, ORDERS, Answer, Client, chunks, order, request, until
from tests.gateway.conftest import Gateway, Lab
from tests.scripted import Act, Drip, Flood, Step

CHUNKED = b"Transfer-Encoding: chunked"
OK = b"HTTP/1.1 200 OK\r\n"

BEGINNINGS = {
    "length": order()[:-10],
    "length, no body": order()[: -len(ORDER)],
    "chunk": request(b"POST", ORDERS, CHUNKED) + b"5\r\nhel",
    "chunk size": request(b"POST", ORDERS, CHUNKED) + b"5\r\nhello\r\n1",
    "after a chunk": request(b"POST", ORDERS, CHUNKED) + b"5\r\nhello\r\n",
    "last chunk": request(b"POST", ORDERS, CHUNKED) + b"5\r\nhello\r\n0\r\n",
    "trailer": request(b"POST", ORDERS, CHUNKED) + b"5\r\nhello\r\n0\r\nX-A: 1\r\n",
    "safe": request(b"GET", ORDERS, b"Content-Length: 10") + b"abc",
}


@pytest.mark.parametrize("is_announced", [True, False], ids=["announced", "cut"])
@pytest.mark.parametrize("name", BEGINNINGS)
async def test_a_request_that_ends_too_early_is_never_whole(
    gateway: Gateway, name: str, *, is_announced: bool
) -> None:
    """The client gets 400 if it can still read; the upstream sees its connection break."""
    gateway.cut_short = 1
    client = await gateway.begin(BEGINNINGS[name], whole=False)
    (client.half_close if is_announced else client.cut)()
    if gateway.trust is None:
        answer = await client.answer()
        assert (answer.status, answer.kind) == (400, "malformed-request")
        assert await client.closed() == "fin"
    await until(lambda: gateway.upstream.connections[0].ended == "rst")


@pytest.mark.parametrize("name", BEGINNINGS)
@pytest.mark.parametrize("tls", [False, True])
async def test_a_request_whose_client_resets_is_never_whole(
    lab: Lab, name: str, *, tls: bool
) -> None:
    """The upstream sees a broken connection: no last chunk, no end, on TLS no close_notify."""
    gateway = await lab.gateway(tls=tls)
    gateway.cut_short = 1
    client = await gateway.begin(BEGINNINGS[name], whole=False)
    client.reset()
    await until(lambda: gateway.upstream.connections[0].ended is not None)
    record = await gateway.noted()
    assert (record.status, record.error) == (499, "client_left")
    if not tls:
        assert gateway.upstream.connections[0].ended == "rst"


@pytest.mark.parametrize(
    "raw", [b"G", b"GET /corporate-accounts/", order()[:50], request()[:-2], request()[:-1]]
)
async def test_half_a_head_is_not_forwarded(gateway: Gateway, raw: bytes) -> None:
    """A head that ends early gets 400 if the client can still read."""
    client = await gateway.connect()
    await client.send(raw)
    client.half_close()
    if gateway.trust is None:
        assert (await client.answer()).status == 400
    assert await client.closed() == "fin"
    other = await gateway.connect()
    await other.send(raw)
    other.reset()
    await until(lambda: gateway.listener.connections == 0)
    assert not gateway.upstream.connections


#: Each begins an answer whose content begins with abc, and breaks it off.
HALVES = {
    "length": OK + b"Content-Length: 10\r\n\r\nabc",
    "chunk": OK + CHUNKED + b"\r\n\r\n7\r\nabc",
    "whole chunk": OK + CHUNKED + b"\r\n\r\n3\r\nabc",
    "after a chunk": OK + CHUNKED + b"\r\n\r\n3\r\nabc\r\n",
    "chunk size": OK + CHUNKED + b"\r\n\r\n3\r\nabc\r\n5",
    "last chunk": OK + CHUNKED + b"\r\n\r\n3\r\nabc\r\n0\r\n",
    "trailer": OK + CHUNKED + b"\r\n\r\n3\r\nabc\r\n0\r\nX-A: 1\r\n",
}


async def broken(gateway: Gateway, raw: bytes, begun: bytes, *rest: Step) -> tuple[Client, Answer]:
    """Send the request; once the answer has begun, let the upstream take the other steps."""
    opened = asyncio.Event()
    gateway.upstream.scripts.append([Act.WHOLE, begun, opened, *rest])
    client = await gateway.connect()
    await client.send(raw)
    await client.saw(b"abc")
    opened.set()
    answer = await client.answer()
    assert (answer.status, bytes(answer.content)) == (200, b"abc")
    await gateway.noted()
    return client, answer


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize(
    ("tls", "end"),
    [
        (False, Act.FIN),
        (False, Act.RST),
        (True, Act.FIN),
        (True, Act.CUT),
        (True, Act.RST),
    ],
)
@pytest.mark.parametrize("name", HALVES)
async def test_an_answer_that_breaks_never_looks_whole(
    lab: Lab, name: str, end: Act, version: bytes, *, tls: bool
) -> None:
    """For any framing and any end, the client sees a broken connection, in HTTP/1.0 too."""
    gateway = await lab.gateway(tls=tls)
    client, answer = await broken(gateway, order(version=version), HALVES[name], end)
    assert (answer.whole, client.ended) == (False, "rst")
    assert (gateway.record.status, gateway.record.error) == (200, "connection_terminated")


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize(
    ("tls", "end", "whole"),
    [
        (False, Act.FIN, True),
        (False, Act.HALF, True),
        (False, Act.RST, False),
        (True, Act.FIN, True),
        (True, Act.CUT, False),
        (True, Act.RST, False),
    ],
)
async def test_an_answer_without_a_length_needs_an_orderly_end(
    lab: Lab, version: bytes, end: Act, *, tls: bool, whole: bool
) -> None:
    """Whole only after FIN, on TLS after close_notify: a middlebox cannot shorten an answer."""
    gateway = await lab.gateway(tls=tls)
    client, answer = await broken(gateway, request(version=version), OK + b"\r\nabc", end)
    assert answer.whole == whole
    if whole and version == b"1.1":
        assert answer.values(b"transfer-encoding") == [b"chunked"]
        assert (await client.ask(request())).whole
    elif not whole:
        assert client.ended == "rst"


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize(
    "nonsense", [b"x\r\n", b"\n", b"3\nabc\r\n", b"-1\r\n", b"0\r\nX A: 1\r\n\r\n", b"0\r\n\n"]
)
async def test_malformed_chunks_break_the_answer(
    gateway: Gateway, version: bytes, nonsense: bytes
) -> None:
    """The upstream's chunks must follow the same grammar."""
    begun = HALVES["after a chunk"]
    _, answer = await broken(gateway, request(version=version), begun, nonsense)
    assert not answer.whole
    assert gateway.record.error == "http_protocol_error"


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("name", [*HALVES, "closing"])
async def test_an_answer_that_stalls_is_cut(lab: Lab, name: str, version: bytes) -> None:
    """Silence beyond the response timeout breaks an answer too."""
    gateway = await lab.gateway(upstream__response_timeout_seconds=0.1)
    gateway.upstream.usual = [Act.WHOLE, HALVES.get(name, OK + b"\r\nabc")]
    client = await gateway.connect()
    answer = await client.ask(order(version=version))
    assert (answer.status, answer.whole, client.ended) == (200, False, "rst")
    assert (await gateway.noted()).error == "http_response_timeout"


async def test_a_slow_answer_is_passed_on(lab: Lab) -> None:
    """The response timeout is for silence."""
    gateway = await lab.gateway(upstream__response_timeout_seconds=0.5)
    whole = OK + CHUNKED + b"\r\n\r\n" + chunks(b"a" * 200, b"b" * 200)
    gateway.upstream.usual = [Act.WHOLE, Drip(whole)]
    answer = await gateway.ask(request())
    assert bytes(answer.content) == b"a" * 200 + b"b" * 200


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("framing", ["length", "chunked", "closing"])
async def test_a_large_answer_arrives_whole(lab: Lab, framing: str, *, tls: bool) -> None:
    """Several megabytes, in each framing."""
    gateway = await lab.gateway(tls=tls)
    piece = bytes(range(256)) * 256
    length = b"Content-Length: %d\r\n\r\n" % (len(piece) * 50)
    chunk = b"10000\r\n" + piece + b"\r\n"
    scripts: dict[str, list[Step]] = {
        "length": [OK + length, Flood(piece, 50)],
        "chunked": [OK + CHUNKED + b"\r\n\r\n", Flood(chunk, 50), b"0\r\n\r\n"],
        "closing": [OK + b"\r\n", Flood(piece, 50), Act.FIN],
    }
    gateway.upstream.usual = [Act.WHOLE, *scripts[framing]]
    answer = await gateway.ask(request())
    assert answer.whole
    assert answer.content == piece * 50
