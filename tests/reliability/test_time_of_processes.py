"""Time and the real process: its wall clock is set by a day, or it is stopped for a token's life.

The sandbox beside it goes by its own clock, and rejects each token that has ended.
"""

import asyncio
import itertools
import os
import signal
from datetime import datetime
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.e2e.process import ORDERS, Api, Starter, configuration, order

#: Where Debian's package `faketime` has its library.
_LIBRARIES: Final = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1")
DAY: Final = 86_400
#: Tokens live this long, and the process stands still for a little longer.
SHORT_LIFE: Final = 3  # seconds


def libfaketime() -> str:
    """Return the library's path; skip without it, except where it must be there."""
    found = next(
        (str(path) for pattern in _LIBRARIES for path in Path("/").glob(pattern[1:])), None
    )
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("libfaketime is not installed: apt-get install faketime")
        pytest.skip("libfaketime is not installed (Debian: faketime)")
    return found


def rejections(api: Api) -> int:
    """Count the calls that came with an unusable token."""
    return int(api.counter("api_calls_by_status").get("401", 0))


async def test_a_wall_clock_that_is_set_by_a_day_changes_nothing(
    start: Starter, api: Api, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A day forward, two days back: the same token and connection, and no second login."""
    file = tmp_path / "faketime"
    file.write_text("+0\n")
    environ = {
        "LD_PRELOAD": libfaketime(),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",  # its name in older versions
    }
    proxy = await start.ready(configuration(api.url), environ=environ)
    times = []
    for number, offset in enumerate(("+0", "+1d", "-1d", "+0"), 1):
        new = file.with_suffix(".new")
        new.write_text(offset + "\n")
        new.replace(file)
        assert (await order(http, await proxy.url(ORDERS))).status == 201
        event = await proxy.event("request.completed", number)
        times.append(datetime.fromisoformat(event["timestamp"]))
    jumps = [(later - sooner).total_seconds() for sooner, later in itertools.pairwise(times)]
    assert [round(jump / DAY) for jump in jumps] == [1, -2, 1], "the clock has not been set"
    assert (api.counter("token_calls"), api.counter("orders"), rejections(api)) == (1, 4, 0)
    assert await proxy.stop() == 0


async def test_a_process_that_stood_still_sends_no_token_that_has_ended(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """Stopped until its token ended, with orders waiting: each is placed once, with a new token.

    One order waits on a kept connection, the other on a new one.
    """
    api.sandbox.settings.token_lifetime_seconds = SHORT_LIFE
    proxy = await start.ready(configuration(api.url))
    url = await proxy.url(ORDERS)
    assert (await order(http, url)).status == 201
    proxy.send(signal.SIGSTOP)
    try:
        waiting = [asyncio.create_task(order(http, url)) for _ in range(2)]
        await asyncio.sleep(SHORT_LIFE + 0.3)  # the token's own time
    finally:
        proxy.send(signal.SIGCONT)
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [201, 201]
    assert (api.counter("orders"), rejections(api)) == (3, 0)
    assert await proxy.stop() == 0
