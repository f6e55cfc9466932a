"""Whatever bytes a client sends.

What reaches the upstream is what h11, which shares no code with the proxy, reads on the client's
side.

The law: a request is refused and does not reach the upstream whole, or it reaches it as the one
request that another parser sees as well. Two parsers that disagree on where a request ends are what
request smuggling is made of.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.client import ACCOUNTS, ORDERS, Gone, chunks, order, request
from tests.scripted import Act, reply

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway

METHODS: Final = [
    b"GET",
    b"POST",
    b"PUT",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"PATCH",
    b"TRACE",
    b"get",
    b"CONNECT",
]
TARGETS: Final = [
    ACCOUNTS,
    ORDERS,
    b"/corporate-accounts/a?b=%2e%2e/#".rstrip(b"#"),
    b"/corporate-accounts/../oauth/v2/token",
    b"/oauth/v2/token",
    b"http://localhost/corporate-accounts/x",
    b"http://elsewhere.example/corporate-accounts/x",
    b"*",
]
LINES: Final = [
    b"Host: localhost",
    b"Host: elsewhere.example",
    b"Accept: */*",
    b"Authorization: Bearer of-the-client",
    b"Connection: close",
    b"Connection: keep-alive, authorization, content-length",
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Content-Length: 7",
    b"content-length: 5",
    b"Content-Length : 5",
    b"Content-Length: +5",
    b"Transfer-Encoding: chunked",
    b"transfer-encoding: Chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity",
    b"Transfer_Encoding: chunked",
    b"X-A: 1\r\n Transfer-Encoding: chunked",
    b"X-A: 1\nContent-Length: 9",
    b"Upgrade: h2c",
    b"X-Bytes: \xe6\xf8\xe5",
]
BODIES: Final = [
    b"",
    b"hello",
    b"hello!!",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"5\nhello\n0\n\n",
    b"GET /corporate-accounts/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
]
#: What a mutation puts somewhere. No semicolon: h11 refuses the whitespace that RFC 9112 section
#: 7.1.1 allows before a chunk extension.
SPECKS: Final = [
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b":",
    b",",
    b"0",
    b"5",
    b"\x00",
    b"\xff",
    b"A",
    b"/",
    b"%",
    b"\x0b",
]


#: Requests that may pass, each with a body that ends where it should.
GOOD: Final = [
    request(),
    request(b"HEAD"),
    request(
        b"DELETE",
        ACCOUNTS,
        b"Connection: keep-alive, authorization",
        b"Authorization: Basic of-the-client",
    ),
    request(b"GET", b"http://localhost/corporate-accounts/x"),
    request(b"GET", ACCOUNTS, b"Connection: keep-alive", version=b"1.0"),
    request(b"GET", ACCOUNTS, b"Upgrade: h2c", b"Connection: Upgrade"),
    order(),
    order(content=b""),
    order(content=b"GET /corporate-accounts/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    order(b"Transfer_Encoding: chunked"),
    request(b"PUT", ORDERS, b"Transfer-Encoding: chunked") + chunks(b"hello", b"\r\n0\r\n\r\n"),
    request(b"POST", ORDERS, b"transfer-encoding: Chunked")
    + b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n",
    request(b"GET", ACCOUNTS, b"Transfer-Encoding: chunked") + chunks(),
]


@st.composite
def odd_requests(draw: st.DrawFn) -> bytes:
    """Put together a request of parts that may contradict each other."""
    lines = draw(st.lists(st.sampled_from(LINES), max_size=3))
    version = draw(st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0"]))
    start = b" ".join([draw(st.sampled_from(METHODS)), draw(st.sampled_from(TARGETS)), version])
    host = [] if draw(st.integers(0, 9)) == 0 else [b"Host: localhost"]
    return b"\r\n".join([start, *host, *lines, b"", draw(st.sampled_from(BODIES))])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Make a request, most often a good one, and sometimes spoil it."""
    raw = draw(st.one_of(st.sampled_from(GOOD), st.sampled_from(GOOD), odd_requests()))
    for _ in range(draw(st.sampled_from([0] * 7 + [1, 1, 2]))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.sampled_from(SPECKS)) + raw[at + draw(st.integers(0, 2)) :]
    return raw


def read(raw: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return the whole requests that h11 reads, up to the first that it refuses.

    Method, target, content.

    Unlike h11, a server should ignore an empty line before a request (RFC 9112 section 2.2).
    """
    found: list[tuple[bytes, bytes, bytes]] = []
    while raw := raw.lstrip(b"\r\n") if raw.startswith(b"\r\n") else raw:
        parser = h11.Connection(h11.SERVER, 1 << 20)
        parser.receive_data(raw)
        content = b""
        head: h11.Request | None = None
        try:
            while not isinstance(event := parser.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data):
                    content += event.data
                else:
                    return found
        except h11.RemoteProtocolError:
            return found
        assert head is not None
        found.append((head.method, head.target.removeprefix(b"http://localhost"), content))
        raw = parser.trailing_data[0]
    return found


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    pieces=st.lists(requests(), min_size=1, max_size=4), cuts=st.lists(st.floats(0, 1), max_size=4)
)
async def test_two_parsers_read_the_same(
    gateway: Gateway, pieces: list[bytes], cuts: list[float]
) -> None:
    """Each whole request upstream is, in its turn, a request that h11 reads from the client's bytes; each has one answer."""
    gateway.cut_short = None
    gateway.tokens.stubborn = True
    gateway.upstream.usual = [Act.WHOLE, reply(204)]
    before = len(gateway.upstream.whole)
    raw = b"".join(pieces)
    places = sorted({0, len(raw), *(int(cut * len(raw)) for cut in cuts)})
    client = await gateway.connect()
    try:
        await client.send(*[raw[start:end] for start, end in itertools.pairwise(places)])
        client.half_close()
    except OSError:  # refused, and closed, before all was sent
        pass
    expected = read(raw)
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
    seen = [
        (request.method, request.target, bytes(request.content))
        for request in gateway.upstream.whole[before:]
    ]
    assert seen == expected[: len(seen)]
    # On TLS the client's end is the end of the connection: what is under way then is not answered.
    assert served == len(seen) or (gateway.trust is not None and served < len(seen))
    assert refused <= 1
    assert not rest


@pytest.mark.parametrize(
    "raw", [b"GET http://localhost/corporate-accounts/x HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
def test_the_judge_reads_as_it_should(raw: bytes) -> None:
    """The law above would hold of a judge that reads nothing."""
    assert read(raw * 2) == [(b"GET", b"/corporate-accounts/x", b"")] * 2
