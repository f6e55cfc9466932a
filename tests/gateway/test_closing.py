"""How a listener closes: connected clients are served, new ones are refused."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Final

import pytest

from proxy.forward.connection import QUIET_SECONDS, ClientConnection
from proxy.network import stream
from proxy.network.closing import SocketFile
from tests.gateway.client import Client, Tls, order, request, until
from tests.gateway.conftest import Gateway, Lab
from tests.scripted import Act, reply

GRACE: Final = 30.0  # seconds; nothing here takes them


def connected(gateway: Gateway, data: bytes = b"") -> Client:
    """Connect and send at once, before the loop can accept; on TLS, send after the handshake."""
    raw = socket.socket(socket.AF_UNIX if isinstance(gateway.address, str) else socket.AF_INET)
    raw.connect(gateway.address)
    tls = None if gateway.trust is None else Tls(gateway.trust, "127.0.0.1")
    if tls is None:
        raw.sendall(data)
    raw.setblocking(False)
    client = Client(raw, tls, data)
    gateway.clients.append(client)
    return client


def closing(gateway: Gateway) -> asyncio.Task[int]:
    """Begin to close."""
    return asyncio.create_task(gateway.listener.close(GRACE))


async def kept_alive(gateway: Gateway) -> Client:
    """Give a connection that has been used once."""
    client = await gateway.connect()
    assert (await client.ask(request())).values(b"connection") == []
    return client


@pytest.mark.parametrize("family", ["tcp", "unix"])
async def test_clients_that_wait_to_be_accepted_are_served(
    lab: Lab, tmp_path: Path, family: str
) -> None:
    """Clients in the backlog when the listener closes get whole answers, even if they ask later."""
    path = str(tmp_path / "socket")
    gateway = await (lab.gateway(listen__unix_socket=path) if family == "unix" else lab.gateway())
    asking = [connected(gateway, order()) for _ in range(50)]
    silent = connected(gateway)
    task = closing(gateway)
    answers, _ = await asyncio.gather(
        asyncio.gather(*[client.answer() for client in asking]), silent.send(order())
    )
    for answer in answers:
        assert (answer.status, answer.whole) == (200, True)
        assert answer.values(b"connection") == [b"close"]
    assert (await silent.answer()).status == 200
    assert await task == 0


async def test_new_connections_are_refused(gateway: Gateway) -> None:
    """Once the listener has closed, also while requests are in flight."""
    let_go = gateway.upstream.hold(reply(200))
    client = await gateway.begin(order())
    server = gateway.listener._server
    task = closing(gateway)
    await until(lambda: server is not None and not server.sockets)
    with pytest.raises(ConnectionRefusedError):
        await gateway.connect()
    let_go.set()
    assert (await client.answer()).status == 200
    assert await task == 0


async def test_an_idle_client_that_asks_again_in_time_is_served(gateway: Gateway) -> None:
    """An idle connection stays open for a moment: a request under way gets its answer, the last."""
    client = await kept_alive(gateway)
    task = closing(gateway)
    await asyncio.sleep(QUIET_SECONDS / 3)  # the request's way here
    answer = await client.ask(request())
    assert (answer.status, answer.values(b"connection")) == (200, [b"close"])
    assert await client.closed() == "fin"
    assert await task == 0


async def test_an_idle_client_is_closed_in_order(gateway: Gateway) -> None:
    """A connection that stays quiet is closed, not reset, and does not hold up the end."""
    client = await kept_alive(gateway)
    began = time.monotonic()
    assert await closing(gateway) == 0
    assert QUIET_SECONDS * 0.9 < time.monotonic() - began < GRACE / 2
    assert await client.closed() == "fin"


async def test_a_silent_client_does_not_delay_the_end(gateway: Gateway) -> None:
    """A client that has sent nothing, not even its TLS handshake, is closed within a moment."""
    client = connected(gateway)
    began = time.monotonic()
    assert await closing(gateway) == 0
    assert time.monotonic() - began < GRACE / 2
    assert await client.closed() == ("fin" if gateway.trust is None else "rst")


async def test_a_last_answer_may_be_read_slowly(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The short wait for close_notify begins only when the client has everything."""
    monkeypatch.setattr(stream, "CLOSE_NOTIFY_SECONDS", 0.01)
    content = b"x" * 6_000_000
    gateway.upstream.usual = [Act.WHOLE, reply(200, content)]
    client = await gateway.connect(receive_buffer=65536)
    served = await gateway.served()
    await client.send(order(b"Connection: close"))
    while not served.transport.is_closing():
        await client._read()
    await asyncio.sleep(0.2)
    answer = await client.answer()
    assert (len(answer.content), answer.whole) == (len(content), True)
    assert await client.closed() == "fin"
    await until(lambda: not gateway.listener.connections)


async def test_half_a_head_is_waited_for(gateway: Gateway) -> None:
    """A client in the middle of its request head keeps its usual time."""
    data = order()
    client = await gateway.connect()
    await client.send(data[:20])
    await gateway.served()
    task = closing(gateway)
    await asyncio.sleep(QUIET_SECONDS * 1.5)  # longer than an idle connection would get
    assert (await client.ask(data[20:])).status == 200
    assert await task == 0


async def test_an_answer_begun_before_the_drain_keeps_its_connection(gateway: Gateway) -> None:
    """Its answer did not say `close`, so the client may ask once more; that answer says it."""
    let_go = asyncio.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhe"
    gateway.upstream.scripts.append([Act.WHOLE, head, let_go, b"re"])
    client = await gateway.connect()
    served = await gateway.served()
    await client.send(request())
    await until(lambda: served.exchange and served.exchange.answered)
    gateway.listener.drain()
    let_go.set()
    answer = await client.answer()
    assert (bytes(answer.content), answer.values(b"connection")) == (b"here", [])
    task = closing(gateway)
    assert (await client.ask(request())).values(b"connection") == [b"close"]
    assert await task == 0


async def test_the_file_of_a_unix_socket_is_removed(lab: Lab, tmp_path: Path) -> None:
    """No client finds a socket on which no process listens."""
    path = tmp_path / "socket"
    gateway = await lab.gateway(listen__unix_socket=str(path))
    assert path.is_socket()
    assert await gateway.listener.close(GRACE) == 0
    assert not path.exists()


def test_the_socket_file_of_another_process_stays(tmp_path: Path) -> None:
    """A file that another process put in place of ours is not removed, even with the same inode."""
    path = tmp_path / "socket"
    path.touch()
    ours = SocketFile.of(str(path))
    path.unlink()
    ours.remove()
    path.touch()
    ours.remove()
    assert path.exists()
    SocketFile.of(str(path)).remove()
    assert not path.exists()


async def test_a_connection_is_not_quiet_while_the_kernel_holds_something() -> None:
    """The socket is read once more when a timeout ends: uvloop calls timers before it reads."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    _, client = await loop.connect_accepted_socket(
        lambda: ClientConnection(lambda _: None, loop), ours
    )
    with theirs:
        assert client.has_nothing_to_read()
        theirs.send(b"G")
        assert not client.has_nothing_to_read()
        await until(lambda: client.buffer)
        assert not client.has_nothing_to_read()
    await until(lambda: client.ended)
    client.abort()
    await until(lambda: client.lost)
    assert client.has_nothing_to_read()
