"""A real Prometheus scrapes a real proxy, and finds what dashboard and alerts ask for."""

import asyncio
import math
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml

from tests.deploy.dashboard import QUERIES, VARIABLES, Query
from tests.deploy.tools import DEADLINE, DEPLOY, needs, read_yaml
from tests.e2e.process import (
    ACCOUNTS,
    CREDENTIALS,
    ORDER,
    ORDERS,
    Api,
    Running,
    Starter,
    call,
    configuration,
    serving_api,
)
from tests.ports import free_port

pytestmark = needs("prometheus", "prometheus")

RULES: Final = DEPLOY / "prometheus" / "rules.yaml"
#: Seconds between two scrapes, and the window of a rate: at least two of them.
INTERVAL: Final = 1
WINDOW: Final = "10s"
#: What Grafana would put in.
VALUES: Final = {"$__rate_interval": WINDOW, "$job": ".+", "$instance": ".+"}
#: The comparisons of an alert, which `promtool test rules` tests.
THRESHOLD: Final = re.compile(r"\s*(==|>=|<=|>|<)\s*[0-9.]+")


class Prometheus:
    """A server that scrapes one proxy every second, and evaluates the alerts."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http
        self._began = time.time()

    async def get(self, path: str, **words: str) -> Any:
        """Ask its API; give the data of the answer, or None if it is not there yet."""
        try:
            async with self._http.get(f"{self._url}/api/v1/{path}", params=words) as answer:
                if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                    return None  # it is starting
                content = await answer.json()
        except aiohttp.ClientConnectionError:
            return None
        assert content["status"] == "success", content
        return content["data"]

    async def finds(self, expression: str) -> bool:
        """Whether an expression has had a value, a number, at any time."""
        period = {"start": f"{self._began}", "end": f"{time.time()}", "step": str(INTERVAL)}
        found = await self.get("query_range", query=expression, **period)
        series = [] if found is None else found["result"]
        values = [float(value) for each in series for _, value in each["values"]]
        return any(math.isfinite(value) for value in values)

    async def until_firing(self, alerts: set[str]) -> None:
        """Wait until these alerts are firing: they are evaluated once a second."""
        async with asyncio.timeout(DEADLINE):
            while True:
                found = (await self.get("alerts"))["alerts"]
                if alerts <= {alert["labels"]["alertname"] for alert in found}:
                    return
                await asyncio.sleep(INTERVAL / 4)

    async def until_found(self, queries: set[Query]) -> None:
        """Wait until each of them finds something."""
        deadline = time.monotonic() + DEADLINE
        while missing := [query for query in queries if not await self.finds(query.expression)]:
            assert time.monotonic() < deadline, f"nothing is found by {missing}"
            await asyncio.sleep(INTERVAL / 4)  # it gives no sign of a scrape


@asynccontextmanager
async def scraping(
    target: str, directory: Path, http: aiohttp.ClientSession
) -> AsyncIterator[Prometheus]:
    """Run one."""
    every = f"{INTERVAL}s"
    config = directory / "prometheus.yaml"
    job = {"job_name": "telenor-proxy", "static_configs": [{"targets": [target]}]}
    content = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [str(RULES)],
        "scrape_configs": [job],
    }
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    with (directory / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={address}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Prometheus(f"http://{address}", http)
    finally:
        process.terminate()
        await process.wait()


class Life:
    """A proxy, its clients and its API: everything that is counted happens."""

    def __init__(
        self, start: Starter, api: Api, http: aiohttp.ClientSession, password: Path
    ) -> None:
        self._start = start
        self._api = api
        self._http = http
        self._password = password
        self._rounds = 0

    async def begin(self) -> Running:
        """Start a proxy whose first login fails, and wait until it has a token."""
        self._password.write_text(CREDENTIALS.password)
        self._api.sandbox.fault("token_status", 503, 1)
        config = configuration(
            self._api.url, pacing={"requests_per_second": 50}, orders={"store": "memory"}
        )
        del config["oauth"]["password"]
        config["oauth"]["password_file"] = str(self._password)
        return await self._start.ready(config)

    async def _call(self, url: str, *, order: bool = True, key: str | None = None) -> int:
        fields = {} if key is None else {"Idempotency-Key": key}
        if order:
            return (await call(self._http, url, "POST", json=ORDER, headers=fields)).status
        return (await call(self._http, url)).status

    async def round(self, proxy: Running) -> list[int]:
        """Make calls of all kinds; give their statuses."""
        orders, accounts = await proxy.url(ORDERS), await proxy.url(ACCOUNTS)
        self._rounds += 1
        statuses = [
            await self._call(orders, key=f"round-{self._rounds}"),
            await self._call(await proxy.url("/elsewhere"), order=False),
        ]
        for name, value in (("api_drop_after", None), ("api_status", 503), ("api_error", "42902")):
            self._api.sandbox.fault(name, value, 1)
            statuses.append(await self._call(orders))
        # More at a time than go at once: some are held back.
        statuses += await asyncio.gather(*(self._call(accounts, order=False) for _ in range(4)))
        return statuses

    async def lose_the_token(self, proxy: Running) -> int:
        """End the token; the next call waits for another one."""
        self._api.sandbox.revoke()
        return await self._call(await proxy.url(ORDERS))

    async def change_the_credentials(self, proxy: Running) -> None:
        """Have a configuration refused, then another password, then take up the right one."""
        for content, event in (
            ("", "configuration.refused"),
            ("another", "token.renewal_failed"),
            (CREDENTIALS.password, "token.renewed"),
        ):
            count = len(proxy.events(event))
            self._password.write_text(content)
            proxy.send(signal.SIGHUP)
            await proxy.event(event, count + 1)


@pytest.fixture
async def prometheus(tmp_path: Path) -> AsyncIterator[Prometheus]:
    """Let everything happen once, and then again while Prometheus looks."""
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    async with (
        Starter(tmp_path) as start,
        serving_api() as api,
        aiohttp.ClientSession(timeout=timeout) as http,
    ):
        life = Life(start, api, http, tmp_path / "password")
        proxy = await life.begin()
        expected = [201, 403, 502, 503, 429, 200, 200, 200, 200]
        assert await life.round(proxy) == expected
        await life.change_the_credentials(proxy)
        target = (await proxy.admin_url()).removeprefix("http://")
        async with scraping(target, tmp_path, http) as prometheus:
            await prometheus.until_found({Query("", "telenor_proxy_requests_total")})
            assert await life.round(proxy) == expected
            assert await life.lose_the_token(proxy) == 201
            await life.change_the_credentials(proxy)
            yield prometheus
        assert await proxy.stop() == 0


def filled_in(expression: str) -> str:
    """Put in what Grafana would."""
    for name, value in VALUES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


async def test_everything_that_is_asked_for_is_there(prometheus: Prometheus) -> None:
    """Each query of dashboard and alerts finds numbers, and each rule can be evaluated."""
    rules = [rule for group in read_yaml(RULES)["groups"] for rule in group["rules"]]
    compared = {Query(rule["alert"], THRESHOLD.sub("", rule["expr"])) for rule in rules}
    shown = {
        Query(query.panel, THRESHOLD.sub("", filled_in(query.expression))) for query in QUERIES
    }
    await prometheus.until_found(compared | shown)

    for variable in ("job", "instance"):
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", VARIABLES[variable]["definition"])
        assert asked is not None
        match = {"match[]": filled_in(asked[1])}
        assert len(await prometheus.get(f"label/{asked[2]}/values", **match)) == 1

    (group,) = (await prometheus.get("rules"))["groups"]
    assert {rule["name"] for rule in group["rules"]} == {rule["alert"] for rule in rules}
    assert {(rule["health"], rule.get("lastError")) for rule in group["rules"]} == {("ok", None)}
    await prometheus.until_firing(
        {"TelenorProxyConfigurationRefused", "TelenorProxyOutcomeUnknown"}
    )
