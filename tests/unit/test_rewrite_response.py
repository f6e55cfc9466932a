"""The head that goes back to the client, in the client's version of HTTP, and chunks."""

from typing import Any

import pytest

from proxy.clients.register import ANYBODY
from proxy.forward import policy, rewrite
from proxy.http1 import chunked, grammar
from tests.unit.made import settings

RULES = policy.Rules.of(settings(upstream={"allowed_paths": ["/"]}))
LENGTH = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
KEEP_ALIVE = b"Connection: keep-alive\r\n"


def written(
    fields: bytes,
    *,
    status: bytes = b"200 OK",
    method: bytes = b"GET",
    version: bytes = b"1.1",
    api_version: bytes = b"1.1",
    keep_alive: bool = True,
) -> tuple[bytes, bytes, bool]:
    """Return the status line, the fields, and whether the connection can go on."""
    asked = b"%b / HTTP/%b\r\nHost: localhost\r\n\r\n" % (method, version)
    request = policy.judge(policy.parse(asked, RULES), RULES, ANYBODY)
    head = grammar.parse_response(b"HTTP/%b %b\r\n%b\r\n" % (api_version, status, fields))
    framing = grammar.response_framing(head, method)
    out, goes_on = rewrite.response_head(head, framing, request, b"id-1", keep_alive=keep_alive)
    line, _, rest = out.partition(b"\r\n")
    assert rest.endswith(b"\r\n\r\n")
    return line, rest[:-2], goes_on


def fields_of(fields: bytes) -> list[bytes]:
    """Return the field lines without those for framing and tracing."""
    _, out, _ = written(LENGTH + fields)
    return [
        line for line in out.split(b"\r\n")[:-1] if line not in {LENGTH[:-2], b"X-Request-Id: id-1"}
    ]


def test_a_plain_answer() -> None:
    """Status line, the API's fields, the framing, the request id."""
    assert written(b"Date: x\r\n" + LENGTH + b"Content-Type: a\r\n", status=b"201 Made") == (
        b"HTTP/1.1 201 Made",
        b"Date: x\r\nContent-Type: a\r\n" + LENGTH + b"X-Request-Id: id-1\r\n",
        True,
    )


@pytest.mark.parametrize("status", [b"200 OK", b"404 ", b"503 a  b\t\xc3\xb8", b"299 x"])
def test_the_status_line_is_the_apis(status: bytes) -> None:
    """But for the version (RFC 9110 section 2.5)."""
    for api_version in (b"1.1", b"1.0"):
        assert written(LENGTH, status=status, api_version=api_version)[0] == b"HTTP/1.1 " + status
    assert written(LENGTH, status=b"200")[0] == b"HTTP/1.1 200 "


# --- framing -----------------------------------------------------------------------------------

EMPTY = b"Content-Length: 0\r\n"


@pytest.mark.parametrize(
    ("fields", "case", "fields_1_1", "fields_1_0", "goes_on_1_0"),
    [
        (LENGTH, {}, LENGTH, LENGTH, True),
        (b"content-length:\t5 \r\n", {}, LENGTH, LENGTH, True),
        (EMPTY, {}, EMPTY, EMPTY, True),
        (CHUNKED, {}, CHUNKED, b"", False),
        (b"", {}, CHUNKED, b"", False),
        (b"", {"api_version": b"1.0"}, CHUNKED, b"", False),
        (LENGTH, {"api_version": b"1.0"}, LENGTH, LENGTH, True),
        (LENGTH, {"method": b"HEAD"}, LENGTH, LENGTH, True),
        (CHUNKED, {"method": b"HEAD"}, b"", b"", True),
        (b"", {"method": b"HEAD"}, b"", b"", True),
        (b"", {"status": b"204 x"}, b"", b"", True),
        (LENGTH, {"status": b"204 x"}, b"", b"", True),
        (CHUNKED, {"status": b"204 x"}, b"", b"", True),
        (b"", {"status": b"304 x"}, b"", b"", True),
        (LENGTH, {"status": b"304 x"}, LENGTH, LENGTH, True),
        (CHUNKED, {"status": b"304 x"}, b"", b"", True),
        (LENGTH, {"status": b"401 x", "method": b"DELETE"}, LENGTH, LENGTH, True),
    ],
)
def test_framing(
    fields: bytes, case: dict[str, Any], fields_1_1: bytes, fields_1_0: bytes, *, goes_on_1_0: bool
) -> None:
    """A body without a length is chunked, or ends an HTTP/1.0 connection."""
    tail = b"X-Request-Id: id-1\r\n"
    old = case | {"version": b"1.0"}
    last = KEEP_ALIVE if goes_on_1_0 else CLOSE
    assert written(fields, **case)[1:] == (fields_1_1 + tail, True)
    assert written(fields, **old)[1:] == (fields_1_0 + tail + last, goes_on_1_0)
    assert written(fields, keep_alive=False, **case)[1:] == (fields_1_1 + tail + CLOSE, False)
    assert written(fields, keep_alive=False, **old)[1:] == (fields_1_0 + tail + CLOSE, False)


def test_the_connection_field_of_each_version() -> None:
    """HTTP/1.1 goes on by itself, HTTP/1.0 closes (RFC 9112 section 9.3)."""
    for minor, without in ((1, b""), (0, KEEP_ALIVE)):
        assert rewrite.connection_field(minor, keep_alive=True) == without
        assert rewrite.connection_field(minor, keep_alive=False) == CLOSE


# --- fields ------------------------------------------------------------------------------------


def test_all_else_keeps_name_value_number_and_order() -> None:
    """Cookies, codings, dates, repetition, order, bytes beyond ASCII."""
    lines = (
        b"Set-Cookie: a=1; Path=/|date:x|Set-Cookie:\tb=2 |Server: a/1|Content-Encoding: gzip|"
        b'WWW-Authenticate: Bearer error="invalid_token"|Location: /x|X-Text: gr\xc3\xb8nn \xff|'
        b"X-Empty:|Retry-After: 5|Set-Cookie: a=1; Path=/|Vary: Origin"
    ).split(b"|")
    assert fields_of(b"".join(line + b"\r\n" for line in lines)) == lines


@pytest.mark.parametrize(
    "fields",
    [
        b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n",
        b"connection: close\r\n",
        b"Proxy-Connection: close\r\nTE: x\r\nTrailer: x\r\nUpgrade: h2c\r\n",
        b'Alt-Svc: h3=":443"\r\n',
        b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n",
        (
            b"access-control-allow-methods: *\r\nAccess-Control-Allow-Headers: *\r\n"
            b"Access-Control-Expose-Headers: *\r\nAccess-Control-Max-Age: 1\r\n"
        ),
        b"Access-Control-Allow-Private-Network: true\r\n",
        b"Proxy-Authenticate: Basic\r\n",
        b"X-Request-Id: theirs\r\nx-request-id: again\r\n",
        b"X-A: 1\r\nConnection: x-a, X-B\r\nx-b: 2\r\n",
    ],
)
def test_what_is_between_the_api_and_us_ends_here(fields: bytes) -> None:
    """Hop-by-hop fields, those that lead around the proxy, another request id."""
    assert fields_of(fields) == []


def test_connection_strips_nothing_of_ours() -> None:
    """Even if the API names framing and request id hop-by-hop."""
    named = b"Connection: content-length, transfer-encoding, x-request-id, connection\r\n"
    assert written(LENGTH + named)[1] == LENGTH + b"X-Request-Id: id-1\r\n"
    assert written(named + CHUNKED)[1] == CHUNKED + b"X-Request-Id: id-1\r\n"


# --- interim answers and chunks ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "out"),
    [
        (b"103 Early Hints\r\nLink: </a>\r\nlink:</b>\r\n", None),
        (b"102\r\n", b"102 \r\n"),
        (b"103 x\r\nConnection: close, X-A\r\nX-A: 1\r\n", b"103 x\r\n"),
        (b"103 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"103 x\r\n"),
    ],
)
def test_an_interim_answer_has_no_framing(head: bytes, out: bytes | None) -> None:
    """It is passed on with its end-to-end fields, and ends no connection."""
    parsed = grammar.parse_response(b"HTTP/1.1 %b\r\n" % head)
    assert rewrite.interim_head(parsed) == b"HTTP/1.1 %b\r\n" % (out or head)


@pytest.mark.parametrize(
    ("piece", "size"),
    [(b"x", b"1"), (b"x" * 16, b"10"), (b"\r\n0\r\n\r\n", b"7"), (b"\x00\xff", b"2")],
)
def test_a_chunk_holds_its_piece(piece: bytes, size: bytes) -> None:
    """No extension; the decoder reads it back."""
    out = rewrite.chunk(piece)
    assert out == b"%b\r\n%b\r\n" % (size, piece)
    decoder = chunked.ChunkedDecoder()
    assert decoder.decode(bytearray(out + rewrite.LAST_CHUNK)) == piece
    assert decoder.done
