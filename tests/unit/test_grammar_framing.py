"""Where a message ends: one reading, or it is malformed (RFC 9112 section 6.3)."""

import itertools

import pytest

from proxy.http1 import grammar

GOOD_LENGTHS = [
    (b"Content-Length: 0\r\n", 0),
    (b"Content-Length: 5\r\n", 5),
    (b"content-length:\t0005 \r\n", 5),
    (b"Content-Length: 999999999999999999\r\n", 999_999_999_999_999_999),
]
GOOD_CODINGS = [
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding:Chunked\t\r\n",
    b"TRANSFER-ENCODING: CHUNKED\r\n",
]
BAD_LENGTHS = [
    b"Content-Length: %b\r\n" % value
    for value in b"|+5|-5|5 5|5,5|5, 6|0x5|5.0|5_0|1e1|\xd9\xa5|\xb2|five|1000000000000000000|"
    b"5\r\nContent-Length: 5|5\r\ncontent-length: 6|5\r\nX-A: 1\r\nContent-Length:".split(b"|")
]
BAD_CODINGS = [
    b"Transfer-Encoding: %b\r\n" % value
    for value in b"|identity|gzip|gzip, chunked|chunked, chunked|chunked, identity|,chunked|"
    b'chunked;q=1|"chunked"|xchunked|chunkedx|chunked\xa0|\xe1\xb8\xb1chunked|'
    b"chunked\r\nTransfer-Encoding: chunked|chunked\r\nTransfer-Encoding: identity|"
    b"gzip\r\nX-A: 1\r\ntransfer-encoding: chunked".split(b"|")
]
LENGTHS = [field for field, _ in GOOD_LENGTHS] + BAD_LENGTHS
BODILESS = [(b"HEAD", 200), (b"GET", 204), (b"GET", 304), (b"POST", 204)]


def of_request(fields: bytes, minor: int = 1) -> int:
    """Return the framing of a request with these fields."""
    return grammar.request_framing(
        grammar.parse_request(b"POST / HTTP/1.%d\r\nA: 1\r\n%b\r\n" % (minor, fields))
    )


def of_response(fields: bytes, method: bytes = b"GET", status: int = 200, minor: int = 1) -> int:
    """Return the framing of an answer with these fields."""
    head = grammar.parse_response(b"HTTP/1.%d %d x\r\nA: 1\r\n%b\r\n" % (minor, status, fields))
    return grammar.response_framing(head, method)


@pytest.mark.parametrize("minor", [0, 1])
def test_without_framing(minor: int) -> None:
    """A request has no content; an answer ends with its connection."""
    assert of_request(b"", minor) == 0
    for method, status in ((b"GET", 200), (b"POST", 201), (b"GET", 401), (b"DELETE", 500)):
        assert of_response(b"", method, status, minor) == grammar.UNTIL_CLOSE


@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize(("field", "length"), GOOD_LENGTHS)
def test_a_length_is_a_plain_number(field: bytes, length: int, minor: int) -> None:
    """At most eighteen digits, in both directions and versions."""
    assert of_request(field, minor) == length
    assert of_response(field, minor=minor) == length


@pytest.mark.parametrize("coding", GOOD_CODINGS)
def test_the_one_coding_is_chunked(coding: bytes) -> None:
    """In any case, in HTTP/1.1."""
    assert of_request(coding) == of_response(coding) == grammar.CHUNKED


@pytest.mark.parametrize("fields", [*BAD_LENGTHS, *BAD_CODINGS])
def test_framing_out_of_the_grammar_is_malformed(fields: bytes) -> None:
    """In both directions; two equal lengths, too."""
    with pytest.raises(grammar.Malformed):
        of_request(fields)
    with pytest.raises(grammar.Malformed):
        of_response(fields)


@pytest.mark.parametrize("coding", [*GOOD_CODINGS, *BAD_CODINGS])
def test_no_coding_in_http_1_0(coding: bytes) -> None:
    """Some implementations read Transfer-Encoding there, others ignore it."""
    with pytest.raises(grammar.Malformed):
        of_request(coding, minor=0)
    with pytest.raises(grammar.Malformed):
        of_response(coding, minor=0)


@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("coding", [*GOOD_CODINGS, *BAD_CODINGS])
def test_length_and_coding_together_are_malformed(coding: bytes, minor: int) -> None:
    """In either order and direction, also when one is wrong (request smuggling)."""
    for length, swapped in itertools.product(LENGTHS, [False, True]):
        fields = coding + length if swapped else length + coding
        with pytest.raises(grammar.Malformed):
            of_request(fields, minor)
        with pytest.raises(grammar.Malformed):
            of_response(fields, minor=minor)


@pytest.mark.parametrize(("method", "status"), BODILESS)
@pytest.mark.parametrize(
    "fields", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"]
)
def test_answers_that_never_have_content(method: bytes, status: int, fields: bytes) -> None:
    """To HEAD, and with 204 and 304, an answer ends with its head."""
    assert of_response(fields, method, status) == 0


@pytest.mark.parametrize(("method", "status"), BODILESS)
@pytest.mark.parametrize(
    "fields", [*BAD_LENGTHS, *BAD_CODINGS, GOOD_CODINGS[0] + GOOD_LENGTHS[0][0]]
)
def test_answers_without_content_are_held_to_the_grammar_too(
    method: bytes, status: int, fields: bytes
) -> None:
    """These fields reach the client, or show a confused server."""
    with pytest.raises(grammar.Malformed):
        of_response(fields, method, status)
