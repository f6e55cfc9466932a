"""Ports that no other test takes, while tests and their programs run at the same time."""

import random
import socket
from typing import Final

#: Below the ports that a system chooses itself: from 32768 on (Linux), from 49152 on (RFC
#: 6335, section 6).
_PORTS: Final = range(10_000, 32_768)


def free_port() -> int:
    """Return a port that is free, for a program that cannot report its own."""
    while True:
        port = random.choice(_PORTS)  # noqa: S311 # no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def held_port() -> socket.socket:
    """Return a socket that keeps a port closed; a server with SO_REUSEADDR can listen there."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held
