"""What is said at the start.

What runs, whom the listener is open to, and why it could not listen.
"""

from __future__ import annotations

import errno
import os
import platform
import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import proxy
from proxy import starting
from proxy.settings import ListenSettings


@pytest.mark.parametrize("file", [None, Path("config.yaml")])
def test_what_runs_is_told(file: Path | None) -> None:
    """The version and the file are told, so that nobody has to guess at night what this is."""
    with capture_logs() as logs:
        starting.tell(ListenSettings(), file)
    assert logs == [
        {
            "event": "proxy.started",
            "log_level": "info",
            "version": proxy.__version__,
            "python": platform.python_version(),
            "configuration": None if file is None else "config.yaml",
        }
    ]


def test_an_open_listener_is_warned_of() -> None:
    """A listener that a network reaches and that asks for no key is told of, with what it means and how to close it."""
    with capture_logs() as logs:
        starting.tell(ListenSettings(host=("0.0.0.0",)), None)
    assert [(told["event"], told["log_level"]) for told in logs[1:]] == [
        ("listener.open_to_network", "warning")
    ]
    assert logs[1]["host"] == "0.0.0.0"
    assert logs[1]["detail"] == starting.whom_it_is_open_to(ListenSettings(host=("0.0.0.0",)))
    assert "listen.client_key" in logs[1]["detail"]


IN_USE = "listen.port: port 80 on a.example is in use by another process. Stop that one, or choose another port."
HOST = "listen.host: cannot listen on a.example"
SET_IT = "Set it to an address of this machine, or to 127.0.0.1 for this machine alone."
ONE_THAT_IS = (
    "Set it to one that is, to 0.0.0.0 for all of them, or to 127.0.0.1 for this machine alone."
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EADDRINUSE, ""), IN_USE),
        (
            OSError(errno.EACCES, ""),
            "listen.port: this user may not listen on port 80. Choose one above 1023.",
        ),
        (
            OSError(errno.EADDRNOTAVAIL, ""),
            f"{HOST}: it is no address of this machine. {ONE_THAT_IS}",
        ),
        (socket.gaierror(socket.EAI_NONAME, ""), f"{HOST}: the name is not known here. {SET_IT}"),
        (OSError("no reason"), f"{HOST}: the name is not known here. {SET_IT}"),
        (OSError(errno.ENETDOWN, ""), f"{HOST}, port 80: {os.strerror(errno.ENETDOWN)}. {SET_IT}"),
    ],
)
def test_why_it_cannot_listen(error: OSError, told: str) -> None:
    """Each reason is told with the setting to change and what to change it to."""
    assert starting.why_not_bound("listen", "a.example", 80, error) == told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOENT, ""), f"{os.strerror(errno.ENOENT)}. Create its directory first."),
        (
            OSError(errno.EACCES, ""),
            f"{os.strerror(errno.EACCES)}. Let the user that the proxy runs as write in its directory.",
        ),
        (
            OSError(errno.EADDRINUSE, ""),
            f"{os.strerror(errno.EADDRINUSE)}. Stop the process that listens there, or choose another path.",
        ),
        (OSError(errno.EROFS, ""), f"{os.strerror(errno.EROFS)}. Choose another path."),
        (OSError("too long"), "the system gives no reason. Choose another path."),
    ],
)
def test_why_there_is_no_socket(error: OSError, told: str) -> None:
    """So is each reason for which a Unix socket cannot be made."""
    assert (
        starting.why_no_socket(error) == f"listen.unix_socket: the socket could not be made: {told}"
    )
