"""The page about a company's network, followed: TLS, CONNECT with a password, squid."""

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from tests.deploy.tools import needs, ran, until_async
from tests.docs.pages import PAGES, blocks
from tests.e2e.process import Starter
from tests.network.test_activation import listens
from tests.network.test_real_proxies import open_to_all
from tests.ports import free_port

PAGE: Final = "docs/network.md"
SECTION: Final = (
    PAGES[PAGE].partition("## A complete example on one machine\n")[2].partition("\n## ")[0]
)


def code(ports: dict[str, str]) -> dict[str, list[str]]:
    """Return the section's code by language, with other ports."""
    found: dict[str, list[str]] = {}
    for _, language, text in blocks(PAGE, SECTION):
        moved = re.sub("|".join(ports), lambda port: ports[port[0]], text)
        found.setdefault(language, []).append(moved)
    return found


async def run(command: str, folder: Path) -> str:
    """Run a block of shell commands; return what it prints."""
    done = await asyncio.to_thread(ran, "/bin/sh", "-euc", command, place=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.asynccontextmanager
async def squid(words: list[str], port: str, folder: Path) -> AsyncIterator[None]:
    """Run the command of the page, under a name of its own."""
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *words, "-n", f"p{port}", cwd=folder, stdout=null, stderr=null
    )
    try:
        await until_async(lambda: listens(int(port)))
        yield
    finally:
        process.kill()
        await process.wait()


@needs("squid", "squid")
@needs("openssl", "openssl")
@needs("curl", "curl")
async def test_an_order_goes_the_whole_way(start: Starter, tmp_path: Path) -> None:
    """The page's commands work, but for the ports; with another password squid refuses."""
    ports = {port: str(free_port()) for port in ("3128", "8443", "8444")}
    found = code(ports)
    (conf,), (config,), (prepare, order) = found["squid"], found["yaml"], found["sh"]
    commands = [line.split() for text in found[""] for line in text.splitlines()]
    (proxy, (_, *sandbox), (_, *check), (_, *serve)) = commands
    (tmp_path / "squid.conf").write_text(conf)
    (tmp_path / "config.yaml").write_text(f"{config}admin: {{port: 0}}\n")
    await run(prepare, tmp_path)
    await asyncio.to_thread(open_to_all, tmp_path)
    api = await start(sandbox)
    authority = (await api.text(r"Its CA certificate, until it ends: +(\S+)"))[1]
    await asyncio.to_thread(shutil.copy, authority, tmp_path / "sandbox-ca.pem")
    async with squid(proxy, ports["3128"], tmp_path):
        checked = await start.run(*check)
        assert checked.status == 0, checked.output
        running = await start(serve)
        assert (await running.event("listener.started"))["scheme"] == "https"
        await running.event("token.renewed")
        assert "ACCEPTED" in await run(order, tmp_path)
        assert await running.stop() == 0
        (tmp_path / "proxy_password").write_text("another")
        refused = await start.run(*check)
        assert refused.status == 1
        assert "refused the credentials" in refused.output
    assert "made-up-password" not in running.output + checked.output
    await api.stop()
