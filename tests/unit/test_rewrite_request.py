"""The head that goes upstream: strip, then inject, and inject last."""

import pytest

from proxy.clients.register import ANYBODY
from proxy.forward import policy, rewrite
from tests.unit.made import settings

HOST = b"api.example:8443"
REQUEST_ID = b"id-1"
CREDENTIAL = b"Authorization: Bearer ours\r\n"
RULES = policy.Rules.of(settings(upstream={"allowed_paths": ["/"]}))


def written(fields: bytes = b"", line: bytes = b"POST /a?b HTTP/1.1") -> bytes:
    """Return the head that goes upstream for a request with these fields."""
    head = policy.parse(b"%b\r\nHost: localhost\r\n%b\r\n" % (line, fields), RULES)
    request = policy.judge(head, RULES, ANYBODY)
    return rewrite.request_head(request, HOST, REQUEST_ID, CREDENTIAL)


def passed_on(fields: bytes) -> list[bytes]:
    """Return the client's field lines between our own."""
    lines = written(fields).split(b"\r\n")
    assert lines[1] == b"Host: " + HOST
    assert lines[-4:] == [b"X-Request-Id: " + REQUEST_ID, CREDENTIAL[:-2], b"", b""]
    return lines[2:-4]


def test_a_plain_request() -> None:
    """The upstream's Host first, the client's fields, the request id, the credential last."""
    assert written(b"Accept: */*\r\nContent-Length: 5\r\n") == (
        b"POST /a?b HTTP/1.1\r\n"
        b"Host: api.example:8443\r\n"
        b"Accept: */*\r\n"
        b"Content-Length: 5\r\n"
        b"X-Request-Id: id-1\r\n"
        b"Authorization: Bearer ours\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET / HTTP/1.1", b"GET / HTTP/1.1"),
        (b"DELETE /%7Ea//b?c=%2f&? HTTP/1.1", b"DELETE /%7Ea//b?c=%2f&? HTTP/1.1"),
        (b"DELETE /a;b=c HTTP/1.0", b"DELETE /a;b=c HTTP/1.1"),
        (b"GET http://localhost/a?b HTTP/1.1", b"GET /a?b HTTP/1.1"),
    ],
)
def test_the_request_line(line: bytes, expected: bytes) -> None:
    """Method and target as they were judged, in HTTP/1.1."""
    assert written(line=line).partition(b"\r\n")[0] == expected


@pytest.mark.parametrize(
    "theirs",
    (
        b"Authorization: Bearer theirs\r\n|authorization: Bearer theirs\r\n|"
        b"AUTHORIZATION:Basic dGhlaXJz\r\n|Authorization:\r\n|"
        b"Authorization: a\r\nauthorization: b\r\nAuthorization: c\r\n|"
        b"Proxy-Authorization: Basic dGhlaXJz\r\n|"
        b"proxy-authorization: a\r\nProxy-Authorization: b\r\n|"
        b"Proxy_Authorization: a\r\n|PROXY_authorization: a\r\n|"
        b"Connection: authorization\r\n|"
        b"Connection: authorization\r\nAuthorization: Bearer theirs\r\n|"
        b"Authorization: Bearer theirs\r\nConnection: Authorization, close\r\n|"
        b"X-Proxy-Key: theirs\r\n|X_Proxy-Key: theirs\r\n|x_proxy_key: theirs\r\n"
    ).split(b"|"),
)
def test_exactly_one_authorization_leaves_and_it_is_ours(theirs: bytes) -> None:
    """However the client spells or repeats its credential."""
    assert passed_on(theirs) == []


@pytest.mark.parametrize(
    "named",
    (
        b"host|x-request-id|authorization|content-length|transfer-encoding|"
        b"host, authorization, content-length, x-request-id|"
        b"HOST ,,\tX-Request-ID, Authorization"
    ).split(b"|"),
)
def test_connection_strips_nothing_of_ours(named: bytes) -> None:
    """Even if the client names these fields hop-by-hop."""
    assert passed_on(b"Connection: %b\r\nContent-Length: 5\r\n" % named) == [b"Content-Length: 5"]
    assert passed_on(b"Transfer-Encoding: chunked\r\nConnection: %b\r\n" % named) == [
        b"Transfer-Encoding: chunked"
    ]


@pytest.mark.parametrize(
    "field",
    (
        b"Connection: keep-alive\r\n|Connection: close\r\n|Keep-Alive: timeout=5\r\n|"
        b"Proxy-Connection: keep-alive\r\n|TE: trailers\r\n|Trailer: X-Sum\r\n|"
        b"Upgrade: h2c\r\nConnection: upgrade\r\n|Upgrade: websocket\r\n|"
        b"HTTP2-Settings: AAMAAABk\r\n|Expect: 100-continue\r\n|"
        b"connection: x\r\nKEEP-ALIVE: x\r\ntE: x\r\n|Keep_Alive: x\r\n|"
        b"Transfer_Encoding: chunked\r\n|Content_Length: 9\r\n|"
        b"content_length: 9\r\nCONTENT_LENGTH: 8\r\n|"
        b"X-Request_Id: a\r\nX_Request_Id: b\r\n|"
        b"X-Request-Id: theirs\r\nx-request-id: again\r\n|HTTP2_Settings: a\r\n"
    ).split(b"|"),
)
def test_hop_by_hop_fields_end_here(field: bytes) -> None:
    """RFC 9110 section 7.6.1, what is answered here, and what CGI takes for ours."""
    assert passed_on(field) == []


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        (b"X-A: 1\r\nConnection: x-a\r\nX-B: 2\r\n", [b"X-B: 2"]),
        (b"Connection: X-A\r\nx-a: 1\r\nX-A: 2\r\nX-B: 2\r\n", [b"X-B: 2"]),
        (b"X-A: 1\r\nX-B: 2\r\nConnection: ,x-a , keep-alive\r\nConnection: X-B\r\n", []),
        (
            b"Connection: content-type, cookie\r\nContent-Type: a\r\nCookie: b\r\nAccept: c\r\n",
            [b"Accept: c"],
        ),
        (b"Connection: x\r\nX-A: 1\r\nAX: 1\r\n", [b"X-A: 1", b"AX: 1"]),
        (b'Connection: "x-a"\r\nX-A: 1\r\n', [b"X-A: 1"]),
    ],
)
def test_what_connection_names_ends_here(fields: bytes, left: list[bytes]) -> None:
    """In any case, on any line, before or after."""
    assert passed_on(fields) == left


def test_all_else_keeps_name_value_number_and_order() -> None:
    """Case, white space, repetition, order, bytes beyond ASCII."""
    lines = (
        b"X-B: 1|x-a:2|X-B:\t3 |Cookie: a=1; b=2|X_C: 4|Cookie: c=3|X-Empty:|"
        b"X-Text: gr\xc3\xb8nn \xff|Accept-Encoding: gzip, br|Content-Encoding: gzip|"
        b"User-Agent: a/1 (b)|X-Forwarded-For: 10.0.0.1|X-Original-URL: /x|x-a:2|"
        b'Range: bytes=0-1|If-None-Match: "a"|Max-Forwards: 1|Via: 1.1 a'
    ).split(b"|")
    assert passed_on(b"".join(line + b"\r\n" for line in lines)) == lines


@pytest.mark.parametrize(
    ("fields", "line", "framing"),
    [
        (b"", b"GET / HTTP/1.1", []),
        (b"", b"POST / HTTP/1.1", []),
        (b"Content-Length: 0\r\n", b"POST / HTTP/1.1", [b"Content-Length: 0"]),
        (b"content-length:\t007 \r\n", b"POST / HTTP/1.1", [b"Content-Length: 7"]),
        (b"Content-Length: 7\r\n", b"POST / HTTP/1.0", [b"Content-Length: 7"]),
        (b"Content-Length: 7\r\n", b"GET / HTTP/1.1", [b"Content-Length: 7"]),
        (b"transfer-encoding:CHUNKED\r\n", b"POST / HTTP/1.1", [b"Transfer-Encoding: chunked"]),
    ],
)
def test_the_framing_is_written_anew(fields: bytes, line: bytes, framing: list[bytes]) -> None:
    """One length as a plain number, or `chunked`, or neither."""
    names = (b"content-length:", b"transfer-encoding:")
    lines = written(fields, line).split(b"\r\n")
    assert [each for each in lines if each.lower().startswith(names)] == framing
