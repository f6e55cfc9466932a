"""The log at the start: what runs, an open listener, and why it could not listen."""

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


def test_what_runs_is_logged() -> None:
    """Version and file, with a warning if a network reaches the listener without a key."""
    started: dict[str, object] = {
        "event": "proxy.started",
        "log_level": "info",
        "version": proxy.__version__,
    }
    started["python"] = platform.python_version()
    with capture_logs() as logs:
        starting.tell(ListenSettings(), None, {})
        starting.tell(ListenSettings(host=("0.0.0.0",)), Path("config.yaml"), {})
    *both, warning = logs
    assert both == [started | {"configuration": file} for file in (None, "config.yaml")]
    assert (warning["event"], warning["log_level"]) == ("listener.open_to_network", "warning")
    assert warning["host"] == "0.0.0.0"
    assert warning["detail"] == starting.whom_it_is_open_to(ListenSettings(host=("0.0.0.0",)))
    assert "listen.client_key" in warning["detail"]


IN_USE = (
    "listen.port: port 80 on a.example is in use by another process. "
    "Stop that one, or choose another port."
)
RIGHTS = "listen.port: this user may not listen on port 80. Choose one above 1023."
HOST = "listen.host: cannot listen on a.example"
SET_IT = "Set it to an address of this machine, or to 127.0.0.1 for this machine alone."
OURS = "Set it to one that is, to 0.0.0.0 for all, or to 127.0.0.1 for this machine alone."


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EADDRINUSE, ""), IN_USE),
        (OSError(errno.EACCES, ""), RIGHTS),
        (OSError(errno.EADDRNOTAVAIL, ""), f"{HOST}: it is no address of this machine. {OURS}"),
        (socket.gaierror(socket.EAI_NONAME, ""), f"{HOST}: the name is not known here. {SET_IT}"),
        (OSError("no reason"), f"{HOST}: the name is not known here. {SET_IT}"),
        (OSError(errno.ENETDOWN, ""), f"{HOST}, port 80: {os.strerror(errno.ENETDOWN)}. {SET_IT}"),
    ],
)
def test_why_it_cannot_listen(error: OSError, words: str) -> None:
    """With the setting to change and what to change it to."""
    assert starting.why_not_bound("listen", ("a.example",), 80, error) == words


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOENT, "Create its directory first."),
        (errno.EACCES, "Let the user that the proxy runs as write in its directory."),
        (errno.EADDRINUSE, "Stop the process that listens there, or choose another path."),
        (errno.EROFS, "Choose another path."),
        (None, "Choose another path."),
    ],
)
def test_why_there_is_no_socket(number: int | None, advice: str) -> None:
    """With what to do about the system's reason."""
    error = OSError("too long") if number is None else OSError(number, "")
    reason = "the system gives no reason" if number is None else os.strerror(number)
    start = "listen.unix_socket: the socket could not be made"
    assert starting.why_no_socket(error) == f"{start}: {reason}. {advice}"
