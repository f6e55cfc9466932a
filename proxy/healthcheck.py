"""Asks a running proxy whether it is ready. Runs every few seconds, so it imports little."""

import sys
import time
from typing import Final

from proxy import inquiry
from proxy.settings import AdminSettings

_PAUSE: Final = 0.1  # seconds between two questions


def run(admin: AdminSettings, wait: float) -> int:
    """Ask until the proxy is ready or `wait` seconds are over; print it; return the exit status."""
    deadline = time.monotonic() + wait
    while (problem := _ask(admin)) is not None:
        if time.monotonic() >= deadline:
            print(f"telenor-proxy is not ready: {problem}", file=sys.stderr)  # noqa: T201 # a command's answer
            return 1
        time.sleep(_PAUSE)
    print("ready")  # noqa: T201 # a command's answer
    return 0


def _ask(admin: AdminSettings) -> str | None:
    """Return None if it is ready, otherwise why it is not."""
    try:
        status, content = inquiry.get(admin, "/readiness")
    except inquiry.Unanswered as error:
        return str(error)
    if status == b"200":
        return None
    import json  # noqa: PLC0415 # only needed when something is wrong

    try:
        return str(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError):
        return inquiry.stranger(admin)
