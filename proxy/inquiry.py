"""One question to a running proxy's admin listener, on plain sockets: imports are what it costs."""

import socket
from typing import Final

from proxy.settings import AdminSettings
from proxy.settings.kinds import is_loopback

_TIMEOUT: Final = 3.0  # seconds for one question
_CHUNK: Final = 65536  # bytes
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # compared, not bound


class Unanswered(Exception):
    """Nothing answers; the text says where, and what to check."""


def where(admin: AdminSettings) -> str:
    """Name the admin listener."""
    return f"{host(admin)} port {admin.port}"


def get(
    admin: AdminSettings, target: str, most: int = _CHUNK, *, method: str = "GET"
) -> tuple[bytes, bytes]:
    """Ask for a target; return the status code's bytes (b"" if it is no HTTP) and the content.

    most: bytes of an answer that are read. Raises `Unanswered`.
    """
    if admin.port == 0:
        raise Unanswered(
            "admin.port is 0, so the admin listener's port is not known. Set it to a port."
        )
    try:
        with socket.create_connection((host(admin), admin.port), timeout=_TIMEOUT) as connection:
            connection.sendall(f"{method} {target} HTTP/1.0\r\n\r\n".encode("ascii"))
            answer = bytearray()
            while len(answer) < most and (data := connection.recv(_CHUNK)):
                answer += data
    except OSError:
        raise Unanswered(
            f"nothing answers at the admin listener, {where(admin)}. "
            "Check that the proxy runs, and with the same admin.host and admin.port."
        ) from None
    head, _, content = bytes(answer).partition(b"\r\n\r\n")
    return b"".join(head.split(b" ")[1:2]), content


def stranger(admin: AdminSettings) -> str:
    """Return that another program answers there."""
    return f"what answers on {where(admin)} is no telenor-proxy. Check admin.host and admin.port."


def host(admin: AdminSettings) -> str:
    """Choose a loopback address if there is one, since that answers whatever the network does."""
    asked = [_ANY_ADDRESS.get(host, host) for host in admin.host]
    return next(filter(is_loopback, asked), asked[0])
