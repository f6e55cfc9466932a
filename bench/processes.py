"""Programs that are started for a measurement: on their core, in their directory, until ready."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from bench import measure
from bench.load import Refused, call
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PEERS: Final = Path(__file__).with_name("peers")
#: Where programs are looked for: where `make bench` puts Envoy, the path, and where Debian puts
#: NGINX, outside of the path of ordinary users.
_PLACES: Final = (
    str(measure.ROOT / ".cache" / "bench-venv" / "bin"),
    os.environ.get("PATH", os.defpath),
    "/usr/sbin",
)
#: How long a program may take to start or to end.
PATIENCE: Final = 30.0  # seconds
#: How often it is asked whether it is ready.
_POLL: Final = 0.002  # seconds
#: So much of what a failed program wrote last is shown.
_LAST_WORDS: Final = 2000  # characters


class Probe(NamedTuple):
    """What a program answers when it is ready."""

    path: str
    status: int
    admin: bool = False


class NotStartedError(Exception):
    """A program ended at once, or did not become ready."""


@dataclass
class Running:
    """A program that runs on some cores; its output goes to files in its directory.

    admin_port: 0 if it has none. probe: its answer when it is ready; without one it is enough that
    it accepts a connection.
    """

    name: str
    command: Sequence[str]
    cores: str
    directory: Path
    port: int
    admin_port: int = 0
    environ: Mapping[str, str] = field(default_factory=dict)
    probe: Probe | None = None

    @contextmanager
    def started(self) -> Iterator[Running]:
        """Start it, wait until it is ready, and end it in any case; raises `NotStartedError`."""
        output, errors = self.directory / "output", self.directory / "errors"
        with output.open("wb") as stdout, errors.open("wb") as stderr:
            self._process = subprocess.Popen(
                [str(program("taskset")), "-c", self.cores, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=measure.ROOT,
                env={**environment(), **self.environ},
            )
        try:
            self._wait()
            yield self
        finally:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def family(self) -> list[int]:
        """Return its processes."""
        return measure.family(self._process.pid)

    def _is_ready(self) -> bool:
        try:
            if self.probe is None:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return True
            port = self.admin_port if self.probe.admin else self.port
            return call(port, self.probe.path).status == self.probe.status
        except (OSError, Refused):
            return False

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                last = (self.directory / "errors").read_text(errors="replace")[-_LAST_WORDS:]
                what = "has ended" if ended else "does not become ready"
                raise NotStartedError(f"{self.name} {what}\n{last}")
            time.sleep(_POLL)


def program(name: str) -> str | None:
    """Return the path of a program, None if it is not installed."""
    return shutil.which(name, path=os.pathsep.join(_PLACES))


def version_of(path: str | None, argument: str, pattern: str) -> str:
    """Return the version that a program prints, "" if it is not installed."""
    if path is None:
        return ""
    command, pipe, both = [path, argument], subprocess.PIPE, subprocess.STDOUT
    done = subprocess.run(command, check=False, stdout=pipe, stderr=both, text=True)
    found = re.search(pattern, done.stdout)
    return found[1] if found else "unknown"


def environment() -> dict[str, str]:
    """Return this process's environment without settings of proxies and of coverage."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TELENOR_PROXY_", "COVERAGE_"))
        and not name.lower().endswith("_proxy")
    }


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace each `@NAME@` by its value; KeyError for a name without one."""
    return re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], template)


def free_ports(count: int) -> list[int]:
    """Return free ports of loopback, each another one."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


def move_to(cores: str) -> bool:
    """Run this process and what it starts on these cores, as taskset reads them; or say False."""
    command = [str(program("taskset")), "--cpu-list", "--pid", cores, str(os.getpid())]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
