"""Content codings (RFC 9110, section 8.4.1), read within bounds to look at errors and grants.

Pure. What passes through to clients is never decoded.
"""

import zlib
from collections.abc import Callable
from typing import Final

import brotli  # type: ignore[import-untyped] # it has no types

#: More codings than this on one body are not undone: no honest server applies two.
_MOST_CODINGS: Final = 2
#: A gzip body may have several members (RFC 1952, section 2.2); more than this are not read.
_MOST_MEMBERS: Final = 16

_GZIP_MAGIC: Final = b"\x1f\x8b"
#: zlib's wbits: the largest window with either header, and without any.
_GZIP_OR_ZLIB: Final = 47
_RAW: Final = -15


def decoded(content: bytes, coding: bytes | None, limit: int) -> tuple[bytes, bool] | None:
    """Undo the codings that `Content-Encoding` names, up to `limit` bytes, if that is possible.

    Returns the content, and whether it is whole: neither cut nor longer than the limit.
    """
    names = [name.strip().lower() for name in (coding or b"").split(b",")]
    names = [name for name in names if name not in _NO_CODINGS]
    if len(names) > _MOST_CODINGS:
        return None
    whole = True
    for name in reversed(names):
        read = _READERS.get(name)
        if read is None or (result := read(content, limit)) is None:
            return None
        whole = whole and result[1] and len(result[0]) <= limit
        content = result[0][:limit]
    return content, whole


def _inflate(content: bytes, limit: int) -> tuple[bytes, bool] | None:
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
            break
        if not content.startswith(_GZIP_MAGIC):
            return bytes(found), True
    return bytes(found), False


def _deflate(content: bytes, limit: int) -> tuple[bytes, bool] | None:
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
    return raw, reader.eof


def _brotli(content: bytes, limit: int) -> tuple[bytes, bool] | None:
    reader = brotli.Decompressor()
    try:
        found = reader.process(content, output_buffer_limit=limit + 1)
    except brotli.error:
        return None
    return found, reader.is_finished()


_NO_CODINGS: Final = frozenset({b"", b"identity", b"none"})
_READERS: Final[dict[bytes, Callable[[bytes, int], tuple[bytes, bool] | None]]] = {
    b"gzip": _inflate,
    b"x-gzip": _inflate,
    b"deflate": _deflate,
    b"br": _brotli,
}
