"""Random bytes of a client through the real listener: h11 reads the same requests on both sides.

The law and the generator are those of tests/fuzz, which searches the pure parts without sockets.
"""

import re

import h11
import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import grammar, readers
from tests.fuzz.grammar import Traffic
from tests.gateway.client import Gone
from tests.gateway.conftest import Gateway, Lab
from tests.scripted import Act, reply

_LOCALHOST = re.compile(rb"\A[Hh][Tt][Tt][Pp]://localhost(?=/)")


@pytest.fixture
async def gateway(lab: Lab) -> Gateway:
    """Build a gateway that allows any path, and answers each call with 204."""
    made = await lab.gateway(upstream__allowed_paths="/")
    made.cut_short = None
    made.upstream.usual = [Act.WHOLE, reply(204)]
    return made


def read(raw: bytes) -> tuple[list[tuple[bytes, bytes, bytes]], bool]:
    """Return the requests that h11 reads (method, target, content), and whether it read them all.

    It has not if it refuses what is well-formed. Unlike h11, a server ignores empty lines before a
    request (RFC 9112 section 2.2).
    """
    found: list[tuple[bytes, bytes, bytes]] = []
    while raw := raw.lstrip(b"\r\n") if raw.startswith(b"\r\n") else raw:
        try:
            reading = readers.request_by_h11(raw)
        except h11.RemoteProtocolError:
            return found, not readers.is_h11_stricter(raw)
        if reading is None:
            break
        method, target = reading.first
        found.append((method, _LOCALHOST.sub(b"", target), reading.content))
        raw = raw[len(raw) - reading.left :]
    return found, True


@pytest.mark.timeout(300)  # 300 examples, on a busy machine too
@settings(
    max_examples=300, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(traffic=grammar.requests())
async def test_two_parsers_read_the_same(gateway: Gateway, traffic: Traffic) -> None:
    """Each whole request upstream is, in its turn, one that h11 reads; each has one answer."""
    before = len(gateway.upstream.whole)
    client = await gateway.connect()
    try:
        await client.send(*traffic.segments())
        client.half_close()
    except OSError:  # refused, and closed, before all was sent
        pass
    expected, is_all = read(traffic.data)
    served = refused = 0
    rest = b""
    try:
        while True:
            method = expected[served][0] if served < len(expected) else b"GET"
            answer = await client.answer(method)
            if answer.proxy_error is None:
                assert not refused, "an answer behind a refusal"
                served += 1
            else:
                refused += 1
    except Gone as gone:
        rest = gone.data
    client.close()
    whole = gateway.upstream.whole[before:]
    seen = [(each.method, each.target, bytes(each.content)) for each in whole]
    assert len(seen) <= len(expected) or not is_all
    assert all(one == other for one, other in zip(seen, expected, strict=False))
    # On TLS the client's end is the end of the connection, and calls under way are not answered.
    assert served == len(seen) or (gateway.trust is not None and served < len(seen))
    assert refused <= 1
    assert not rest


def test_the_reader_reads_as_it_should() -> None:
    """The law above would hold of a reader that reads nothing."""
    raw = b"GET http://localhost/corporate-accounts/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert read(raw * 2) == ([(b"GET", b"/corporate-accounts/x", b"")] * 2, True)
