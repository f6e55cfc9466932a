"""The metrics on the operation page."""

import re
import signal
import sys
from collections.abc import Mapping

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.docs.pages import FIRST_CHANGE, OPERATION, PAGES, names, rows, section
from tests.e2e.process import ACCOUNTS, ORDERS, Api, Starter, call, configuration, order

TABLE = {
    names(row[0])[0]: (row[1], set(names(row[2]))) for row in rows(section(OPERATION, "Metrics"))
}


async def scrape(start: Starter, api: Api, http: aiohttp.ClientSession) -> str:
    """Run a proxy, count everything that has a label once, and return its metrics."""
    api.sandbox.fault("token_status", 503, 1)
    config = configuration(
        api.url, pacing={"requests_per_second": 1000}, orders={"store": "memory"}
    )
    proxy = await start.ready(config)
    api.sandbox.fault("api_drop", None, 1)
    assert (await order(http, await proxy.url(ORDERS))).status == 502
    assert (await call(http, await proxy.url(ACCOUNTS))).status == 200
    assert (await call(http, await proxy.url("/elsewhere"))).status == 403
    proxy.send(signal.SIGHUP)
    await proxy.event("configuration.reloaded")
    text = (await call(http, await proxy.admin_url("/metrics"))).text
    assert await proxy.stop() == 0
    return text


def exposed(text: str) -> Mapping[str, tuple[str, set[str]]]:
    """Return the type and the labels of each metric, by the name under which it is asked for."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in text_string_to_metric_families(text)
    }


@pytest.mark.skipif(sys.platform != "linux", reason="the process metrics come from /proc")
async def test_every_metric_has_a_row(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """Names, types and labels of a scrape are those of the table."""
    assert exposed(await scrape(start, api, http)) == TABLE


@pytest.mark.parametrize("page", [page for page in PAGES if page != FIRST_CHANGE])
def test_a_metric_that_is_named_is_one(page: str) -> None:
    """Alerts and advice use metrics that there are."""
    named = set(re.findall(r"\btelenor_proxy_[a-z_]*[a-z]\b", PAGES[page]))
    assert named <= TABLE.keys() | {"telenor_proxy"}
