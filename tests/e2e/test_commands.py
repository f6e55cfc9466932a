"""The commands that ask and go: `--version`, `healthcheck`, `check`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

import proxy
from tests.e2e.process import (
    ACCOUNTS,
    CREDENTIALS,
    ORDER,
    ORDERS,
    Api,
    Running,
    Starter,
    configuration,
    serving_api,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

#: What takes long to import, and nobody needs who asks whether a proxy is ready.
HEAVY = {
    "aiofastnet",
    "aiohttp",
    "asyncio",
    "orjson",
    "prometheus_client",
    "ssl",
    "structlog",
    "uvloop",
}


async def beside(running: Running, api: Api) -> Mapping[str, object]:
    """Make the configuration by which others find the admin listener of a running proxy."""
    return configuration(api.url, admin={"port": (await running.event("admin.started"))["port"]})


async def test_the_version_is_told(start: Starter) -> None:
    """`python -m proxy` is the command, and says which version it is."""
    command = await start("--version")
    assert await command.ended() == 0
    assert command.output.startswith(f"telenor-proxy {proxy.__version__}\n")


async def test_healthcheck_says_ready(start: Starter, api: Api) -> None:
    """Beside a proxy that is ready, `healthcheck` ends with 0 and one word.

    Once it is gone, with 1 and why.
    """
    running = await start.ready(configuration(api.url))
    config = await beside(running, api)
    asked = await start("healthcheck", config)
    assert await asked.ended() == 0
    assert (asked.output, asked.errors) == ("ready\n", "")
    await running.stop()
    asked = await start("healthcheck", config)
    assert await asked.ended() == 1
    assert "nothing answers at the admin listener" in asked.errors


async def test_healthcheck_says_why_not(start: Starter, api: Api) -> None:
    """Without a token `healthcheck` ends with 1 and the reason, also after a wait."""
    running = await start("serve", configuration(api.url, oauth={"password": "not the password"}))
    await running.event("token.renewal_failed")
    asked = await start(["healthcheck", "--wait", "0.2"], await beside(running, api))
    assert await asked.ended() == 1
    assert asked.errors.startswith("telenor-proxy is not ready: ")
    assert "oauth.password" in asked.errors


async def test_healthcheck_waits_for_the_first_token(start: Starter, api: Api) -> None:
    """With `--wait` it outwaits a token endpoint that is slow at first."""
    api.sandbox.fault("token_slow", 60, 1)
    running = await start("serve", configuration(api.url))
    await api.waiting.wait()
    asked = await start(["healthcheck", "--wait", "60"], await beside(running, api))
    api.let_go.set()
    assert await asked.ended() == 0


async def test_healthcheck_knows_two_statuses(start: Starter) -> None:
    """With a configuration that cannot be used, `healthcheck` ends with 1, not 78.

    Container runtimes know no other.
    """
    asked = await start("healthcheck", "listen: [")
    assert await asked.ended() == 1
    assert "is not valid YAML" in asked.errors


async def test_status_says_whether_it_works(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """0 while calls go through; 1 with advice when each is refused, and orders to look up."""
    running = await start.ready(configuration(api.url))
    config = await beside(running, api)
    asked = await start("status", config)
    assert await asked.ended() == 0
    assert asked.output.startswith("Working. ")
    api.sandbox.fault("api_drop_after", None, 1)
    async with http.post(await running.url(ORDERS), json=ORDER) as answer:
        assert answer.status == 502
        request_id = answer.headers["X-Request-Id"]
    api.sandbox.fault("api_error", "40103")
    for _ in range(3):
        async with http.get(await running.url(ACCOUNTS)) as answer:
            assert answer.status == 401
    asked = await start("status", config)
    assert await asked.ended() == 1
    assert asked.output.startswith(
        "Not working. Telenor answers every call with 401, code 40103: no API product found. "
        "Add the Mobile Subscription Order API to the app in the developer portal.\nSince "
    )
    assert "1 order to look up. Do not send one again before" in asked.output
    assert f"POST {ORDERS}  request id {request_id}" in asked.output
    asked = await start(["status", "--json"], config)
    assert await asked.ended() == 1
    told = json.loads(asked.output)
    assert told["headline"]["state"] == "not_working"
    assert [order["request_id"] for order in told["unknown_orders"]] == [request_id]
    await running.stop()
    asked = await start("status", config)
    assert await asked.ended() == 1
    assert "nothing answers at the admin listener" in asked.errors
    asked = await start("status", "listen: [")
    assert await asked.ended() == 78


async def test_healthcheck_imports_little(start: Starter, api: Api) -> None:
    """It runs every few seconds, so it imports no library that only serving needs."""
    program = (
        "import json, sys; from proxy.cli import main; status = main(sys.argv[1:]); "
        "print(json.dumps([status, sorted(name.partition('.')[0] for name in sys.modules)]))"
    )
    asked = await start(
        "healthcheck", configuration(api.url, admin={"port": 1}), program=("-c", program)
    )
    assert await asked.ended() == 0
    status, modules = json.loads(asked.output)
    assert status == 1
    assert HEAVY.isdisjoint(modules), HEAVY.intersection(modules)


async def checking(
    start: Starter, config: Mapping[str, object], encoding: str = "ascii"
) -> Running:
    """Run `check` to its end."""
    check = await start("check", config, environ={"PYTHONIOENCODING": encoding})
    assert await check.ended() in {0, 1}
    assert not check.errors
    return check


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
async def test_check_says_that_all_is_well(start: Starter, *, secured: bool) -> None:
    """Each step is ok, the status is 0, and the token is left alone."""
    async with serving_api(start.directory if secured else None) as api:
        upstream = {"ca_file": str(api.ca_file)} if secured else {}
        check = await checking(start, configuration(api.url, upstream=upstream))
        assert await check.ended() == 0
        steps = re.findall(r"(?m)^(\S+) +(.*?)  ", check.output)
        certificate = [("ok", "certificate")] if secured else []
        ends = [("ok", "certificates")] if secured else []
        assert steps == [
            ("ok", "configuration"),
            ("ok", "destination"),
            *ends,
            ("ok", "name"),
            ("ok", "connection"),
            *certificate,
            ("ok", "access token"),
            ("ok", "lifetime"),
        ]
        assert "3599 s" in check.output
        assert check.output.endswith("`telenor-proxy serve` will get one as well.\n")
        assert api.counter("token_calls") == 1
        assert api.counter("logouts") == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            {"client_id": "another"},
            r"code 1: the client_id is unknown\. Compare oauth\.client_id with .*developer portal",
        ),
        (
            {"client_secret": "another"},
            r"code 22: .*Compare oauth\.client_id and oauth\.client_secret with .*developer portal",
        ),
        (
            {"password": "another"},
            r"code 20: username or password .*Compare oauth\.username and oauth\.password with Min Bedrift",
        ),
        ({"username": "kari@example.com"}, r"code 20: username or password"),
    ],
    ids=["client_id", "client_secret", "password", "username"],
)
async def test_check_says_which_credential_is_wrong(
    start: Starter, api: Api, wrong: dict[str, object], says: str
) -> None:
    """`check` ends with 1, names the credential and where to find it, and shows no secret."""
    check = await checking(start, configuration(api.url, oauth=wrong))
    assert await check.ended() == 1
    assert re.search(rf"(?m)^FAILED +access token +.*{says}", check.output), check.output
    assert ("looks like an e-mail address" in check.output) == ("username" in wrong)
    told = check.output + check.errors
    assert not [
        secret for secret in (CREDENTIALS.client_secret, CREDENTIALS.password) if secret in told
    ]


async def test_check_explains_faults_of_the_way(start: Starter, tls_api: Api, api: Api) -> None:
    """Untrusted certificate, web page, redirect, closed port: each has its words and 1."""
    api.sandbox.fault("token_html", count=1)
    html = await checking(start, configuration(api.url))
    assert await html.ended() == 1
    assert "a web page instead of a JSON object" in html.output
    api.sandbox.fault("token_redirect", count=1)
    redirect = await checking(start, configuration(api.url))
    assert await redirect.ended() == 1
    assert (
        "Something in between, such as a filter or a login page of the network" in redirect.output
    )
    assert api.counter("redirects_followed") == 0
    untrusted = await checking(start, configuration(tls_api.url))
    assert await untrusted.ended() == 1
    assert re.search(r"(?m)^FAILED +certificate +.*upstream\.ca_file", untrusted.output)
    assert tls_api.counter("token_calls") == 0
    nobody = await checking(start, configuration("http://127.0.0.1:1"))
    assert await nobody.ended() == 1
    assert re.search(r"(?m)^FAILED +connection +127\.0\.0\.1 port 1 refused", nobody.output)


async def test_check_refuses_a_bad_configuration(start: Starter) -> None:
    """With a configuration that cannot be used, `check` ends with 78 like `serve`."""
    check = await start("check", "listen: [")
    assert await check.ended() == 78
    assert "is not valid YAML" in check.errors
    assert not check.output


async def test_check_shows_signs_where_they_can_be_shown(start: Starter, api: Api) -> None:
    """On a UTF-8 output each line begins with a sign; on any other with the word, in ASCII."""
    for encoding, beginning in (("utf-8", "✓ ok "), ("ascii", "ok "), ("latin-1", "ok ")):
        check = await checking(start, configuration(api.url), encoding)
        assert await check.ended() == 0
        assert check.output.startswith(beginning)
