"""The content of an order: hashed while it arrives, and held until it is whole.

Up to `in_memory` bytes are held in memory. More goes to a temporary file without a name, which
ends with the process (O_TMPFILE where the system has it).
"""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterator

#: Bytes. As much as one write to a socket takes with profit.
_PIECE: Final = 65_536


class HeldContent:
    """Feed it, then take its `fingerprint` and its `pieces`, as often as needed.

    `close` it at the end.

    fingerprint: as `key.fingerprint` begins it. size: bytes so far. buffer: the content, as long as
    no file is needed. `feed` and `pieces` raise OSError if the temporary file cannot be written or
    read.
    """

    __slots__ = ("_file", "_in_memory", "buffer", "fingerprint", "size")

    def __init__(self, fingerprint: hashlib._Hash, in_memory: int) -> None:
        self.fingerprint = fingerprint
        self._in_memory = in_memory
        self.buffer: bytes | bytearray = b""
        self._file: IO[bytes] | None = None
        self.size = 0

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        self.fingerprint.update(piece)
        self.size += len(piece)
        if self._file is not None:
            self._file.write(piece)
        elif self.size > self._in_memory:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 # see close
            self._file.write(self.buffer)
            self._file.write(piece)
            self.buffer = b""
        elif not self.buffer:
            self.buffer = piece
        elif isinstance(self.buffer, bytearray):
            self.buffer += piece
        else:
            self.buffer = bytearray(self.buffer + piece)

    def pieces(self) -> Iterator[bytes]:
        """Yield the content from its beginning."""
        if self._file is None:
            if self.buffer:
                yield bytes(self.buffer)
            return
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece

    def close(self) -> None:
        """Drop it."""
        self.buffer = b""
        if self._file is not None:
            self._file.close()
