"""Work that blocks is awaited in a thread that no exit waits for."""

import asyncio
import threading

import pytest

from proxy.threads import in_daemon_thread


async def test_result_or_error_comes_back() -> None:
    """From a daemon thread, which does not keep the process alive."""
    assert await in_daemon_thread(lambda: threading.current_thread().daemon) is True

    def fail() -> None:
        raise ValueError("made up")

    with pytest.raises(ValueError, match="made up"):
        await in_daemon_thread(fail)


async def test_work_that_hangs_is_left_behind() -> None:
    """The caller goes on at once, and a late result is dropped."""
    let_go, ended = threading.Event(), threading.Event()

    def hang() -> None:
        let_go.wait()
        ended.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await in_daemon_thread(hang)
    let_go.set()
    assert await asyncio.to_thread(ended.wait, 5)
