"""Takes one message's content off a stream, piece by piece, whatever its framing.

Owns nothing but the count of what is left; deadlines and what a failure means are the caller's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.forward import wire
from proxy.forward.stream import Gone

if TYPE_CHECKING:
    from proxy.forward.stream import Stream


class Body:
    """The content of the message whose head was just taken off the stream.

    framing: a length, `wire.CHUNKED` or `wire.UNTIL_CLOSE`. done: its end has been seen. size: content bytes so far.
    """

    __slots__ = ("_chunks", "_left", "_stream", "done", "framing", "size")

    def __init__(self, stream: Stream, framing: int) -> None:
        self._stream = stream
        self._left = framing
        self._chunks = wire.ChunkedDecoder() if framing == wire.CHUNKED else None
        self.framing = framing
        self.done = framing == 0
        self.size = 0

    @classmethod
    def whole(cls, stream: Stream, size: int) -> Body:
        """Return one of so many bytes that has arrived and was taken."""
        body = cls.__new__(cls)
        body._stream, body._chunks, body._left = stream, None, 0  # noqa: SLF001 # its own
        body.framing = body.size = size
        body.done = True
        return body

    def ready(self) -> bytes:
        """Return the content that has already arrived, b"" if there is none. Raises `wire.Malformed`."""
        buffer = self._stream.buffer
        if self.done or not buffer:
            return b""
        if self._chunks is not None:
            piece = self._chunks.decode(buffer)
            self.done = self._chunks.done
        elif self._left >= 0:
            piece = self._stream.take(self._left)
            self._left -= len(piece)
            self.done = self._left == 0
        else:
            piece = self._stream.take(len(buffer))
        self.size += len(piece)
        return piece

    def _is_paused(self) -> bool:
        return self._chunks is not None and self._chunks.paused

    async def read(self, seconds: float | None) -> bytes:
        """Return the next piece; b"" at the end, and only there.

        Raises `Gone` if the peer goes before the end, `TimeoutError` after so many seconds of silence, `wire.Malformed`.
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
                # Only an orderly end counts: on TLS that is close_notify, so that nobody in between can shorten an answer.
                if self._left != wire.UNTIL_CLOSE or not self._stream.ended:
                    raise
                self.done = True
        return piece
