"""`/status` on the operation page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from tests.docs.pages import OPERATION, names, rows, section
from tests.e2e.process import DEADLINE, Api, Starter, configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLE = rows(section(OPERATION, "Status page"))


async def status(start: Starter, api: Api) -> Mapping[str, Mapping[str, object]]:
    """Run a proxy and return what it says of itself."""
    proxy = await start.ready(configuration(api.url))
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.get(await proxy.admin_url("/status")) as answer,
    ):
        content: dict[str, dict[str, object]] = await answer.json()
    assert await proxy.stop() == 0
    return content


async def test_every_key_has_a_row(start: Starter, api: Api) -> None:
    """The keys of `/status` are those of the table, and so are the token's."""
    content = await status(start, api)
    assert content.keys() == {name for row in TABLE for name in names(row[0])}
    (token,) = (row[1] for row in TABLE if names(row[0]) == ["token"])
    assert set(names(token)) <= content["token"].keys()
