"""What calls the systems: wrk for the load, and http.client for a few calls.

An answer that the API does not send is an error.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPMessage
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPTS: Final = Path(__file__).with_name("wrk")
ORDERS: Final = "/corporate-mobile-subscriptions/v2/orders"
#: Each answer of it is different.
NEW_ORDERS: Final = f"{ORDERS}/new"
#: As many as an order system with a busy pool has.
CONNECTIONS: Final = 32
#: The size of the API's answer to an order.
ORDER_BYTES: Final = 86
#: Seconds. On loopback nothing that works takes so long.
PATIENCE: Final = 60.0
_OK: Final = 200


class Refused(Exception):
    """An answer is missing, cut off, or not the expected one."""


class Load(NamedTuple):
    """What wrk saw. Times in microseconds."""

    requests: int
    duration: int
    p50: int
    p99: int
    errors: int

    @property
    def per_second(self) -> float:
        """Requests answered in a second."""
        return self.requests * 1e6 / self.duration


class Answer(NamedTuple):
    """The answer to one call. size: bytes of its body."""

    status: int
    fields: HTTPMessage
    size: int

    def checked(self, size: int | None = None) -> Answer:
        """Return it if it is a 200 of that size; else raise `Refused`."""
        if self.status != _OK:
            raise Refused(f"{self.status} instead of 200")
        if size not in {None, self.size}:
            raise Refused(f"{self.size} bytes instead of {size}")
        return self


def parse_summary(output: str) -> Load:
    """Read the JSON line of `wrk/common.lua`; `Refused` if there is none or no answer."""
    for line in output.splitlines():
        if line.startswith("{"):
            seen = json.loads(line)
            if not seen["requests"]:
                raise Refused("no request was answered")
            times = (seen["duration_us"], seen["p50_us"], seen["p99_us"])
            return Load(seen["requests"], *times, seen["errors"])
    raise Refused(f"wrk gave no summary: {output[-500:]}")


class Shape(NamedTuple):
    """The requests of a load.

    script: which one of `bench/wrk` makes them; without one they are all alike. relay: whether the
    raw relay can pass them on.
    """

    path: str = ORDERS
    connections: int = CONNECTIONS
    headers: tuple[str, ...] = ()
    script: str | None = None
    relay: bool = True


def wrk(directory: Path, url: str, shape: Shape, seconds: int, headers: Sequence[str]) -> Load:
    """Run wrk on the cores of this process, with one thread, since there is one core for it.

    headers: besides those of the shape.
    """
    parts = ["common", *([shape.script] if shape.script else [])]
    file = directory / f"{parts[-1]}.lua"
    file.write_text("\n".join((SCRIPTS / f"{part}.lua").read_text("utf-8") for part in parts))
    command = ["wrk", "--threads", "1", "--connections", str(shape.connections)]
    command += ["--duration", f"{seconds}s", "--timeout", "10s", "--script", str(file)]
    command += [word for header in (*shape.headers, *headers) for word in ("--header", header)]
    ran = subprocess.run(
        [*command, url], check=False, capture_output=True, text=True, timeout=seconds + PATIENCE
    )
    return parse_summary(ran.stdout + ran.stderr)


def connect(port: int) -> HTTPConnection:
    """Return a connection to a port of loopback; it opens with its first call."""
    return HTTPConnection("127.0.0.1", port, timeout=PATIENCE)


def get(connection: HTTPConnection, path: str, headers: Sequence[str] = ()) -> Answer:
    """Make one call and read its whole answer; the connection stays open."""
    try:
        connection.request("GET", path, headers=dict(line.split(": ", 1) for line in headers))
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, len(answer.read()))
    except HTTPException as error:
        raise Refused(f"no whole answer: {error!r}") from error


def call(port: int, path: str, headers: Sequence[str] = ()) -> Answer:
    """Make one call on a connection of its own."""
    with closing(connect(port)) as connection:
        return get(connection, path, headers)
