"""The distance between systems and API: bytes come late, in order, and all of them."""

from __future__ import annotations

import asyncio

import pytest

from bench import distance
from tests.scripted import serving


@pytest.mark.parametrize(
    ("now", "connected", "arrives"),
    [(5.0, 1.0, 5.01), (1.0, 1.02, 1.03)],
    ids=["a connection that is there", "a new connection"],
)
def test_bytes_arrive_one_way_after_they_could_leave(
    now: float, connected: float, arrives: float
) -> None:
    """They leave at once, but not before the connection's own round trip is over."""
    assert distance.arrival(now, 0.01, connected) == pytest.approx(arrives)


async def test_bytes_come_in_order_and_to_their_end() -> None:
    """What is sent in many pieces arrives as it was sent, through a relay that adds no time."""
    sent = [bytes([number]) * 1000 for number in range(100)]
    got = asyncio.get_running_loop().create_future()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.readexactly(100_000))
        writer.write(b"thanks")
        await writer.drain()

    async with serving(upstream) as port:
        there, to_upstream = await asyncio.open_connection("127.0.0.1", port)
        near = asyncio.StreamReader()
        for piece in sent:
            near.feed_data(piece)
        near.feed_eof()
        await distance.carry(near, to_upstream, 0.0, 0.0)
        assert await got == b"".join(sent)
        assert await there.read() == b"thanks"
        to_upstream.close()
        await to_upstream.wait_closed()
