"""What the log says at the start, odd starts, and a proxy in front of a proxy."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import sys
from asyncio.subprocess import PIPE
from importlib.metadata import version

import aiohttp
import pytest

import proxy
from tests.e2e.conftest import Standing
from tests.e2e.process import (
    ACCOUNTS,
    DEADLINE,
    Api,
    Starter,
    call,
    clean_environment,
    configuration,
)


@pytest.mark.parametrize("transports", ["fast", "asyncio"])
async def test_the_first_line_says_what_runs(start: Starter, api: Api, transports: str) -> None:
    """Version, configuration file, event loop, transports and OpenSSL stand in the first event."""
    running = await start.ready(configuration(api.url, upstream={"transport": transports}))
    first = running.events()[0]
    assert (first["event"], first["level"]) == ("proxy.started", "info")
    assert first["version"] == proxy.__version__
    assert first["configuration"] == str(start.directory / "config-0.yaml")
    fast = f"aiofastnet {version('aiofastnet')}"
    assert first["transports"] == (fast if transports == "fast" else "asyncio")
    assert first["event_loop"] == f"uvloop {version('uvloop')}"
    assert first["openssl"] == ssl.OPENSSL_VERSION
    assert running.events("listener.open_to_network") == []


async def test_a_proxy_that_logs_in_to_a_proxy_says_so(start: Starter, standing: Standing) -> None:
    """The first failed login shows it; no credential is suspected."""
    running = await start("serve", configuration(await standing.proxy.url()))
    failed = await running.event("token.renewal_failed")
    assert (failed["reason"], failed["code"]) == ("proxy_answered", None)
    assert "upstream.url" in failed["detail"]
    assert standing.api.counter("token_calls") == 0


async def test_it_listens_on_every_host_of_a_list(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """Both listeners take a list; a port that the system chooses is the same on all."""
    hosts = {"host": ["127.0.0.1", "::1"], "port": 0}
    running = await start.ready(configuration(api.url, listen=hosts, admin=hosts))
    started, admin = await running.event("listener.started"), await running.event("admin.started")
    assert started["host"] == admin["host"] == ["127.0.0.1", "::1"]
    for host in ("127.0.0.1", "[::1]"):
        assert (await call(http, f"http://{host}:{started['port']}/nowhere")).status == 403
        assert (await call(http, f"http://{host}:{admin['port']}/readiness")).status == 200
    assert await running.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="file names of other systems are text")
async def test_a_name_that_is_not_utf8_does_no_harm(start: Starter, api: Api) -> None:
    """The log has the file's name with escapes."""
    plain = start.write(configuration(api.url))
    odd = os.fsdecode(os.fsencode(start.directory) + b"/\xe6.yaml")
    os.rename(plain, odd)  # noqa: PTH104 # it takes any text
    running = await start("serve", environ={"TELENOR_PROXY_CONFIG": odd})
    assert (await running.event("proxy.started"))["configuration"].endswith("/\\xe6.yaml")
    await running.event("token.renewed")
    assert await running.stop() == 0


#: Waits for a pipe for 2 s instead of 10.
_IMPATIENT = """
import sys
from proxy.cli import main
from proxy.settings import files
files._ASKED_FOR_MS = 20
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in its file system")
async def test_a_secret_file_that_blocks_holds_nothing_up(start: Starter, api: Api) -> None:
    """A secret file that becomes a pipe is refused after a while, and SIGTERM works."""
    secret = start.directory / "secret"
    config = configuration(api.url)
    secret.write_text(str(config["oauth"].pop("password")))
    config["oauth"]["password_file"] = str(secret)
    running = await start.ready(config, program=("-c", _IMPATIENT))
    secret.unlink()
    os.mkfifo(secret)
    running.send(signal.SIGHUP)
    refused = await running.event("configuration.refused")
    assert "the pipe did not end" in refused["problems"][0]
    running.send(signal.SIGHUP)
    assert await running.stop() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such shell")
async def test_without_standard_output_it_runs_without_a_log(start: Starter, api: Api) -> None:
    """`serve >&-` serves, and writes nothing."""
    path = start.write(configuration(api.url))
    command = ("sh", "-c", 'exec "$0" -m proxy serve --config "$1" >&-', sys.executable, path)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=start.directory, env=clean_environment(), stderr=PIPE
    )
    try:
        async with asyncio.timeout(DEADLINE):
            while api.counter("token_calls") == 0 and process.returncode is None:  # noqa: ASYNC110 # no sign
                await asyncio.sleep(0.05)
        process.terminate()
        _, errors = await process.communicate()
        assert errors == b""
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


#: Sends itself a signal while it reads its configuration: later than the interpreter starts,
#: earlier than anything is ready.
_SIGNALLED = """
import os, signal, sys
from proxy import cli
load = cli._load
def read(arguments):
    cli._load = load
    os.kill(os.getpid(), signal.{name})
    return load(arguments)
cli._load = read
sys.exit(cli.main())
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@posix
async def test_a_hangup_before_it_is_ready_ends_nothing(start: Starter, api: Api) -> None:
    """SIGHUP while the proxy starts is ignored, and SIGTERM ends it with 0."""
    program = ("-c", _SIGNALLED.format(name="SIGHUP"))
    running = await start.ready(configuration(api.url), program=program)
    assert await running.stop() == 0


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_a_signal_to_stop_before_it_is_ready_ends_it(
    start: Starter, api: Api, name: str
) -> None:
    """With 0, and without output."""
    program = ("-c", _SIGNALLED.format(name=name))
    assert await start.run("serve", config=configuration(api.url), program=program) == (0, "", "")
    assert api.counter("token_calls") == 0


#: Starts with so few files that the default settings do not fit.
_FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from proxy.cli import main
sys.exit(main())
"""


@posix
async def test_too_few_descriptors_are_no_end(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """Under `ulimit -Hn 64` with 100 clients probes are answered, and calls once they leave."""
    running = await start.ready(configuration(api.url), program=("-c", _FEW_FILES))
    short = await running.event("descriptors.short")
    assert "20 clients" in short["detail"]
    limits = (await call(http, await running.admin_url("/status"))).json()["limits"]
    assert limits == {"descriptors": 64, "clients": 20, "upstream": 20, "detail": short["detail"]}
    port = (await running.event("listener.started"))["port"]
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE))
        for _ in range(5):
            assert (await call(http, await running.admin_url("/liveness"))).status == 200
        await running.event("listener.out_of_descriptors")
    async with asyncio.timeout(DEADLINE):
        while (await _status_of_a_call(http, await running.url(ACCOUNTS))) != 200:  # noqa: ASYNC110 # no sign
            await asyncio.sleep(0.05)
    assert await running.stop() == 0
    assert len(running.events("listener.out_of_descriptors")) == 1
    assert running.events("library") == []


async def _status_of_a_call(http: aiohttp.ClientSession, url: str) -> int | None:
    try:
        return (await call(http, url)).status
    except aiohttp.ClientError:  # turned away without an answer
        return None
