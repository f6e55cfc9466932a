"""`healthcheck`: what the admin listener answers becomes an exit status and a reason."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from proxy import healthcheck
from proxy.settings import AdminSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

READY = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"ok":true}'
NOT_READY = (
    b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"ok":false,"detail":"The password is wrong."}'
)


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Answer one connection after the other; gives the port and what was asked."""
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


def test_ready_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    """A proxy that is ready gives 0, and one word that says so."""
    with answering(READY) as (port, asked):
        assert healthcheck.run(AdminSettings(port=port), 0) == 0
    assert asked == [b"GET /readiness HTTP/1.0\r\n\r\n"]
    assert capsys.readouterr() == ("ready\n", "")


def test_not_ready_is_1_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """A proxy that is not ready gives 1, and its own words say why."""
    with answering(NOT_READY) as (port, _):
        assert healthcheck.run(AdminSettings(port=port), 0) == 1
    assert capsys.readouterr() == ("", "telenor-proxy is not ready: The password is wrong.\n")


def test_nobody_there_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing listens, 1 and the address that was tried."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert healthcheck.run(AdminSettings(port=port), 0) == 1
    assert (
        f"nothing answers at the admin listener, 127.0.0.1 port {port}" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 404 Not Found\r\n\r\nnot found\n",
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n[]",
        b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"ok":false}',
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n\xff",
    ],
)
def test_somebody_else_there_is_1(answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever answers that is not the admin listener gives 1, and no traceback."""
    with answering(answer) as (port, _):
        assert healthcheck.run(AdminSettings(port=port), 0) == 1
    assert capsys.readouterr().err == (
        f"telenor-proxy is not ready: what answers on 127.0.0.1 port {port} is no telenor-proxy. "
        "Check admin.host and admin.port.\n"
    )


def test_it_waits_until_it_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    """With a wait it asks again until the proxy is ready, and does not complain meanwhile."""
    with answering(NOT_READY, b"", READY) as (port, asked):
        assert healthcheck.run(AdminSettings(port=port), 60) == 0
    assert len(asked) == 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_an_address_for_all_is_asked_on_loopback(host: str) -> None:
    """An admin listener on all addresses is asked on the loopback one; any other where it is."""
    with answering(READY) as (port, _):
        assert healthcheck.run(AdminSettings(host=(host,), port=port), 0) == 0


def test_a_free_port_cannot_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """With `admin.port: 0` nobody can know where to ask, and that is said."""
    assert healthcheck.run(AdminSettings(port=0), 0) == 1
    assert "admin.port is 0" in capsys.readouterr().err
