"""Asks a running proxy's admin listener whether it is ready. Plain sockets: it starts every few seconds, and imports are what it costs."""

from __future__ import annotations

import socket
import sys
import time
from typing import TYPE_CHECKING, Final

from proxy.settings.origin import is_loopback

if TYPE_CHECKING:
    from proxy.settings import AdminSettings

_TIMEOUT: Final = 3.0  # seconds for one question
_PAUSE: Final = 0.1  # seconds between two
_MOST: Final = 65536  # bytes of an answer
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # compared, not bound


def run(admin: AdminSettings, wait: float) -> int:
    """Ask until the proxy is ready or `wait` seconds are over; say that it is, or why it is not. Returns the exit status."""
    deadline = time.monotonic() + wait
    host = where(admin.host)
    while (problem := _ask(host, admin.port)) is not None:
        if time.monotonic() >= deadline:
            print(f"telenor-proxy is not ready: {problem}", file=sys.stderr)  # noqa: T201 # a command's answer
            return 1
        time.sleep(_PAUSE)
    print("ready")  # noqa: T201 # a command's answer
    return 0


def where(hosts: tuple[str, ...]) -> str:
    """Choose where to ask: at a loopback address if there is one, since that one answers whatever the network does."""
    asked = [_ANY_ADDRESS.get(host, host) for host in hosts]
    return next(filter(is_loopback, asked), asked[0])


def _ask(host: str, port: int) -> str | None:
    """Return None if it is ready, otherwise why it is not."""
    where = f"{host} port {port}"
    if port == 0:
        return "admin.port is 0, so nobody knows where to ask. Set it to a port."
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT) as connection:
            connection.sendall(b"GET /readiness HTTP/1.0\r\n\r\n")
            answer = b""
            while len(answer) < _MOST and (data := connection.recv(_MOST)):
                answer += data
    except OSError:
        return (
            f"nothing answers at the admin listener, {where}. "
            "Check that the proxy runs, and with the same admin.host and admin.port."
        )
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ")[1:2] == [b"200"]:
        return None
    return _detail(body) or f"what answers on {where} is no telenor-proxy. Check admin.host and admin.port."


def _detail(body: bytes) -> str | None:
    import json  # noqa: PLC0415 # only needed when something is wrong

    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return None
