"""HTTP/1.1 as RFC 9112 writes it, and nothing more lenient: heads, framing, chunks. Pure: no sockets, no clocks, no settings.

Laws
1. What is not in the grammar raises `Malformed`; nothing is repaired, and no message holds a byte of the peer's.
2. One message has one framing. Whatever could be read as two is malformed: two lengths, a length and a coding, a coding that is not
   exactly `chunked`, any coding in HTTP/1.0 (RFC 9112 sections 6.1 and 6.3 call these the raw material of request smuggling).
3. CRLF ends a line, and only CRLF; lines do not fold (RFC 9112 sections 2.2 and 5.2 leave a recipient the choice; we take the strict one).
4. Trailer sections are checked and dropped (RFC 9110 section 6.5.1): a trailer never becomes a field of anything.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Final, NamedTuple, TypeAlias, TypeVar

from proxy.http1.fields import DECIDING

# RFC 9110 section 5.6.2 `token`; section 5.5 `field-value` (VCHAR, obs-text, SP, HTAB). Possessive quantifiers: linear time, whatever comes.
TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
VALUE: Final = rb"[\t -~\x80-\xff]*+"
_REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") ([!-~]++) HTTP/([0-9]\.[0-9])")
_MINOR: Final = {b"1.1": 1, b"1.0": 0}
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: (" + VALUE + rb"))?")
_FIELD_LINE: Final = re.compile(rb"(" + TOKEN + rb"):[\t ]*+(" + VALUE + rb")")
_BEGINNING_OF_REQUEST: Final = re.compile(rb"[!-~]*+(?: [!-~]*+){0,2}\r?")

MAX_LENGTH_DIGITS: Final = 18  # of a Content-Length: below 2**60, as with chunks

#: Clients and the API say the same lines again and again: so many are remembered with what they mean, if they are not longer than this.
MAX_REMEMBERED: Final = 512
MAX_REMEMBERED_LINE: Final = 256  # bytes

#: Ends a head, together with the end of its last line.
EMPTY_LINE: Final = b"\r\n\r\n"

#: Framings other than a length, which is a number from 0.
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

NO_CONTENT: Final = 204
NOT_MODIFIED: Final = 304


T = TypeVar("T")


class Malformed(Exception):
    """The peer's bytes are not HTTP/1.1; the text says what is wrong without quoting them."""


#: A field line: whole as it came, then its name in lower case, and its value. A bare tuple, because there are ten of them a call.
FieldLine: TypeAlias = tuple[bytes, bytes, bytes]
#: The values of the fields that decide something, by lower-case name, in the order they came.
Known: TypeAlias = dict[bytes, list[bytes]]


@dataclasses.dataclass(slots=True)
class RequestHead:
    """A request line and its fields, as they came.

    minor: the 1 of HTTP/1.1, or -1 for another version than 1.0 and 1.1. options: the members of `Connection`, in lower case.
    """

    method: bytes
    target: bytes
    minor: int
    lines: list[FieldLine]
    known: Known
    options: list[bytes]


class StatusLine(NamedTuple):
    """What a status line says. minor: as above. out: how it is said to clients."""

    minor: int
    status: int
    out: bytes


@dataclasses.dataclass(slots=True)
class ResponseHead:
    """A status line and its fields, as they came; see `RequestHead`."""

    minor: int
    status: int
    status_line: bytes
    lines: list[FieldLine]
    known: Known
    options: list[bytes]


def members(field_values: list[bytes]) -> list[bytes]:
    """Return the members of a comma-separated list, in lower case, empty ones left out (RFC 9110 section 5.6.1)."""
    return [
        member
        for value in field_values
        for item in value.split(b",")
        if (member := item.strip(b" \t").lower())
    ]


def parse_request(head: bytes) -> RequestHead:
    """Parse a whole request head, the empty line included."""
    rest = _lines(head)
    line = _REQUEST_LINE.fullmatch(rest.pop(0))
    if line is None:
        raise Malformed("the request line is not `METHOD target HTTP/1.1`")
    method, target, version = line.groups()
    lines, known, options = _parse_fields(rest)
    return RequestHead(method, target, _MINOR.get(version, -1), lines, known, options)


def parse_response(head: bytes) -> ResponseHead:
    """Parse a whole response head, the empty line included."""
    rest = _lines(head)
    first = rest.pop(0)
    minor, status, out = _status_lines.get(first) or _parse_status_line(first)
    lines, known, options = _parse_fields(rest)
    return ResponseHead(minor, status, out, lines, known, options)


def _lines(head: bytes) -> list[bytes]:
    if not head.endswith(EMPTY_LINE):
        raise Malformed("its head does not end with an empty line")
    return head[: -len(EMPTY_LINE)].split(b"\r\n")


def _parse_fields(rest: list[bytes]) -> tuple[list[FieldLine], Known, list[bytes]]:
    lines: list[FieldLine] = []
    known: Known = {}
    for raw in rest:
        line = _field_lines.get(raw) or _parse_field_line(raw)
        lines.append(line)
        name = line[1]
        if name in DECIDING:
            if name in known:
                known[name].append(line[2])
            else:
                known[name] = [line[2]]
    options = known.get(b"connection")
    if options is None:
        return lines, known, []
    return lines, known, options if options == _USUAL_OPTIONS else members(options)


_USUAL_OPTIONS: Final = [b"keep-alive"]
#: What lines were found to mean. Nothing secret is remembered, and what is malformed is not either.
_field_lines: Final[dict[bytes, FieldLine]] = {}
_status_lines: Final[dict[bytes, StatusLine]] = {}


#: What is in the name of a field that holds a credential, whoever made it up: `Cookie`, `X-Proxy-Key`, `X-Auth-Token`. Their values are
#: not remembered, not even for a moment.
_SECRET: Final = re.compile(rb"auth|cookie|credential|key|pass|secret|session|sign|token")


@functools.lru_cache(maxsize=MAX_REMEMBERED)
def is_secret(name: bytes) -> bool:
    """Whether a field with this name, in lower case, may hold a credential."""
    return _SECRET.search(name) is not None


def _parse_field_line(line: bytes) -> FieldLine:
    match = _FIELD_LINE.fullmatch(line)
    if match is None:
        raise Malformed("a field line is not `Name: value` on one line, or holds a control character")
    name = match[1].lower()
    parsed = (line + b"\r\n", name, match[2].rstrip(b" \t"))
    if not is_secret(name):
        _remember(_field_lines, line, parsed)
    return parsed


def _parse_status_line(line: bytes) -> StatusLine:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise Malformed("the status line is not that of an HTTP/1.1 response")
    minor, status, reason = match.groups()
    parsed = StatusLine(int(minor), int(status), b"HTTP/1.1 %b %b\r\n" % (status, reason or b""))
    _remember(_status_lines, line, parsed)
    return parsed


def _remember(memory: dict[bytes, T], line: bytes, meaning: T) -> None:
    """Remember a line, within bounds; when there are too many, begin anew."""
    if len(line) <= MAX_REMEMBERED_LINE:
        if len(memory) >= MAX_REMEMBERED:
            memory.clear()
        memory[line] = meaning


def check_beginning(data: bytes | bytearray) -> None:
    """Raise `Malformed` if no request head can begin like this, so that nobody waits for the rest of what will be refused anyway."""
    first, newline, _ = data.partition(b"\r\n")
    if newline and _REQUEST_LINE.fullmatch(first) is None:
        raise Malformed("the request line is not `METHOD target HTTP/1.1`")
    if not newline and _BEGINNING_OF_REQUEST.fullmatch(first) is None:
        raise Malformed("the request line holds a control character, or is no request line")
    check_line_ends(data)


def check_line_ends(data: bytes | bytearray) -> None:
    """Raise `Malformed` if a line of this beginning of a head ends otherwise than with CRLF."""
    pairs = data.count(b"\r\n")
    if data.count(b"\n") != pairs or data.count(b"\r") - data.endswith(b"\r") > pairs:
        raise Malformed("a line ends with a bare CR or LF")


def request_framing(head: RequestHead) -> int:
    """Return how the request's content is framed: its length, or `CHUNKED` (RFC 9112 section 6.3)."""
    return _framing(head.known, head.minor, 0)


def response_framing(head: ResponseHead, method: bytes) -> int:
    """Return how the content of the answer to `method` is framed: its length, `CHUNKED` or `UNTIL_CLOSE` (RFC 9112 section 6.3)."""
    framing = _framing(head.known, head.minor, UNTIL_CLOSE)
    return 0 if method == b"HEAD" or head.status in {NO_CONTENT, NOT_MODIFIED} else framing


def _framing(known: Known, minor: int, unsaid: int) -> int:
    """Return how the fields say that the content is framed; `unsaid` if they do not."""
    if b"transfer-encoding" in known:
        if b"content-length" in known:
            raise Malformed("it has both Transfer-Encoding and Content-Length")
        if minor == 0:
            raise Malformed("it has Transfer-Encoding in HTTP/1.0")
        return _chunked(known[b"transfer-encoding"])
    return _length(known[b"content-length"]) if b"content-length" in known else unsaid


def _chunked(codings: list[bytes]) -> int:
    if len(codings) != 1 or codings[0].lower() != b"chunked":
        raise Malformed("its Transfer-Encoding is not just `chunked`")
    return CHUNKED


def _length(lengths: list[bytes]) -> int:
    if len(lengths) != 1:
        raise Malformed("it has more than one Content-Length")
    if not lengths[0].isdigit() or len(lengths[0]) > MAX_LENGTH_DIGITS:
        raise Malformed("its Content-Length is not a plain number")
    return int(lengths[0])
