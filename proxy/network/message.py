"""Takes a message off a stream: the head of an answer, and content piece by piece.

Deadlines, and what a failure means, are the caller's.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from proxy.http1 import chunked, grammar
from proxy.network.stream import Gone, Stream

#: Largest response head, in bytes, and most fields in it (NGINX 8 KiB; Envoy 60 KiB, 100 fields).
MAX_HEAD: Final = 65536
MAX_FIELDS: Final = 256


async def read_response_head(
    stream: Stream, patience: Callable[[], float | None]
) -> grammar.ResponseHead:
    """Return the next response head; `patience` says, at each wait, how many seconds it may last.

    Raises `Gone`, `TimeoutError`, `grammar.Malformed`.
    """
    buffer, scanned = stream.buffer, 0
    if not buffer:
        await stream.more(patience())
    while (end := buffer.find(b"\r\n\r\n", max(0, scanned - 3))) < 0:
        scanned = len(buffer)
        if scanned > MAX_HEAD:
            break
        if not b"HTTP/1.".startswith(bytes(buffer[:7])):
            raise grammar.Malformed("it does not begin like an HTTP/1.1 response")
        grammar.check_line_ends(buffer)
        await stream.more(patience())
    if end < 0 or end + 4 > MAX_HEAD:
        raise grammar.Malformed(f"its head is larger than {MAX_HEAD} bytes")
    head = grammar.parse_response(stream.take(end + 4))
    if head.field_count > MAX_FIELDS:
        raise grammar.Malformed(f"it has more than {MAX_FIELDS} fields")
    return head


class Body:
    """The content of the message whose head was just taken off the stream.

    framing: a length, `grammar.CHUNKED` or `grammar.UNTIL_CLOSE`. done: its end was seen. size:
    content bytes so far.
    """

    __slots__ = ("_chunks", "_left", "_stream", "done", "framing", "size")

    def __init__(self, stream: Stream, framing: int) -> None:
        self._stream = stream
        self._left = framing
        self._chunks = chunked.ChunkedDecoder() if framing == grammar.CHUNKED else None
        self.framing = framing
        self.done = framing == 0
        self.size = 0

    def ready(self) -> bytes:
        """Return the content that has already arrived. Raises `grammar.Malformed`."""
        stream = self._stream
        if self.done or not stream.buffer:
            return b""
        if self._chunks is not None:
            piece = self._chunks.decode(stream.buffer)
            self.done = self._chunks.done
        elif self._left >= 0:
            piece = stream.take(self._left)
            self._left -= len(piece)
            self.done = not self._left
        else:
            piece = stream.take(len(stream.buffer))
        self.size += len(piece)
        return piece

    def _is_paused(self) -> bool:
        return self._chunks is not None and self._chunks.paused

    async def read(self, seconds: float | None) -> bytes:
        """Return the next piece; b"" at the end only.

        Raises `Gone` if the peer goes before the end, `TimeoutError` after so many seconds of
        silence, `grammar.Malformed`.
        """
        if self._is_paused():
            await asyncio.sleep(0)  # let others have their turn
        while not (piece := self.ready()) and not self.done:
            if self._is_paused():
                await asyncio.sleep(0)
                continue
            try:
                await self._stream.more(seconds)
            except Gone:
                # Only an orderly end counts: on TLS that is close_notify, so that an attacker on
                # the path cannot shorten an answer.
                if self._left != grammar.UNTIL_CLOSE or not self._stream.ended:
                    raise
                self.done = True
        return piece
