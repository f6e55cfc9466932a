"""Notifies systemd: sd_notify(3), a datagram to the socket that NOTIFY_SOCKET names, if any.

Laws
1. READY=1 once the first attempt to fetch a token has ended, well or not: what starts after the
   proxy finds a token if there is one, and a start with refused credentials ends too, since a
   restart would only log in more often.
2. WATCHDOG=1 comes from the event loop, twice in the time that systemd allows, so that a loop that
   stands still is noticed.
3. The proxy never waits for systemd: what its socket does not take is sent again later.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Final

from proxy.clock import Clock, monotonic_microseconds
from proxy.tokens.values import TokenStatus

#: Seconds between two looks at the token: while a start waits for the first attempt, and later,
#: when only words may change.
_STARTING: Final = 0.1
_RUNNING: Final = 5.0
#: systemd.service(5) recommends a sign of life at half of the time that is allowed.
_MICROSECONDS_TO_HALF: Final = 0.5e-6


class Notifier:
    """environ: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are read. pid: this process."""

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._beat = _beat(environ, pid)
        self._told: dict[str, str] = {}
        self._stopping = False

    async def run(self, clock: Clock, token_status: Callable[[], TokenStatus]) -> None:
        """Send what changes, and signs of life; until cancelled."""
        never = asyncio.Event()
        while self._address:
            status = token_status()
            if not self._stopping:
                ready = {"READY": "1"} if status.renewals or status.failures else {}
                self._tell({**ready, "STATUS": words(status)})
            if self._beat is not None:
                self._send("WATCHDOG=1")
            pause = _RUNNING if "READY" in self._told else _STARTING
            await clock.wait(never, pause if self._beat is None else min(pause, self._beat))

    def stopping(self) -> None:
        """Announce the end; signs of life go on as long as `run` does."""
        self._stopping = True
        self._tell({"STOPPING": "1", "STATUS": "Finishing the calls in flight."})

    def reloading(self) -> None:
        """Announce a reload (systemd.service(5), `Type=notify-reload`)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_microseconds()}")

    def reloaded(self) -> None:
        """Announce the end of a reload, whether it succeeded or not."""
        self._send("READY=1")

    def _tell(self, news: Mapping[str, str]) -> None:
        changed = {name: value for name, value in news.items() if self._told.get(name) != value}
        if changed and self._send("\n".join(f"{name}={value}" for name, value in changed.items())):
            self._told |= changed

    def _send(self, message: str) -> bool:
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError:
            return False
        return True


def words(status: TokenStatus) -> str:
    """Return a line on the state of the token."""
    failure = "" if status.last_failure is None else " ".join(status.last_failure.detail.split())
    if status.state.is_usable:
        return f"Ready, but the token could not be renewed: {failure}" if failure else "Ready."
    return f"Not ready: {failure}" if failure else "Fetching an access token."


def _address(name: str) -> str:
    """Return the address; "" for none, and for kinds that a local service never gets."""
    if name.startswith("@"):  # abstract: a zero byte comes first
        return f"\0{name[1:]}"
    return name if name.startswith("/") else ""


def _beat(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds between two signs of life; None if this process owes none."""
    allowed, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
    if not (allowed.isascii() and allowed.isdigit() and int(allowed)) or whose != str(pid):
        return None
    return int(allowed) * _MICROSECONDS_TO_HALF
