"""A network with a distance.

Passes bytes on in both directions, each after a delay, as if the upstream were half a round trip
away.

TCP's own handshake takes a round trip too, but over loopback the connection to this relay is there
at once. So what comes on a new connection is held back until that round trip would have been over.
It runs on asyncio's own loop: uvloop's timers count whole milliseconds.

    python -m bench.distance PORT UPSTREAM_PORT ROUND_TRIP_MS
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_PIECE: Final = 65536  # bytes
BACKLOG: Final = 4096


def arrival(now: float, one_way: float, connected: float) -> float:
    """Return when bytes that are sent now arrive.

    Not before the connection is there, and then after one way.
    """
    return max(now, connected) + one_way


async def carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one_way: float, connected: float
) -> None:
    """Pass bytes on, late and in order, until the end of them arrives.

    Bytes that are on their way do not hold back the next ones.
    """
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                return
            writer.write(data)

    with contextlib.suppress(OSError):
        async with asyncio.TaskGroup() as group:
            group.create_task(deliver())
            data = b"-"
            while data:
                data = await reader.read(_PIECE)
                under_way.put_nowait((arrival(loop.time(), one_way, connected), data))


async def serve(port: int, upstream_port: int, round_trip: float) -> None:
    """Relay until the process is ended. round_trip: seconds."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected = asyncio.get_running_loop().time() + round_trip
        there, back = await asyncio.open_connection("127.0.0.1", upstream_port)
        ways = [
            asyncio.create_task(carry(reader, back, round_trip / 2, connected)),
            asyncio.create_task(carry(there, writer, round_trip / 2, connected)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        back.close()
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", port, backlog=BACKLOG)
    async with server:
        await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """Run it."""
    port, upstream_port, milliseconds = arguments
    asyncio.run(serve(int(port), int(upstream_port), float(milliseconds) / 1000))


if __name__ == "__main__":
    main(sys.argv[1:])
