"""Windows, judged elsewhere: wheels, imports, and a run on what it has."""

import ast
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import yaml

from proxy import cli
from proxy.settings import Settings, load
from tests.deploy.tools import DEPLOY, ROOT, ran
from tests.docs.pages import PAGES
from tests.e2e.process import ORDERS, Starter, configuration, order, serving_api
from tests.unit.test_architecture import MODULES, imported

PAGE: Final = PAGES["deploy/windows/README.md"]
SERVICE: Final = DEPLOY / "windows" / "telenor-proxy.xml"
#: What Python has on other systems only (its library reference, "Unix-specific services").
ELSEWHERE: Final = {
    *("crypt", "curses", "fcntl", "grp", "nis", "posix", "pty", "pwd", "readline", "resource"),
    *("spwd", "syslog", "termios", "tty", "uvloop"),
}
#: When everything has been imported, the proxy's own code sees Windows.
PRETEND: Final = """
import signal, sys
import aiohttp
import proxy.app, proxy.check, proxy.cli
sys.platform = "win32"
sys.modules["uvloop"] = None
del signal.SIGHUP
sys.exit(proxy.cli.main(sys.argv[1:]))
"""


def installed(python: str, target: Path) -> subprocess.CompletedProcess[str]:
    """Have uv find what would be installed there, wheels only, by the hashes of the lock."""
    return ran(
        *(Path(sys.executable).with_name("uv"), "pip", "install", "--dry-run", "--quiet"),
        *("--target", target, "--python-platform", "x86_64-pc-windows-msvc"),
        *("--python-version", python, "--only-binary", ":all:"),
        *("--require-hashes", "--requirement", ROOT / "requirements" / "runtime.txt"),
    )


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_every_dependency_has_a_wheel(python: str, tmp_path: Path) -> None:
    """What is locked can be installed on 64-bit Windows without a compiler."""
    found = installed(python, tmp_path)
    if found.returncode and re.search("(?i)network|connect|resolve host|dns", found.stderr):
        assert os.environ.get("CI") != "true", found.stderr
        pytest.skip("no package index can be reached")
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_imported_that_windows_lacks(module: str) -> None:
    """Such modules are imported only after a look at the system, or with an alternative."""
    at_once = ast.Module(body=[], type_ignores=[])
    at_once.body += (
        each for each in MODULES[module].body if isinstance(each, ast.Import | ast.ImportFrom)
    )
    names = {name.partition(".")[0] for name in imported(at_once)}
    assert names.isdisjoint(ELSEWHERE)


async def test_it_runs_on_what_windows_has(tmp_path: Path) -> None:
    """On asyncio's loop and without SIGHUP it serves, drains and ends with 0."""
    async with Starter(tmp_path) as start, serving_api() as api, aiohttp.ClientSession() as http:
        running = await start.ready(configuration(api.url), program=("-c", PRETEND))
        assert (await order(http, await running.url(ORDERS))).status == 201
        assert await running.stop(signal.SIGINT) == 0
        assert running.events("shutdown.completed")


# --- the service -------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Read the configuration of the page, its secrets from where a test can put them."""
    (text,) = re.findall(r"^```yaml\n# config\.yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    config = yaml.safe_load(text.replace("C:/telenor-proxy/secrets", str(tmp_path)))
    for name in ("client_id", "client_secret", "username", "password"):
        (tmp_path / name).write_text("made-up", encoding="utf-8")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return load(file, {})


def test_the_service_starts_the_command(settings: Settings) -> None:
    """It starts `serve` with the page's configuration, and waits for the drain."""
    service = ET.parse(SERVICE).getroot()  # noqa: S314 # a file of the repository
    module, package, *words = [argument.text or "" for argument in service.iterfind("argument")]
    assert (module, package) == ("-m", "proxy")
    assert cli.command_line(words[0]).parse_args(words).command is cli._serve
    assert words[-1] == r"%BASE%\config.yaml"
    timeout = int((service.findtext("stoptimeout") or "").removesuffix(" sec"))
    assert timeout > settings.shutdown.delay_seconds + settings.shutdown.grace_seconds
    assert service.findtext("serviceaccount/username") == r"NT AUTHORITY\LocalService"
    assert re.search(rf"\b{timeout}\b seconds", PAGE)
