"""One bounded request and its answer, on a connection of its own.

For what the proxy asks itself: seldom and small. Calls of clients go another way.

Laws
1. Everything, from the name's resolution to the last byte, takes no longer than the given time.
2. Interim answers, head and content are bounded; what comes beyond that is not read.
3. No redirect is followed, no cookie kept, no authentication tried.
4. What ends a call after the head is an `End`, no exception: its traceback would hold the request.
"""

import asyncio
import enum
from typing import Final, NamedTuple

from proxy.http1 import grammar
from proxy.network.dialer import Dialer
from proxy.network.message import Body, read_response_head
from proxy.network.stream import Gone, Stream

#: 1xx answers before a final one; no honest server sends two.
MAX_INTERIM: Final = 16

_SWITCHING_PROTOCOLS: Final = 101
_FINAL: Final = 200


class End(enum.Enum):
    """How the content of an answer ended."""

    WHOLE = "whole"
    TOO_LONG = "too long"
    CUT = "cut"
    MALFORMED = "malformed"
    TIMEOUT = "timeout"


_ENDS: Final = {TimeoutError: End.TIMEOUT, grammar.Malformed: End.MALFORMED}


class CallAnswer(NamedTuple):
    """A final answer: its head, its content with codings, as far as it came, and how it ended."""

    head: grammar.ResponseHead
    content: bytes
    end: End

    def fields(self) -> dict[str, str]:
        """Return the fields by lower-case name; of several with one name, the first."""
        found = {
            name.decode("ascii"): values[0].decode("latin-1")
            for name, values in self.head.known.items()
        }
        for line in self.head.passing:
            name, _, value = line.partition(b":")
            found.setdefault(name.lower().decode("ascii"), value.strip().decode("latin-1"))
        return found


class _Connection(Stream):
    half_close = False  # once the server has ended its side, nothing more is said


async def ask(dialer: Dialer, request: bytes, *, seconds: float, most_content: int) -> CallAnswer:
    """Send a whole request (any method but HEAD, with `Connection: close`) and return its answer.

    seconds: for everything. most_content: bytes of content after which no more is read.
    Raises, when no head of a final answer came: `OSError` or `UnicodeError` of the dialer,
    `TimeoutError`, `Gone` if the connection ended, `grammar.Malformed`.
    """
    loop = asyncio.get_running_loop()
    connection = _Connection(loop)
    head: grammar.ResponseHead | None = None
    content = bytearray()
    end = End.CUT
    try:
        until = loop.time() + seconds
        await dialer.dial(lambda: connection, seconds)
        async with asyncio.timeout_at(until):
            connection.write(request)
            head = await _final_head(connection)
            framing = grammar.response_framing(head, b"")
            end = await _read(Body(connection, framing), content, most_content)
    except (TimeoutError, Gone, grammar.Malformed) as error:
        if head is None:
            raise
        end = _ENDS.get(type(error), End.CUT)
    finally:
        if end is End.WHOLE:
            connection.close()
        elif hasattr(connection, "transport"):  # it was connected
            connection.transport.abort()  # the request was whole, so no reset is needed
    return CallAnswer(head, bytes(content), end)


async def _final_head(connection: Stream) -> grammar.ResponseHead:
    for _ in range(MAX_INTERIM + 1):
        head = await read_response_head(connection, lambda: None)
        if head.status >= _FINAL:
            return head
        if head.status == _SWITCHING_PROTOCOLS:
            raise grammar.Malformed("it switches protocols unasked")
    raise grammar.Malformed("it has no end of interim answers")


async def _read(body: Body, content: bytearray, most: int) -> End:
    while piece := await body.read(None):
        content += piece
        if len(content) > most:
            return End.TOO_LONG
    return End.WHOLE
