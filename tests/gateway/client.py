"""A raw client: it sends the bytes of the test, and reads answers with h11.

    client = await Client.connect(("127.0.0.1", port))
    answer = await client.ask(request(b"GET", b"/corporate-accounts/v2/accounts"))
    assert await client.closed() == "fin"

On TLS each piece is a record, and an end counts as `fin` only with close_notify.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import h11
import orjson

from tests.scripted import MAX_HEAD, FieldLine, reset_on_close

ACCOUNTS: Final = b"/corporate-accounts/v2/accounts"
ORDERS: Final = b"/corporate-mobile-subscriptions/v2/orders"
ORDER: Final = b'{"productId": "50795", "msisdn": "4799885577", "type": "ADD_PRODUCT"}'

#: How long anything may take that should happen at once; only a failing test waits for its end.
PATIENCE: Final = 30.0  # seconds
_GLANCE: Final = 0.002  # seconds between two looks at a condition


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until the condition holds; raises `TimeoutError` if it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 # the condition gives no notice of a change
            await asyncio.sleep(_GLANCE)


def request(
    method: bytes = b"GET",
    target: bytes = ACCOUNTS,
    *fields: bytes,
    content: bytes | None = None,
    version: bytes = b"1.1",
    host: bytes | None = b"localhost",
) -> bytes:
    """Return one request, with Content-Length if it has content; `fields` are lines without end."""
    lines = [b"%b %b HTTP/%b" % (method, target, version)]
    if host is not None:
        lines.append(b"Host: " + host)
    lines += fields
    if content is not None:
        lines.append(b"Content-Length: %d" % len(content))
    return b"\r\n".join([*lines, b"", content or b""])


def order(*fields: bytes, content: bytes = ORDER, version: bytes = b"1.1") -> bytes:
    """Return a POST that places an order."""
    return request(b"POST", ORDERS, *fields, content=content, version=version)


def framed(content: bytes, *, chunked: bool) -> bytes:
    """Return a POST with this content, in two chunks or with its length."""
    if not chunked:
        return order(content=content)
    half = len(content) // 2
    pieces = [piece for piece in (content[:half], content[half:]) if piece]
    return request(b"POST", ORDERS, b"Transfer-Encoding: chunked") + chunks(*pieces)


def chunks(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """Return a whole chunked body."""
    return (
        b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        + b"0\r\n"
        + trailers
        + b"\r\n"
    )


class Gone(AssertionError):
    """The connection ended before an answer's head. how: `fin` or `rst`. data: what had arrived."""

    def __init__(self, how: str, data: bytes) -> None:
        super().__init__(f"no answer: {how} after {data[:80]!r}")
        self.how = how
        self.data = data


@dataclass(slots=True)
class Answer:
    """A final answer. whole: it ended, unlike a broken connection. interim: the 1xx before it."""

    status: int
    reason: bytes
    version: bytes
    fields: list[FieldLine]
    interim: list[tuple[int, list[FieldLine]]]
    content: bytearray = field(default_factory=bytearray)
    whole: bool = False

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of all field lines with this name, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def problem(self) -> dict[str, Any]:
        """The problem details of an answer that the proxy made itself, checked for their form."""
        assert self.values(b"content-type") == [b"application/problem+json"], self
        details: dict[str, Any] = orjson.loads(self.content)
        assert details["status"] == self.status
        assert details["type"].startswith("urn:telenor-proxy:problem:")
        assert details["title"]
        assert details["detail"]
        assert self.values(b"x-request-id") == [details["instance"].encode()]
        assert len(self.values(b"proxy-status")) == 1
        return details

    @property
    def kind(self) -> str:
        """Which problem it is."""
        return str(self.problem["type"]).rpartition(":")[2]

    @property
    def proxy_error(self) -> str | None:
        """The proxy error type (RFC 9209), None if the answer is the upstream's."""
        values = self.values(b"proxy-status")
        if not values:
            return None
        prefix, _, error = values[0].partition(b"; error=")
        assert prefix == b"telenor-proxy"
        return error.decode()


class Tls:
    """The client's side of TLS, between the bytes of a test and those on the wire."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._from_wire, self._to_wire = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._from_wire, self._to_wire, server_hostname=host)

    async def shake_hands(self, raw: socket.socket) -> None:
        """Begin. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(raw, self._to_wire.read())
                self.take(await loop.sock_recv(raw, 65536))
            else:
                await loop.sock_sendall(raw, self._to_wire.read())
                return

    def encrypted(self, data: bytes) -> bytes:
        """Return what goes out."""
        self._object.write(data)
        return self._to_wire.read()

    def take(self, data: bytes) -> None:
        """Take what arrived; nothing means the end of the connection."""
        if data:
            self._from_wire.write(data)
        else:
            self._from_wire.write_eof()

    def decrypted(self) -> bytes | None:
        """Return plain bytes; None if not whole, b"" after close_notify. Raises `ssl.SSLError`."""
        try:
            return self._object.read(65536)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:  # both sides have said it
            return b""

    def end(self) -> bytes:
        """Return close_notify."""
        with contextlib.suppress(ssl.SSLError):  # the peer's has not come, or not all is read
            self._object.unwrap()
        return self._to_wire.read()


class Client:
    """One connection. received: all bytes. ended: `fin` or `rst` once the proxy has ended it."""

    def __init__(
        self, raw: socket.socket, tls: Tls | None = None, early: bytes | None = None
    ) -> None:
        """Take a connected socket. early: sent after the TLS handshake, at first use."""
        self.received = bytearray()
        self.ended: str | None = None
        self._buffer = bytearray()
        self._raw = raw
        self._tls = tls
        self._early = early

    @classmethod
    async def connect(
        cls,
        address: tuple[str, int] | str,
        *,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> Client:
        """Connect to a host and port, or to a Unix socket's path. receive_buffer: the kernel's."""
        raw = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        raw.setblocking(False)
        if not isinstance(address, str):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        encryption = None if tls is None else Tls(tls, address[0])
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.get_running_loop().sock_connect(raw, address)
                if encryption is not None:
                    await encryption.shake_hands(raw)
        except BaseException:
            raw.close()
            raise
        return cls(raw, encryption)

    def _on_wire(self, data: bytes) -> bytes:
        return data if self._tls is None else self._tls.encrypted(data)

    async def send(self, *pieces: bytes) -> None:
        """Send each piece as a segment."""
        await self._begin()
        for piece in pieces:
            await asyncio.get_running_loop().sock_sendall(self._raw, self._on_wire(piece))
            if len(pieces) > 1:
                await asyncio.sleep(_GLANCE)

    async def ask(self, *pieces: bytes, method: bytes = b"GET") -> Answer:
        """Send the pieces, and return the next final answer."""
        await self.send(*pieces)
        return await self.answer(method)

    async def _begin(self) -> None:
        """Shake hands, if that has not happened yet."""
        early, self._early = self._early, None
        if early is not None and self._tls is not None:
            await self._tls.shake_hands(self._raw)
            await asyncio.get_running_loop().sock_sendall(self._raw, self._tls.encrypted(early))

    def send_and_reset(self, data: bytes) -> None:
        """Send the data and reset the connection, without a turn of the event loop between."""
        self._raw.setblocking(True)
        self._raw.sendall(self._on_wire(data))
        self.reset()

    async def answer(self, method: bytes = b"GET") -> Answer:
        """Return the next final answer, whole or broken. Raises `Gone` if no head comes."""
        parser = h11.Connection(h11.CLIENT, MAX_HEAD)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "localhost")]))
        parser.send(h11.EndOfMessage())
        interim: list[tuple[int, list[FieldLine]]] = []
        answer: Answer | None = None
        if self._buffer:
            parser.receive_data(bytes(self._buffer))
        while (event := await self._next_event(parser)) is not None:
            if isinstance(event, h11.InformationalResponse):
                interim.append((event.status_code, list(event.headers.raw_items())))
            elif isinstance(event, h11.Response):
                fields = list(event.headers.raw_items())
                answer = Answer(
                    event.status_code, event.reason, event.http_version, fields, interim
                )
            elif isinstance(event, h11.Data) and answer is not None:
                answer.content += event.data
            elif isinstance(event, h11.EndOfMessage) and answer is not None:
                answer.whole = True
                self._buffer[:] = parser.trailing_data[0]
                return answer
        if answer is None:
            raise Gone(str(self.ended), bytes(self._buffer))
        self._buffer.clear()
        return answer

    async def _next_event(self, parser: h11.Connection) -> object:
        """Return what h11 reads next; None if the connection ends before the answer does."""
        while (event := parser.next_event()) is h11.NEED_DATA:
            if data := await self._read():
                parser.receive_data(data)
            elif self.ended == "fin":
                parser.receive_data(b"")
                try:
                    return parser.next_event()
                except h11.RemoteProtocolError:
                    return None
            else:
                return None
        return event

    async def saw(self, data: bytes) -> None:
        """Read until these bytes have arrived, which `answer` still returns."""
        while data not in self.received:
            assert await self._read(), f"{self.ended} before {data!r}"

    async def rest(self) -> bytes:
        """Return all that arrives until the proxy ends the connection; `ended` then says how."""
        while await self._read():
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def closed(self) -> str | None:
        """Wait for the end, before which nothing more may arrive; return how it ended."""
        rest = await self.rest()
        assert not rest, f"more came: {rest[:80]!r}"
        return self.ended

    async def _read(self) -> bytes:
        """Wait for more; b"" at the end."""
        if self.ended is not None:
            return b""
        try:
            async with asyncio.timeout(PATIENCE):
                data = await self._receive()
        except (ConnectionError, ssl.SSLError):
            self.ended = "rst"
            return b""
        if not data:
            self.ended = "fin"
        self.received += data
        self._buffer += data
        return data

    async def _receive(self) -> bytes:
        await self._begin()
        loop = asyncio.get_running_loop()
        if self._tls is None:
            return await loop.sock_recv(self._raw, 65536)
        while (data := self._tls.decrypted()) is None:
            self._tls.take(await loop.sock_recv(self._raw, 65536))
        return data

    def half_close(self) -> None:
        """End our side and go on reading; on TLS, which has no half-close, send close_notify."""
        if self._tls is None:
            self._raw.shutdown(socket.SHUT_WR)
        else:
            self._raw.send(self._tls.end())

    def cut(self) -> None:
        """End our side without a word, on TLS without close_notify, and go on reading."""
        self._raw.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection off."""
        reset_on_close(self._raw)
        self._raw.close()

    def close(self) -> None:
        """Close in order."""
        if self._tls is not None and self._raw.fileno() >= 0:
            with contextlib.suppress(OSError):  # the proxy has gone, or reads no more
                self._raw.send(self._tls.end())
        self._raw.close()
