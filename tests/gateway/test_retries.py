"""Which failures are tried again: a 401 that a new token cures, no byte sent, a safe method."""

import asyncio
import gzip
from typing import Final

import pytest

from proxy.errors import CredentialsRefused, TokenError, TokenUnavailable
from tests.gateway.client import ACCOUNTS, ORDER, ORDERS, chunks, framed, order, request, until
from tests.gateway.conftest import Gateway, Lab
from tests.scripted import Act, Script, reply

CHUNKED = b"Transfer-Encoding: chunked"
METHODS = [b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT", b"PATCH", b"DELETE"]
EXPIRED = reply(401, b'{"code": 40106, "message": "Access token expired"}')


def bearers(gateway: Gateway) -> list[int]:
    """Return the numbers of the tokens that the upstream saw, in order."""
    return [
        int(seen.values(b"authorization")[0].rpartition(b"-")[2])
        for seen in gateway.upstream.requests
    ]


CURABLE = {
    "40105": reply(401, b'{"code": 40105, "message": "Invalid access token"}'),
    "40106": EXPIRED,
    "no body": reply(401),
    "HTML": reply(401, b"<html><h1>401</h1></html>", b"Content-Type: text/html"),
    "invalid_token": reply(401, b"no", b'WWW-Authenticate: Bearer error="invalid_token"'),
    "gzip": reply(401, gzip.compress(b'{"code": 40105}'), b"Content-Encoding: gzip"),
    "chunked": b"HTTP/1.1 401 X\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunks(b'{"code": ', b"40105}"),
    "huge": reply(401, b" " * 70_000 + b'{"code": 40101}'),
    "huge and chunked": b"HTTP/1.1 401 X\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunks(*[b" " * 9000] * 20),
    "after interim": b"HTTP/1.1 103 X\r\n\r\n" + EXPIRED,
    "closing": b'HTTP/1.1 401 X\r\n\r\n{"code": 40105}',
}


@pytest.mark.parametrize(
    "raw",
    [request(), order(), request(b"POST", ORDERS, CHUNKED) + chunks(ORDER[:9], ORDER[9:])],
    ids=["get", "order", "chunked"],
)
@pytest.mark.parametrize("name", CURABLE)
async def test_a_401_that_a_new_token_cures_is_not_seen_by_the_client(
    gateway: Gateway, name: str, raw: bytes
) -> None:
    """The token is invalidated and renewed, and the request sent once more with its body."""
    end = [Act.FIN] if name == "closing" else []
    gateway.upstream.scripts.append([Act.WHOLE, CURABLE[name], *end])
    client = await gateway.connect()
    answer = await client.ask(raw)
    assert answer.status == 200
    assert (bearers(gateway), gateway.tokens.rejected) == ([1, 2], [1])
    first, second = gateway.upstream.requests
    assert (first.method, first.target) == (second.method, second.target)
    assert first.content == second.content
    assert first.fields[:-1] == second.fields[:-1]
    record = await gateway.noted()
    assert (record.attempts, record.error) == (2, None)
    assert (await client.ask(request())).status == 200
    assert bearers(gateway) == [1, 2, 2]


async def test_a_401_to_head_without_a_challenge_renews_nothing(gateway: Gateway) -> None:
    """HEAD has no content with a code, so only a challenge says that the token is bad."""
    gateway.upstream.scripts.append([Act.WHOLE, b"HTTP/1.1 401 X\r\nContent-Length: 40\r\n\r\n"])
    assert (await gateway.ask(request(b"HEAD"), method=b"HEAD")).status == 401
    assert gateway.tokens.rejected == []
    assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize("method", METHODS)
async def test_a_401_is_cured_for_every_method(gateway: Gateway, method: bytes) -> None:
    """The gateway judges the token before it passes an order on, so it may be sent again."""
    refusal = EXPIRED
    if method == b"HEAD":  # it has no content that could name a code
        refusal = reply(401, b"", b'WWW-Authenticate: Bearer error="invalid_token"')
    gateway.upstream.scripts.append([Act.WHOLE, refusal])
    assert (await gateway.ask(request(method), method=method)).status == 200
    assert bearers(gateway) == [1, 2]


INCURABLE = {
    "40101": reply(401, b'{"code": 40101, "message": "Invalid resource"}'),
    "insufficient_scope": reply(
        401, b'{"code": 40104}', b'WWW-Authenticate: Bearer error="insufficient_scope"'
    ),
    "gzip": reply(401, gzip.compress(b'{"code": 40101}'), b"Content-Encoding: gzip"),
    "chunked": b"HTTP/1.1 401 X\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b'{"code": 40101}'),
    "403": reply(403, b'{"code": 40105}'),
    "429": reply(429, b'{"code": 42901}', b"Retry-After: 5"),
    "500": reply(500, b'{"code": 50001}'),
}


@pytest.mark.parametrize("raw", [request(), order()], ids=["get", "order"])
@pytest.mark.parametrize("name", INCURABLE)
async def test_other_refusals_go_to_the_client_unchanged(
    gateway: Gateway, name: str, raw: bytes
) -> None:
    """A refusal that no new token cures makes no renewal."""
    gateway.upstream.usual = [Act.WHOLE, INCURABLE[name]]
    client = await gateway.connect()
    answer = await client.ask(raw)
    assert answer.whole
    assert answer.proxy_error is None
    if name != "chunked":
        head, _, content = INCURABLE[name].partition(b"\r\n\r\n")
        assert bytes(answer.content) == content
        assert [b"%b: %b" % line for line in answer.fields[:-1]] == head.split(b"\r\n")[1:]
    assert (bearers(gateway), gateway.tokens.rejected) == ([1], [])
    assert (await client.ask(raw)).status == answer.status


@pytest.mark.parametrize("second", [EXPIRED, reply(401), reply(401, b'{"code": 40101}')])
async def test_a_second_401_goes_to_the_client(gateway: Gateway, second: bytes) -> None:
    """The request is sent twice at most."""
    gateway.upstream.usual = [Act.WHOLE, second]
    gateway.upstream.scripts.append([Act.WHOLE, EXPIRED])
    answer = await gateway.ask(order())
    assert (answer.status, bytes(answer.content)) == (401, second.partition(b"\r\n\r\n")[2])
    assert bearers(gateway) == [1, 2]


async def test_a_token_that_stays_in_force_is_not_tried_twice(gateway: Gateway) -> None:
    """When the keeper gives no other token, the 401 goes to the client."""
    gateway.tokens.stubborn = True
    gateway.upstream.usual = [Act.WHOLE, EXPIRED]
    assert (await gateway.ask(order())).status == 401
    assert bearers(gateway) == [1]


@pytest.mark.parametrize(
    ("size", "times"), [(0, 2), (1, 2), (99, 2), (100, 2), (101, 1), (5000, 1)]
)
@pytest.mark.parametrize("chunked", [True, False])
async def test_only_what_was_kept_is_sent_again(
    lab: Lab, size: int, times: int, *, chunked: bool
) -> None:
    """A body beyond `max_replay_bytes` gets its 401, and the next request a new token."""
    gateway = await lab.gateway(limits__max_replay_bytes=100)
    gateway.upstream.scripts.append([Act.WHOLE, EXPIRED])
    content = b"x" * size
    answer = await gateway.ask(framed(content, chunked=chunked))
    assert answer.status == (200 if times == 2 else 401)
    assert [bytes(seen.content) for seen in gateway.upstream.requests] == [content] * times
    assert gateway.tokens.rejected == [1]
    assert (await gateway.ask(order(content=b""))).status == 200
    assert bearers(gateway)[-1] == 2


@pytest.mark.parametrize("raw", [request(), order(), order(content=b"")])
async def test_sending_again_can_be_turned_off(lab: Lab, raw: bytes) -> None:
    """With `max_replay_bytes` 0 every 401 goes to the client; the token is renewed all the same."""
    gateway = await lab.gateway(limits__max_replay_bytes=0)
    gateway.upstream.scripts.append([Act.WHOLE, EXPIRED])
    assert (await gateway.ask(raw)).status == 401
    assert (await gateway.ask(raw)).status == 200
    assert bearers(gateway) == [1, 2]


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_early_401_is_cured_while_the_body_arrives(
    gateway: Gateway, *, chunked: bool
) -> None:
    """The part that has arrived is sent again, and the rest follows."""
    gateway.cut_short = 1
    gateway.upstream.scripts.append([EXPIRED])
    client = await gateway.connect()
    pieces = [b"first ", b"second ", b"third"]
    framing = CHUNKED if chunked else b"Content-Length: 18"
    if chunked:
        pieces = [chunks(pieces[0])[:-5], chunks(pieces[1])[:-5], chunks(pieces[2])]
    await client.send(request(b"POST", ORDERS, framing) + pieces[0])
    await until(lambda: len(gateway.upstream.requests) == 2)
    answer = await client.ask(*pieces[1:])
    assert (answer.status, answer.whole) == (200, True)
    assert bytes(gateway.upstream.requests[1].content) == b"first second third"
    assert bearers(gateway) == [1, 2]
    assert (await client.ask(request())).status == 200


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("more", [4, 5, 6, 100])
async def test_a_body_that_grows_while_a_token_is_awaited_is_never_sent_in_part(
    lab: Lab, more: int, *, chunked: bool
) -> None:
    """The second sending begins at the first byte, or does not take place."""
    gateway = await lab.gateway(limits__max_replay_bytes=10)
    gateway.cut_short = None
    gateway.upstream.scripts.append([EXPIRED])
    gateway.tokens.gate = asyncio.Event()
    content = b"01234" + b"x" * more
    client = await gateway.connect()
    framing = CHUNKED if chunked else b"Content-Length: %d" % len(content)
    await client.send(
        request(b"POST", ORDERS, framing) + (b"5\r\n01234\r\n" if chunked else b"01234")
    )
    await until(lambda: gateway.tokens.waiting or gateway.records)
    rest = content[5:]
    await client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (more, rest) if chunked else rest)
    await asyncio.sleep(0.01)
    gateway.tokens.gate.set()
    answer = await client.answer()
    assert answer.status == 200
    assert {bytes(seen.content) for seen in gateway.upstream.whole} == {content}


async def test_a_body_that_breaks_after_an_early_401_is_never_sent(gateway: Gateway) -> None:
    """A fault in the body counts for the second sending too."""
    gateway.cut_short = None
    opened = asyncio.Event()
    gateway.upstream.scripts.append([b"HTTP/1.1 401 X\r\nContent-Length: 2\r\n\r\n{", opened, b"}"])
    client = await gateway.begin(request(b"POST", ORDERS, CHUNKED) + b"3\r\nabc\r\n", whole=False)
    await asyncio.sleep(0.01)
    await client.send(b"nonsense\r\n3\r\ndef\r\n0\r\n\r\n")
    await asyncio.sleep(0.01)
    opened.set()
    answer = await client.answer()
    assert (answer.status, answer.kind) == (400, "malformed-request")
    assert not gateway.upstream.whole


async def test_a_kept_expectation_is_answered_once(gateway: Gateway) -> None:
    """The client gets one `100 Continue`, although its request is sent twice."""
    gateway.cut_short = 1
    gateway.upstream.scripts.append([EXPIRED])
    client = await gateway.connect()
    await client.send(request(b"POST", ORDERS, b"Expect: 100-continue", b"Content-Length: 5"))
    await until(lambda: len(gateway.upstream.requests) == 2)
    answer = await client.ask(b"hello")
    assert (answer.status, answer.interim) == (200, [(100, [])])
    assert bytes(gateway.upstream.requests[1].content) == b"hello"


@pytest.mark.parametrize(
    ("failure", "retry_after"),
    [
        (TokenUnavailable("timeout", "The token endpoint was silent.", retry_after=7), b"7"),
        (CredentialsRefused("refused", "The password is wrong.", code="20", retry_after=30), b"30"),
    ],
)
@pytest.mark.parametrize("rejected", [True, False])
async def test_without_a_token_nothing_is_sent(
    gateway: Gateway, failure: TokenError, retry_after: bytes, *, rejected: bool
) -> None:
    """503 with a reason and Retry-After; an order that met a 401 was not placed either."""
    gateway.tokens.failure = failure
    if rejected:
        gateway.upstream.usual = [Act.WHOLE, EXPIRED]
    else:
        gateway.tokens.lose()
    answer = await gateway.ask(order())
    assert (answer.status, answer.kind) == (503, "no-token")
    assert answer.problem["detail"] == failure.detail
    assert answer.problem["outcome"] == "not_sent"
    assert answer.values(b"retry-after") == [retry_after]
    assert len(gateway.upstream.requests) == rejected


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_order_that_was_not_sent_costs_no_connection(
    gateway: Gateway, *, chunked: bool
) -> None:
    """Its content has been read, so the connection goes on."""
    gateway.tokens.failure = TokenUnavailable("timeout", "The token endpoint was silent.")
    gateway.tokens.lose()
    client = await gateway.connect()
    for _ in range(2):
        answer = await client.ask(framed(ORDER, chunked=chunked))
        assert (answer.status, answer.values(b"connection")) == (503, [])


async def test_a_request_waits_for_a_token(gateway: Gateway) -> None:
    """A request that arrives before the first token is served after it."""
    gateway.tokens.lose()
    gateway.tokens.gate = asyncio.Event()
    asking = [asyncio.create_task(gateway.ask(order())) for _ in range(5)]
    await until(lambda: gateway.tokens.waiting == 5)
    assert not gateway.upstream.connections
    gateway.tokens.gate.set()
    assert [answer.status for answer in await asyncio.gather(*asking)] == [200] * 5
    assert all(record.token_seconds > 0 for record in gateway.records)


async def test_many_stale_connections_cost_no_order(gateway: Gateway) -> None:
    """The first order is sent once, even if all of the pool is stale."""
    opened = [gateway.upstream.hold(reply(200)) for _ in range(20)]
    asking = [asyncio.create_task(gateway.ask(request())) for _ in opened]
    await until(lambda: len(gateway.upstream.requests) == 20)
    for each in opened:
        each.set()
    await asyncio.gather(*asking)
    assert gateway.pool.connections == (0, 20)
    for connection in gateway.upstream.connections:
        await connection.start([Act.FIN])
    assert (await gateway.ask(order())).status == 200
    assert [seen.method for seen in gateway.upstream.requests].count(b"POST") == 1


@pytest.mark.parametrize(("size", "times"), [(10, 2), (11, 1)])
async def test_a_safe_request_with_a_body_is_sent_again_if_it_was_kept(
    lab: Lab, size: int, times: int
) -> None:
    """A body beyond `max_replay_bytes` is not."""
    gateway = await lab.gateway(limits__max_replay_bytes=10)
    gateway.upstream.scripts.append([Act.WHOLE, Act.FIN])
    answer = await gateway.ask(request(b"GET", ACCOUNTS, content=b"x" * size))
    assert answer.status == (200 if times == 2 else 502)
    assert [len(seen.content) for seen in gateway.upstream.requests] == [size] * times


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_an_answer_that_has_begun_forbids_another_try(gateway: Gateway, begun: bytes) -> None:
    """The first byte of an answer, even of an interim one, says that the request has arrived."""
    gateway.upstream.usual = [Act.WHOLE, begun, Act.FIN]
    answer = await gateway.ask(request())
    assert (answer.status, answer.kind) == (502, "upstream-broke-off")
    assert len(gateway.upstream.requests) == 1


async def test_the_upstream_s_time_does_not_run_while_the_client_sends(lab: Lab) -> None:
    """The response timeout begins when the request is whole."""
    gateway = await lab.gateway(upstream__response_timeout_seconds=0.1)
    client = await gateway.connect()
    await client.send(request(b"POST", ORDERS, b"Content-Length: 10") + b"01234")
    await asyncio.sleep(0.25)
    assert (await client.ask(b"56789")).status == 200


LOST: Final[Script] = [Act.WHOLE, Act.FIN]
REJECTED: Final[Script] = [Act.WHOLE, EXPIRED]


@pytest.mark.parametrize(
    ("raw", "scripts", "outcome"),
    [
        (request(), [LOST, REJECTED], None),
        (request(), [REJECTED, LOST], None),
        (order(), [REJECTED, LOST], "unknown"),
    ],
)
async def test_a_lost_connection_and_a_401_are_two_things(
    gateway: Gateway, raw: bytes, scripts: list[Script], outcome: str | None
) -> None:
    """Each is tried again once for a safe request; an order may have been acted on."""
    gateway.upstream.scripts.extend(scripts)
    answer = await gateway.ask(raw)
    assert answer.status == (502 if outcome else 200)
    assert (answer.problem["outcome"] if outcome else None) == outcome
    assert len(gateway.upstream.requests) == (2 if outcome else 3)


async def test_a_request_that_was_sent_before_is_not_called_unsent(gateway: Gateway) -> None:
    """When the second try finds no connection, the first one may have been acted on."""
    gateway.upstream.usual = [Act.WHOLE, Act.FIN]
    opened = gateway.upstream.hold(Act.FIN)
    client = await gateway.begin(request())
    await gateway.upstream.stop_listening()
    opened.set()
    answer = await client.answer()
    assert (answer.status, answer.proxy_error) == (502, "connection_refused")
    assert answer.problem["outcome"] == "unknown"


@pytest.mark.parametrize(
    ("raw", "outcome"), [(order(), "not_sent"), (request(), "unknown")], ids=["order", "get"]
)
async def test_a_shutdown_after_a_401_names_the_right_outcome(
    gateway: Gateway, raw: bytes, outcome: str
) -> None:
    """The API refused the order, so it was not placed; a GET does no harm when sent again."""
    gateway.tokens.gate = asyncio.Event()
    gateway.upstream.scripts.append([Act.WHOLE, reply(401, b"")])
    client = await gateway.begin(raw, whole=False)
    await until(lambda: gateway.tokens.waiting)
    assert await gateway.listener.close(0) == 1
    answer = await client.answer()
    assert (answer.kind, answer.problem["outcome"]) == ("draining", outcome)
    assert "look it up" not in answer.problem["detail"]


async def test_an_order_whose_401_was_not_cured_was_not_placed(gateway: Gateway) -> None:
    """If no new connection can be made after a 401, nothing was acted on."""
    opened = gateway.upstream.hold(reply(401, b"", b"Connection: close"), Act.FIN)
    client = await gateway.begin(order())
    await gateway.upstream.stop_listening()
    opened.set()
    answer = await client.answer()
    assert (answer.status, answer.proxy_error) == (502, "connection_refused")
    assert answer.problem["outcome"] == "not_sent"


@pytest.mark.parametrize(("padding", "sendings"), [(10, 2), (5000, 1)])
async def test_only_the_beginning_of_a_challenge_is_searched(
    gateway: Gateway, padding: int, sendings: int
) -> None:
    """Searching all of a long `WWW-Authenticate` would block the event loop for a second."""
    challenge = b'WWW-Authenticate: Bearer realm="%b", error="invalid_token"' % (b"x" * padding)
    gateway.upstream.scripts.append([reply(401, b'{"code": 40101}', challenge)])
    await gateway.ask(order())
    assert len(gateway.upstream.requests) == sendings
