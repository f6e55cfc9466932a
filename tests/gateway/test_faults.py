"""Faults of the upstream that are not in the matrix of tests/reliability/test_api_faults.py.

The methods that the matrix does not play, and the rows that only a raw upstream can play.
"""

from typing import Final

import pytest

from tests.gateway.client import ACCOUNTS, Answer, order, request
from tests.gateway.conftest import Gateway, Lab
from tests.ports import held_port
from tests.scripted import Act, Steps, reply

SAFE: Final = {b"GET", b"HEAD", b"OPTIONS"}
#: Silence that ends the waiting, in the rows whose fault it is.
STALL: Final = 0.15  # seconds
OK: Final = b"HTTP/1.1 200 OK\r\n"
TERMINATED: Final = (502, "connection_terminated")


async def failed(gateway: Gateway, method: bytes) -> Answer:
    """Make one call, with a body where that is usual, and hold what is true of each failure."""
    content = None if method in SAFE else b"{}"
    answer = await gateway.ask(request(method, ACCOUNTS, content=content), method=method)
    assert answer.whole
    assert answer.values(b"content-type") == [b"application/problem+json"]
    record = await gateway.noted()
    assert (record.status, record.error) == (answer.status, answer.proxy_error)
    assert not record.refused
    return answer


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS", b"PUT", b"PATCH", b"DELETE"])
@pytest.mark.parametrize(
    ("steps", "status", "error", "is_repeated"),
    [
        (None, 502, "connection_refused", False),
        ([Act.WHOLE, Act.FIN], *TERMINATED, True),
        ([Act.WHOLE, OK + b"X: 1\r\n", Act.RST], *TERMINATED, False),
        ([Act.WHOLE, b"\x00\x01garbage\r\n\r\n"], 502, "http_protocol_error", False),
        ([Act.WHOLE], 504, "http_response_timeout", False),
    ],
    ids=["refused", "closed", "reset inside the head", "garbage", "silence"],
)
async def test_other_methods(
    lab: Lab,
    steps: Steps | None,
    status: int,
    error: str,
    is_repeated: bool,  # noqa: FBT001 # a table's column
    method: bytes,
) -> None:
    """HEAD and OPTIONS are safe, so they may be sent twice; the others are handled like orders."""
    gateway = await lab.gateway(upstream__response_timeout_seconds=STALL if status == 504 else 60)
    if steps is None:
        await gateway.upstream.stop_listening()
    else:
        gateway.upstream.usual = steps
    answer = await failed(gateway, method)
    assert (answer.status, answer.proxy_error) == (status, error)
    if method != b"HEAD":
        assert answer.problem["outcome"] == ("not_sent" if steps is None else "unknown")
    sent = 0 if steps is None else 1 + (is_repeated and method in SAFE)
    assert len(gateway.upstream.requests) == sent
    if steps is not None:
        gateway.upstream.usual = [Act.WHOLE, reply(200)]
        assert (await gateway.ask(order())).status == 200


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_refused_by_all_addresses(lab: Lab, method: bytes) -> None:
    """A name with several addresses that all refuse the connection."""
    with held_port() as held:
        gateway = await lab.gateway(url=f"http://localhost:{held.getsockname()[1]}")
        answer = await failed(gateway, method)
    assert (answer.status, answer.proxy_error) == (502, "connection_refused")
    assert answer.problem["outcome"] == "not_sent"


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_tls_where_plain_http_is_expected(lab: Lab, method: bytes) -> None:
    """An upstream that wants TLS ends a plain connection without an HTTP answer."""
    upstream = await lab.upstream(lab.certificates.good)
    gateway = await lab.gateway(url=f"http://127.0.0.1:{upstream.port}")
    answer = await failed(gateway, method)
    assert answer.status == 502
    assert answer.proxy_error in {"connection_terminated", "http_protocol_error"}
    assert answer.problem["outcome"] == "unknown"


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_cut_without_close_notify_before_an_answer(lab: Lab, method: bytes) -> None:
    """Before an answer, it is like the close of a connection."""
    gateway = await lab.gateway(tls=True)
    gateway.upstream.usual = [Act.WHOLE, Act.CUT]
    answer = await failed(gateway, method)
    assert (answer.status, answer.proxy_error) == TERMINATED
    assert answer.problem["outcome"] == "unknown"
    assert len(gateway.upstream.requests) == (2 if method == b"GET" else 1)
