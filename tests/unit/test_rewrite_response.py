"""The head that goes back to the client, in the client's version of HTTP, and chunks."""

from __future__ import annotations

import pytest

from proxy.clients.register import ANYBODY
from proxy.forward import policy, rewrite
from proxy.http1 import chunked, grammar
from proxy.settings import judge

RULES = policy.Rules.of(
    judge(
        {
            "upstream": {"allowed_paths": ["/"]},
            "oauth": {"client_id": "c", "client_secret": "s", "username": "u", "password": "p"},
        },
        {},
    )
)
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
    """Return the field lines without those that are written for framing and tracing."""
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
    """Status and reason come through; the version is ours (RFC 9110 section 2.5)."""
    for api_version in (b"1.1", b"1.0"):
        assert written(LENGTH, status=status, api_version=api_version)[0] == b"HTTP/1.1 " + status


def test_a_missing_reason_is_an_empty_one() -> None:
    """The space after the status is there, as the grammar wants it."""
    assert written(LENGTH, status=b"200")[0] == b"HTTP/1.1 200 "


# --- framing: what the API says, what the client of each version is told, and whether the
# connection goes on ----------


@pytest.mark.parametrize(
    ("case", "fields_1_1", "fields_1_0", "goes_on_1_0"),
    [
        ({"fields": LENGTH}, LENGTH, LENGTH, True),
        ({"fields": b"content-length:\t5 \r\n"}, LENGTH, LENGTH, True),
        (
            {"fields": b"Content-Length: 0\r\n"},
            b"Content-Length: 0\r\n",
            b"Content-Length: 0\r\n",
            True,
        ),
        ({"fields": CHUNKED}, CHUNKED, b"", False),
        ({"fields": b""}, CHUNKED, b"", False),
        ({"fields": b"", "api_version": b"1.0"}, CHUNKED, b"", False),
        ({"fields": LENGTH, "api_version": b"1.0"}, LENGTH, LENGTH, True),
        ({"fields": LENGTH, "method": b"HEAD"}, LENGTH, LENGTH, True),
        ({"fields": CHUNKED, "method": b"HEAD"}, b"", b"", True),
        ({"fields": b"", "method": b"HEAD"}, b"", b"", True),
        ({"fields": b"", "status": b"204 x"}, b"", b"", True),
        ({"fields": LENGTH, "status": b"204 x"}, b"", b"", True),
        ({"fields": CHUNKED, "status": b"204 x"}, b"", b"", True),
        ({"fields": b"", "status": b"304 x"}, b"", b"", True),
        ({"fields": LENGTH, "status": b"304 x"}, LENGTH, LENGTH, True),
        ({"fields": CHUNKED, "status": b"304 x"}, b"", b"", True),
        ({"fields": LENGTH, "status": b"401 x", "method": b"DELETE"}, LENGTH, LENGTH, True),
    ],
)
def test_framing(
    case: dict[str, bytes],
    fields_1_1: bytes,
    fields_1_0: bytes,
    goes_on_1_0: bool,  # noqa: FBT001 # a column of the table
) -> None:
    """A length stays a length; a body without one is chunked, or ends an HTTP/1.0 connection.

    What has no body never says `chunked`.
    """
    fields, rest = case["fields"], {key: value for key, value in case.items() if key != "fields"}
    tail = b"X-Request-Id: id-1\r\n"
    assert written(fields, **rest)[1:] == (fields_1_1 + tail, True)  # type: ignore[arg-type] # bytes, by the table
    last = KEEP_ALIVE if goes_on_1_0 else CLOSE
    assert written(fields, version=b"1.0", **rest)[1:] == (fields_1_0 + tail + last, goes_on_1_0)  # type: ignore[arg-type]
    assert written(fields, keep_alive=False, **rest)[1:] == (fields_1_1 + tail + CLOSE, False)
    assert written(fields, version=b"1.0", keep_alive=False, **rest)[1:] == (
        fields_1_0 + tail + CLOSE,
        False,
    )


@pytest.mark.parametrize(
    ("minor", "keep_alive", "line"),
    [(1, True, b""), (1, False, CLOSE), (0, True, KEEP_ALIVE), (0, False, CLOSE)],
)
def test_each_version_is_told_what_it_does_not_assume(
    minor: int,
    keep_alive: bool,  # noqa: FBT001 # a column of the table
    line: bytes,
) -> None:
    """HTTP/1.1 goes on by itself, HTTP/1.0 closes by itself (RFC 9112 section 9.3)."""
    assert rewrite.connection_field(minor, keep_alive=keep_alive) == line


# --- fields ------------------------------------------------------------------------------------


def test_all_else_keeps_name_value_number_and_order() -> None:
    """Whatever is not ours to change arrives as the API sent it.

    Cookies, codings, dates, repetition, order, bytes beyond ASCII.
    """
    lines = [
        b"Set-Cookie: a=1; Path=/",
        b"date:x",
        b"Set-Cookie:\tb=2 ",
        b"Server: a/1",
        b"Content-Encoding: gzip",
        b'WWW-Authenticate: Bearer error="invalid_token"',
        b"Location: /x",
        b"X-Text: gr\xc3\xb8nn \xff",
        b"X-Empty:",
        b"Retry-After: 5",
        b"Set-Cookie: a=1; Path=/",
        b"Vary: Origin",
    ]
    assert fields_of(b"".join(line + b"\r\n" for line in lines)) == lines


@pytest.mark.parametrize(
    "fields",
    [
        b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n",
        b"connection: close\r\n",
        b"Proxy-Connection: close\r\nTE: x\r\nTrailer: x\r\nUpgrade: h2c\r\n",
        b'Alt-Svc: h3=":443"\r\n',
        b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n",
        b"access-control-allow-methods: *\r\nAccess-Control-Allow-Headers: *\r\nAccess-Control-Expose-Headers: *\r\nAccess-Control-Max-Age: 1\r\n",
        b"Access-Control-Allow-Private-Network: true\r\n",
        b"Proxy-Authenticate: Basic\r\n",
        b"X-Request-Id: theirs\r\nx-request-id: again\r\n",
        b"X-A: 1\r\nConnection: x-a, X-B\r\nx-b: 2\r\n",
    ],
)
def test_what_is_between_the_api_and_us_ends_here(fields: bytes) -> None:
    """Hop-by-hop fields, fixed and named.

    What would lead the client around the proxy, or web pages into it; another request id.
    """
    assert fields_of(fields) == []


def test_connection_strips_nothing_of_ours() -> None:
    """The API cannot take the framing or the request id from the client by naming it hop-by-hop."""
    named = b"Connection: content-length, transfer-encoding, x-request-id, connection\r\n"
    assert written(LENGTH + named)[1] == LENGTH + b"X-Request-Id: id-1\r\n"
    assert written(named + CHUNKED)[1] == CHUNKED + b"X-Request-Id: id-1\r\n"


# --- interim answers and chunks ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "out"),
    [
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nlink:</b>\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nlink:</b>\r\n\r\n"),
        (b"HTTP/1.1 102\r\n\r\n", b"HTTP/1.1 102 \r\n\r\n"),
        (b"HTTP/1.1 103 x\r\nConnection: close, X-A\r\nX-A: 1\r\n\r\n", b"HTTP/1.1 103 x\r\n\r\n"),
        (b"HTTP/1.1 103 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 103 x\r\n\r\n"),
    ],
)  # fmt: skip
def test_an_interim_answer_has_no_framing_and_ends_no_connection(head: bytes, out: bytes) -> None:
    """A 1xx answer is passed on with its end-to-end fields alone.

    It never has content, and never says what becomes of the connection.
    """
    assert rewrite.interim_head(grammar.parse_response(head)) == out


@pytest.mark.parametrize(
    ("piece", "out"),
    [(b"x", b"1\r\nx\r\n"), (b"x" * 16, b"10\r\n" + b"x" * 16 + b"\r\n"), (b"\r\n0\r\n\r\n", b"7\r\n\r\n0\r\n\r\n\r\n"), (b"\x00\xff", b"2\r\n\x00\xff\r\n")],
)  # fmt: skip
def test_a_chunk_holds_its_piece(piece: bytes, out: bytes) -> None:
    """Size in hexadecimal, the bytes as they are, no extension; the decoder reads it back."""
    assert rewrite.chunk(piece) == out
    decoder = chunked.ChunkedDecoder()
    assert decoder.decode(bytearray(out + rewrite.LAST_CHUNK)) == piece
    assert decoder.done
