"""The content of an order: hashed while it arrives, and held until it is whole.

More than a size goes to a temporary file without a name, which ends with the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from typing import Final

#: Bytes. As much as one write to a socket takes with profit.
_PIECE: Final = 65_536


class HeldContent:
    """Feed it, then take its `fingerprint` and its `pieces`, as often as needed; then `close` it.

    fingerprint: as `key.fingerprint` begins it. in_memory: bytes that need no file. size: bytes so
    far. `feed` and `pieces` raise OSError if the temporary file cannot be written or read.
    """

    __slots__ = ("_file", "fingerprint", "size")

    def __init__(self, fingerprint: hashlib._Hash, in_memory: int) -> None:
        self.fingerprint = fingerprint
        self.size = 0
        self._file = tempfile.SpooledTemporaryFile(in_memory)  # noqa: SIM115 # see close

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        self.fingerprint.update(piece)
        self.size += len(piece)
        self._file.write(piece)
        self._file.flush()  # so that a full disk is noticed before the order is recorded

    def pieces(self) -> Iterator[bytes]:
        """Yield the content from its beginning."""
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece

    def close(self) -> None:
        """Drop it."""
        with contextlib.suppress(OSError):  # what a full disk did not take
            self._file.close()
