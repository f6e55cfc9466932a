"""Messages to systemd over a real datagram socket: start, state, watchdog, reload and end."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from proxy.notify import Notifier, words
from proxy.tokens.values import TokenFailure, TokenState, TokenStatus
from tests.clock import FakeClock
from tests.unit.made import EMPTY as FETCHING
from tests.unit.made import FRESH as READY

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="systemd's sockets are Unix sockets"
)

PID = 4711
WRONG = TokenFailure("refused", "20", "The password is wrong.\nGet a new one.", True, 1.0)
PASSWORD = "The password is wrong. Get a new one."
REFUSED = replace(FETCHING, last_failure=WRONG, failures=1)
AGEING = replace(READY, state=TokenState.STALE, last_failure=WRONG, failures=1)


class Manager:
    """Stands for systemd: a socket that keeps its messages."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(address)

    def received(self) -> list[str]:
        """Return the messages since the last call."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(65536).decode())
        return found

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Listen on a path."""
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


class Service:
    """A notifier at work, on a clock and a token that the test moves."""

    def __init__(self, status: TokenStatus, address: str | None, **environ: str) -> None:
        self.clock = FakeClock()
        self.status = status
        environ |= {} if address is None else {"NOTIFY_SOCKET": address}
        self.notifier = Notifier(environ, PID)
        self.task = asyncio.create_task(self.notifier.run(self.clock, lambda: self.status))

    async def __aenter__(self) -> Self:
        await self.clock.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


@pytest.mark.parametrize(
    ("status", "said"),
    [(READY, "Ready."), (REFUSED, f"Not ready: {PASSWORD}")],
    ids=["a token", "a refusal"],
)
async def test_a_start_ends_with_the_first_attempt(
    manager: Manager, status: TokenStatus, said: str
) -> None:
    """With a token, or when the first attempt has failed; not before."""
    async with Service(FETCHING, manager.address) as proxy:
        await proxy.clock.advance(3600)
        assert manager.received() == ["STATUS=Fetching an access token."]
        proxy.status = status
        await proxy.clock.advance(0.1)
        assert manager.received() == [f"READY=1\nSTATUS={said}"]


async def test_what_did_not_change_is_not_said_again(manager: Manager) -> None:
    """Without a change and a watchdog nothing is sent."""
    async with Service(READY, manager.address) as proxy:
        assert manager.received() == ["READY=1\nSTATUS=Ready."]
        await proxy.clock.advance(3600)
        assert manager.received() == []
        proxy.status = AGEING
        await proxy.clock.advance(5)
        assert manager.received() == [f"STATUS={words(AGEING)}"]


@pytest.mark.parametrize("status", [FETCHING, READY], ids=["starting", "running"])
async def test_signs_of_life_come_twice_in_the_time_allowed(
    manager: Manager, status: TokenStatus
) -> None:
    """Also before the start has ended; from the event loop, so none while that stands still."""
    environ = {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(PID)}
    async with Service(status, manager.address, **environ) as proxy:
        assert "WATCHDOG=1" in manager.received()
        for _ in range(5):
            await proxy.clock.advance(1)
            assert "WATCHDOG=1" in manager.received()
        proxy.clock.suspend(10)
        assert manager.received() == []


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"},
    ],
    ids=["none", "zero", "no number", "another process's"],
)
async def test_without_a_watchdog_there_are_no_signs(
    manager: Manager, environ: dict[str, str]
) -> None:
    """Or with another process's."""
    async with Service(READY, manager.address, **environ) as proxy:
        await proxy.clock.advance(60)
        assert manager.received() == ["READY=1\nSTATUS=Ready."]


async def test_it_says_that_it_ends_and_lives_on(manager: Manager) -> None:
    """At once; the watchdog is served while calls finish."""
    async with Service(READY, manager.address, WATCHDOG_USEC="2000000") as proxy:
        manager.received()
        proxy.notifier.stopping()
        assert manager.received() == ["STOPPING=1\nSTATUS=Finishing the calls in flight."]
        proxy.status = REFUSED
        await proxy.clock.advance(1)
        assert manager.received() == ["WATCHDOG=1"]


async def test_what_was_not_taken_is_said_again(tmp_path: Path) -> None:
    """A manager that is away learns the state when it is back."""
    address = str(tmp_path / "late")
    async with Service(READY, address) as proxy:
        await proxy.clock.advance(1)
        manager = Manager(address)
        await proxy.clock.advance(0.1)
        assert manager.received() == ["READY=1\nSTATUS=Ready."]
        manager.close()
        proxy.notifier.stopping()


async def test_a_full_socket_blocks_nothing(manager: Manager) -> None:
    """A manager that does not read is not waited for."""
    async with Service(READY, manager.address, WATCHDOG_USEC="2000000") as proxy:
        async with asyncio.timeout(10):
            await proxy.clock.advance(3000)
        assert 0 < len(manager.received()) < 3000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract sockets")
async def test_the_socket_may_be_abstract() -> None:
    """A name with @ is no file; systemd's user instances use such names."""
    name = f"telenor-proxy-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    async with Service(READY, f"@{name}"):
        assert manager.received() == ["READY=1\nSTATUS=Ready."]
    manager.close()


@pytest.mark.parametrize("name", [None, "", "vsock:2:1234", "relative"])
async def test_without_a_socket_it_does_nothing(name: str | None) -> None:
    """Without a socket, or with one of another kind, the notifier ends at once."""
    async with Service(READY, name) as proxy:
        assert proxy.task.done()
        assert proxy.task.exception() is None
        proxy.notifier.stopping()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (FETCHING, "Fetching an access token."),
        (READY, "Ready."),
        (REFUSED, f"Not ready: {PASSWORD}"),
        (AGEING, f"Ready, but the token could not be renewed: {PASSWORD}"),
    ],
)
def test_the_words_are_one_line(status: TokenStatus, said: str) -> None:
    """A line break would begin another message."""
    assert words(status) == said


def test_a_reload_has_its_time(manager: Manager) -> None:
    """Systemd orders RELOADING=1 and READY=1 by CLOCK_MONOTONIC."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.address}, PID)
    notifier.reloading()
    notifier.reloaded()
    begun, ended = manager.received()
    name, time = begun.split("\n")
    assert name == "RELOADING=1"
    assert int(time.removeprefix("MONOTONIC_USEC=")) > 0
    assert ended == "READY=1"
