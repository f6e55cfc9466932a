"""The commands that ask and end: `--version`, `healthcheck`, `status`, `check`."""

import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.cli import main
from tests.e2e.conftest import Standing
from tests.e2e.process import (
    ACCOUNTS,
    ORDERS,
    Api,
    Starter,
    beside,
    call,
    clean_environment,
    configuration,
    order,
    serving_api,
)
from tests.ports import free_port

#: Imports that take long, and that no question whether a proxy is ready needs.
HEAVY = {
    *("aiofastnet", "aiohttp", "asyncio", "orjson"),
    *("prometheus_client", "ssl", "structlog", "uvloop"),
}


@pytest.mark.parametrize(
    ("command", "status"), [("check", 78), ("status", 78), ("healthcheck", 1), ("serve", 78)]
)
def test_a_bad_configuration_ends_a_command(
    command: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With 78; `healthcheck` with 1, since container runtimes know no other."""
    monkeypatch.setattr("os.environ", clean_environment())
    assert main([command, "--config", Starter(tmp_path).write("listen: [")]) == status
    output, errors = capsys.readouterr()
    assert not output
    assert "is not valid YAML" in errors


async def test_healthcheck_says_ready(start: Starter, standing: Standing) -> None:
    """With 0 and one word; where no proxy runs it and `status` end with 1 and the reason."""
    config = await beside(standing.proxy, configuration(standing.api.url))
    assert await start.run("healthcheck", config=config) == (0, "ready\n", "")
    config["admin"]["port"] = free_port()
    for command in ("healthcheck", "status"):
        ended = await start.run(command, config=config)
        assert ended.status == 1
        assert "nothing answers at the admin listener" in ended.errors


async def test_healthcheck_imports_little(start: Starter, api: Api) -> None:
    """It runs every few seconds, so it imports no library that only serving needs."""
    program = (
        "import json, sys; from proxy.cli import main; status = main(sys.argv[1:]); "
        "print(json.dumps([status, sorted(name.partition('.')[0] for name in sys.modules)]))"
    )
    config = configuration(api.url, admin={"port": 1})
    ended = await start.run("healthcheck", config=config, program=("-c", program))
    status, modules = json.loads(ended.output)
    assert (ended.status, status) == (0, 1)
    assert HEAVY.isdisjoint(modules), HEAVY.intersection(modules)


async def test_status_says_whether_it_works(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """0 while calls go through; 1 with advice when each is refused, and orders to look up."""
    running = await start.ready(configuration(api.url))
    config = await beside(running, configuration(api.url))
    ended = await start.run("status", config=config)
    assert ended.status == 0
    assert ended.output.startswith("Working. ")
    api.sandbox.fault("api_drop_after", None, 1)
    lost = await order(http, await running.url(ORDERS))
    assert lost.status == 502
    api.sandbox.fault("api_error", "40103")
    for _ in range(3):
        assert (await call(http, await running.url(ACCOUNTS))).status == 401
    ended = await start.run("status", config=config)
    assert ended.status == 1
    assert ended.output.startswith(
        "Not working. Telenor answers every call with 401, code 40103: no API product found. "
        "Add the Mobile Subscription Order API to the app in the developer portal.\nSince "
    )
    request_id = lost.fields["X-Request-Id"]
    assert "1 order to look up. Do not send one again before" in ended.output
    assert f"POST {ORDERS}  request id {request_id}" in ended.output
    ended = await start.run("status", "--json", config=config)
    shown = json.loads(ended.output)
    assert (ended.status, shown["headline"]["state"]) == (1, "not_working")
    assert [each["request_id"] for each in shown["unknown_orders"]] == [request_id]


async def checked(
    start: Starter, config: dict[str, Any], encoding: str = "ascii"
) -> tuple[int, str]:
    """Run `check` to its end."""
    ended = await start.run("check", config=config, environ={"PYTHONIOENCODING": encoding})
    assert not ended.errors
    return ended.status, ended.output


async def test_check_says_that_all_is_well(start: Starter) -> None:
    """Each step is ok, the status is 0, and the token is left alone."""
    async with serving_api(start.directory) as api:
        config = configuration(api.url, upstream={"ca_file": str(api.ca_file)})
        status, output = await checked(start, config)
        assert status == 0
        assert re.findall(r"(?m)^(\S+) +(.*?)  ", output) == [
            ("ok", "configuration"),
            ("ok", "destination"),
            ("ok", "certificates"),
            ("ok", "name"),
            ("ok", "connection"),
            ("ok", "certificate"),
            ("ok", "access token"),
            ("ok", "lifetime"),
        ]
        assert "3599 s" in output
        assert output.endswith("`telenor-proxy serve` will get one as well.\n")
        assert api.counter("token_calls") == 1
        assert api.counter("logouts") == 0


@pytest.mark.parametrize(("encoding", "beginning"), [("utf-8", "✓ ok "), ("latin-1", "ok ")])
async def test_check_shows_signs_where_they_can_be_shown(
    start: Starter, api: Api, encoding: str, beginning: str
) -> None:
    """On a UTF-8 output each line begins with a sign; on any other with the word, in ASCII."""
    status, output = await checked(start, configuration(api.url), encoding)
    assert status == 0
    assert output.startswith(beginning)
