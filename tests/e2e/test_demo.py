"""`demo` end to end: what it prints works, and it needs nothing of the user's."""

import asyncio
import contextlib
import fcntl
import re
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.cli import main
from proxy.demo import choose_ports
from tests.e2e.process import DEADLINE, Running, Starter

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None, reason="the printed commands are curl's"
)


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """Let no other demo of a test start meanwhile: all of them try the same ports first."""
    with (Path(tempfile.gettempdir()) / "telenor-proxy-demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def printed(demo: Running, pattern: str) -> str:
    """Run the printed command that matches; give what it says."""
    words = shlex.split((await demo.text(rf"(?m)^  (.*{pattern}.*)$"))[1])
    await demo.text(r"token\.renewed +expires_in")  # the log's; the welcome has the word as well
    words += ["--silent", "--noproxy", "*"] if words[0] == "curl" else []
    assert words[0] in {"curl", sys.executable}  # `telenor-proxy` may not be on the path
    command = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, cwd=tempfile.gettempdir()
    )
    async with asyncio.timeout(DEADLINE):
        said, _ = await command.communicate()
    assert command.returncode == 0
    return said.decode()


async def test_the_printed_commands_work(start: Starter) -> None:
    """Orders, reading, revocation and faults work as printed, and Ctrl+C ends it with 0."""
    # The demo ignores the user's settings, even those that would be refused.
    environ = {"TELENOR_PROXY_NO_SUCH": "x", "HTTP_PROXY": "http://192.0.2.1:1"}
    demo = await start(["demo", "--port", "0"], environ=environ)
    assert "HTTP/1.1 201 " in await printed(demo, "/orders -H")
    assert "HTTP/1.1 200 " in await printed(demo, "/accounts")
    assert "revoked" in await printed(demo, "/revoke")
    assert "HTTP/1.1 201 " in await printed(demo, "/orders -H")
    await demo.text(r"token\.renewed expires_in=20 .*cause=rejected")
    await demo.text(r"POST \S+ 201 \S+ ms id=\S+ attempts=2")
    assert "order_drop_after" in await printed(demo, "/faults")
    lost = await printed(demo, "/orders -H")
    assert "HTTP/1.1 502 " in lost
    assert '"outcome":"unknown"' in lost.replace(" ", "")
    assert "HTTP/1.1 201 " in await printed(demo, "/orders -H")
    assert "order_drop_after" in await printed(demo, "sandbox --help")
    assert await demo.stop(signal.SIGINT) == 0
    assert re.search(r"shutdown\.completed", demo.output)
    assert not demo.errors


async def test_another_port_is_taken_if_the_usual_one_is_in_use(start: Starter) -> None:
    """The demo says so, prints the free port in all commands, and SIGTERM ends it with 0."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # another program has it
            stack.enter_context(socket.create_server(("127.0.0.1", 8080)))
        demo = await start(["demo"])
        said = await demo.text(
            r"listens on http://127\.0\.0\.1:(\d+) \(port 8080 is in use by another program\)"
        )
        assert said[1] != "8080"
        await demo.text(rf"listener\.started +.*port={said[1]}")
        assert "127.0.0.1:8080/" not in demo.output
        assert await demo.stop() == 0


def test_a_given_port_that_is_in_use_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1, as `serve` ends, and a message; nothing is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "--port", str(port)]) == 1
    said, message = capsys.readouterr()
    assert not said
    assert message.startswith(f"telenor-proxy: cannot listen on 127.0.0.1 port {port} (")


def test_ports_of_the_demo_differ() -> None:
    """Also if the given one is the usual one of another listener."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("proxy.demo.SANDBOX_PORT", port)
        ports = choose_ports(port)
    assert (ports[0], len(set(ports))) == (port, 3)
