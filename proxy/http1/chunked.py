"""The chunked transfer coding (RFC 9112 section 7.1), taken off a buffer as it arrives.

Pure: no sockets, no clocks, no settings.

Laws
1. What is not in the grammar raises `Malformed`; nothing is repaired, and no message holds a byte
   of the peer's.
2. Trailer sections are checked and dropped (RFC 9110 section 6.5.1): a trailer never becomes a
   field of anything.
3. One call of `decode` takes a bounded number of steps.
"""

import re
from collections.abc import Callable
from typing import Final

from proxy.http1.grammar import TOKEN, VALUE, Malformed

_TRAILER: Final = re.compile(TOKEN + rb":" + VALUE)
# RFC 9112 section 7.1: 1*HEXDIG, so leading zeros are legal. Sizes of up to 15 digits stay below
# 2**60, far from any overflow.
_CHUNK_LINE: Final = re.compile(
    rb"(0*+[1-9A-Fa-f][0-9A-Fa-f]{0,14}|0++)([\t ]*+;[\t -~\x80-\xff]*+)?"
)

MAX_CHUNK_LINE: Final = 1024  # bytes of one chunk-size line, extensions included
# bytes in one body, as Go's net/http bounds them since CVE-2023-39326
MAX_EXTENSIONS: Final = 16384
# of one `decode`, three to a chunk: about a millisecond, so that tiny chunks do not delay other
# connections
MAX_STEPS: Final = 1024
MAX_TRAILERS: Final = 8192  # bytes of one trailer section


class ChunkedDecoder:
    """Takes a chunked body off the front of a buffer (RFC 9112 section 7.1).

    `decode` returns the content that is there; `done` turns true with the end of the trailer
    section, and the buffer then begins with whatever follows the message. `paused`: it stopped
    after as many steps as one call may take, and the buffer still holds input. With nothing in the
    buffer it is never paused, because only more input can take it further.
    """

    __slots__ = ("_extensions", "_left", "_state", "_trailers", "done", "paused")

    def __init__(self) -> None:
        self.done = False
        self.paused = False
        self._state: Callable[[bytearray, list[bytes]], bool] = self._size
        self._left = 0
        self._extensions = 0
        self._trailers = 0

    def decode(self, buffer: bytearray) -> bytes:
        """Consume what can be consumed and return its content, b"" if there is none yet."""
        pieces: list[bytes] = []
        self.paused = False
        try:
            for _ in range(MAX_STEPS):
                if self.done or not self._state(buffer, pieces):
                    break
            else:
                self.paused = bool(buffer) and not self.done
        except Malformed:
            self._state = _broken  # a later call must fail too
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _size(self, buffer: bytearray, _: list[bytes]) -> bool:
        line = _take_line(buffer, MAX_CHUNK_LINE)
        if line is None:
            return False
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise Malformed("a chunk does not begin with its size")
        self._extensions += len(match[2] or b"")
        if self._extensions > MAX_EXTENSIONS:
            raise Malformed("its chunk extensions are out of all proportion")
        self._left = int(match[1], 16)
        self._state = self._data if self._left else self._trailer
        return True

    def _data(self, buffer: bytearray, pieces: list[bytes]) -> bool:
        piece = bytes(buffer[: self._left])
        if not piece:
            return False
        del buffer[: len(piece)]
        pieces.append(piece)
        self._left -= len(piece)
        if self._left == 0:
            self._state = self._data_end
        return True

    def _data_end(self, buffer: bytearray, _: list[bytes]) -> bool:
        if not b"\r\n".startswith(bytes(buffer[:2])):
            raise Malformed("a chunk is longer than its size says")
        if len(buffer) < 2:  # noqa: PLR2004 # the two bytes of CRLF
            return False
        del buffer[:2]
        self._state = self._size
        return True

    def _trailer(self, buffer: bytearray, _: list[bytes]) -> bool:
        line = _take_line(buffer, MAX_TRAILERS)
        if line is None:
            return False
        if not line:
            self.done = True
            return True
        self._trailers += len(line)
        if self._trailers > MAX_TRAILERS:
            raise Malformed("its trailer section is too large")
        if _TRAILER.fullmatch(line) is None:
            raise Malformed("a trailer is not `Name: value` on one line")
        return True


def _broken(_buffer: bytearray, _pieces: list[bytes]) -> bool:
    raise Malformed("its chunked framing was broken before")


def _take_line(buffer: bytearray, limit: int) -> bytes | None:
    """Take one line off the buffer, without its CRLF; None if its end is not there yet."""
    end = buffer.find(b"\n", 0, limit)
    if end < 0:
        if len(buffer) >= limit:
            raise Malformed("a line of its chunked framing is too long")
        if b"\r" in buffer[:-1]:
            raise Malformed("a line of its chunked framing ends with a bare CR")
        return None
    line = bytes(buffer[:end])
    if not line.endswith(b"\r"):
        raise Malformed("a line of its chunked framing ends with a bare LF")
    del buffer[: end + 1]
    return line[:-1]
