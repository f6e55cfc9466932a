"""Shared by the tests of the network: an authority, an API, a company's proxy."""

import asyncio
import contextlib
import ssl
from typing import Final

import trustme

from proxy.network.stream import Stream

API: Final = "api.example"
PROXY: Final = "proxy.example"
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Authority:
    """A certificate authority, with contexts for servers and clients."""

    def __init__(self) -> None:
        self.ca = trustme.CA()

    def server(self, *names: str) -> ssl.SSLContext:
        """Return a server's context with a certificate for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        """Return a context that trusts this authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
        self.ca.configure_trust(context)
        return context


class Api:
    """An API that answers each request in the same way, and keeps what it was sent."""

    def __init__(self, answer: bytes = ANSWER) -> None:
        self.answer = answer
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer request after request."""
        while True:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            await writer.drain()


class ScriptedProxy:
    """A company's proxy.

    Without a script it opens each tunnel to `port`; heads: of the requests.
    """

    def __init__(self, port: int = 0, *script: bytes | float | None) -> None:
        self.port = port
        self.script = script
        self.heads: list[bytes] = []
        #: All that came through tunnels, as the proxy sees it.
        self.seen = bytearray()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Follow the script: bytes are sent, numbers are seconds to wait, None is a reset."""
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        for step in self.script:
            if step is None:
                writer.transport.abort()
                return
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await asyncio.sleep(step)
        if not self.script:
            await self._open(reader, writer)

    async def _open(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, outside = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(ESTABLISHED)
        try:
            await asyncio.gather(
                pass_on(reader, outside, self.seen), pass_on(inside, writer, bytearray())
            )
        finally:
            outside.close()


async def pass_on(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, kept: bytearray
) -> None:
    """Pass bytes on until the source has ended its side, then end that side of the target."""
    try:
        while piece := await source.read(65536):
            kept += piece
            target.write(piece)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
        else:
            target.close()
    except OSError:  # one of the two has reset its connection: so has the other now
        target.transport.abort()


class Caller(Stream):
    """A connection that asks once."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())

    async def ask(self, request: bytes = b"GET / HTTP/1.1\r\n\r\n", until: bytes = ANSWER) -> bytes:
        """Send a request and return what came once that ends as given."""
        self.write(request)
        while not self.buffer.endswith(until):
            await self.more(5.0)
        return self.take(len(self.buffer))

    async def ended_in_order(self) -> bool:
        """Wait for the connection's end or loss; return whether the end was orderly."""
        while not (self.ended or self.lost):
            with contextlib.suppress(Exception):
                await self.more(5.0)
        return self.ended
