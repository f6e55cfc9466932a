"""Through real proxies of Debian: squid and tinyproxy, with and without Basic credentials."""

import asyncio
import contextlib
import itertools
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from proxy import faults
from proxy.network.dialer import Dialer
from proxy.network.egress import CompanyProxy, Login
from proxy.secret import Secret
from proxy.settings.kinds import Origin
from tests.deploy.tools import needs, until_async
from tests.network.house import ANSWER, Api, Authority, Caller
from tests.network.test_activation import listens
from tests.ports import free_port
from tests.scripted import serving

PATIENCE: Final = 10.0  # seconds
LOGIN: Final = Login("me", Secret("made-up-password"))

_SQUID: Final = """\
http_port 127.0.0.1:{port}
visible_hostname proxy.example
pid_filename none
coredump_dir {folder}
cache_log /dev/null
access_log none
cache deny all
shutdown_lifetime 0 seconds
acl refused dstdomain refused.example
http_access deny refused
"""
_SQUID_BASIC: Final = """\
auth_param basic program {python} {folder}/basic.py
auth_param basic children 1
acl known proxy_auth REQUIRED
http_access deny !known
"""
#: Squid asks it for each pair: a line in, a line out.
_BASIC: Final = """\
import sys
for line in sys.stdin:
    print('OK' if line.split() == ['me', 'made-up-password'] else 'ERR', flush=True)
"""
_TINYPROXY: Final = """\
Port {port}
Listen 127.0.0.1
Timeout 20
LogFile "{folder}/log"
PidFile "{folder}/pid"
MaxClients 20
Filter "{folder}/refused"
"""

pytestmark = [needs("squid", "squid"), needs("tinyproxy", "tinyproxy")]


@contextlib.asynccontextmanager
async def running(kind: str, folder: Path, *, basic: bool) -> AsyncIterator[int]:
    """Run a proxy; gives its port."""
    port = free_port()
    python = "/usr/bin/python3" if shutil.which("/usr/bin/python3") else sys.executable
    values = {"port": port, "folder": folder, "python": python}
    file = folder / "proxy.conf"
    (folder / "basic.py").write_text(_BASIC)
    (folder / "refused").write_text("refused.example\n")
    if kind == "squid":
        text = _SQUID + (_SQUID_BASIC if basic else "") + "http_access allow all\n"
        command = ["squid", "-N", "-n", f"p{port}", "-f", str(file)]
    else:
        text = _TINYPROXY + ("BasicAuth me made-up-password\n" if basic else "")
        command = ["tinyproxy", "-d", "-c", str(file)]
    file.write_text(text.format(**values))
    await asyncio.to_thread(open_to_all, folder)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until_async(lambda: process.returncode is not None or listens(port))
        assert process.returncode is None, f"{kind} has ended"
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def open_to_all(folder: Path) -> None:
    """Let a program in that has given up its rights."""
    folder.chmod(0o777)
    root = Path(tempfile.gettempdir())
    for parent in itertools.takewhile(lambda parent: parent != root, folder.parents):
        parent.chmod(parent.stat().st_mode | 0o711)


async def outcome(dialer: Dialer) -> str:
    """Make a call; return `answered`, or the reason why there is no connection."""
    caller = Caller()
    try:
        await dialer.dial(lambda: caller, PATIENCE)
    except OSError as error:
        return faults.explain(error).reason
    assert await caller.ask() == ANSWER
    caller.abort()
    return "answered"


@pytest.mark.parametrize("kind", ["squid", "tinyproxy"])
@pytest.mark.parametrize("basic", [False, True], ids=["open", "basic"])
async def test_a_call_through_a_real_proxy(kind: str, tmp_path: Path, *, basic: bool) -> None:
    """Right credentials pass; wrong ones, closed ports and refused hosts have their reasons."""
    authority = Authority()
    async with (
        serving(Api().serve, authority.server("127.0.0.1")) as api,
        running(kind, tmp_path, basic=basic) as port,
    ):
        company = Origin("http", "127.0.0.1", port)

        async def reached(url: str, login: Login | None) -> str:
            origin, tls = Origin.parse(url), authority.client()
            return await outcome(Dialer(origin, tls, lambda: CompanyProxy(company, login)))

        url = f"https://127.0.0.1:{api}"
        unwelcome = "company_proxy_login" if basic else "answered"
        assert await reached(url, LOGIN) == "answered"
        assert await reached(url, None) == unwelcome
        if basic:
            assert await reached(url, Login("me", Secret("wrong"))) == unwelcome
        closed = f"https://127.0.0.1:{free_port()}"
        assert await reached(closed, LOGIN) == "company_proxy_failed"
        assert await reached("https://refused.example", LOGIN) == "company_proxy_denied"
