"""Content codings (RFC 9110, section 8.4.1), read within bounds to look at errors and grants.

Pure. What passes through to clients is never decoded.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

import brotli  # type: ignore[import-untyped] # it has no types

if TYPE_CHECKING:
    from collections.abc import Callable

#: More codings than this on one body are not undone: no honest server applies two.
_MOST_CODINGS: Final = 2
#: A gzip body may have several members (RFC 1952, section 2.2); more than this are not read.
_MOST_MEMBERS: Final = 16

_GZIP_MAGIC: Final = b"\x1f\x8b"
#: zlib's wbits: the largest window with either header, and without any.
_GZIP_OR_ZLIB: Final = 47
_RAW: Final = -15


class Decoded(NamedTuple):
    """Content without its codings. whole: it was neither cut nor longer than asked for."""

    content: bytes
    whole: bool


def decoded(content: bytes, coding: bytes | None, limit: int) -> Decoded | None:
    """Undo the codings that `Content-Encoding` names, up to `limit` bytes, if that is possible."""
    names = [name.strip().lower() for name in (coding or b"").split(b",")]
    names = [name for name in names if name not in _NO_CODINGS]
    if len(names) > _MOST_CODINGS:
        return None
    found = Decoded(content, whole=True)
    for name in reversed(names):
        read = _READERS.get(name)
        if read is None or (result := read(found.content, limit)) is None:
            return None
        whole = found.whole and result.whole and len(result.content) <= limit
        found = Decoded(result.content[:limit], whole)
    return found


def _inflate(content: bytes, limit: int) -> Decoded | None:
    """Read gzip or the zlib format: some servers name the one and send the other."""
    found = bytearray()
    for _ in range(_MOST_MEMBERS):
        reader = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            found += reader.decompress(content, limit - len(found) + 1)  # 0 would mean no limit
        except zlib.error:
            return None
        content = reader.unused_data
        if not reader.eof or len(found) > limit:
            return Decoded(bytes(found), whole=False)
        if not content.startswith(_GZIP_MAGIC):
            return Decoded(bytes(found), whole=True)
    return Decoded(bytes(found), whole=False)


def _deflate(content: bytes, limit: int) -> Decoded | None:
    """Read zlib, which `deflate` means (RFC 9110, section 8.4.1.2), or bare DEFLATE."""
    if (found := _inflate(content, limit)) is not None:
        return found
    reader = zlib.decompressobj(_RAW)
    try:
        raw = reader.decompress(content, limit + 1)
    except zlib.error:
        return None
    if reader.eof and reader.unused_data:  # it has no header, so it must fit exactly
        return None
    return Decoded(raw, whole=reader.eof)


def _brotli(content: bytes, limit: int) -> Decoded | None:
    reader = brotli.Decompressor()
    try:
        found = reader.process(content, output_buffer_limit=limit + 1)
    except brotli.error:
        return None
    return Decoded(found, whole=reader.is_finished())


_NO_CODINGS: Final = frozenset({b"", b"identity", b"none"})
_READERS: Final[dict[bytes, Callable[[bytes, int], Decoded | None]]] = {
    b"gzip": _inflate,
    b"x-gzip": _inflate,
    b"deflate": _deflate,
    b"br": _brotli,
}
