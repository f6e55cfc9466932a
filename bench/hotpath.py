"""Drives the way of a request through listener, forwarder and upstream without a kernel.

Its transports only pass bytes on. So it is what the proxy's own code costs, free of sockets, TLS
and other processes; a test counts calls with it, and as a program it measures them.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Final

from proxy import logs
from proxy.admin.metrics import Metrics
from proxy.app import new_event_loop
from proxy.clients.roster import Roster
from proxy.clock import SystemClock
from proxy.forward.client import ClientService
from proxy.forward.connection import ClientConnection
from proxy.forward.forwarder import Forwarder
from proxy.forward.pool import Pool, UpstreamConnection
from proxy.network.dialer import Dialer
from proxy.settings import load
from proxy.tokens.diagnosis import error_code_of, rejected_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.orders.desk import Desk
    from proxy.records import Record

REQUEST: Final = (
    b"POST /corporate-mobile-subscriptions/v2/orders HTTP/1.1\r\nHost: "
    b"127.0.0.1:8080\r\nUser-Agent: erp/1.0\r\n"
    b"Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: 73\r\n\r\n"
    b'{"productId": "50795", "msisdn": "4799885577", "type": "ADD_PRODUCT"}    '
)
RESPONSE: Final = (
    b"HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 08:00:00 GMT\r\nContent-Type: "
    b"application/json\r\nContent-Length: 86\r\n"
    b"Connection: keep-alive\r\n\r\n" + b"x" * 86
)


class Tokens:
    """Always has a token, itself, which never ends."""

    def reveal(self) -> str:
        """Return made-up characters."""
        return "abcdefghijklmnopqrstuvwxyz0123456789"

    def usable(self) -> Tokens:
        """Return it."""
        return self

    async def get(self) -> Tokens:
        """Return it."""
        return self

    def invalidate(self, rejected: Tokens) -> bool:
        """Never asked."""
        raise NotImplementedError(rejected)


class Pipe:
    """A transport that hands what is written to a callback, and is never full."""

    def __init__(self, on_write: Callable[[], None]) -> None:
        self._on_write = on_write

    def write(self, _: bytes) -> None:
        """Take it."""
        self._on_write()

    def is_closing(self) -> bool:
        """Never."""
        return False

    def abort(self) -> None:
        """Do nothing."""

    close = abort

    def get_extra_info(self, _: str) -> None:
        """Know nothing."""


def key(number: int) -> str:
    """Return the key of a client."""
    return f"key-of-the-client-{number}"


class Rig:
    """One client connection on one upstream connection.

    clients: so many are named in the settings, and the last of them calls. desk: remembers orders.
    """

    def __init__(self, clients: int = 0, desk: Desk | None = None) -> None:
        environ = {
            f"TELENOR_PROXY_OAUTH__{name}": "made-up-value"
            for name in ("CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD")
        }
        self._request = REQUEST
        if clients:
            named = [{"name": f"client-{number}", "key": key(number)} for number in range(clients)]
            environ["TELENOR_PROXY_LISTEN__CLIENTS"] = json.dumps(named)
            shown = f"X-Proxy-Key: {key(clients - 1)}\r\n\r\n"
            self._request = REQUEST.replace(b"\r\n\r\n", b"\r\n" + shown.encode(), 1)
        settings = load(None, environ | {"TELENOR_PROXY_LOG__FORMAT": "json"})
        self._loop = asyncio.get_running_loop()
        upstream = Pool(
            Dialer(settings.upstream.origin, None),
            max_connections=1,
            connect_timeout=1,
            idle_timeout=3600,
        )
        connection = UpstreamConnection(self._loop, lambda _: None)
        connection.transport = Pipe(self._answer)  # type: ignore[assignment] # it has what is used
        upstream.adopt(connection)
        self._connection = connection
        self.null = os.open(os.devnull, os.O_WRONLY)
        access_log, metrics = logs.AccessLog(logs.LineWriter(self.null), settings.log), Metrics()

        def observe(record: Record) -> None:
            access_log(record)
            metrics(record)
            roster.count(record)

        roster = Roster(settings, SystemClock(), bytes(32))
        metrics.follow(client.name for client in settings.listen.clients)
        forwarder = Forwarder(
            settings,
            Tokens(),
            upstream,
            error_code=error_code_of,
            is_token_rejected=rejected_token,
            rates=roster.rates,
            desk=desk,
        )
        service = ClientService(settings, forwarder, observe, roster)
        self._client = ClientConnection(service.welcome, self._loop)
        self._done = self._loop.create_future()
        self._client.connection_made(Pipe(self._finished))  # type: ignore[arg-type] # as above

    def _answer(self) -> None:
        self._loop.call_soon(self._connection.data_received, RESPONSE)

    def _finished(self) -> None:
        self._done.set_result(None)

    async def request(self, field: bytes = b"") -> None:
        """One request, answered. field: a line that it has besides."""
        self._done = self._loop.create_future()
        raw = (
            self._request.replace(b"\r\n\r\n", b"\r\n%b\r\n\r\n" % field, 1)
            if field
            else self._request
        )
        self._client.data_received(raw)
        await self._done

    async def close(self) -> None:
        """End the task of the connection."""
        self._client.connection_lost(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


#: Rows: how many clients are named.
_ROWS: Final = {"without clients": 0, "1 client": 1, "50 clients": 50}


async def _time(rounds: int, requests: int) -> dict[str, float]:
    """Measure the rows in turns, so that what else the machine does concerns all of them.

    Give seconds of CPU for one request, the best of all rounds.
    """
    rigs = {name: Rig(clients) for name, clients in _ROWS.items()}
    best = dict.fromkeys(rigs, float("inf"))
    for _ in range(rounds):
        for name, rig in rigs.items():
            began = time.process_time()
            for _ in range(requests):
                await rig.request()
            best[name] = min(best[name], (time.process_time() - began) / requests)
    for rig in rigs.values():
        await rig.close()
    return best


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        for row, seconds in runner.run(_time(20, 2000)).items():
            print(f"{row}: {seconds * 1e6:.1f} us per request, the best of 20 rounds")
