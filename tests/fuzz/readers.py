"""Other readers of HTTP: h11 and aiohttp's C parser, each behind one function."""

import asyncio
import re
from typing import Final, NamedTuple

import h11
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser

_ENOUGH: Final = 1 << 20  # bytes; no limit of theirs is what is tested

# RFC 9112 section 7.1.1 allows white space before the semicolon of a chunk extension.
_BLANK_BEFORE_EXTENSION: Final = re.compile(rb"[0-9A-Fa-f][ \t]+;")
# Fields about framing mean nothing in a trailer section or in a 1xx answer, so their values
# need not be read.
_FRAMING_FIELD: Final = re.compile(
    rb"^(?:content-length|transfer-encoding):", re.IGNORECASE | re.MULTILINE
)

Fields = list[tuple[bytes, bytes]]


class Reading(NamedTuple):
    """One message. `first`: method and target, or the status. `left`: bytes after its end."""

    first: tuple[bytes, ...]
    fields: Fields
    content: bytes
    left: int


def request_by_h11(data: bytes) -> Reading | None:
    """Read the first whole request, or None. Raises `h11.RemoteProtocolError`."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_ENOUGH)
    connection.receive_data(data)
    request = connection.next_event()
    if not isinstance(request, h11.Request):
        return None
    content = _content_by_h11(connection)
    if content is None:
        return None
    first = (bytes(request.method), bytes(request.target))
    return Reading(first, request.headers.raw_items(), content, len(connection.trailing_data[0]))


def response_by_h11(data: bytes, method: bytes, *, ended: bool) -> Reading | None:
    """Read the answer to `method` if it is whole. Raises `h11.RemoteProtocolError`."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_ENOUGH)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    if ended:
        connection.receive_data(b"")
    response = connection.next_event()
    while isinstance(response, h11.InformationalResponse):
        response = connection.next_event()
    if not isinstance(response, h11.Response):
        return None
    content = _content_by_h11(connection)
    if content is None:
        return None
    first = (b"%d" % response.status_code, bytes(response.reason))
    return Reading(first, response.headers.raw_items(), content, len(connection.trailing_data[0]))


def end_to_end(
    fields: Fields, not_end_to_end: frozenset[bytes], *, underscores: bool = False
) -> Fields:
    """Return the fields that neither `Connection` nor the set names, in the set's spelling."""
    named = {
        option.strip(b" \t").lower()
        for name, value in fields
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    dash = b"-" if underscores else b"_"
    return [
        (name, value)
        for name, value in fields
        if name.lower() not in named and name.lower().replace(b"_", dash) not in not_end_to_end
    ]


def is_h11_stricter(data: bytes) -> bool:
    """Whether h11 may refuse this although RFC 9112 allows it; neither case changes a reading."""
    head, _, rest = data.partition(b"\r\n\r\n")
    is_interim = head[:10] in {b"HTTP/1.0 1", b"HTTP/1.1 1"}
    looked_at = data if is_interim else rest
    return (
        _BLANK_BEFORE_EXTENSION.search(rest) is not None
        or _FRAMING_FIELD.search(looked_at) is not None
    )


def _content_by_h11(connection: h11.Connection) -> bytes | None:
    content = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            content += event.data
        else:
            return content if isinstance(event, h11.EndOfMessage) else None


def requests_by_aiohttp(data: bytes) -> list[Reading]:
    """Read the whole requests at the front of the bytes; none if aiohttp refuses them."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(
            BaseProtocol(loop),
            loop,
            _ENOUGH,
            max_line_size=_ENOUGH,
            max_headers=_ENOUGH,
            max_field_size=_ENOUGH,
            auto_decompress=False,
        )
        messages, _, _ = parser.feed_data(data)
    except HttpProcessingError:
        return []
    finally:
        loop.close()
    return [
        Reading(
            (message.method.encode(), message.path.encode()),
            [(bytes(name), bytes(value)) for name, value in message.raw_headers],
            content.read_nowait(),
            0,
        )
        for message, content in messages
        if content.is_eof()
    ]
