"""The parts of the interoperability tests.

    client process -> wiretap -> proxy process -> recorder and stand-in for the API

The recorder also answers as gateways do: one list compressed if the client accepts it, another in
chunks.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.sandbox.server import create_app
from proxy.sandbox.state import Sandbox
from tests.e2e.process import ACCOUNTS, CREDENTIALS, DEADLINE, clean_environment
from tests.network.house import pass_on
from tests.scripted import serving

SUBSCRIPTIONS: Final = "/corporate-mobile-subscriptions/v2/mobile-subscriptions"
#: With so many accounts the list has some 200 kB: more than one read of any of these clients.
_ACCOUNTS_LISTED: Final = 2000
_TOKEN_PATH: Final = "/oauth/v2/token"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call as it reached the API, and its answer. Names are in lower case, content decoded."""

    method: str
    target: str
    fields: list[tuple[str, str]]
    content: bytes
    status: int
    answer: bytes

    def all(self, name: str) -> list[str]:
        """Give every value of the field."""
        return [value for given, value in self.fields if given == name]


@dataclass
class Recorder:
    """The stand-in for the API with a recorder in front."""

    sandbox: Sandbox = field(default_factory=lambda: Sandbox(CREDENTIALS))
    calls: list[Recorded] = field(default_factory=list)
    url: str = ""

    def restart(self) -> None:
        """Forget what happened, and have a long list to read. Tokens stay valid."""
        self.calls.clear()
        self.sandbox.reset()
        self.sandbox.settings.account_delay_seconds = 0
        for number in range(_ACCOUNTS_LISTED):
            self.sandbox.create_account({"accountReference1": f"department {number}"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Recorder]:
        """Serve on loopback as long as the context lasts."""
        app = create_app(self.sandbox)
        app.middlewares.insert(0, self._record)
        runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=0.25)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    @web.middleware
    async def _record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        content = await request.read()
        answer = await handler(request)
        if request.raw_path == _TOKEN_PATH:
            return answer
        assert isinstance(answer, web.Response)
        assert isinstance(answer.body, bytes)
        fields = [(name.decode().lower(), value.decode()) for name, value in request.raw_headers]
        self.calls.append(
            Recorded(request.method, request.raw_path, fields, content, answer.status, answer.body)
        )
        if request.raw_path == ACCOUNTS and "gzip" in request.headers.get("Accept-Encoding", ""):
            answer.enable_compression(web.ContentCoding.gzip)
        if request.raw_path.startswith(SUBSCRIPTIONS):
            answer.enable_chunked_encoding()
        return answer


@dataclass
class Wiretap:
    """Passes bytes between clients and the proxy; counts connections, and keeps bytes both ways."""

    connections: int = 0
    asked: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)

    @asynccontextmanager
    async def between(self, port: int) -> AsyncIterator[str]:
        """Listen on loopback and pass on to the proxy at that port; gives the URL for clients."""

        async def serve(client: StreamReader, to_client: StreamWriter) -> None:
            self.connections += 1
            proxy, to_proxy = await asyncio.open_connection("127.0.0.1", port)
            try:
                await asyncio.gather(
                    pass_on(client, to_proxy, self.asked), pass_on(proxy, to_client, self.answered)
                )
            finally:
                to_proxy.close()

        async with serving(serve) as wiretap:
            yield f"http://127.0.0.1:{wiretap}"


async def run_program(words: list[str], directory: Path) -> tuple[int | None, str, str]:
    """Run a program without this user's environment; return exit status, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        cwd=directory,
        env={**clean_environment(), "HOME": str(directory), "LC_ALL": "C.UTF-8"},
    )
    try:
        async with asyncio.timeout(DEADLINE):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode(), errors.decode()


class Program(NamedTuple):
    """What runs a file. probe: succeeds where it is installed. package: Debian's, to install it."""

    launcher: tuple[str, ...]
    probe: tuple[str, ...]
    package: str

    async def run(self, file: Path, *words: str, place: Path) -> tuple[int | None, str, str]:
        """Run a file there, as `run_program`; skip the test if it is missing; CI has them all."""
        is_there = shutil.which(self.probe[0]) is not None
        if not is_there or (await run_program([*self.probe], place))[0] != 0:
            reason = f"{self.package} is not installed here; on Debian: apt-get install it"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        return await run_program([*self.launcher, str(file), *words], place)


_JAVA: Final = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # it starts faster so
_PHP: Final = ("php",)
_PERL: Final = ("perl",)
_PYTHON: Final = (sys.executable,)
PROGRAMS: Final = {
    "curl": Program(("bash",), ("curl", "--version"), "curl"),
    "wget": Program(("bash",), ("wget", "--version"), "wget"),
    "python": Program(_PYTHON, (*_PYTHON, "--version"), "python3"),
    "requests": Program(_PYTHON, (*_PYTHON, "-c", "import requests"), "python3-requests"),
    "perl": Program(_PERL, (*_PERL, "-MHTTP::Tiny", "-MJSON::PP", "-e1"), "perl"),
    "lwp": Program(_PERL, (*_PERL, "-MLWP::UserAgent", "-e1"), "libwww-perl"),
    "java": Program(_JAVA, ("javac", "--version"), "default-jdk-headless"),
    "node": Program(("node",), ("node", "--eval", "fetch"), "nodejs"),
    "php": Program(_PHP, (*_PHP, "--version"), "php-cli"),
    "php-curl": Program(_PHP, (*_PHP, "--re", "curl"), "php-curl"),
}
