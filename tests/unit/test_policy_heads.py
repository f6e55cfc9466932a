"""The request head as a whole: its end, its size, its version, and its content's framing."""

import pytest

from proxy.clients.register import ANYBODY
from proxy.errors import Refused
from proxy.forward import policy
from proxy.http1 import grammar
from proxy.problems import ProblemKind
from tests.unit.made import settings

MAX_TARGET, MAX_HEAD, MAX_FIELDS, MAX_BODY = 100, 1000, 5, 50


def rules(**limits: int) -> policy.Rules:
    """Return rules with small limits, or these."""
    small = {
        "max_target_bytes": MAX_TARGET,
        "max_header_bytes": MAX_HEAD,
        "max_header_fields": MAX_FIELDS,
        "max_body_bytes": MAX_BODY,
    }
    return policy.Rules.of(settings(upstream={"allowed_paths": ["/"]}, limits=small | limits))


RULES = rules()
GOOD = b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"


def measured(data: bytes, scanned: int = 0, given: policy.Rules = RULES) -> int:
    """Measure the head at the front of these bytes."""
    return policy.measure_head(bytearray(data), scanned, given)


def judged(data: bytes, given: policy.Rules = RULES) -> policy.Request:
    """Measure, parse and judge the head at the front of these bytes."""
    size = measured(data, given=given)
    assert size, "the head has no end yet"
    return policy.judge(policy.parse(data[:size], given), given, ANYBODY)


def refusal(data: bytes, given: policy.Rules = RULES) -> ProblemKind:
    """Return the kind of refusal that these bytes get."""
    with pytest.raises(Refused) as caught:
        judged(data, given)
    return caught.value.kind


def passed(fields: bytes, *, method: bytes = b"POST", version: bytes = b"1.1") -> policy.Request:
    """Return the request with these fields."""
    data = b"%b / HTTP/%b\r\nHost: localhost\r\n%b\r\n" % (method, version, fields)
    return judged(data)


# --- where it ends -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rest", [b"", b"hello", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00\n\r" * 5000]
)
def test_a_head_ends_with_its_empty_line(rest: bytes) -> None:
    """What follows is not looked at, and counts against no limit."""
    assert measured(GOOD + rest) == len(GOOD)


def test_a_head_arrives_in_pieces() -> None:
    """The end is found although only new bytes are searched."""
    for cut in range(len(GOOD)):
        assert measured(GOOD[:cut]) == 0
        assert measured(GOOD + b"rest", scanned=cut) == len(GOOD)


@pytest.mark.parametrize(
    "data",
    (
        b"\x16\x03\x01|GET / HTTP/1.1\n\n|GET / HTTP/1.1\r\nA: 1\n|GET / HTTP/1.1\rA|"
        b"GET /\r\n|GET / HTTP/1.1\r\nA: 1\rB"
    ).split(b"|"),
)
def test_what_cannot_become_a_head_is_refused_before_its_end(data: bytes) -> None:
    """TLS on the plain port, bare line ends, HTTP/0.9."""
    assert refusal(data) is ProblemKind.MALFORMED


# --- limits ------------------------------------------------------------------------------------


def _with_target(size: int) -> bytes:
    return b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"a" * (size - 1))


def _of_size(size: int) -> bytes:
    start = b"GET / HTTP/1.1\r\nHost: localhost\r\nA: "
    return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"


def test_a_target_may_be_so_long_and_no_longer() -> None:
    """`limits.max_target_bytes`, then 414."""
    assert judged(_with_target(MAX_TARGET)).target == b"/" + b"a" * (MAX_TARGET - 1)
    assert refusal(_with_target(MAX_TARGET + 1)) is ProblemKind.TARGET_TOO_LONG
    assert refusal(_with_target(MAX_TARGET + 500)) is ProblemKind.TARGET_TOO_LONG


@pytest.mark.parametrize("data", [b"GET /" + b"a" * 200, b"A" * 200, b"GET " + b"a" * 5000])
def test_a_target_without_end_is_refused_before_its_end(data: bytes) -> None:
    """At its own limit, not at that of the head."""
    assert refusal(data) is ProblemKind.TARGET_TOO_LONG


def test_a_head_may_be_so_large_and_no_larger() -> None:
    """`limits.max_header_bytes`, then 431, whether the end came or not."""
    assert measured(_of_size(MAX_HEAD)) == MAX_HEAD
    assert measured(_of_size(MAX_HEAD)[:-1]) == 0
    assert refusal(_of_size(MAX_HEAD + 1)) is ProblemKind.HEAD_TOO_LARGE
    assert refusal(_of_size(MAX_HEAD + 5)[:-4]) is ProblemKind.HEAD_TOO_LARGE


def test_a_head_may_have_so_many_fields_and_no_more() -> None:
    """`limits.max_header_fields` counts every line, hop-by-hop ones too; then 431."""
    most = b"GET / HTTP/1.1|Host: localhost|A: 1|A: 1|TE: x|Connection: x|".replace(b"|", b"\r\n")
    assert judged(most + b"\r\n").target
    assert refusal(most + b"B:\r\n\r\n") is ProblemKind.HEAD_TOO_LARGE


def test_a_length_may_be_so_large_and_no_larger() -> None:
    """`limits.max_body_bytes`, then 413 before a byte is read."""
    assert passed(b"Content-Length: %d\r\n" % MAX_BODY).framing == MAX_BODY
    for length in (MAX_BODY + 1, 10**17):
        data = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length
        assert refusal(data) is ProblemKind.CONTENT_TOO_LARGE


KNOWN = b"CONNECT localhost:443|CONNECT .evil.example:443|CONNECT /|TRACE /".split(b"|")
UNKNOWN = b"get /|Get /|connect localhost:443|PROPFIND /|QUERY /|GETGET /|SOURCE /".split(b"|")


# --- versions and methods ----------------------------------------------------------------------


@pytest.mark.parametrize("version", [b"2.0", b"0.9", b"1.2", b"1.9", b"3.0", b"0.0"])
def test_other_versions_get_505(version: bytes) -> None:
    """505, for the preface of HTTP/2 too."""
    assert refusal(b"GET / HTTP/%b\r\nHost: localhost\r\n\r\n" % version) is ProblemKind.VERSION
    assert refusal(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") is ProblemKind.VERSION


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        *((line, ProblemKind.METHOD_NOT_ALLOWED) for line in KNOWN),
        *((line, ProblemKind.METHOD_UNKNOWN) for line in UNKNOWN),
    ],
)
def test_other_methods_are_refused(line: bytes, kind: ProblemKind) -> None:
    """CONNECT and TRACE get 405, unknown ones 501; case counts."""
    assert refusal(line + b" HTTP/1.1\r\nHost: localhost\r\n\r\n") is kind


# --- framing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "framing", "has_length"),
    [
        (b"", 0, False),
        (b"Content-Length: 0\r\n", 0, True),
        (b"Content-Length: 5\r\n", 5, True),
        (b"Transfer-Encoding: chunked\r\n", grammar.CHUNKED, False),
    ],
)
def test_the_framing_is_handed_on(fields: bytes, framing: int, *, has_length: bool) -> None:
    """With or without a length, or chunked."""
    request = passed(fields)
    assert (request.framing, request.has_length) == (framing, has_length)
    assert not request.is_safe
    assert passed(fields, method=b"GET").is_safe


@pytest.mark.parametrize(
    "data",
    [
        b"hunter2\r\n",
        b"GET / HTTP/1.1\r\nAuthorization hunter2\r\n\r\n",
        b"hunter2 / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: hunter2\r\n\r\n",
    ],
)
def test_a_refusal_quotes_nothing(data: bytes) -> None:
    """No byte of the request is in the text."""
    with pytest.raises(Refused) as caught:
        judged(data)
    assert "hunter2" not in caught.value.detail
