"""`healthcheck`: the admin listener's answer becomes an exit status and a reason."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy import healthcheck
from proxy.settings import AdminSettings
from tests.ports import held_port

READY = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"ok":true}'
NOT_READY = (
    b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"ok":false,"detail":"The password is wrong."}'
)


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Answer one connection after the other; give the port and the requests."""
    asked: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        for answer in answers:
            connection, _ = listening.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield listening.getsockname()[1], asked
        thread.join()


def test_ready_is_0_and_not_ready_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    """With a word, or with the proxy's reason."""
    with answering(READY, NOT_READY) as (port, asked):
        assert healthcheck.run(AdminSettings(port=port), 0) == 0
        assert capsys.readouterr() == ("ready\n", "")
        assert healthcheck.run(AdminSettings(port=port), 0) == 1
    assert asked == [b"GET /readiness HTTP/1.0\r\n\r\n"] * 2
    assert capsys.readouterr() == ("", "telenor-proxy is not ready: The password is wrong.\n")


def test_without_a_listener_it_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    """With the address that was tried; with `admin.port: 0` there is none."""
    with held_port() as held:
        port = held.getsockname()[1]
        assert healthcheck.run(AdminSettings(port=port), 0) == 1
    refused = f"nothing answers at the admin listener, 127.0.0.1 port {port}"
    assert refused in capsys.readouterr().err
    assert healthcheck.run(AdminSettings(port=0), 0) == 1
    assert "admin.port is 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 404 Not Found\r\n\r\nnot found\n",
        *(b"HTTP/1.1 503 x\r\n\r\n%b" % content for content in (b"[]", b'{"ok":false}', b"\xff")),
    ],
)
def test_another_server_there_is_1(answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Not being the admin listener gives 1, and no traceback."""
    with answering(answer) as (port, _):
        assert healthcheck.run(AdminSettings(port=port), 0) == 1
    assert capsys.readouterr().err == (
        f"telenor-proxy is not ready: what answers on 127.0.0.1 port {port} is no telenor-proxy. "
        "Check admin.host and admin.port.\n"
    )


def test_it_waits_until_it_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    """It asks again, without a complaint meanwhile."""
    with answering(NOT_READY, b"", READY) as (port, asked):
        assert healthcheck.run(AdminSettings(port=port), 60) == 0
    assert len(asked) == 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_an_address_for_all_is_asked_on_loopback(host: str) -> None:
    """Any other address is asked where it is."""
    with answering(READY) as (port, _):
        assert healthcheck.run(AdminSettings(host=(host,), port=port), 0) == 0
