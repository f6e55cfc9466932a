"""The content of an order: hashed while it arrives, and held until it is whole.

Up to `in_memory` bytes are held in memory. More goes to a temporary file without a name, which
ends with the process (O_TMPFILE where the system has it).
"""

from __future__ import annotations

import hashlib
import tempfile
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

#: Bytes. As much as one write to a socket takes with profit.
_PIECE: Final = 65_536


class HeldContent:
    """Feed it, then take its `digest` and its `pieces`, as often as needed; `close` it at the end.

    `feed` and `pieces` raise OSError if the temporary file cannot be written or read.
    """

    def __init__(self, in_memory: int, directory: Path | None = None) -> None:
        self._in_memory = in_memory
        self._directory = directory
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    def feed(self, piece: bytes | bytearray | memoryview) -> None:
        """Take the next piece."""
        self._hash.update(piece)
        self.size += len(piece)
        if self._file is None:
            self._buffer += piece
            if self.size > self._in_memory:
                self._spill()
        else:
            self._file.write(piece)

    def _spill(self) -> None:
        self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 # see close
        self._file.write(self._buffer)
        self._buffer = bytearray()

    @property
    def digest(self) -> bytes:
        """The SHA-256 of what was fed."""
        return self._hash.digest()

    @property
    def is_in_memory(self) -> bool:
        """Whether no file is needed."""
        return self._file is None

    def pieces(self) -> Iterator[bytes]:
        """Yield the content from its beginning."""
        if self._file is None:
            if self._buffer:
                yield bytes(self._buffer)
            return
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece

    def close(self) -> None:
        """Drop it."""
        self._buffer = bytearray()
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
