"""One message's content, piece by piece, and an end that is seen only where there is one."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1 import chunked, grammar
from proxy.network.message import Body
from proxy.network.stream import Gone, Stream


async def turn() -> None:
    """Let waiting tasks go on."""
    for _ in range(3):
        await asyncio.sleep(0)


def stream(data: bytes = b"") -> Stream:
    """Return a stream on which these bytes have arrived; the test stands for its transport."""
    made = Stream(asyncio.get_running_loop())
    made.transport = asyncio.Transport()  # knows nothing, and says so
    if data:
        made.data_received(data)
    return made


async def read_all(body: Body, seconds: float = 5) -> bytes:
    """Read to the end."""
    content = b""
    while piece := await body.read(seconds):
        assert not body.done or body.framing != grammar.UNTIL_CLOSE
        content += piece
    return content


HELLO = {5: b"hello", grammar.CHUNKED: b"2\r\nhe\r\n3;x\r\nllo\r\n0\r\nX-T: 1\r\n\r\n"}


async def test_no_content_is_done_at_once() -> None:
    """It takes nothing off the stream."""
    source = stream(b"GET / HTTP/1.1")
    body = Body(source, 0)
    assert body.done
    assert body.ready() == b""
    assert await body.read(5) == b""
    assert (body.size, bytes(source.buffer)) == (0, b"GET / HTTP/1.1")


@pytest.mark.parametrize(("framing", "data"), HELLO.items())
async def test_content_ends_where_it_says(framing: int, data: bytes) -> None:
    """The next message stays in the buffer."""
    source = stream(data + b"GET / HTTP/1.1")
    body = Body(source, framing)
    assert body.ready() == b"hello"
    assert body.done
    assert (body.size, bytes(source.buffer)) == (5, b"GET / HTTP/1.1")
    assert body.ready() == b""
    assert await body.read(5) == b""
    assert source.buffer == b"GET / HTTP/1.1"


@pytest.mark.parametrize(("framing", "data"), HELLO.items())
async def test_a_reader_waits_for_the_next_piece(framing: int, data: bytes) -> None:
    """`read` gives b"" only at the end, which is seen with the last byte; nothing is kept."""
    source = stream()
    body = Body(source, framing)
    reading = asyncio.ensure_future(read_all(body))
    for at in range(len(data)):
        await turn()
        assert (reading.done(), body.done) == (False, False)
        source.data_received(data[at : at + 1])
    assert await reading == b"hello"
    assert (body.done, body.size, bytes(source.buffer)) == (True, 5, b"")


async def test_content_until_the_end_of_the_connection() -> None:
    """The peer's orderly end is its end, also without a byte."""
    source = stream(b"he")
    body = Body(source, grammar.UNTIL_CLOSE)
    assert body.ready() == b"he"
    assert not body.done
    source.data_received(b"llo")
    source.eof_received()
    assert await body.read(5) == b"llo"
    assert not body.done
    assert await body.read(5) == b""
    assert (body.done, body.size) == (True, 5)
    empty = stream()
    empty.eof_received()
    assert await read_all(Body(empty, grammar.UNTIL_CLOSE)) == b""


@pytest.mark.parametrize("framing", [grammar.UNTIL_CLOSE, *HELLO])
async def test_a_lost_connection_is_no_end(framing: int) -> None:
    """A reset, or on TLS an end without close_notify, raises `Gone`."""
    source = stream(HELLO.get(framing, b"hell")[:4])
    body = Body(source, framing)
    await body.read(5)
    reading = asyncio.ensure_future(body.read(5))
    await turn()
    source.connection_lost(ConnectionResetError())
    with pytest.raises(Gone):
        await reading
    assert not body.done


@pytest.mark.parametrize(("framing", "data"), HELLO.items())
async def test_an_early_end_is_no_end(framing: int, data: bytes) -> None:
    """Where more is to come, even an orderly end raises `Gone`."""
    for size in range(len(data)):
        source = stream(data[:size])
        source.eof_received()
        body = Body(source, framing)
        with pytest.raises(Gone):
            await read_all(body)
        assert not body.done
        assert source.buffer == b"" or framing == grammar.CHUNKED


@pytest.mark.parametrize("framing", [grammar.UNTIL_CLOSE, *HELLO])
async def test_silence_is_bounded(framing: int) -> None:
    """After so many seconds without a byte, `TimeoutError`."""
    with pytest.raises(TimeoutError):
        await Body(stream(), framing).read(0)


async def test_malformed_chunks_are_malformed() -> None:
    """Whether they are there already or come later."""
    with pytest.raises(grammar.Malformed):
        Body(stream(b"x\r\n"), grammar.CHUNKED).ready()
    source = stream(b"1\r\n")
    reading = asyncio.ensure_future(Body(source, grammar.CHUNKED).read(5))
    await turn()
    source.data_received(b"xx")
    with pytest.raises(grammar.Malformed):
        await reading


async def test_tiny_chunks_do_not_block_other_tasks() -> None:
    """Other tasks run while very many chunks are read."""
    source = stream(b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n")
    others = 0

    async def work() -> None:
        nonlocal others
        while True:
            await asyncio.sleep(0)
            others += 1

    working = asyncio.ensure_future(work())
    body = Body(source, grammar.CHUNKED)
    assert await read_all(body) == b"x" * 5000
    assert (body.done, body.size) == (True, 5000)
    assert others >= 5000 // chunked.MAX_STEPS
    working.cancel()


@given(
    sizes=st.lists(st.integers(1, 3), max_size=40).map(lambda few: few * 40),
    keep=st.floats(0, 1),
    cuts=st.lists(st.floats(0, 1), max_size=4),
)
def test_any_split_of_tiny_chunks_ends_or_waits(
    sizes: list[int], keep: float, cuts: list[float]
) -> None:
    """However it is cut, the reader ends, or waits with its deadline running."""
    whole = b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in sizes) + b"0\r\n\r\n"
    data = whole[: round(keep * len(whole))]
    edges = sorted({0, len(data), *(round(cut * len(data)) for cut in cuts)})

    async def read() -> None:
        source = stream()
        body = Body(source, grammar.CHUNKED)
        reading = asyncio.ensure_future(read_all(body, 0.0 if data != whole else 5))
        for start, end in itertools.pairwise(edges):
            source.data_received(data[start:end])
        for _ in range(len(data) // chunked.MAX_STEPS + 20):
            if reading.done() or source._readable._future is not None:
                break
            await asyncio.sleep(0)
        else:
            reading.cancel()
            pytest.fail("the reader neither ends nor waits")
        if data == whole:
            assert await reading == b"x" * sum(sizes)
        else:
            with pytest.raises(TimeoutError):
                await reading

    asyncio.run(read())


@pytest.mark.parametrize("size", [b"1\r\n", b"1", b""])
async def test_the_limit_of_steps_at_the_end_of_the_buffer_is_no_pause(size: bytes) -> None:
    """The reader waits for more, with its deadline."""
    source = stream(b"1\r\nx\r\n" * (chunked.MAX_STEPS // 3) + size)
    body = Body(source, grammar.CHUNKED)
    assert body.ready()
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            await body.read(0)
