"""Closes a listening socket without losing a client that is connecting.

For a client, a connection is open before it is accepted here: it waits in the kernel, perhaps with
a whole request, and closing the listening socket resets it. So first the kernel drops what opens a
connection, then all that wait are accepted, and only then the socket is closed.

Without the first step, each stop resets as many clients as begin to connect within one round trip.
At 500 new connections a second those were 2 at 3.3 ms and 13 at 21 ms (20 stops each), some with a
whole order written; with it, none. Its price: clients that connect within these 50 ms are refused
after 1 s instead of at once. With `shutdown.delay_seconds`, and clients that heed readiness, there
are none of either.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import select
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from proxy.network.serving import Server

#: Seconds for handshakes that have begun: the client's part of one takes one round trip, 50 ms
#: across a continent.
HANDSHAKE_SECONDS: Final = 0.05
#: Seconds for accepting the clients that wait. A full queue takes a tenth of it; the rest is for a
#: process that gets little CPU time.
MOST_SECONDS: Final = 1.0
#: Seconds for TLS handshakes of accepted clients: two round trips, and a lost packet. A client
#: whose handshake takes longer has sent no request.
SETTLE_SECONDS: Final = 1.0

_SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h
_TCP_FLAGS: Final = 13  # where they are in the TCP header; the next two are RFC 9293, section 3.1
_SYN: Final = 0x02
_ACK: Final = 0x10
#: A classic BPF program (linux/filter.h): drop a packet that opens a connection, let all others
#: pass.
_DROP_SYN: Final = (
    (0x30, 0, 0, _TCP_FLAGS),  # load the byte
    (0x54, 0, 0, _SYN | _ACK),  # and
    (0x15, 0, 1, _SYN),  # if equal, go on; else skip one
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)


def is_readable(connection: socket.socket) -> bool:
    """Whether the kernel holds a client to accept. False where one cannot ask (Windows)."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class SocketFile(NamedTuple):
    """The file of a Unix socket, as it was when this process made it."""

    path: str
    inode: int
    changed_at: int  # inodes are given out again

    @classmethod
    def of(cls, path: str) -> SocketFile:
        """Remember the file."""
        file = Path(path).stat()
        return cls(path, file.st_ino, file.st_ctime_ns)

    def remove(self) -> None:
        """Remove it, so that no new client finds the socket.

        Not one that another process has put in its place.
        """
        with contextlib.suppress(OSError):
            if self == self.of(self.path):
                Path(self.path).unlink()


async def stop_listening(server: Server, file: SocketFile | None = None) -> None:
    """Let no new connection in, accept all that wait, close, and finish their TLS handshakes.

    file: of a Unix socket. Sockets that others hold open are left as they are: clients wait there
    for the next process, and only those that were accepted here are served here.
    """
    try:
        if not server.is_shared:
            await _accept_all(server.sockets, file)
    finally:
        server.close()
    await server.settled(SETTLE_SECONDS)


async def _accept_all(sockets: Sequence[socket.socket], file: SocketFile | None) -> None:
    if file is not None:
        file.remove()
    elif _drop_new_connections(sockets):
        await asyncio.sleep(HANDSHAKE_SECONDS)
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + MOST_SECONDS
    while any(map(is_readable, sockets)) and loop.time() < give_up_at:  # noqa: ASYNC110 # the loop accepts
        await asyncio.sleep(0)


def _drop_new_connections(sockets: Sequence[socket.socket]) -> bool:
    """Have the kernel drop packets that open a connection; return whether it can.

    The client's kernel repeats such a packet a second later, and is refused then.
    """
    if sys.platform != "linux":
        return False
    instructions = array.array("B", b"".join(struct.pack("HBBI", *line) for line in _DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN), instructions.buffer_info()[0])
    try:
        for listening in sockets:
            listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:  # a kernel that only resembles Linux
        return False
    return True
