"""Changed credentials and settings reach a running proxy without a restart."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml

from proxy.watching import LOOK_SECONDS, watch
from tests.clock import FakeClock
from tests.e2e.process import ACCOUNTS, CREDENTIALS, DEADLINE, Api, Starter, configuration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NEW_PASSWORD = "Sentinel&Password 0005"


class Mount:
    """A secret mounted by Kubernetes: `password` leads through `..data`, which is replaced."""

    def __init__(self, directory: Path, content: str) -> None:
        self._directory = directory
        self._version = 0
        self.path = directory / "password"
        self.put(content)
        self.path.symlink_to("..data/password")

    def put(self, content: str) -> None:
        """Replace the content."""
        self._version += 1
        version = self._directory / f"..version-{self._version}"
        version.mkdir(parents=True)
        (version / "password").write_text(content)
        link = self._directory / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self._directory / "..data")


class File:
    """A secret in a plain file: written in place, or replaced by another file."""

    def __init__(self, directory: Path, content: str, *, in_place: bool) -> None:
        self._in_place = in_place
        self.path = directory / "password"
        directory.mkdir(parents=True)
        self.path.write_text(content)

    def put(self, content: str) -> None:
        """Replace the content."""
        target = self.path if self._in_place else self.path.with_name("password.new")
        target.write_text(content)
        target.replace(self.path)


def rewrite(start: Starter, config: Mapping[str, object] | str) -> None:
    """Replace the configuration file of the only command that was started."""
    new = start.directory / "new.yaml"
    new.write_text(config if isinstance(config, str) else yaml.safe_dump(dict(config)))
    new.replace(start.directory / "config-0.yaml")


async def page(url: str, **fields: str) -> tuple[int, Any]:
    """Ask for a page; give its status, and its content if that is JSON."""
    async with aiohttp.ClientSession() as http, http.get(url, headers=fields) as answer:
        return answer.status, await answer.json() if "json" in answer.content_type else None


# --- noticing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["written", "replaced", "mounted"])
async def test_a_change_is_noticed(tmp_path: Path, kind: str) -> None:
    """A secret that is written, replaced or mounted is noticed, and read whole."""
    directory = tmp_path / "secrets"
    secret = (
        Mount(directory, "one")
        if kind == "mounted"
        else File(directory, "one", in_place=kind == "written")
    )
    noticed: asyncio.Queue[str] = asyncio.Queue()

    async def changed() -> bool:
        noticed.put_nowait(secret.path.read_text())
        return True

    clock = FakeClock()
    watching = asyncio.create_task(watch(lambda: {secret.path}, changed, clock))
    try:
        async with asyncio.timeout(DEADLINE):
            assert await noticed.get() == "one"
            for content in ("two", "three"):
                secret.put(content)
                await clock.advance(LOOK_SECONDS * 2)
                assert await noticed.get() == content
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


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
    assert "key-number" not in proxy.output
