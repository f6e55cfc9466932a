"""Programs that are started for a measurement: on their core, in their directory, until ready."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from bench import measure
from bench.load import Refused, call

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
    """A program that has been started. admin_port: 0 if it has none."""

    name: str
    process: subprocess.Popen[bytes]
    directory: Path
    port: int
    admin_port: int = 0

    def family(self) -> list[int]:
        """Return its processes."""
        return measure.family(self.process.pid)

    def is_ready(self, probe: Probe | None) -> bool:
        """Ask once. Without a probe it is enough that it accepts a connection."""
        try:
            if probe is None:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return True
            port = self.admin_port if probe.admin else self.port
            return call(port, probe.path).status == probe.status
        except (OSError, Refused):
            return False

    def wait(self, probe: Probe | None) -> None:
        """Wait until it is ready; `NotStartedError` with the end of what it wrote."""
        deadline = time.monotonic() + PATIENCE
        while not self.is_ready(probe):
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                last = (self.directory / "errors").read_text(errors="replace")[-_LAST_WORDS:]
                what = "has ended" if ended else "does not become ready"
                raise NotStartedError(f"{self.name} {what}\n{last}")
            time.sleep(_POLL)

    def end(self) -> None:
        """End it, by force if it takes too long."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def until_done(running: Running, probe: Probe | None) -> Iterator[Running]:
    """Wait until a program is ready; end it afterwards in any case."""
    try:
        running.wait(probe)
        yield running
    finally:
        running.end()


def spawn(
    command: Sequence[str], cores: str, directory: Path, environ: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a program on some cores; its output goes to files in its directory."""
    with (directory / "output").open("wb") as output, (directory / "errors").open("wb") as errors:
        return subprocess.Popen(
            [str(program("taskset")), "-c", cores, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            cwd=measure.ROOT,
            env={**environment(), **environ},
        )


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


def write(files: Sequence[str], values: Mapping[str, str], directory: Path) -> None:
    """Fill templates of `bench/peers` in, and write them into a directory."""
    for name in files:
        text = fill((PEERS / name).read_text(encoding="utf-8"), values)
        (directory / name).write_text(text, encoding="utf-8")


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace each `@NAME@` by its value; KeyError for a name without one."""
    return re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], template)


def free_ports(count: int) -> list[int]:
    """Return free ports of loopback."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def numbers(cores: str) -> set[int]:
    """Return the cores of a list as taskset reads it (`0`, `1-3`, `0,2`); else ValueError."""
    found: set[int] = set()
    for part in cores.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
