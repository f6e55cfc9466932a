"""What a fault of the upstream means on the wire: for each method, over TLS, and to the byte.

The matrix of all faults, with the state of the token and what is placed, is
tests/reliability/test_api_faults.py. Here are the methods that are not in it, what is different
over TLS, and the rows that only a raw upstream can play.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.gateway.client import ACCOUNTS, order, request, until
from tests.reliability.road import black_hole
from tests.scripted import Act, Drip, reply

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from tests.gateway.client import Answer
    from tests.gateway.conftest import Gateway, Lab
    from tests.scripted import Step

METHODS: Final = [b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT", b"PATCH", b"DELETE"]
SAFE: Final = {b"GET", b"HEAD", b"OPTIONS"}
#: Silence that ends the waiting, in the rows whose fault it is.
STALL: Final = 0.15  # seconds


def raw_of(method: bytes) -> bytes:
    """Return a request with this method, with a body where that is usual."""
    return request(method, ACCOUNTS, content=None if method in SAFE else b"{}")


async def failed(gateway: Gateway, method: bytes) -> Answer:
    """Make one call, and hold what is true of each failure."""
    client = await gateway.connect()
    await client.send(raw_of(method))
    answer = await client.answer(method)
    assert answer.whole
    assert answer.values(b"content-type") == [b"application/problem+json"]
    await until(lambda: gateway.records)
    record = gateway.records[-1]
    assert (record.status, record.error, record.refused) == (
        answer.status,
        answer.proxy_error,
        False,
    )
    return answer


# --- No connection: nothing was sent, whatever the method --------------------------------------


@pytest.mark.parametrize("method", METHODS)
async def test_refused(lab: Lab, method: bytes) -> None:
    """No one listens."""
    gateway = await lab.gateway()
    await gateway.upstream.stop_listening()
    answer = await failed(gateway, method)
    assert (answer.status, answer.proxy_error) == (502, "connection_refused")
    assert method == b"HEAD" or answer.problem["outcome"] == "not_sent"


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_refused_by_all_addresses(lab: Lab, method: bytes) -> None:
    """A name with several addresses that all refuse is refused, too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gateway = await lab.gateway(url=f"http://localhost:{free.getsockname()[1]}")
        answer = await failed(gateway, method)
    assert (answer.status, answer.proxy_error, answer.problem["outcome"]) == (
        502,
        "connection_refused",
        "not_sent",
    )


@pytest.mark.parametrize("method", METHODS)
async def test_a_black_hole(lab: Lab, method: bytes) -> None:
    """Nobody answers the connection."""
    with black_hole() as port:
        gateway = await lab.gateway(
            url=f"http://127.0.0.1:{port}", upstream__connect_timeout_seconds=STALL
        )
        answer = await failed(gateway, method)
    assert (answer.status, answer.proxy_error) == (504, "connection_timeout")
    assert method == b"HEAD" or answer.problem["outcome"] == "not_sent"


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("which", ["expired", "wrong_host", "untrusted"])
async def test_a_certificate_that_proves_nothing(lab: Lab, which: str, method: bytes) -> None:
    """Not a byte of a request goes to who cannot prove to be the upstream."""
    context: ssl.SSLContext = getattr(lab.certificates, which)
    gateway = await lab.gateway(tls=context)
    answer = await failed(gateway, method)
    assert (answer.status, answer.kind, answer.proxy_error) == (
        502,
        "upstream-not-trusted",
        "tls_certificate_error",
    )
    assert answer.problem["outcome"] == "not_sent"
    assert "upstream.ca_file" in answer.problem["detail"]
    assert not any(connection.received for connection in gateway.upstream.connections)


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize(
    ("greeting", "status", "error"),
    [
        ([b"220 mail.example ESMTP\r\n"], 502, "tls_protocol_error"),
        ([Act.RST], 502, "connection_terminated"),
        ([], 504, "connection_timeout"),
    ],
    ids=["smtp", "reset", "silence"],
)
async def test_no_tls_where_it_should_be(
    lab: Lab, greeting: Sequence[Step], status: int, error: str, method: bytes
) -> None:
    """What is not TLS, breaks off in the handshake, or stalls in it, gets nothing."""
    upstream = await lab.upstream()
    upstream.greeting = greeting
    gateway = await lab.gateway(
        url=f"https://127.0.0.1:{upstream.port}",
        upstream__connect_timeout_seconds=STALL if status == 504 else 5,
    )
    answer = await failed(gateway, method)
    assert (answer.status, answer.proxy_error, answer.problem["outcome"]) == (
        status,
        error,
        "not_sent",
    )
    assert not any(b"Bearer" in connection.received for connection in upstream.connections)


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_tls_where_it_should_not_be(lab: Lab, method: bytes) -> None:
    """An upstream that wants TLS ends a plain connection without an HTTP answer."""
    upstream = await lab.upstream(lab.certificates.good)
    gateway = await lab.gateway(url=f"http://127.0.0.1:{upstream.port}")
    answer = await failed(gateway, method)
    assert answer.status == 502
    assert answer.proxy_error in {"connection_terminated", "http_protocol_error"}
    assert answer.problem["outcome"] == "unknown"


# --- A connection, and no whole answer ---------------------------------------------------------


class Fault(NamedTuple):
    """What the upstream does to a request, and what the client gets.

    `again`: a safe request is sent once more.
    """

    steps: list[Step]
    status: int
    error: str
    again: bool = False


OK = b"HTTP/1.1 200 OK\r\n"

BEFORE_AN_ANSWER: dict[str, Fault] = {
    "closed at the head": Fault([Act.FIN], 502, "connection_terminated", again=True),
    "reset at the head": Fault([Act.RST], 502, "connection_terminated", again=True),
    "closed before an answer": Fault(
        [Act.WHOLE, Act.FIN], 502, "connection_terminated", again=True
    ),
    "half-closed before an answer": Fault(
        [Act.WHOLE, Act.HALF], 502, "connection_terminated", again=True
    ),
    "reset before an answer": Fault([Act.WHOLE, Act.RST], 502, "connection_terminated", again=True),
    "closed inside the status line": Fault(
        [Act.WHOLE, b"HTTP/1.1 2", Act.FIN], 502, "connection_terminated"
    ),
    "reset inside the status line": Fault(
        [Act.WHOLE, b"HTTP/1.1 2", Act.RST], 502, "connection_terminated"
    ),
    "closed inside the head": Fault(
        [Act.WHOLE, OK + b"X: 1\r\n", Act.FIN], 502, "connection_terminated"
    ),
    "reset inside the head": Fault(
        [Act.WHOLE, OK + b"X: 1\r\n", Act.RST], 502, "connection_terminated"
    ),
    "closed after an interim answer": Fault(
        [Act.WHOLE, b"HTTP/1.1 102 X\r\n\r\n", Act.FIN], 502, "connection_terminated"
    ),
    "garbage": Fault([Act.WHOLE, b"\x00\x01garbage\r\n\r\n"], 502, "http_protocol_error"),
    "garbage drop by drop": Fault(
        [Act.WHOLE, Drip(b"gar\r\nbage\r\n\r\n")], 502, "http_protocol_error"
    ),
    "garbage after an interim answer": Fault(
        [Act.WHOLE, b"HTTP/1.1 102 X\r\n\r\nx"], 502, "http_protocol_error"
    ),
    "two lengths": Fault(
        [Act.WHOLE, OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
        502,
        "http_protocol_error",
    ),
    "silence": Fault([Act.WHOLE], 504, "http_response_timeout"),
    "silence from the head on": Fault([], 504, "http_response_timeout"),
    "silence inside the status line": Fault(
        [Act.WHOLE, b"HTTP/1.1 2"], 504, "http_response_timeout"
    ),
    "silence inside the head": Fault([Act.WHOLE, OK + b"X: 1\r\n"], 504, "http_response_timeout"),
    "silence after an interim answer": Fault(
        [Act.WHOLE, b"HTTP/1.1 102 X\r\n\r\n"], 504, "http_response_timeout"
    ),
}


#: One in which a safe request is sent again, and one of each kind in which it is not.
ONE_OF_EACH: Final = ["closed before an answer", "reset inside the head", "garbage", "silence"]


@pytest.mark.parametrize("pooled", [False, True], ids=["new", "pooled"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ONE_OF_EACH)
async def test_a_fault_before_an_answer(
    lab: Lab, name: str, method: bytes, *, pooled: bool
) -> None:
    """The client is told what happened and whether its request may have been acted on.

    A safe one may be sent twice, an order never.
    """
    fault = BEFORE_AN_ANSWER[name]
    gateway = await lab.gateway(
        upstream__response_timeout_seconds=STALL if fault.status == 504 else 60
    )
    gateway.cut_short = None
    if pooled:
        assert (await gateway.ask(request())).status == 200
    before = len(gateway.upstream.requests)
    gateway.upstream.usual = fault.steps
    answer = await failed(gateway, method)
    assert (answer.status, answer.proxy_error) == (fault.status, fault.error)
    if method != b"HEAD":
        assert answer.problem["outcome"] == "unknown"
        assert ("may or may not have been placed" in answer.problem["detail"]) == (
            method not in SAFE
        )
    assert len(gateway.upstream.requests) - before == (2 if fault.again and method in SAFE else 1)
    gateway.upstream.usual = [Act.WHOLE, reply(200)]
    assert (await gateway.ask(order())).status == 200


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize(
    "name", [name for name, fault in BEFORE_AN_ANSWER.items() if Act.HALF not in fault.steps]
)
async def test_a_fault_before_an_answer_on_tls(lab: Lab, name: str, method: bytes) -> None:
    """On TLS the same faults mean the same."""
    fault = BEFORE_AN_ANSWER[name]
    gateway = await lab.gateway(
        tls=lab.certificates.good,
        upstream__response_timeout_seconds=STALL if fault.status == 504 else 60,
    )
    gateway.cut_short = None
    gateway.upstream.usual = fault.steps
    answer = await failed(gateway, method)
    assert (answer.status, answer.proxy_error, answer.problem["outcome"]) == (
        fault.status,
        fault.error,
        "unknown",
    )
    assert len(gateway.upstream.requests) == (2 if fault.again and method in SAFE else 1)


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_cut_without_close_notify_before_an_answer(lab: Lab, method: bytes) -> None:
    """A TLS connection that is cut before an answer is one that closed without an answer."""
    gateway = await lab.gateway(tls=lab.certificates.good)
    gateway.upstream.usual = [Act.WHOLE, Act.CUT]
    answer = await failed(gateway, method)
    assert (answer.status, answer.proxy_error, answer.problem["outcome"]) == (
        502,
        "connection_terminated",
        "unknown",
    )
    assert len(gateway.upstream.requests) == (2 if method == b"GET" else 1)


INSIDE_AN_ANSWER: dict[str, Fault] = {
    "closed after the head": Fault(
        [Act.WHOLE, OK + b"Content-Length: 9\r\n\r\n", Act.FIN], 200, "connection_terminated"
    ),
    "reset after the head": Fault(
        [Act.WHOLE, OK + b"Content-Length: 9\r\n\r\n", Act.RST], 200, "connection_terminated"
    ),
    "closed inside the body": Fault(
        [Act.WHOLE, reply(200, b"abc" * 9)[:-5], Act.FIN], 200, "connection_terminated"
    ),
    "reset inside the body": Fault(
        [Act.WHOLE, reply(200, b"abc" * 9)[:-5], Act.RST], 200, "connection_terminated"
    ),
    "closed inside a chunk": Fault(
        [Act.WHOLE, OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc", Act.FIN],
        200,
        "connection_terminated",
    ),
    "closed before the last chunk": Fault(
        [Act.WHOLE, OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", Act.FIN],
        200,
        "connection_terminated",
    ),
    "silence after the head": Fault(
        [Act.WHOLE, OK + b"Content-Length: 9\r\n\r\n"], 200, "http_response_timeout"
    ),
    "silence inside the body": Fault(
        [Act.WHOLE, reply(200, b"abc" * 9)[:-5]], 200, "http_response_timeout"
    ),
    "silence inside a chunk": Fault(
        [Act.WHOLE, OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc"],
        200,
        "http_response_timeout",
    ),
    "silence before the last chunk": Fault(
        [Act.WHOLE, OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
        200,
        "http_response_timeout",
    ),
}


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("name", INSIDE_AN_ANSWER)
async def test_a_fault_inside_an_answer(lab: Lab, name: str, method: bytes) -> None:
    """A broken answer is cut, never ended, and never tried again.

    There is no second head behind the first.
    """
    fault = INSIDE_AN_ANSWER[name]
    gateway = await lab.gateway(
        upstream__response_timeout_seconds=STALL if "silence" in name else 60
    )
    gateway.upstream.usual = fault.steps
    client = await gateway.connect()
    await client.send(raw_of(method))
    answer = await client.answer(method)
    assert (answer.status, answer.whole, client.ended) == (200, False, "rst")
    assert client.received.count(b"HTTP/1.1 ") == 1
    await until(lambda: gateway.records)
    assert (gateway.record.status, gateway.record.error) == (200, fault.error)
    assert len(gateway.upstream.requests) == 1


# --- Many connections that end -----------------------------------------------------------------


async def test_a_hundred_calls_while_connections_come_and_go(lab: Lab) -> None:
    """An upstream that ends each connection after a few answers costs no call."""
    gateway = await lab.gateway(upstream__max_connections=7)
    served = 0

    def script(_: object) -> Sequence[Step]:
        nonlocal served
        served += 1
        return [Act.WHOLE, reply(200, b"x"), *([Act.FIN] if served % 3 == 0 else [])]

    gateway.upstream.usual = script
    for _ in range(10):
        answers = await asyncio.gather(*[gateway.ask(request()) for _ in range(10)])
        assert [answer.status for answer in answers] == [200] * 10
