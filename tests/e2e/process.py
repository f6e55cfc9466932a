"""Shared by the end-to-end tests: the command as a process, and the stand-in for the API.

Nothing sleeps: each line of the log wakes a test that waits for an event.
"""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
import yaml

from proxy.sandbox.server import make_certificate, running
from proxy.sandbox.state import Sandbox, SandboxCredentials

#: Seconds. What takes longer is broken; what works takes a fraction of it, even on a busy machine.
DEADLINE = 20.0
#: Bytes. Longer lines are not read.
LONGEST_LINE = 1 << 20
#: What asyncio and Python write about a program's own mistakes.
NOISE = re.compile(
    r"was never retrieved|Unclosed |Task was destroyed|[Ee]xception in callback|Traceback"
    r"|was never awaited|ResourceWarning"
)

ORDERS = "/corporate-mobile-subscriptions/v2/orders"
ACCOUNTS = "/corporate-accounts/v2/accounts"
ORDER = {"productId": "50795", "msisdn": "4799885577", "type": "ADD_PRODUCT"}

#: Each one easy to find wherever it must not be.
CREDENTIALS = SandboxCredentials(
    client_id="SentinelClientId0001",
    client_secret="Sentinel+Secret/0002",
    username="api0000000003",
    password="Sentinel&Password 0004",
)


class Answer(NamedTuple):
    """An answer, read to its end."""

    status: int
    fields: Mapping[str, str]
    text: str

    def json(self) -> Any:
        """Return the content as JSON."""
        return json.loads(self.text)


async def call(
    http: aiohttp.ClientSession, url: str, method: str = "GET", **options: Any
) -> Answer:
    """Make a call; return the answer when it is complete."""
    async with http.request(method, url, **options) as answer:
        return Answer(answer.status, answer.headers, await answer.text())


async def order(http: aiohttp.ClientSession, url: str, **fields: str) -> Answer:
    """Place the order of Telenor's example, with these header fields."""
    return await call(http, url, "POST", json=ORDER, headers=fields)


@dataclass
class Api:
    """The stand-in for the API, the answers of its slow calls held back until `let_go`."""

    sandbox: Sandbox
    url: str = ""
    ca_file: Path | None = None
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def hold(self, _seconds: float) -> None:
        """Stand for the sleep of the slow faults."""
        self.waiting.set()
        await self.let_go.wait()

    def counter(self, name: str) -> Any:
        """Give one of the counters of the state."""
        counters = self.sandbox.shown()["counters"]
        assert isinstance(counters, dict)
        return counters[name]


@asynccontextmanager
async def serving_api(tls_directory: Path | None = None) -> AsyncIterator[Api]:
    """Run the stand-in; over TLS if there is a directory for its authority's certificate."""
    api = Api(Sandbox(CREDENTIALS))
    context = None
    if tls_directory is not None:
        context, authority = make_certificate("127.0.0.1")
        api.ca_file = tls_directory / "ca.pem"
        api.ca_file.write_bytes(authority)
    async with running(api.sandbox, ssl_context=context, sleep=api.hold) as api.url:
        try:
            yield api
        finally:
            api.let_go.set()


def configuration(url: str, **sections: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Make a configuration with every credential and free ports; `sections` go over it."""
    base: dict[str, dict[str, object]] = {
        "listen": {"port": 0},
        "admin": {"port": 0},
        "upstream": {"url": url},
        "oauth": {
            "client_id": CREDENTIALS.client_id,
            "client_secret": CREDENTIALS.client_secret,
            "username": CREDENTIALS.username,
            "password": CREDENTIALS.password,
        },
    }
    for name, settings in sections.items():
        base[name] = {**base.get(name, {}), **settings}
    return base


class Running:
    """One process of the command."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._news = asyncio.Event()
        self.pid = process.pid
        self.output = ""
        self.errors = ""
        self._readers = [
            asyncio.create_task(self._read_output()),
            asyncio.create_task(self._read_errors()),
        ]

    async def _read_output(self) -> None:
        if self._process.stdout is not None:
            async for line in self._process.stdout:
                self.output += line.decode()
                self._wake()
        self._wake()

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.errors += line.decode()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Give the log events so far, all or those of one name."""
        lines = [json.loads(line) for line in self.output.splitlines()]
        return [line for line in lines if name in {None, line["event"]}]

    async def event(self, name: str, count: int = 1) -> dict[str, Any]:
        """Wait until there are so many events of that name; give the last of them."""
        async with asyncio.timeout(DEADLINE):
            while len(found := self.events(name)) < count:
                await self._more(f"the log has {len(found)} of {count} events {name}")
        return found[count - 1]

    async def text(self, pattern: str) -> re.Match[str]:
        """Wait until the output matches."""
        async with asyncio.timeout(DEADLINE):
            while (found := re.search(pattern, self.output)) is None:
                await self._more(f"the output has nothing like {pattern}")
        return found

    async def _more(self, missing: str) -> None:
        if self._readers[0].done():
            raise AssertionError(
                f"the process has ended, and {missing}:\n{self.output}{self.errors}"
            )
        await self._news.wait()

    async def url(self, path: str = "") -> str:
        """Give a URL of the listener, once it is there."""
        return f"http://127.0.0.1:{(await self.event('listener.started'))['port']}{path}"

    async def admin_url(self, path: str = "") -> str:
        """Give a URL of the admin listener, once it is there."""
        return f"http://127.0.0.1:{(await self.event('admin.started'))['port']}{path}"

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the end; give the exit status."""
        _, unfinished = await asyncio.wait(self._readers, timeout=DEADLINE)
        assert not unfinished, f"the process does not end:\n{self.output}{self.errors}"
        return await self._process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; give the exit status."""
        self.send(number)
        return await self.ended()

    async def close(self) -> None:
        """End it in any case."""
        if self._process.returncode is None:
            self._process.kill()
        await asyncio.gather(*self._readers)
        await self._process.wait()


async def beside(running: Running, config: dict[str, Any]) -> dict[str, Any]:
    """Make the configuration by which a command finds the admin listener of a running proxy."""
    port = (await running.event("admin.started"))["port"]
    return config | {"admin": {**config.get("admin", {}), "port": port}}


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    output: str
    errors: str


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what configures the command."""
    return {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith("TELENOR_PROXY_") or name.lower().endswith("_proxy"))
        and name != "SSLKEYLOGFILE"
    }


class Starter:
    """Starts the command in a directory of the test's own, and ends what it started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started: list[Running] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def write(self, config: Mapping[str, object] | str) -> str:
        """Write a configuration file; give its path."""
        path = self.directory / f"config-{len(self._started)}.yaml"
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(dict(config)))
        return str(path)

    async def __call__(
        self,
        command: str | Sequence[str],
        config: Mapping[str, object] | str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "proxy"),
        stdout: int = PIPE,
    ) -> Running:
        """Start `telenor-proxy COMMAND`, with a configuration file if one is given."""
        words = [command] if isinstance(command, str) else list(command)
        if config is not None:
            words += ["--config", self.write(config)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *program,
            *words,
            stdin=DEVNULL,
            stdout=stdout,
            stderr=PIPE,
            env={**clean_environment(), **(environ or {})},
            cwd=self.directory,
            limit=LONGEST_LINE,
        )
        self._started.append(running := Running(process))
        return running

    async def run(self, *words: str, config: Any = None, **options: Any) -> Ended:
        """Run a command to its end."""
        running = await self(words, config, **options)
        return Ended(await running.ended(), running.output, running.errors)

    async def ready(self, config: Mapping[str, object], **options: Any) -> Running:
        """Start `serve` and wait until it has its first token."""
        running = await self("serve", config, **options)
        await running.event("token.renewed")
        return running

    async def close(self) -> None:
        """End all that is still running, and check that none wrote of mistakes of its own."""
        for started in self._started:
            await started.close()
        for started in self._started:
            written = started.output + started.errors
            assert not NOISE.search(written), written
