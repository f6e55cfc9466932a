"""Ports that no other test takes, while tests and their programs run at the same time."""

from __future__ import annotations

import random
import socket
from typing import Final

#: Below what a system gives to who asks for any port: from 32768 on (Linux), from 49152 on (RFC
#: 6335, section 6).
_PORTS: Final = range(10_000, 32_768)


def free_port() -> int:
    """Return a port that is free, for a program that cannot say which one it took.

    A port that the system chose and this test gave back could be another's a moment later.
    """
    while True:
        port = random.choice(_PORTS)  # noqa: S311 # no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def held_port() -> socket.socket:
    """Return a socket that keeps a port and does not listen on it: connections there are refused.

    A server that sets SO_REUSEADDR, as asyncio's do, can listen on the port all the same.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held
