"""What calls the systems: wrk for many small requests, and plain sockets for what wrk cannot do.

A client here is as light as it can be, because it shares its core with the API. It believes
nothing: an answer that is not what the API sends is an error.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

SCRIPTS: Final = Path(__file__).with_name("wrk")
ORDERS: Final = "/corporate-mobile-subscriptions/v2/orders"
#: Each answer of it is different.
NEW_ORDERS: Final = f"{ORDERS}/new"
DOWNLOAD: Final = "/corporate-accounts/download"
UPLOAD: Final = "/corporate-accounts/upload"
#: The size of the API's answer to an order.
ORDER_BYTES: Final = 86
#: Seconds. On loopback nothing that works takes so long.
PATIENCE: Final = 60.0
_PIECE: Final = 256 * 1024  # bytes
_OK: Final = 200


class Refused(Exception):
    """An answer is not the one that was to come, or none came."""


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
    """The answer to one call. head: as it came. size: bytes of its body."""

    status: int
    head: bytes
    size: int

    def checked(self, size: int | None = None) -> Answer:
        """Return it if it is a good one, and of that size; else raise `Refused`."""
        if self.status != _OK:
            raise Refused(f"{self.status} instead of 200")
        if size not in {None, self.size}:
            raise Refused(f"{self.size} bytes instead of {size}")
        return self


def parse_summary(output: str) -> Load:
    """Read the line of JSON that `wrk/common.lua` writes, wherever it stands in wrk's output.

    Raises `Refused` if nothing was answered.
    """
    for line in output.splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            if not told["requests"]:
                raise Refused("no request was answered")
            return Load(
                told["requests"],
                told["duration_us"],
                told["p50_us"],
                told["p99_us"],
                told["errors"],
            )
    raise Refused(f"wrk gave no summary: {output[-500:]}")


def wrk_command(
    program: str, script: Path, url: str, connections: int, seconds: int, headers: Sequence[str]
) -> list[str]:
    """Return the command line: one thread, since there is one core for it."""
    fields = [word for header in headers for word in ("--header", header)]
    load = ["--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    return [program, *load, *fields, "--timeout", "10s", "--script", str(script), url]


def wrk(
    program: str,
    directory: Path,
    url: str,
    *,
    connections: int,
    seconds: int,
    headers: Sequence[str] = (),
    script: str | None = None,
) -> Load:
    """Run wrk on the cores of this process.

    script: which one of `bench/wrk` makes the requests; without one they are all alike.
    """
    parts = ["common", *([script] if script else [])]
    file = directory / f"{parts[-1]}.lua"
    file.write_text(
        "\n".join((SCRIPTS / f"{part}.lua").read_text(encoding="utf-8") for part in parts)
    )
    command = wrk_command(program, file, url, connections, seconds, headers)
    ran = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=seconds + PATIENCE
    )
    return parse_summary(ran.stdout + ran.stderr)


def request(port: int, path: str, *, size: int | None = None, headers: Sequence[str] = ()) -> bytes:
    """Return the head of a request: GET, or POST of a body of that size."""
    method = "GET" if size is None else "POST"
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers]
    if size is not None:
        lines.append(f"Content-Length: {size}")
    return "\r\n".join([*lines, "", ""]).encode()


class Client:
    """One connection: to a system, or straight to the API if there is a `context`."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self._port = port
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = (
            plain if context is None else context.wrap_socket(plain, server_hostname="localhost")
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def get(self, path: str, headers: Sequence[str] = ()) -> Answer:
        """Make a call."""
        self._socket.sendall(request(self._port, path, headers=headers))
        return self._read()

    def post(self, path: str, size: int) -> Answer:
        """Send that many bytes."""
        self._socket.sendall(request(self._port, path, size=size))
        piece = memoryview(bytes(_PIECE))
        left = size
        while left:
            left -= self._socket.send(piece[:left])
        return self._read()

    def _read(self) -> Answer:
        head = bytearray()
        while b"\r\n\r\n" not in head:
            data = self._socket.recv(_PIECE)
            if not data:
                raise Refused("the connection ended without an answer")
            head += data
        end = head.index(b"\r\n\r\n") + 4
        rest, head = bytes(head[end:]), head[:end]
        length = re.search(rb"^content-length: *(\d+)\r$", head, re.IGNORECASE | re.MULTILINE)
        size = int(length[1]) if length else self._chunked(rest)
        if length:
            self._skip(size - len(rest))
        return Answer(int(head.split(b" ", 2)[1]), bytes(head), size)

    def _skip(self, left: int) -> None:
        buffer = bytearray(_PIECE)
        while left > 0:
            count = self._socket.recv_into(buffer, min(left, _PIECE))
            if not count:
                raise Refused(f"the answer ended {left} bytes too early")
            left -= count

    def _chunked(self, body: bytes) -> int:
        """Read a short body to its last chunk; return the size of it all, as it came."""
        while not body.endswith(b"0\r\n\r\n"):
            data = self._socket.recv(_PIECE)
            if not data:
                raise Refused("the answer ended before its last chunk")
            body += data
        return len(body)


def call(port: int, path: str, headers: Sequence[str] = ()) -> Answer:
    """Make one call on a connection of its own."""
    with Client(port) as client:
        return client.get(path, headers)


def timed_call(
    port: int, path: str, context: ssl.SSLContext | None, headers: Sequence[str]
) -> float:
    """Return the seconds that a call takes on a connection of its own, from connecting to the last byte."""
    began = time.perf_counter()
    with Client(port, context) as client:
        answer = client.get(path, headers)
        took = time.perf_counter() - began
    answer.checked()
    return took
