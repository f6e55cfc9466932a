"""`/status` on the operation page."""

import pytest

from tests.docs.pages import OPERATION, names, rows, section
from tests.e2e.conftest import Standing
from tests.e2e.process import call

TABLE = rows(section(OPERATION, "Status page"))


@pytest.mark.asyncio(loop_scope="session")
async def test_every_key_has_a_row(standing: Standing) -> None:
    """The keys of `/status` are those of the table, and so are the token's."""
    content = (await call(standing.http, await standing.proxy.admin_url("/status"))).json()
    assert content.keys() == {name for row in TABLE for name in names(row[0])}
    (token,) = (row[1] for row in TABLE if names(row[0]) == ["token"])
    assert set(names(token)) <= content["token"].keys()
