"""Messages to search with, nearly all of them almost right.

A message is drawn from the grammar of RFC 9112, with an emphasis on what has misled intermediaries.
Then it may be damaged in up to three places, and is cut into the segments that arrive.
"""

import itertools
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

T = TypeVar("T")


class Traffic(NamedTuple):
    """Bytes of a peer, and where they are cut into segments."""

    data: bytes
    cuts: tuple[int, ...]

    def segments(self) -> list[bytes]:
        """Return the segments in order."""
        points = [0, *sorted({cut % (len(self.data) + 1) for cut in self.cuts}), len(self.data)]
        return [self.data[a:b] for a, b in itertools.pairwise(points) if a < b]


def _weighted(usual: Sequence[T], odd: Sequence[T], odds: int) -> list[T]:
    """Return a list in which one in `odds` is odd."""
    return [*usual] * -(-(odds - 1) * len(odd) // len(usual)) + [*odd]


def _mostly(usual: Sequence[bytes], odd: Sequence[bytes], odds: int = 8) -> SearchStrategy[bytes]:
    """One of the usual ones; an odd one every `odds` times or so."""
    return st.sampled_from(_weighted(usual, odd, odds))


# --- request lines -----------------------------------------------------------------------------

_METHODS: Final = _mostly(
    [b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS"],
    [b"get", b"CONNECT", b"TRACE", b"PRI", b"M-SEARCH", b"P\xc3\x96ST", b"", b"G ET"],
    20,
)
_SEGMENTS: Final = _mostly(
    [b"a", b"orders", b"4711", b"~x", b"%7E", b"%C3%B8", b"v1.0", b"a;b=c", b"a,b",
     b"!$&'()*+=:@", b'"<>^`{|}', b""],
    [b".", b"..", b"...", b"..;x", b".;", b"%2e%2e", b"%2E", b"a%2Fb", b"%5c", b"a\\b", b"%252e",
     b"%25", b"%", b"%zz", b"%00", b"oauth", b"%6fauth", b"%C0%AE", b"..%3B", b"%0d%0a", b"#f",
     b"\xff", b"a b", b"\t"],
    16,
)  # fmt: skip
_QUERIES: Final = _mostly(
    [b"", b"", b"?", b"?a=1&b=2", b"?a=%2F..%2f", b"?url=http://x/?y", b"??", b"?a=%25"],
    [b"?%00", b"?%", b"?a#f", b"?\\", b"?\x7f", b"? x"],
    12,
)
_PREFIXES: Final = _mostly(
    [b"/"],
    [b"//", b"", b"*", b"/\\", b"http://localhost/", b"HTTP://localhost/", b"http://evil.example/",
     b"localhost:80", b"https://localhost/"],
    12,
)  # fmt: skip
_VERSIONS: Final = _mostly(
    [b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.0"],
    [b" HTTP/1.2", b" HTTP/2.0", b" HTTP/0.9", b" http/1.1", b"", b" ", b"  HTTP/1.1",
     b" HTTP/1.1 ", b"\tHTTP/1.1", b" HTTP/1.10", b" HTTP/01.1"],
    20,
)  # fmt: skip


@st.composite
def _request_line(draw: DrawFn) -> bytes:
    path = b"/".join(draw(st.lists(_SEGMENTS, min_size=1, max_size=4)))
    return draw(_METHODS) + b" " + draw(_PREFIXES) + path + draw(_QUERIES) + draw(_VERSIONS)


# --- fields ------------------------------------------------------------------------------------

_END_TO_END: Final = [
    b"Accept: */*",
    b"Content-Type: application/json",
    b"Content-Encoding: gzip",
    b"Cookie: a=1; b=2",
    b"X-A: 1",
    b"X-A: 2",
    b"x-a:3",
    b"X_A:\t4 \t",
    b"X-Empty:",
    b"X-Empty:   ",
    b"X-Text: gr\xc3\xb8nn \xff\x80",
    b"X-Comma: ,,a, b,",
    b"X-Forwarded-For: 10.0.0.1",
    b"X-Original-URL: /oauth/v2/token",
    b"User-Agent: curl/8",
    b"!#$%&'*+-.^_`|~: odd name",
]
_HOP_BY_HOP: Final = [
    b"Connection: keep-alive",
    b"Connection: close",
    b"Connection: x-a, content-type",
    b"connection: X-A",
    b"Connection: authorization, host, content-length, transfer-encoding, x-request-id",
    b"Connection: ,, upgrade ,HTTP2-Settings",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAMAAABk",
    b"TE: trailers",
    b"Trailer: X-T",
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"Proxy-Authorization: Basic eDp5",
    b"Authorization: Bearer theirs",
    b"AUTHORIZATION: Basic eDp5",
    b"X-Request-Id: their-1",
    b"X-Proxy-Key: k",
    b"Expect: 100-continue",
    b"Content_Length: 3",
    b"Transfer_Encoding: chunked",
    b"X_Request_Id: 1",
]
_TRAPS: Final = [
    b"Host: localhost",
    b"Host: evil.example",
    b"Content-Length: 3",
    b"Content-Length: 3, 3",
    b"Content-Length: +3",
    b"Content-Length: 0x3",
    b"Content-Length : 3",
    b"Content-Length:",
    b"Content-Length: 99999999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\x00: chunked",
    b" Transfer-Encoding: chunked",
    b"X-A: 1\r\n folded",
    b"X-A: 1\nTransfer-Encoding: chunked",
    b"X-A: 1\rTransfer-Encoding: chunked",
    b"X-A: \x00",
    b"X-A: \x7f",
    b": no name",
    b"no colon",
    b"X A: 1",
    b"X-\xc3\xb8: 1",
    b"Expect: 200-ok",
    b"",
]
_FIELDS: Final = st.lists(_mostly([*_END_TO_END, *_HOP_BY_HOP], _TRAPS, 20), min_size=1, max_size=8)


# --- content -----------------------------------------------------------------------------------

_CONTENT: Final = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [b"", b"0\r\n\r\n", b"\r\n\r\n", b"GET /stolen HTTP/1.1\r\nHost: x\r\n\r\n", b"{}" * 20]
    ),
)
#: How a chunk's size is written: the form, and what is added to the size.
_SIZE_FORMS: Final = st.sampled_from(
    _weighted(
        [(form, 0) for form in (b"%x", b"%X", b"000%x", b"%x;ext", b"%x;a=b;c", b'%x;q="\xff\t"')],
        [(b"%x ;e", 0), (b"%x ", 0), (b" %x", 0), (b"+%x", 0), (b"0x%x", 0), (b"%x\n", 0),
         (b"%x;\n", 0), (b"%x;\r", 0), (b"%x\r", 0), (b"%x", 1), (b"%x", -1), (b"1%015x", 0),
         (b"", 0)],
        16,
    )
)  # fmt: skip
_TRAILERS: Final = _mostly(
    [
        b"",
        b"",
        b"X-T: 1\r\n",
        b"Authorization: Bearer theirs\r\n",
        b"Content-Length: 9\r\nX-T:\r\n",
    ],
    [b"X-T: 1\n", b"no colon\r\n", b" X-T: 1\r\n", b"X-T: \x00\r\n"],
    12,
)


_SECOND_FRAMINGS: Final = [
    b"Content-Length: 0",
    b"Content-Length: 3",
    b"Content-Length: 100",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
]


@st.composite
def _chunked(draw: DrawFn) -> bytes:
    out = b""
    for piece in [*draw(st.lists(_CONTENT.filter(bool), max_size=3)), b""]:
        form, more = draw(_SIZE_FORMS)
        size = form and form % max(0, len(piece) + more)
        out += size + b"\r\n" + piece + (b"\r\n" if piece else b"")
    return out + draw(_TRAILERS) + b"\r\n"


@st.composite
def _framed_content(draw: DrawFn) -> tuple[list[bytes], bytes]:
    """Draw framing fields and content; at times a second field, which may contradict the first."""
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "none":
        return [], b""
    if kind == "length":
        content = draw(_CONTENT)
        fields = [
            draw(st.sampled_from([b"Content-Length: %d", b"content-length:00%d"])) % len(content)
        ]
    else:
        content = draw(_chunked())
        fields = [
            draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:\tCHUNKED "]))
        ]
    if draw(st.integers(1, 16)) == 16:
        fields.append(draw(st.sampled_from([*fields, *_SECOND_FRAMINGS])))
    return fields, content


# --- whole messages, damaged and cut -----------------------------------------------------------

_SNIPPETS: Final = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\x00", b" ", b"\t", b"\x0b", b"\xa0", b":", b";", b"0",
    b"0\r\n\r\n", b"\x7f", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"%2e",
    b"/..", b"/", b"\\",
]  # fmt: skip


@st.composite
def _damaged(draw: DrawFn, data: bytes) -> bytes:
    for _ in range(max(0, draw(st.integers(-3, 3)))):
        at = draw(st.integers(0, len(data)))
        lines = data.split(b"\r\n")
        line = draw(st.integers(0, len(lines) - 1))
        match draw(
            st.sampled_from(
                ["insert", "delete", "replace", "double", "drop", "swap", "case", "newline", "cut"]
            )
        ):
            case "insert":
                data = data[:at] + draw(st.sampled_from(_SNIPPETS)) + data[at:]
            case "delete":
                data = data[:at] + data[at + draw(st.integers(1, 4)) :]
            case "replace":
                data = data[:at] + draw(st.binary(min_size=1, max_size=1)) + data[at + 1 :]
            case "double":
                data = b"\r\n".join([*lines[: line + 1], *lines[line:]])
            case "drop":
                data = b"\r\n".join([*lines[:line], *lines[line + 1 :]])
            case "swap":
                data = b"\r\n".join(
                    [*lines[:line], *lines[line + 1 : line + 2], lines[line], *lines[line + 2 :]]
                )
            case "case":
                data = data[:at] + data[at : at + 8].swapcase() + data[at + 8 :]
            case "newline":
                end = draw(st.sampled_from([b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n "]))
                data = b"\r\n".join(lines[: line + 1]) + end + b"\r\n".join(lines[line + 1 :])
            case _:
                data = data[:at]
    return data


@st.composite
def _cut(draw: DrawFn, data: bytes) -> Traffic:
    if draw(st.integers(1, 6)) == 6:  # the peer breaks off
        data = data[: -draw(st.integers(1, 20))]
    return Traffic(data, tuple(draw(st.lists(st.integers(0, 2000), max_size=5))))


@st.composite
def _request(draw: DrawFn) -> bytes:
    framing, content = draw(_framed_content())
    host = [b"Host: localhost"] if draw(st.integers(1, 20)) < 20 else []
    fields = draw(st.permutations([*host, *framing, *draw(_FIELDS)]))
    return b"\r\n".join([draw(_request_line()), *fields, b"", b""]) + content


@st.composite
def requests(draw: DrawFn) -> Traffic:
    """Draw what a client sends on one connection: one to three requests, perhaps damaged."""
    data = b"".join(draw(st.lists(_request(), min_size=1, max_size=3)))
    return draw(_cut(draw(_damaged(data))))


_STATUS_LINES: Final = _mostly(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 201 Created", b"HTTP/1.1 204 No Content",
     b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 401 ", b"HTTP/1.1 404 \xc3\xb8", b"HTTP/1.1 500",
     b"HTTP/1.0 200 OK", b"HTTP/1.1 299 a b\tc"],
    [b"HTTP/2.0 200 OK", b"HTTP/1.2 200 OK", b"HTTP/1.1 99 x", b"HTTP/1.1 600 x",
     b"HTTP/1.1  200 OK", b"HTTP/1.1 200\tOK", b"HTTP/1.1 2000", b"http/1.1 200 OK", b"ICY 200 OK",
     b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 200 \x00", b"HTTP/1.1 +20 OK", b""],
    20,
)  # fmt: skip
_ANSWER_FIELDS: Final = st.lists(
    _mostly(
        [
            *_END_TO_END,
            *_HOP_BY_HOP,
            b"Set-Cookie: a",
            b"Set-Cookie: b",
            b"Alt-Svc: h3",
            b"Access-Control-Allow-Origin: *",
        ],
        _TRAPS,
        20,
    ),
    min_size=1,
    max_size=6,
)
_INTERIM: Final = _mostly(
    [b""],
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nConnection: close\r\n\r\n",
    ],
    6,
)


@st.composite
def answers(draw: DrawFn) -> Traffic:
    """Draw what the API sends after one request, perhaps damaged, before it ends its side."""
    framing, content = draw(_framed_content())
    if not framing:
        content = draw(_CONTENT)  # until the end of the connection
    fields = draw(st.permutations([*framing, *draw(_ANSWER_FIELDS)]))
    data = draw(_INTERIM) + b"\r\n".join([draw(_STATUS_LINES), *fields, b"", b""]) + content
    return draw(_cut(draw(_damaged(data))))
