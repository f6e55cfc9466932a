"""Pacing between real sockets: when calls reach the API, who gets 429, and the API's own 429s."""

import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypeAlias

import aiohttp
import pytest

from proxy.admin.metrics import Metrics
from proxy.clients.rates import Rates
from proxy.forward.forwarder import Forwarder
from proxy.forward.listener import Listener
from proxy.forward.pool import Pool
from proxy.network.dialer import Dialer
from proxy.pacing import Pacer
from proxy.records import Record
from proxy.tokens.diagnosis import error_code_of, rejected_token
from tests.clock import FakeClock
from tests.e2e.process import ACCOUNTS, Api, Starter, call, configuration
from tests.gateway.client import Answer, Client, order, request, until
from tests.gateway.conftest import StubTokens
from tests.scripted import Act, ScriptedServer, reply
from tests.unit.made import settings

EXPIRED = b'{"code": 40106}'


@dataclass
class Gate:
    """A pacing proxy in front of a scripted API; its clock stands still until the test moves it."""

    upstream: ScriptedServer
    clock: FakeClock
    pacer: Pacer
    metrics: Metrics = field(default_factory=Metrics)
    tokens: StubTokens = field(default_factory=StubTokens)
    records: list[Record] = field(default_factory=list)
    port: int = 0
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        """Return a new client."""
        client = await Client.connect(("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    def leave(self) -> None:
        """Close all clients."""
        for client in self.clients:
            client.close()

    async def send(self, data: bytes, *, queued: int) -> Client:
        """Send a request on a new connection; wait until it is queued or at the API."""
        client = await self.connect()
        before = len(self.upstream.whole)
        await client.send(data)
        await until(
            lambda: self.pacer.queued == queued and (queued or len(self.upstream.whole) > before)
        )
        return client

    async def ask(self, data: bytes, method: bytes = b"GET") -> Answer:
        """Send a request on a new connection; return the answer."""
        return await (await self.connect()).ask(data, method=method)

    async def arrived(self, count: int) -> None:
        """Wait until so many requests have reached the API, and hold that there are no more."""
        await until(lambda: len(self.upstream.whole) >= count)
        await self.clock.settle()
        assert len(self.upstream.whole) == count


Gates: TypeAlias = "Callable[..., Awaitable[Gate]]"


@pytest.fixture
async def gates() -> AsyncIterator[Gates]:
    """Open gates, and close them after the test."""
    async with AsyncExitStack() as stack:

        async def opened(rate: float = 10.0, max_wait: float = 10.0) -> Gate:
            upstream = await stack.enter_async_context(ScriptedServer())
            chosen = settings(upstream={"url": f"http://127.0.0.1:{upstream.port}"})
            clock = FakeClock()
            gate = Gate(upstream, clock, Pacer(rate, max_wait, clock))
            dialer = Dialer(chosen.upstream.origin, None)
            pool = Pool(dialer, max_connections=9, connect_timeout=5, idle_timeout=30)
            stack.push_async_callback(pool.close)
            forwarder = Forwarder(
                chosen,
                gate.tokens,
                pool,
                error_code=error_code_of,
                is_token_rejected=rejected_token,
                rates=Rates(gate.pacer, max_wait, clock),
                on_throttled=gate.metrics.throttled,
            )
            listener = Listener(chosen, forwarder, gate.records.append)
            gate.port = await listener.start("127.0.0.1", 0)
            stack.callback(gate.leave)
            stack.push_async_callback(listener.close, 0)
            return gate

        yield opened


# --- the line ----------------------------------------------------------------------------------


async def test_a_burst_reaches_the_api_spread_out(gates: Gates) -> None:
    """Orders that arrive together reach the API in order, one interval apart."""
    gate = await gates(rate=10)
    clients = [await gate.send(order(content=b"%d" % number), queued=number) for number in range(4)]
    for count in range(1, 5):
        await gate.arrived(count)
        await gate.clock.advance(0.1)
    assert [bytes(received.content) for received in gate.upstream.whole] == [b"0", b"1", b"2", b"3"]
    assert [(await client.answer()).status for client in clients] == [200] * 4


async def test_a_call_that_would_wait_too_long_gets_429(gates: Gates) -> None:
    """With Retry-After and `not_sent`, at once; the connection's next request is served."""
    gate = await gates(rate=0.5, max_wait=3)
    await gate.send(order(), queued=0)
    await gate.send(order(), queued=1)
    client = await gate.send(request(), queued=1)
    answer = await client.answer()
    assert (answer.status, answer.kind) == (429, "too-many-requests")
    assert answer.proxy_error == "http_request_denied"
    assert answer.problem["outcome"] == "not_sent"
    assert answer.values(b"retry-after") == [b"4"]
    assert gate.records[-1][3] == 429
    await gate.clock.advance(4)
    assert (await client.ask(request())).status == 200
    await gate.arrived(3)


async def test_a_client_that_disconnects_makes_room(gates: Gates) -> None:
    """A client that disconnects in the queue is not sent, and the next one moves up."""
    gate = await gates(rate=10)
    await gate.send(order(content=b"first"), queued=0)
    leaving = await gate.send(order(content=b"leaving"), queued=1)
    client = await gate.send(order(content=b"last"), queued=2)
    leaving.reset()
    await until(lambda: gate.pacer.queued == 1)
    await gate.clock.advance(0.1)
    assert (await client.answer()).status == 200
    assert [bytes(received.content) for received in gate.upstream.whole] == [b"first", b"last"]
    assert [(record.status, record.attempts) for record in gate.records if record.error] == [
        (499, 0)
    ]


async def test_a_replay_waits_and_is_not_refused(gates: Gates) -> None:
    """An order sent again with a new token keeps the distance, even beyond the longest wait."""
    gate = await gates(rate=0.5, max_wait=1)
    gate.upstream.scripts.append([Act.WHOLE, reply(401, EXPIRED)])
    client = await gate.send(order(), queued=1)
    await gate.clock.advance(1.9)
    await gate.arrived(1)
    await gate.clock.advance(0.1)
    assert (await client.answer()).status == 200
    await gate.arrived(2)


async def test_a_queued_call_takes_the_current_token(gates: Gates) -> None:
    """A token that ends while a call is queued is not sent."""
    gate = await gates(rate=10)
    await gate.send(order(), queued=0)
    client = await gate.send(order(), queued=1)
    gate.tokens.lose()
    await gate.clock.advance(0.1)
    assert (await client.answer()).status == 200
    sent = [received.values(b"authorization")[0][-2:] for received in gate.upstream.whole]
    assert sent == [b"-1", b"-2"]


# --- the API's own 429s ------------------------------------------------------------------------


def error_body(code: object) -> bytes:
    """Make an error body."""
    return json.dumps({"errorCode": code, "message": "too fast"}).encode()


@pytest.mark.parametrize(
    ("content", "fields", "label"),
    [
        (error_body(42901), (), "42901"),
        (error_body("42902"), (b"Retry-After: 7",), "42902"),
        (error_body(42999), (), "other"),
        (error_body(40105), (), "other"),
        (b"<html>Too many</html>", (), "other"),
        (b"", (), "other"),
        (gzip.compress(error_body(42901), mtime=0), (b"Content-Encoding: gzip",), "42901"),
        (error_body(42901) + b" " * 100_000, (), "other"),
    ],
    ids=[
        "quota",
        "spike arrest",
        "another code",
        "a token's code",
        "html",
        "empty",
        "gzip",
        "too large to look",
    ],
)
async def test_a_429_of_the_api_passes_unchanged(
    gates: Gates, content: bytes, fields: tuple[bytes, ...], label: str
) -> None:
    """Byte for byte, sent once, counted by its code; the token stays in force."""
    gate = await gates()
    gate.upstream.scripts.append([Act.WHOLE, reply(429, content, *fields)])
    answer = await gate.ask(order())
    assert (answer.status, bytes(answer.content)) == (429, content)
    assert [
        b"%b: %b" % line for line in answer.fields if line[0].startswith((b"Retry", b"Content-E"))
    ] == list(fields)
    assert answer.proxy_error is None
    assert {code: count for code, count in gate.metrics.throttled_by_code().items() if count} == {
        label: 1
    }
    assert (gate.tokens.rejected, len(gate.upstream.whole)) == ([], 1)


async def test_a_429_to_head_is_counted_too(gates: Gates) -> None:
    """It has no content that could name a code."""
    gate = await gates()
    gate.upstream.scripts.append([Act.WHOLE, b"HTTP/1.1 429 X\r\nContent-Length: 15\r\n\r\n"])
    answer = await gate.ask(request(b"HEAD"), b"HEAD")
    assert answer.status == 429
    assert gate.metrics.throttled_by_code()["other"] == 1


# --- the whole of it ---------------------------------------------------------------------------


async def test_the_command_paces_and_reports(
    api: Api, start: Starter, http: aiohttp.ClientSession
) -> None:
    """`serve` holds to its rate; metrics and status count what the API throttled."""
    api.sandbox.fault("api_error", "42902")
    pacing = {"requests_per_second": 0.01, "max_wait_seconds": 1}
    proxy = await start.ready(configuration(api.url, pacing=pacing))
    for wait in (None, "100"):
        answer = await call(http, await proxy.url(ACCOUNTS))
        assert (answer.status, answer.fields.get("Retry-After")) == (429, wait)
    status = (await call(http, await proxy.admin_url("/status"))).json()
    assert status["throttled"] == {"42901": 0, "42902": 1, "other": 0}
    metrics = (await call(http, await proxy.admin_url("/metrics"))).text
    assert 'telenor_proxy_upstream_throttled_total{code="42902"} 1.0' in metrics
    assert "telenor_proxy_pacing_queued 0.0" in metrics
