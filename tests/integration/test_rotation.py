"""Changed credentials and settings reach a running proxy without a restart."""

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import yaml

from tests.e2e.process import ACCOUNTS, CREDENTIALS, DEADLINE, Api, Starter, configuration

NEW_PASSWORD = "Sentinel&Password 0005"


def rewrite(start: Starter, config: Mapping[str, object] | str) -> None:
    """Replace the configuration file of the only command that was started."""
    new = start.directory / "new.yaml"
    new.write_text(config if isinstance(config, str) else yaml.safe_dump(dict(config)))
    new.replace(start.directory / "config-0.yaml")


async def page(url: str, **fields: str) -> tuple[int, Any]:
    """Ask for a page; give its status, and its content if that is JSON."""
    async with aiohttp.ClientSession() as http, http.get(url, headers=fields) as answer:
        return answer.status, await answer.json() if "json" in answer.content_type else None


# --- credentials -------------------------------------------------------------------------------


async def test_a_hangup_tries_refused_credentials_at_once(start: Starter, api: Api) -> None:
    """SIGHUP makes it try, also without files: configured by the environment alone."""
    api.sandbox.credentials = replace(CREDENTIALS, password=NEW_PASSWORD)
    config = configuration(api.url)
    environ = {
        f"TELENOR_PROXY_{section}__{key}".upper(): str(value)
        for section, settings in config.items()
        for key, value in settings.items()
    }
    proxy = await start("serve", environ=environ)
    await proxy.event("token.renewal_failed")
    api.sandbox.credentials = CREDENTIALS
    proxy.send(signal.SIGHUP)
    assert (await proxy.event("configuration.reloaded"))["changed"] == []
    assert (await proxy.event("token.renewed"))["cause"] == "asked"
    assert (await page(await proxy.admin_url("/readiness")))[0] == 200


# --- the rest of the configuration -------------------------------------------------------------


async def test_what_can_change_does_and_what_cannot_says_so(start: Starter, api: Api) -> None:
    """Key and log level change, a port does not, a bad file changes nothing; status says so."""
    config = configuration(api.url, listen={"client_key": "key-number-one"}, log={"level": "info"})
    proxy = await start.ready(config)
    url, status = await proxy.url(ACCOUNTS), await proxy.admin_url("/status")
    assert (await page(url, **{"X-Proxy-Key": "key-number-one"}))[0] == 200

    config["listen"] |= {"client_key": "key-number-two", "port": 9}
    rewrite(start, config)
    assert (await proxy.event("configuration.reloaded"))["changed"] == ["listen.client_key"]
    assert (await proxy.event("configuration.restart_needed"))["settings"] == ["listen.port"]
    assert (await page(url, **{"X-Proxy-Key": "key-number-one"}))[0] == 403
    assert (await page(url, **{"X-Proxy-Key": "key-number-two"}))[0] == 200

    rewrite(start, "oauth: [")
    (problem,) = (await proxy.event("configuration.refused"))["problems"]
    assert "is not valid YAML" in problem
    assert (await page(url, **{"X-Proxy-Key": "key-number-two"}))[0] == 200
    _, shown = await page(status)
    assert shown["configuration"] == {"refused": [problem], "restart_needed": ["listen.port"]}

    config["log"]["level"] = "error"
    rewrite(start, config)
    async with asyncio.timeout(DEADLINE):
        while (await page(status))[1]["settings"]["log.level"] != "error":
            pass  # the event for it is not written any more
    answered = len(proxy.events("request.completed"))
    assert (await page(url, **{"X-Proxy-Key": "key-number-two"}))[0] == 200
    assert await proxy.stop() == 0
    assert len(proxy.events("request.completed")) == answered
    assert proxy.events("shutdown.started") == []
    assert "key-number" not in proxy.output
