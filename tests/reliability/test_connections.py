"""How many connections there is room for.

Of clients, whatever the shell's soft limit; to the API, with the default of 100, when the API
hangs.
"""

import asyncio
import sys
import time
from collections import Counter
from typing import Final

import orjson
import pytest

from tests.e2e.process import ACCOUNTS, Api, Starter, configuration
from tests.gateway.client import Client, order, request, until
from tests.reliability.conftest import HANGS
from tests.reliability.figures import show
from tests.scripted import ScriptedServer

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits"),
    pytest.mark.usefixtures("many_files"),
]

#: What shells and systemd give by default.
SOFT_LIMIT: Final = 1024
CLIENTS: Final = 1200
#: So many connect at a time: a queue of the kernel's, not the proxy, bounds how many may at once.
AT_A_TIME: Final = 100

HUNG: Final = 200
#: The default of `upstream.max_connections`.
UPSTREAM_CONNECTIONS: Final = 100
#: In place of 5 s and 60 s, since they pass for real.
CONNECT_TIMEOUT, RESPONSE_TIMEOUT = 0.4, 1.8

#: The command, in a process with that limit.
PROGRAM: Final = f"""
import resource, runpy
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, ({SOFT_LIMIT}, hard))
runpy.run_module("proxy", run_name="__main__", alter_sys=True)
"""


async def test_more_clients_than_the_soft_limit_of_descriptors(start: Starter, api: Api) -> None:
    """`serve` raises the soft limit of 1024 to the hard one, and serves 1,200 clients at a time."""
    proxy = await start.ready(
        configuration(api.url, limits={"max_connections": CLIENTS + 1}), program=("-c", PROGRAM)
    )
    address = ("127.0.0.1", (await proxy.event("listener.started"))["port"])
    clients: list[Client] = []
    while len(clients) < CLIENTS:
        clients += await asyncio.gather(*[Client.connect(address) for _ in range(AT_A_TIME)])
    raw, statuses = request(b"GET", ACCOUNTS.encode()), []
    for begin in range(0, CLIENTS, AT_A_TIME):
        some = clients[begin : begin + AT_A_TIME]
        await asyncio.gather(*[client.send(raw) for client in some])
        statuses += [(await client.answer()).status for client in some]
    assert statuses == [200] * CLIENTS
    assert not any(client.ended for client in clients)
    admin = await Client.connect(("127.0.0.1", (await proxy.event("admin.started"))["port"]))
    shown = orjson.loads((await admin.ask(request(b"GET", b"/status"))).content)
    assert shown["clients"]["connections"] == CLIENTS
    for client in [*clients, admin]:
        client.close()
    assert await proxy.stop() == 0


async def test_all_connections_to_the_api_hang(start: Starter, upstream: ScriptedServer) -> None:
    """100 of 200 hanging calls hold connections; others get `not_sent` in time; probes go on."""
    proxy = await start.ready(
        configuration(
            f"http://127.0.0.1:{upstream.port}",
            upstream={
                "connect_timeout_seconds": CONNECT_TIMEOUT,
                "response_timeout_seconds": RESPONSE_TIMEOUT,
                "keep_warm": False,
            },
        )
    )
    address = ("127.0.0.1", (await proxy.event("listener.started"))["port"])
    clients = [await Client.connect(address) for _ in range(HUNG)]
    hanging = [asyncio.create_task(client.ask(request(b"GET", HANGS))) for client in clients]
    # One of all requests is the login.
    await until(lambda: len(upstream.requests) == 1 + UPSTREAM_CONNECTIONS)

    good = await Client.connect(address)
    began = time.perf_counter()
    busy = await good.ask(order())
    waited = time.perf_counter() - began
    assert (busy.status, busy.kind, busy.problem["outcome"]) == (503, "upstream-busy", "not_sent")
    assert "upstream.max_connections" in busy.problem["detail"]
    assert busy.values(b"retry-after") == [b"1"]
    assert waited >= CONNECT_TIMEOUT * 0.9  # and before a call that hangs gave up, or it were 200
    prober = await Client.connect(("127.0.0.1", (await proxy.event("admin.started"))["port"]))
    began = time.perf_counter()
    for _ in range(20):
        assert (await prober.ask(request(b"GET", b"/readiness"))).status == 200
    probed = time.perf_counter() - began

    hung = Counter((answer.status, answer.kind) for answer in await asyncio.gather(*hanging))
    assert hung == {
        (504, "upstream-timeout"): UPSTREAM_CONNECTIONS,
        (503, "upstream-busy"): HUNG - UPSTREAM_CONNECTIONS,
    }
    again = await Client.connect(address)
    assert (await again.ask(order())).status == 200
    show(
        hung=HUNG,
        answered_503_after_ms=round(1000 * waited),
        probe_ms=round(1000 * probed / 20, 1),
    )
    for client in [*clients, good, again, prober]:
        client.close()
    assert await proxy.stop() == 0
