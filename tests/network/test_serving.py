"""Listening: several hosts, both families, and TLS that is renewed while clients come."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest
from structlog.testing import capture_logs

from proxy.network import closing, serving, transport
from tests.network.house import Authority


def has_ipv6_loopback() -> bool:
    """Whether this machine has ::1."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no IPv6")


@pytest.fixture(params=["fast", "asyncio"], autouse=True)
def transports(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run each test on both kinds of transports."""
    yield transport.use(request.param)
    transport.use("fast")


class Greeting(asyncio.Protocol):
    """Greets each client and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the greeting."""
        made = cast("asyncio.Transport", transport)
        made.write(b"hello")
        made.close()


async def plain(port: int) -> None:
    """Speak HTTP to a port of TLS."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with contextlib.suppress(OSError):
        await reader.read()
    writer.close()


@contextlib.asynccontextmanager
async def listening(
    *hosts: str, port: int = 0, tls: ssl.SSLContext | None = None, bound: Exhausted | None = None
) -> AsyncIterator[serving.Server]:
    """Serve on these hosts, or on a bound socket."""
    server = serving.Server(Greeting, [bound] if bound else await serving.bind(hosts, port))
    await server.start(tls)
    try:
        yield server
    finally:
        server.close()


async def greeted(host: str, port: int, tls: ssl.SSLContext | None = None) -> bool:
    """Whether a client is greeted there."""
    name = None if tls is None else "api.example"
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=name)
    except OSError:
        return False
    try:
        return await reader.read() == b"hello"
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def port_of(server: serving.Server) -> int:
    """Return the one port of all sockets."""
    (port,) = {listening.getsockname()[1] for listening in server.sockets}
    return int(port)


# --- Hosts and families ------------------------------------------------------------------------


@needs_ipv6
async def test_localhost_is_every_loopback_family() -> None:
    """Both, on one port, also if the system chooses it."""
    async with listening("localhost") as server:
        for host in ("127.0.0.1", "::1"):
            assert await greeted(host, port_of(server))


@needs_ipv6
async def test_every_address_of_ipv6_is_every_address_of_ipv4_too() -> None:
    """`::` takes both with one socket, which includes the other hosts of the list."""
    async with listening("::", "127.0.0.1") as server:
        assert len(server.sockets) == 1
        for host in ("127.0.0.1", "::1"):
            assert await greeted(host, port_of(server))


@needs_ipv6
async def test_a_list_of_hosts() -> None:
    """Each is bound, once."""
    async with listening("127.0.0.1", "::1", "LOCALHOST") as server:
        assert len(server.sockets) == 2


async def test_one_address_is_one_address() -> None:
    """Nothing else is bound beside it."""
    async with listening("127.0.0.1") as server:
        assert [listening.getsockname()[0] for listening in server.sockets] == ["127.0.0.1"]


async def test_without_ipv6_localhost_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that the machine does not have is left out; a machine without any cannot listen."""
    real = serving._bind

    def without(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
        if family in missing:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, address, port)

    monkeypatch.setattr(serving, "_bind", without)
    missing = {socket.AF_INET6}
    async with listening("localhost") as server:
        assert [listening.getsockname()[0] for listening in server.sockets] == ["127.0.0.1"]
    missing.add(socket.AF_INET)
    with pytest.raises(OSError, match="not supported"):
        await serving.bind(["localhost"], 0)


async def test_a_port_in_use_is_an_error_and_nothing_stays_bound() -> None:
    """All hosts or none."""
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await serving.bind(["127.0.0.1", "127.0.0.2"], port)
        async with listening("127.0.0.1", port=port) as server:
            assert await greeted("127.0.0.1", port_of(server))


# --- TLS ---------------------------------------------------------------------------------------


async def test_a_renewed_certificate_counts_for_new_connections_and_none_is_refused() -> None:
    """Clients connect during renewals, and each gets one of the two certificates."""
    first, second = Authority(), Authority()
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for authority in (first, second):
        authority.ca.configure_trust(trusting)
    contexts = [first.server("api.example"), second.server("api.example")]
    async with listening("127.0.0.1", tls=contexts[0]) as server:
        port, done = port_of(server), asyncio.Event()

        outcomes: list[bool] = []

        async def come() -> None:
            while not done.is_set():
                outcomes.append(await greeted("127.0.0.1", port, trusting))

        clients = [asyncio.create_task(come()) for _ in range(4)]
        for turn in range(1, 11):
            came = len(outcomes)
            while len(outcomes) <= came:  # noqa: ASYNC110 # clients come between any two renewals
                await asyncio.sleep(0.001)
            await server.renew(contexts[turn % 2])
        done.set()
        await asyncio.gather(*clients)
        await server.renew(contexts[1])
        assert await greeted("127.0.0.1", port, second.client())
        assert not await greeted("127.0.0.1", port, first.client())
    assert len(outcomes) >= 10
    assert all(outcomes)


async def test_a_client_that_is_silent_in_its_handshake_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within the time that it has for that; it holds no connection for longer."""
    monkeypatch.setattr(serving, "HANDSHAKE_SECONDS", 0.1)
    async with listening("127.0.0.1", tls=Authority().server("api.example")) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5.0) == b""
        writer.close()


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("is_tls", [True, False], ids=["tls", "plain"])
async def test_who_was_accepted_is_a_connection_once_it_has_closed(
    *, is_shared: bool, is_tls: bool
) -> None:
    """A client accepted in the turn in which the server closes is served, in TLS too."""
    authority, made = Authority(), list[Greeting]()

    class Noted(Greeting):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(self)
            super().connection_made(transport)

    server = serving.Server(Noted, await serving.bind(["127.0.0.1"], 0), is_shared=is_shared)
    await server.start(authority.server("api.example") if is_tls else None)
    raw = socket.create_connection(("127.0.0.1", port_of(server)))
    raw.setblocking(False)
    while not server._beginning:  # noqa: ASYNC110 # it is for one turn of the loop
        await asyncio.sleep(0)
    stopping = asyncio.create_task(closing.stop_listening(server))
    context, name = (authority.client(), "api.example") if is_tls else (None, None)
    reader, writer = await asyncio.open_connection(sock=raw, ssl=context, server_hostname=name)
    await stopping
    assert len(made) == 1
    assert await reader.read() == b"hello"
    writer.close()


async def test_a_closed_server_accepts_no_client() -> None:
    """Its sockets are closed, once and again, also those of a renewal."""
    async with listening("127.0.0.1") as server:
        port = port_of(server)
        await server.renew(None)
        many = await asyncio.gather(*(greeted("127.0.0.1", port) for _ in range(200)))
        assert all(many)
        server.close()
    assert server.sockets == ()
    assert not await greeted("127.0.0.1", port)


async def test_a_failed_tls_handshake_is_logged_once_a_minute() -> None:
    """With OpenSSL's reason and where the client is; one that only connects is not a fault."""
    with capture_logs() as logged:
        async with listening("127.0.0.1", tls=Authority().server("localhost")) as server:
            port = server.sockets[0].getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):
                pass
            for _ in range(2):
                await plain(port)
            async with asyncio.timeout(5):
                while not logged:  # noqa: ASYNC110 # the event loop logs
                    await asyncio.sleep(0.01)
    (event,) = logged
    assert (event["event"], event["log_level"]) == ("listener.handshake_failed", "warning")
    assert (event["reason"], event["client_address"]) == ("HTTP_REQUEST", "127.0.0.1")


# --- Descriptors -------------------------------------------------------------------------------


class Exhausted(socket.socket):
    """A listening socket whose first `left` calls of `accept` fail, and the number of calls."""

    left = 0
    accepts = 0
    number = errno.EMFILE

    def accept(self) -> tuple[socket.socket, object]:
        """Fail while `left` lasts, as the kernel does; then accept."""
        self.accepts += 1
        if self.left:
            self.left -= 1
            raise OSError(self.number, "")
        return super().accept()


@pytest.fixture
def exhausted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exhausted]:
    """Give a bound socket; accepting is tried again soon."""
    monkeypatch.setattr(serving, "RETRY_SECONDS", 0.1)
    with Exhausted() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


async def test_a_client_beyond_the_ceiling_is_closed() -> None:
    """It gets no answer; one log line covers them all."""
    async with listening("127.0.0.1") as server:
        server.ceiling = 0
        with capture_logs() as logged:
            for _ in range(50):
                assert not await greeted("127.0.0.1", port_of(server))
    assert [each["event"] for each in logged] == ["listener.out_of_descriptors"]
    assert "ulimit" in logged[0]["detail"]


async def test_a_connection_that_has_gone_stops_nothing(exhausted: Exhausted) -> None:
    """An error of one connection (Linux, accept(2)) is skipped without a log line."""
    exhausted.left, exhausted.number = 3, errno.ECONNABORTED
    with capture_logs() as logged:
        async with listening(bound=exhausted) as server:
            assert await greeted("127.0.0.1", port_of(server))
    assert logged == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_without_descriptors_accepting_pauses(exhausted: Exhausted, number: int) -> None:
    """After each pause it tries again; it logs once."""
    exhausted.left, exhausted.number = 2, number
    began = asyncio.get_running_loop().time()
    with capture_logs() as logged:
        async with listening(bound=exhausted) as server:
            assert await greeted("127.0.0.1", port_of(server))
    assert asyncio.get_running_loop().time() - began >= 2 * serving.RETRY_SECONDS * 0.9
    assert exhausted.accepts <= 4
    assert [each["event"] for each in logged] == ["listener.out_of_descriptors"]


async def test_a_pause_ends_with_the_listener(exhausted: Exhausted) -> None:
    """A listener closed during a pause stays closed."""
    exhausted.left = 1_000_000
    async with listening(bound=exhausted) as server:
        with socket.create_connection(exhausted.getsockname()), capture_logs():
            while not exhausted.accepts:  # noqa: ASYNC110 # the event loop calls `accept`
                await asyncio.sleep(0)
    assert server._retries == {}
