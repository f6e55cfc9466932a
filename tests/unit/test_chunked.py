"""The chunked coding: content is taken off a buffer as it arrives; what follows stays there."""

import pytest

from proxy.http1 import chunked, grammar


def decode(segments: list[bytes]) -> tuple[bytes, bool, bytes]:
    """Feed segments; return the content, whether the end was seen, and the rest of the buffer."""
    decoder, buffer, content = chunked.ChunkedDecoder(), bytearray(), b""
    for segment in segments:
        buffer += segment
        content += decoder.decode(buffer)
        while decoder.paused:
            content += decoder.decode(buffer)
    return content, decoder.done, bytes(buffer)


def bytewise(data: bytes) -> list[bytes]:
    """Return the bytes one by one."""
    return [data[at : at + 1] for at in range(len(data))]


GOOD = {
    b"0\r\n\r\n": b"",
    b"000\r\n\r\n": b"",
    b"5\r\nhello\r\n0\r\n\r\n": b"hello",
    b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n": b"hello!",
    b"A\r\n0123456789\r\n0\r\n\r\n": b"0123456789",
    b"a\r\n0123456789\r\n0\r\n\r\n": b"0123456789",
    b"000000000000005\r\nhello\r\n0\r\n\r\n": b"hello",
    b"%b5\r\nhello\r\n%b\r\n\r\n" % (b"0" * 200, b"0" * 500): b"hello",
    b"5;name\r\nhello\r\n0;last\r\n\r\n": b"hello",
    b'5;a=b;c="d \xff\t"\r\nhello\r\n0\r\n\r\n': b"hello",
    b"5 \t;a\r\nhello\r\n0\r\n\r\n": b"hello",
    b"5;\r\nhello\r\n0\r\n\r\n": b"hello",
    b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n": b"\r\n0\r\n\r\n",
    b"2\r\n\r\n\r\n0\r\n\r\n": b"\r\n",
    b"0\r\nX-Sum: 1\r\n\r\n": b"",
    b"1\r\nx\r\n0\r\nAuthorization: Bearer theirs\r\nContent-Length: 9\r\nX:\r\n\r\n": b"x",
}


@pytest.mark.parametrize(("data", "content"), GOOD.items())
def test_content_is_what_the_chunks_hold(data: bytes, content: bytes) -> None:
    """However the segments are cut; what follows stays in the buffer."""
    assert decode([data + b"GET / HTTP/1.1\r\n"]) == (content, True, b"GET / HTTP/1.1\r\n")
    for cut in range(1, len(data)):
        assert decode([data[:cut], data[cut:]]) == (content, True, b"")
        assert decode([data[:cut]])[1] is False
    assert decode(bytewise(data)) == (content, True, b"")


def test_content_comes_as_it_arrives() -> None:
    """It does not wait for a whole chunk, and leaves nothing in memory."""
    decoder, buffer = chunked.ChunkedDecoder(), bytearray(b"5\r\nhe")
    assert decoder.decode(buffer) == b"he"
    buffer += b"l"
    assert decoder.decode(buffer) == b"l"
    assert decoder.decode(buffer) == b""
    buffer += b"lo\r\n3\r\nyou\r\n"
    assert decoder.decode(buffer) == b"loyou"
    assert not decoder.done
    decoder, buffer = chunked.ChunkedDecoder(), bytearray(b"ffffff\r\n" + b"x" * 100_000)
    assert len(decoder.decode(buffer)) == 100_000
    assert buffer == b""


MALFORMED = (
    b"\r\n|\r\n0\r\n\r\n|x\r\n|-1\r\n|+1\r\nx\r\n|0x1\r\nx\r\n|1_0\r\n| 1\r\nx\r\n|"
    b"1 \r\nx\r\n|1\t\r\nx\r\n|1,1\r\nx\r\n|1 a\r\nx\r\n|\xd9\xa1\r\nx\r\n|"
    b"1000000000000000\r\n|ffffffffffffffffffff\r\n|1;\x00\r\nx\r\n|1;a\x7f\r\nx\r\n|"
    b"1;a\x0bb\r\nx\r\n|1\nx\r\n|1;a\nx\r\n|1\rx\r\n|1;\rx\r\n|1\r\r\nx\r\n|"
    b"1\r\nxy\r\n|1\r\nx0\r\n\r\n|1\r\nx\n0\r\n\r\n|1\r\nx\r0\r\n\r\n|"
    b"1\r\nx\r\r\n0\r\n\r\n|2\r\nx\r\n0\r\n\r\n|0\r\n\n|0\r\n\rx|0\n\r\n|"
    b"0\r\nno colon\r\n\r\n|0\r\n: no name\r\n\r\n|0\r\nX-A : 1\r\n\r\n|"
    b"0\r\n X-A: 1\r\n\r\n|0\r\nX-A: 1\r\n folded\r\n\r\n|0\r\nX-A: 1\n\r\n|"
    b"0\r\nX-A: \x00\r\n\r\n|0\r\nX-A: 1\rX-B: 2\r\n\r\n|0\r\n0\r\n\r\n|"
    b"0\r\nGET / HTTP/1.1\r\n\r\n"
).split(b"|")


@pytest.mark.parametrize("data", MALFORMED)
def test_chunks_out_of_the_grammar_are_malformed(data: bytes) -> None:
    """Whether they come at once or byte by byte."""
    for segments in ([data], bytewise(data)):
        with pytest.raises(grammar.Malformed):
            decode(segments)


# --- bounds ------------------------------------------------------------------------------------


def test_a_chunk_line_is_bounded() -> None:
    """Whether its end comes or not."""
    extension = b";" + b"x" * (chunked.MAX_CHUNK_LINE - 4)
    assert decode([b"1" + extension + b"\r\nx\r\n0\r\n\r\n"]) == (b"x", True, b"")
    for too_long in (
        b"1" + extension + b"x\r\n",
        b"1" + extension + b"xxxxxxxx",
        b"0" * (chunked.MAX_CHUNK_LINE + 1),
    ):
        with pytest.raises(grammar.Malformed):
            decode([too_long])
        with pytest.raises(grammar.Malformed):
            decode(bytewise(too_long))


def test_extensions_are_bounded_in_sum() -> None:
    """They cost work and carry nothing."""
    extension = b";" + b"x" * 999
    most = chunked.MAX_EXTENSIONS // len(extension)
    chunk = b"1" + extension + b"\r\nx\r\n"
    assert decode([chunk * most + b"0\r\n\r\n"]) == (b"x" * most, True, b"")
    with pytest.raises(grammar.Malformed):
        decode([chunk * (most + 1) + b"0\r\n\r\n"])
    with pytest.raises(grammar.Malformed):
        decode([chunk] * (most + 1))


def test_the_trailer_section_is_bounded() -> None:
    """One line or many, whether its end comes or not."""
    fits = b"X: " + b"x" * 1000 + b"\r\n"
    most = chunked.MAX_TRAILERS // (len(fits) - 2)
    assert decode([b"0\r\n" + fits * most + b"\r\n"]) == (b"", True, b"")
    for too_much in (
        fits * (most + 1),
        b"X: " + b"x" * chunked.MAX_TRAILERS,
        b"X: " + b"x" * chunked.MAX_TRAILERS + b"\r\n",
    ):
        with pytest.raises(grammar.Malformed):
            decode([b"0\r\n" + too_much])
        with pytest.raises(grammar.Malformed):
            decode([b"0\r\n", *bytewise(too_much)])


def test_many_small_chunks_take_linear_time() -> None:
    """The test's timeout fails it otherwise."""
    assert decode([b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n"]) == (b"x" * 100_000, True, b"")


def test_messages_quote_nothing() -> None:
    """Malformed bytes may be a credential."""
    for data in (b"hunter2\r\n", b"0\r\nhunter2\r\n", b"1\r\nhunter2", b"0\r\nX: hunter2\rx"):
        with pytest.raises(grammar.Malformed) as caught:
            decode([data])
        assert "hunter2" not in str(caught.value)


def test_one_turn_takes_a_bounded_number_of_steps() -> None:
    """`decode` pauses after so many tiny chunks, and continues when called again."""
    chunks = chunked.MAX_STEPS
    decoder, buffer = chunked.ChunkedDecoder(), bytearray(b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")
    first = decoder.decode(buffer)
    assert 0 < len(first) < chunks
    assert (decoder.paused, decoder.done) == (True, False)
    assert len(buffer) > 0
    turns, content = 1, first
    while decoder.paused:
        turns += 1
        content += decoder.decode(buffer)
    assert (content, decoder.done, bytes(buffer)) == (b"x" * chunks, True, b"")
    assert turns < 10


def test_a_decoder_without_bytes_is_not_paused() -> None:
    """An empty buffer is no pause: more bytes are needed."""
    for data in (b"", b"5", b"5\r\nhel", b"5\r\nhello\r\n", b"0\r\n", b"0\r\n\r\n"):
        decoder = chunked.ChunkedDecoder()
        decoder.decode(bytearray(data))
        assert not decoder.paused


@pytest.mark.parametrize("data", [b"x\r\n", b"1\r\nxy\r\n", b"0\r\nno colon\r\n\r\n"])
def test_what_is_broken_stays_broken(data: bytes) -> None:
    """After malformed bytes every further call raises, too."""
    decoder, buffer = chunked.ChunkedDecoder(), bytearray(data)
    with pytest.raises(grammar.Malformed):
        decoder.decode(buffer)
    buffer[:] = b"1\r\nx\r\n0\r\n\r\n"
    with pytest.raises(grammar.Malformed):
        decoder.decode(buffer)
    assert not decoder.done
