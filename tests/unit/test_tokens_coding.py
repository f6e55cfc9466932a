"""Content codings, read within bounds."""

import gzip
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped] # it has no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tokens.coding import decoded


def raw_deflate(content: bytes) -> bytes:
    """Compress without a header, as some servers do."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


CODINGS: list[tuple[bytes, Callable[[bytes], bytes]]] = [
    (b"gzip", gzip.compress),
    (b"deflate", zlib.compress),
    (b"deflate", raw_deflate),
    (b"br", brotli.compress),
    (b"x-gzip", zlib.compress),
    (b"deflate", gzip.compress),
    (b"gzip , BR", lambda content: brotli.compress(gzip.compress(content))),
]


@pytest.mark.parametrize(("coding", "compress"), CODINGS)
@given(content=st.binary(max_size=300), limit=st.integers(min_value=1, max_value=400))
def test_no_more_than_the_limit_comes_out(
    coding: bytes, compress: Callable[[bytes], bytes], content: bytes, limit: int
) -> None:
    """Of longer content the beginning comes out, marked as not whole."""
    found = decoded(compress(content), coding, max(limit, 400) if b"," in coding else limit)
    if b"," in coding or len(content) <= limit:
        assert found == (content, True)
    else:
        assert found == (content[:limit], False)


@pytest.mark.parametrize(("coding", "compress"), CODINGS[:-1])
def test_what_breaks_off_is_not_whole(coding: bytes, compress: Callable[[bytes], bytes]) -> None:
    """Its beginning may hold a code."""
    content = bytes(range(256)) * 8
    found = decoded(compress(content)[:-5], coding, 10_000)
    assert found is not None
    assert not found[1]
    assert content.startswith(found[0])


def test_what_cannot_be_decoded_is_none() -> None:
    """Other codings, more than two, and what is not compressed."""
    for coding in b"zstd|compress|aes128gcm|gzip, zstd|gzip, gzip, gzip|utf-8".split(b"|"):
        assert decoded(b"x", coding, 100) is None
    for coding in (b"gzip", b"deflate", b"br"):
        assert decoded(b'{"code": "40104", "message": "not authorized"}', coding, 100) is None
    assert decoded(raw_deflate(b"x") + b"y", b"deflate", 100) is None


@pytest.mark.parametrize("coding", [None, b"", b"identity", b"Identity, none", b" , "])
def test_no_coding_changes_nothing(coding: bytes | None) -> None:
    """Also beyond the limit: it has been read by then."""
    assert decoded(b"abc", coding, 2) == (b"abc", True)


def test_a_gzip_body_may_have_several_members() -> None:
    """RFC 1952, section 2.2, up to a limit; what follows the last one is ignored."""
    two = gzip.compress(b"ab") + gzip.compress(b"c")
    assert decoded(two, b"gzip", 100) == (b"abc", True)
    assert decoded(two + b"\0\0", b"gzip", 100) == (b"abc", True)
    many = decoded(gzip.compress(b"a") * 40, b"gzip", 100)
    assert many == (b"a" * 16, False)
