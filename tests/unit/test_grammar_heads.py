"""Request and response heads: what RFC 9112 allows is read as it came, all else is malformed."""

import pytest

from proxy.http1 import grammar


def request(fields: bytes = b"", line: bytes = b"GET / HTTP/1.1") -> bytes:
    """Return a whole head."""
    return line + b"\r\n" + fields + b"\r\n"


# --- request lines -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET / HTTP/1.1", (b"GET", b"/", 1)),
        (b"GET / HTTP/1.0", (b"GET", b"/", 0)),
        (b"PATCH /a%2fb?c=%zz#d HTTP/1.1", (b"PATCH", b"/a%2fb?c=%zz#d", 1)),
        (b"OPTIONS * HTTP/1.1", (b"OPTIONS", b"*", 1)),
        (b"CONNECT a.example:443 HTTP/1.1", (b"CONNECT", b"a.example:443", 1)),
        (b"GET http://a.example/ HTTP/1.1", (b"GET", b"http://a.example/", 1)),
        (b"get / HTTP/1.1", (b"get", b"/", 1)),
        (b"!#$%&'*+-.^_`|~09azAZ / HTTP/1.1", (b"!#$%&'*+-.^_`|~09azAZ", b"/", 1)),
        (b'GET "<>\\^`{|}!~ HTTP/1.1', (b"GET", b'"<>\\^`{|}!~', 1)),
        (b"PRI * HTTP/2.0", (b"PRI", b"*", -1)),
        (b"GET / HTTP/9.9", (b"GET", b"/", -1)),
    ],
)
def test_a_request_line_is_read_as_it_came(line: bytes, expected: tuple[bytes, bytes, int]) -> None:
    """The grammar does not say whether it may pass."""
    head = grammar.parse_request(request(b"Host: a\r\n", line))
    assert (head.method, head.target, head.minor) == expected


@pytest.mark.parametrize(
    "line",
    (
        b"|GET|GET /|GET / |GET / b HTTP/1.1| / HTTP/1.1|GET  / HTTP/1.1|"
        b"GET /  HTTP/1.1|GET / HTTP/1.1 | GET / HTTP/1.1|GET\t/ HTTP/1.1|"
        b"GET /\tHTTP/1.1|GET / HTTP/1.1\n|GET / HTTP/1.1\r|GET / http/1.1|"
        b"GET / HTTP/1.10|GET / HTTP/01.1|GET / HTTP/1,1|GET / HTTP/1|GET / HTTP/1.x|"
        b"GET / HTTPS/1.1|GET /\x00 HTTP/1.1|GET /\x7f HTTP/1.1|"
        b"GET /\xc3\xb8 HTTP/1.1|GET /\r HTTP/1.1|GET /\n HTTP/1.1|G(T / HTTP/1.1|"
        b'G\xc3\x89T / HTTP/1.1|"GET" / HTTP/1.1'
    ).split(b"|"),
)
def test_a_request_line_out_of_the_grammar_is_malformed(line: bytes) -> None:
    """One method, one target, one version, one space between them."""
    with pytest.raises(grammar.Malformed):
        grammar.parse_request(request(b"Host: a\r\n", line))


# --- status lines ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK", (1, 200, b"OK")),
        (b"HTTP/1.0 404 Not Found", (0, 404, b"Not Found")),
        (b"HTTP/1.1 100 ", (1, 100, b"")),
        (b"HTTP/1.1 599", (1, 599, b"")),
        (b"HTTP/1.1 200 \xc3\xb8 \t x", (1, 200, b"\xc3\xb8 \t x")),
    ],
)
def test_a_status_line_is_read_as_it_came(line: bytes, expected: tuple[int, int, bytes]) -> None:
    """Many servers leave the reason out."""
    head = grammar.parse_response(request(line=line))
    assert (head.minor, head.status) == expected[:2]
    assert head.reason == expected[2]


@pytest.mark.parametrize(
    "line",
    (
        b"|HTTP/1.1|HTTP/1.1 20|HTTP/1.1 2000|HTTP/1.1 099 x|HTTP/1.1 600 x|"
        b"HTTP/1.1 +20 x|HTTP/1.1  200 OK|HTTP/1.1\t200 OK|HTTP/1.1 200\tOK|"
        b"HTTP/1.2 200 OK|HTTP/2.0 200 OK|HTTP/2 200|http/1.1 200 OK|ICY 200 OK|"
        b" HTTP/1.1 200 OK|HTTP/1.1 200 O\x00K|HTTP/1.1 200 O\rK|HTTP/1.1 200 OK\n|"
        b"HTTP/1.1 \xb2\xb2\xb2 x"
    ).split(b"|"),
)
def test_a_status_line_out_of_the_grammar_is_malformed(line: bytes) -> None:
    """Answers are judged as strictly as requests."""
    with pytest.raises(grammar.Malformed):
        grammar.parse_response(request(line=line))


# --- fields ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"X-A: 1",
        b"x-a:1",
        b"X-A:",
        b"X-A: ",
        b"X-A:\t \t1 2\t",
        b'X-A: :;,"(){}<>@?=/\\[]',
        b"X-A: gr\xc3\xb8nn \x80\xff",
        b"!#$%&'*+-.^_`|~: x",
        b"0: x",
    ],
)
def test_a_field_keeps_every_byte(line: bytes) -> None:
    """Case, white space and obsolete text of a forwarded field stay."""
    assert grammar.parse_request(request(line + b"\r\n")).passing == [line + b"\r\n"]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"Host:a", b"a"),
        (b"HOST: a", b"a"),
        (b"hOsT:\t \ta b\t ", b"a b"),
        (b"Host:", b""),
        (b"Host: \t ", b""),
        (b"Host: a:1", b"a:1"),
    ],
)
def test_a_value_stands_without_the_white_space_around_it(line: bytes, value: bytes) -> None:
    """Under its name in lower case (RFC 9110 section 5.5)."""
    assert grammar.parse_request(request(line + b"\r\n")).known == {b"host": [value]}


def test_fields_keep_their_order_and_their_number() -> None:
    """Repeated fields stay apart and in order; there may be none."""
    fields = b"B: 1|Host: a|A: 1|b: 2|A: 1|Expect: x|host: b|EXPECT: y|".replace(b"|", b"\r\n")
    for head in (
        grammar.parse_request(request(fields)),
        grammar.parse_response(request(fields, b"HTTP/1.1 200 OK")),
    ):
        assert head.field_count == 8
        passing = b"".join(line for line in head.passing if line[:1] in b"AaBb")
        assert passing == b"B: 1\r\nA: 1\r\nb: 2\r\nA: 1\r\n"
        assert head.known[b"host"] == [b"a", b"b"]
        assert head.known[b"expect"] == [b"x", b"y"]
    assert grammar.parse_request(request()).passing == []
    assert grammar.parse_response(request(line=b"HTTP/1.1 200 OK")).passing == []


def test_the_options_of_a_connection() -> None:
    """Of all `Connection` lines, in lower case."""
    for line in (b"GET / HTTP/1.1", b"HTTP/1.1 200 OK"):
        head = request(b"Connection: Close, X-A\r\nconnection:\tTE\r\n", line)
        parsed = (
            grammar.parse_request(head) if line.startswith(b"GET") else grammar.parse_response(head)
        )
        assert parsed.options == [b"close", b"x-a", b"te"]


MALFORMED_FIELDS = (
    b"no colon\r\n|: no name\r\n| X-A: 1\r\n|X A: 1\r\n|X\xc3\xb8: 1\r\n|X(A): 1\r\n|"
    b"X-A\x00: 1\r\n|X-A: \x00\r\n|X-A: a\x0bb\r\n|X-A: \x0c\r\n|X-A: \x1b[31m\r\n|"
    b"X-A: \x7f\r\n|X-A: 1\r\n folded\r\n|X-A: 1\r\n\tfolded\r\n|X-A:\r\n 1\r\n|"
    b"X-A: 1\nX-B: 2\r\n|X-A: 1\rX-B: 2\r\n|X-A: 1\r\r\n|X-A: 1\n\r\n|\nX-A: 1\r\n|"
    b"\rX-A: 1\r\n|X-A: 1\n|X-A: 1\n\nGET /stolen HTTP/1.1\r\n"
).split(b"|")


@pytest.mark.parametrize(
    "where", [b"%b", b"Host: a\r\n%b", b"%bHost: a\r\n", b"Host: a\r\n%bB: 1\r\n"]
)
@pytest.mark.parametrize("fields", MALFORMED_FIELDS)
def test_a_field_line_out_of_the_grammar_is_malformed(fields: bytes, where: bytes) -> None:
    """Only `Name: value` and CRLF is a field line; lines do not fold."""
    with pytest.raises(grammar.Malformed):
        grammar.parse_request(request(where % fields))
    with pytest.raises(grammar.Malformed):
        grammar.parse_response(request(where % fields, b"HTTP/1.1 200 OK"))


@pytest.mark.parametrize("byte", [*range(0x20), 0x7F])
def test_control_bytes_are_malformed_everywhere(byte: int) -> None:
    """Except a tab inside a value (RFC 9110 section 5.5)."""
    control = bytes([byte])
    for head in (
        b"G%bT / HTTP/1.1\r\nA: 1\r\n\r\n",
        b"GET /%b HTTP/1.1\r\nA: 1\r\n\r\n",
        b"GET / HTTP/1.1%b\r\nA: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA%b: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: 1%b1\r\n\r\n" if control != b"\t" else b"GET%b/ HTTP/1.1\r\n\r\n",
    ):
        with pytest.raises(grammar.Malformed):
            grammar.parse_request(head % control)


def test_messages_quote_nothing() -> None:
    """Malformed bytes may be a credential."""
    for head in (
        b"Bearer-hunter2\r\n\r\n",
        request(b"Authorization hunter2\r\n"),
        request(b"A: hunter2\x00\r\n"),
    ):
        with pytest.raises(grammar.Malformed) as caught:
            grammar.parse_request(head)
        assert "hunter2" not in str(caught.value)


def test_a_long_head_takes_linear_time() -> None:
    """No pattern backtracks; the test's timeout fails it otherwise."""
    for head in (
        b"A" * 1_000_000,
        b"A:" + b" " * 1_000_000,
        b"A: " + b"\t " * 500_000 + b"\x00",
        b"A: 1\r\n" * 150_000,
    ):
        with pytest.raises(grammar.Malformed):
            grammar.parse_request(request(head + b"\x00\r\n"))


# --- beginnings --------------------------------------------------------------------------------

GOOD_HEAD = b"POST /a?b=c HTTP/1.1\r\nHost: localhost\r\nX-A:\t1 \r\n\r\n"


@pytest.mark.parametrize("size", range(len(GOOD_HEAD)))
def test_every_beginning_of_a_good_head_is_a_good_beginning(size: int) -> None:
    """Wherever it is cut."""
    grammar.check_beginning(GOOD_HEAD[:size])


@pytest.mark.parametrize(
    "beginning",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client hello
        *(b"\x00", b"GET\x00", b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\n\n", b"\r\n", b"\n"),
        *(b"GET / HTTP/1.1\rHost: a", b"GET /a b c HTTP/1.1", b"GET / HTTP/1.1 ", b"GET /\r\n"),
        *(b"GET / HTTP/1.1\r\nHost: a\n", b"GET / HTTP/1.1\r\nHost: a\rb"),
        *(b"GET / HTTP/1.1\r\nHost: a\r\r", b"GET / HTTP/1.1\r\n\n", b"GR\xc3\x98T"),
    ],
)
def test_a_bad_beginning_is_malformed_at_once(beginning: bytes) -> None:
    """It is refused before the rest arrives."""
    with pytest.raises(grammar.Malformed):
        grammar.check_beginning(bytearray(beginning))


@pytest.mark.parametrize(
    ("field_values", "expected"),
    [
        ([], []),
        ([b""], []),
        ([b"close"], [b"close"]),
        ([b"Keep-Alive, \tX-A ,,  ,TE"], [b"keep-alive", b"x-a", b"te"]),
        ([b"a", b"b,c"], [b"a", b"b", b"c"]),
    ],
)
def test_the_members_of_a_list(field_values: list[bytes], expected: list[bytes]) -> None:
    """In lower case, without empty ones (RFC 9110 section 5.6.1)."""
    assert grammar.members(field_values) == expected


@pytest.mark.parametrize("space", [b" ", b"\t", b" \t "])
def test_white_space_before_a_colon(space: bytes) -> None:
    """Malformed in a request, removed from a response (RFC 9112 section 5.1)."""
    fields = b"X-A%b: 1\r\nContent-Length%b: 5\r\n" % (space, space)
    with pytest.raises(grammar.Malformed):
        grammar.parse_request(request(fields))
    head = grammar.parse_response(request(fields, b"HTTP/1.1 200 OK"))
    assert (head.passing, head.known) == ([b"X-A: 1\r\n"], {b"content-length": [b"5"]})


@pytest.mark.parametrize(
    ("target", "word"),
    [
        (b"/a b", "blank"),
        (b"/a b c", "blank"),
        (b"/\xc3\xb8", "outside ASCII"),
        (b"/\xf8?x", "outside ASCII"),
    ],
)
def test_what_is_wrong_with_a_target_is_said(target: bytes, word: str) -> None:
    """People forget to encode blanks and letters outside ASCII."""
    line = b"GET %b HTTP/1.1" % target
    with pytest.raises(grammar.Malformed, match=word):
        grammar.parse_request(request(line=line))
    with pytest.raises(grammar.Malformed, match=word):
        grammar.check_beginning(line + b"\r\nHost: a\r\n")
