"""Sockets that systemd hands over, and restarts that lose no call."""

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from proxy.network import activation
from tests.deploy.tools import needs, until_async
from tests.e2e.process import ORDER, ORDERS, Api, configuration, serving_api
from tests.ports import free_port
from tests.reliability.figures import show

#: A long run: TELENOR_PROXY_RESTARTS=100 TELENOR_PROXY_CALLS=200.
RESTARTS: Final = int(os.environ.get("TELENOR_PROXY_RESTARTS", "3"))
CALLS: Final = int(os.environ.get("TELENOR_PROXY_CALLS", "60"))  # a second
PATIENCE: Final = 30.0  # seconds
#: Numbers of the orders that show that the proxy is up.
_PROBES: Final = 10_000_000
PID: Final = 4711
OURS: Final = {"LISTEN_PID": str(PID), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "listener:admin"}

#: Stands for systemd: keeps the sockets, and starts the proxy again each time it has ended.
_KEEPER: Final = """\
serve='LISTEN_PID=$$; export LISTEN_PID; echo $$ > "$1/pid";
    exec "$2" -m proxy serve --config "$1/config.yaml"'
while [ ! -e "$1/stop" ]; do
    sh -c "$serve" - "$1" "$2"
    echo $? >> "$1/statuses"
done
"""


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, {3: "listener", 4: "admin"}),
        ({"LISTEN_PID": "1"}, {}),
        ({"LISTEN_PID": ""}, {}),
        ({"LISTEN_FDS": "x"}, {}),
        ({"LISTEN_FDS": "0"}, {}),
        ({"LISTEN_FDS": "1"}, {3: "listener"}),
        ({"LISTEN_FDNAMES": ""}, {3: "", 4: ""}),
    ],
)
def test_only_what_is_handed_to_this_process_is_taken(
    changes: dict[str, str], found: dict[int, str]
) -> None:
    """As sd_listen_fds(3) says: LISTEN_PID must be ours."""
    assert activation.descriptors(OURS | changes, PID) == found


def test_names_tell_the_admin_listener_from_the_listener() -> None:
    """`admin` is the admin listener's; with any other name a socket is the listener's."""
    here = ("127.0.0.1", 0)
    with socket.create_server(here) as one, socket.create_server(here) as two:
        handed = activation.handed_over(OURS, PID, {3: one, 4: two}.__getitem__)
        assert handed == activation.HandedOver((one,), (two,))
        handed.close()
        assert one.fileno() == two.fileno() == -1


def test_what_is_no_listening_socket_is_refused() -> None:
    """It would fail at the first client otherwise."""
    with socket.socket() as unbound, pytest.raises(OSError, match="no listening stream socket"):
        activation._take(os.dup(unbound.fileno()))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = activation._take(os.dup(listening.fileno()))
        assert taken.getsockname() == listening.getsockname()
        taken.close()


@contextlib.asynccontextmanager
async def kept(api: Api, folder: Path) -> AsyncIterator[int]:
    """Run the proxy behind `systemd-socket-activate` and a keeper; gives the listener's port."""
    port, admin = free_port(), free_port()
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration(api.url)))
    (folder / "keeper.sh").write_text(_KEEPER)
    process = await asyncio.create_subprocess_exec(
        "systemd-socket-activate",
        f"--listen=127.0.0.1:{port}",
        f"--listen=127.0.0.1:{admin}",
        "--fdname=listener:admin",
        *("/bin/sh", str(folder / "keeper.sh"), str(folder), sys.executable),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await until_async(lambda: listens(port))
        yield port
    finally:
        await asyncio.to_thread((folder / "stop").touch)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


def listens(port: int) -> bool:
    """Return whether a port accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_another(folder: Path, pid: int) -> bool:
    """Return whether another proxy runs than that one."""
    return int((folder / "pid").read_text() or pid) != pid


async def place(port: int, number: int) -> int:
    """Place one order on a new connection; return the status, 0 if it was refused or lost."""
    content = json.dumps(ORDER | {"msisdn": str(number)}).encode()
    fields = f"Host: localhost\r\nContent-Length: {len(content)}\r\nConnection: close\r\n"
    head = f"POST {ORDERS} HTTP/1.1\r\n{fields}\r\n"
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head.encode() + content)
                answer = await reader.read()
            finally:
                writer.close()
    except OSError:
        return 0
    return int(answer.split(b" ", 2)[1]) if answer else 0


@needs("systemd-socket-activate", "systemd")
@pytest.mark.timeout(120 + 6 * RESTARTS)
async def test_no_call_is_lost_while_the_proxy_restarts(tmp_path: Path) -> None:
    """Each order is answered once and arrives once, while the process restarts."""
    async with serving_api() as api, kept(api, tmp_path) as port:
        assert await place(port, 0) == 201
        statuses: list[asyncio.Task[int]] = []
        slowest = 0.0
        done = asyncio.Event()

        async def timed(number: int) -> int:
            nonlocal slowest
            began = time.monotonic()
            status = await place(port, number)
            slowest = max(slowest, time.monotonic() - began)
            return status

        async def order_on() -> None:
            began = time.monotonic()
            while not done.is_set():
                statuses.append(asyncio.create_task(timed(1 + len(statuses))))
                await asyncio.sleep(max(0.0, began + len(statuses) / CALLS - time.monotonic()))

        ordering = asyncio.create_task(order_on())
        for turn in range(RESTARTS):
            await asyncio.sleep(0.3)
            pid = int(await asyncio.to_thread((tmp_path / "pid").read_text))
            os.kill(pid, signal.SIGTERM)
            await until_async(functools.partial(is_another, tmp_path, pid))
            assert await place(port, _PROBES + turn) == 201  # it is up
        done.set()
        await ordering
        answers = Counter(await asyncio.gather(*statuses))
        figures = {
            "restarts": RESTARTS,
            "orders": len(statuses),
            "answers": sorted(answers.items()),
        }
        show(**figures, slowest_seconds=round(slowest, 2))
        assert answers == {201: len(statuses)}
        assert api.counter("orders") == len(statuses) + 1 + RESTARTS
        assert api.counter("repeated_orders") == 0
    ends = (await asyncio.to_thread((tmp_path / "statuses").read_text)).split()
    assert set(ends[:RESTARTS]) == {"0"}
