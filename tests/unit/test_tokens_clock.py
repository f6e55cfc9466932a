"""The clock of the tests behaves like the real one, but moves only on request."""

import asyncio

import pytest

from proxy.clock import Clock, SystemClock
from tests.clock import FakeClock


@pytest.mark.parametrize("clock", [FakeClock(), SystemClock()], ids=["fake", "system"])
@pytest.mark.parametrize("seconds", [None, 0.0, -1.0, 5.0])
async def test_a_set_event_ends_a_wait_at_once(clock: Clock, seconds: float | None) -> None:
    """Whatever the timeout; without an event, a timeout of 0 does."""
    event = asyncio.Event()
    event.set()
    assert await clock.wait(event, seconds)
    if seconds is not None and seconds <= 0:
        assert not await clock.wait(asyncio.Event(), seconds)


async def test_a_wait_ends_when_its_time_has_come_and_not_before() -> None:
    """Five seconds are over after five, not after 4.999; an event ends them at once."""
    clock = FakeClock()
    waiting = asyncio.create_task(clock.wait(asyncio.Event(), 5))
    await clock.advance(4.999)
    assert not waiting.done()
    assert clock.next_due() == pytest.approx(0.001)
    await clock.advance(0.001)
    assert await waiting is False
    event = asyncio.Event()
    waiting = asyncio.create_task(clock.wait(event, 5))
    await clock.settle()
    event.set()
    assert await waiting is True
    assert clock.next_due() is None


async def test_waits_end_in_order_each_at_its_own_instant() -> None:
    """Each sees its own time, also waits that begin meanwhile."""
    clock = FakeClock()
    start = clock.now()
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, *pauses: float) -> None:
        for pause in pauses:
            await clock.wait(asyncio.Event(), pause)
            seen.append((name, clock.now() - start))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sleeper("a", 3, 3))
        tasks.create_task(sleeper("b", 1, 1, 1, 1))
        await clock.advance(10)
    assert seen == [("b", 1), ("b", 2), ("a", 3), ("b", 3), ("b", 4), ("a", 6)]


async def test_a_cancelled_wait_is_forgotten() -> None:
    """Nothing is left of it."""
    clock = FakeClock()
    waiting = asyncio.create_task(clock.wait(asyncio.Event(), 5))
    await clock.settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert clock.next_due() is None


async def test_a_spinning_task_is_an_error() -> None:
    """It would hang the test otherwise."""
    clock = FakeClock()

    async def spin() -> None:
        while True:  # noqa: ASYNC110 # spinning is the point
            await asyncio.sleep(0)

    spinning = asyncio.create_task(spin())
    with pytest.raises(AssertionError, match="do not come to rest"):
        await clock.settle()
    spinning.cancel()


async def test_a_suspended_host_loses_time_but_no_timer() -> None:
    """Both clocks go on, timers stand still; only the wall clock can be set back."""
    clock = FakeClock()
    now, wall = clock.now(), clock.wall()
    waiting = asyncio.create_task(clock.wait(asyncio.Event(), 5))
    await clock.settle()
    clock.suspend(7200)
    await clock.settle()
    assert not waiting.done()
    assert (clock.now(), clock.wall()) == (now + 7200, wall + 7200)
    await clock.advance(5)
    assert await waiting is False
    clock.step_wall(-3600)
    assert (clock.now(), clock.wall()) == (now + 7205, wall + 7205 - 3600)
    with pytest.raises(ValueError, match="backwards"):
        await clock.advance(-1)


async def test_sockets_come_to_rest_as_well() -> None:
    """Bytes on real sockets arrive before time moves on."""
    clock = FakeClock()
    heard = bytearray()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        await writer.drain()
        writer.close()

    async def ask(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"ping")
        heard.extend(await reader.read())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        asking = asyncio.create_task(ask(server.sockets[0].getsockname()[1]))
        await clock.settle()
        assert heard == b"ping"
        await asking
