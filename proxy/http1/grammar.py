"""HTTP/1.1 as RFC 9112 writes it, and nothing more lenient: heads and framing.

Pure: no sockets, no clocks, no settings.

Laws
1. What is not in the grammar raises `Malformed`; nothing is repaired, and no message holds a byte
   of the peer's. The one exception is RFC 9112 section 5.1: a proxy removes white space between a
   response's field name and its colon.
2. One message has one framing. Whatever could be read as two is malformed: two lengths, a length
   and a coding, a coding that is not exactly `chunked`, any coding in HTTP/1.0 (RFC 9112 sections
   6.1 and 6.3: request smuggling).
3. CRLF ends a line, and only CRLF; lines do not fold (RFC 9112 sections 2.2 and 5.2 leave a
   recipient the choice; this is the strict one).
4. Nothing is remembered between messages: a head is read with one pattern for all of it, and one
   pass over its fields.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from proxy.http1.fields import DECIDES, OF_REQUESTS, OF_RESPONSES, STOPS

# RFC 9110 section 5.6.2 `token`; section 5.5 `field-value` (VCHAR, obs-text, SP, HTAB). Possessive
# quantifiers: linear time.
TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
VALUE: Final = rb"[\t -~\x80-\xff]*+"
_FIELDS: Final = rb"((?:" + TOKEN + rb":" + VALUE + rb"\r\n)*+)\r\n"
_REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") ([!-~]++) HTTP/([0-9]\.[0-9])")
_REQUEST: Final = re.compile(_REQUEST_LINE.pattern + rb"\r\n" + _FIELDS)
_LOOSE_REQUEST_LINE: Final = re.compile(TOKEN + rb" ([ -~\x80-\xff]*) HTTP/[0-9]\.[0-9]")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: (" + VALUE + rb"))?")
_RESPONSE: Final = re.compile(_STATUS_LINE.pattern + rb"\r\n" + _FIELDS)
#: One field line of a head that has been matched: whole, its name, its value with white space
#: behind it.
_FIELD: Final = re.compile(rb"(([^:]++):[\t ]*+([^\r]*+)\r\n)")
_SPACE_BEFORE_COLON: Final = re.compile(rb"(?m)^(" + TOKEN + rb")[\t ]++:")
_BEGINNING_OF_REQUEST: Final = re.compile(rb"[!-~]*+(?: [!-~]*+){0,2}\r?")
_MINOR: Final = {b"1.1": 1, b"1.0": 0}

MAX_LENGTH_DIGITS: Final = 18  # of a Content-Length: below 2**60, as with chunks

#: Ends a head, together with the end of its last line.
EMPTY_LINE: Final = b"\r\n\r\n"

#: Framings other than a length, which is a number from 0.
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

NO_CONTENT: Final = 204
NOT_MODIFIED: Final = 304


class Malformed(Exception):
    """The peer's bytes are not HTTP/1.1; the text says what is wrong without quoting them."""


#: The values of the fields that decide something, by lower-case name, in the order they came.
Known: TypeAlias = dict[bytes, list[bytes]]


class RequestHead(NamedTuple):
    """A request line and its fields.

    minor: the 1 of HTTP/1.1, or -1 for another version than 1.0 and 1.1. passing: the whole lines
    of the fields that do not always stop here, as they came. field_count: how many there were.
    options: the members of `Connection`, in lower case.
    """

    method: bytes
    target: bytes
    minor: int
    passing: list[bytes]
    known: Known
    field_count: int
    options: list[bytes]


class ResponseHead(NamedTuple):
    """A status line and its fields; see `RequestHead`.

    reason: what stands behind the status, perhaps empty.
    """

    minor: int
    status: int
    reason: bytes
    passing: list[bytes]
    known: Known
    field_count: int
    options: list[bytes]


def members(field_values: list[bytes]) -> list[bytes]:
    """Return a list's members in lower case, without empty ones (RFC 9110 section 5.6.1)."""
    return [
        member
        for value in field_values
        for item in value.split(b",")
        if (member := item.strip(b" \t").lower())
    ]


def without_named(lines: list[bytes], named: list[bytes]) -> list[bytes]:
    """Return the field lines without those that `Connection` names (RFC 9110 section 7.6.1)."""
    return [line for line in lines if line.partition(b":")[0].lower() not in named]


def parse_request(head: bytes) -> RequestHead:
    """Parse a whole request head, the empty line included. Raises `Malformed`."""
    match = _REQUEST.fullmatch(head)
    if match is None:
        raise _malformed(head, _REQUEST_LINE, _fault_of_request_line)
    method, target, version, fields = match.groups()
    passing, known, count, options = _sort(fields, OF_REQUESTS)
    return RequestHead(method, target, _MINOR.get(version, -1), passing, known, count, options)


def parse_response(head: bytes) -> ResponseHead:
    """Parse a whole response head, the empty line included. Raises `Malformed`."""
    match = _RESPONSE.fullmatch(head) or _RESPONSE.fullmatch(_SPACE_BEFORE_COLON.sub(rb"\1:", head))
    if match is None:
        raise _malformed(head, _STATUS_LINE, _fault_of_status_line)
    minor, status, reason, fields = match.groups()
    passing, known, count, options = _sort(fields, OF_RESPONSES)
    return ResponseHead(int(minor), int(status), reason or b"", passing, known, count, options)


def _sort(
    fields: bytes, treatments: dict[bytes, int]
) -> tuple[list[bytes], Known, int, list[bytes]]:
    """Return `passing`, `known`, `field_count` and `options` of a matched head's fields."""
    found = _FIELD.findall(fields)
    passing: list[bytes] = []
    known: Known = {}
    for line, raw, value in found:
        name = raw.lower()
        if name not in treatments:
            passing.append(line)
            continue
        treatment = treatments[name]
        if treatment >= DECIDES:
            if name in known:
                known[name].append(value.rstrip(b" \t"))
            else:
                known[name] = [value.rstrip(b" \t")]
        if not treatment & STOPS:
            passing.append(line)
    options = members(known[b"connection"]) if b"connection" in known else []
    return passing, known, len(found), options


def _malformed(
    head: bytes, first_line: re.Pattern[bytes], fault_of_first_line: Callable[[bytes], str]
) -> Malformed:
    """Say what is wrong with a head that does not match."""
    if not head.endswith(EMPTY_LINE):
        return Malformed("its head does not end with an empty line")
    line = head.partition(b"\r\n")[0]
    if first_line.fullmatch(line) is None:
        return Malformed(fault_of_first_line(line))
    return Malformed("a field line is not `Name: value` on one line, or holds a control character")


def _fault_of_status_line(_: bytes) -> str:
    return "the status line is not that of an HTTP/1.1 response"


def _fault_of_request_line(line: bytes) -> str:
    match = _LOOSE_REQUEST_LINE.fullmatch(line)
    if match is not None and b" " in match[1].strip(b" "):
        return "the request target holds a blank, which has to be sent as %20"
    if match is not None and not match[1].isascii():
        return "the request target holds a character outside ASCII, which has to be percent-encoded"
    return "the request line is not `METHOD target HTTP/1.1`"


def check_beginning(data: bytes | bytearray) -> None:
    """Raise `Malformed` if no request head can begin like this: it is refused at once."""
    first, newline, _ = data.partition(b"\r\n")
    if newline and _REQUEST_LINE.fullmatch(first) is None:
        raise Malformed(_fault_of_request_line(bytes(first)))
    if not newline and _BEGINNING_OF_REQUEST.fullmatch(first) is None:
        raise Malformed("the request line holds a control character, or is no request line")
    check_line_ends(data)


def check_line_ends(data: bytes | bytearray) -> None:
    """Raise `Malformed` if a line of this beginning of a head ends otherwise than with CRLF."""
    pairs = data.count(b"\r\n")
    if data.count(b"\n") != pairs or data.count(b"\r") - data.endswith(b"\r") > pairs:
        raise Malformed("a line ends with a bare CR or LF")


def request_framing(head: RequestHead) -> int:
    """Return the length of the request's content, or `CHUNKED` (RFC 9112 section 6.3)."""
    return _framing(head.known, head.minor, 0)


def response_framing(head: ResponseHead, method: bytes) -> int:
    """Return the length of the answer to `method`, `CHUNKED` or `UNTIL_CLOSE` (RFC 9112, 6.3)."""
    framing = _framing(head.known, head.minor, UNTIL_CLOSE)
    return 0 if method == b"HEAD" or head.status in {NO_CONTENT, NOT_MODIFIED} else framing


def _framing(known: Known, minor: int, unsaid: int) -> int:
    if b"transfer-encoding" in known:
        if b"content-length" in known:
            raise Malformed("it has both Transfer-Encoding and Content-Length")
        if minor == 0:
            raise Malformed("it has Transfer-Encoding in HTTP/1.0")
        codings = known[b"transfer-encoding"]
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise Malformed("its Transfer-Encoding is not just `chunked`")
        return CHUNKED
    return _length(known[b"content-length"]) if b"content-length" in known else unsaid


def _length(lengths: list[bytes]) -> int:
    if len(lengths) != 1:
        raise Malformed("it has more than one Content-Length")
    if not lengths[0].isdigit() or len(lengths[0]) > MAX_LENGTH_DIGITS:
        raise Malformed("its Content-Length is not a plain number")
    return int(lengths[0])
