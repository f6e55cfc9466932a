"""Scenarios in which each round has a system of its own, started for it.

Large bodies, memory, the start, and calls that come seldom.
"""

from __future__ import annotations

import ssl
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from bench import load, measure
from bench.processes import environment
from bench.report import NO_PROXY, OURS
from bench.traffic import CREDENTIAL, probe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.contest import Bench
    from bench.processes import Running

#: A megabyte is a million bytes here, as networks count.
MEGABYTE: Final = 1_000_000
BODY: Final = 100 * MEGABYTE
IDLE_CONNECTIONS: Final = 1000
ROUND_TRIP: Final = 20.0  # milliseconds
#: Calls one after the other over the distance, and health checks one after the other.
REPEATED: Final = 10
#: After the first sign of life: what a system does at its start, and what it opens ahead, is there
#: by then.
SETTLE: Final = 2.0  # seconds
NEW_TLS: Final = f"{NO_PROXY}, new TLS connection"


def download(client: load.Client) -> None:
    """Fetch a large body."""
    client.get(load.DOWNLOAD).checked(BODY)


def upload(client: load.Client) -> None:
    """Send a large body."""
    client.post(load.UPLOAD, BODY).checked()


def transfers(transfer: Callable[[load.Client], None]) -> Callable[[Bench], None]:
    """Return a scenario of one large body a round."""

    def run(bench: Bench) -> None:
        with bench.house.api() as directory:
            make_file(directory / "download")
            for system in bench.turns(bench.proxies):
                with bench.trying(system), system.started(bench.house) as running:
                    probe(system, running)
                    bench.add(system.name, **cost_of(transfer, running))

    return run


def make_file(path: Path) -> None:
    """Make the file that is downloaded: zeros, which nobody here compresses."""
    with path.open("wb") as file:
        file.truncate(BODY)


def cost_of(transfer: Callable[[load.Client], None], running: Running) -> dict[str, float]:
    """Return what a large body has cost."""
    processes = running.family()
    idle = measure.memory(processes).resident
    measure.reset_peak(processes)
    before, began = measure.cpu(processes), time.perf_counter()
    with load.Client(running.port) as client:
        transfer(client)
    took, used = time.perf_counter() - began, measure.cpu(processes) - before
    return {
        "cpu_ms_per_mb": used.seconds * 1e3 / (BODY / MEGABYTE),
        "mb_per_second": BODY / MEGABYTE / took,
        "peak_mb": (measure.memory(processes).peak - idle) / MEGABYTE,
    }


def memory(bench: Bench) -> None:
    """Find the resident memory after one request, and with idle connections."""
    with bench.house.api():
        for system in bench.turns(bench.proxies):
            with bench.trying(system), system.started(bench.house) as running, ExitStack() as stack:
                probe(system, running)
                time.sleep(SETTLE)
                idle = measure.memory(running.family()).resident
                for _ in range(IDLE_CONNECTIONS):
                    stack.enter_context(load.Client(running.port)).get(load.ORDERS).checked()
                time.sleep(SETTLE)
                full = measure.memory(running.family()).resident
                bench.add(
                    system.name,
                    idle_mb=idle / MEGABYTE,
                    full_mb=full / MEGABYTE,
                    kb_per_connection=(full - idle) / 1e3 / IDLE_CONNECTIONS,
                )


def start(bench: Bench) -> None:
    """Take the time from the start of a process until it serves, and that of our health check."""
    with bench.house.api():
        for system in bench.turns(bench.proxies):
            began = time.perf_counter()
            with bench.trying(system), system.started(bench.house) as running:
                bench.add(system.name, ready_ms=(time.perf_counter() - began) * 1e3)
                if system.name == OURS:
                    checks = [health_check(running) for _ in range(REPEATED)]
                    bench.add(system.name, healthcheck_ms=statistics.median(checks))


def health_check(running: Running) -> float:
    """Return the milliseconds that `telenor-proxy healthcheck` takes as a process."""
    command = [sys.executable, "-m", "proxy", "healthcheck", "--config"]
    configuration = str(running.directory / "telenor-proxy.yaml")
    began = time.perf_counter()
    subprocess.run(
        [*command, configuration],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=measure.ROOT,
        env=environment(),
    )
    return (time.perf_counter() - began) * 1e3


def warm(bench: Bench) -> None:
    """Take the time of calls to an API that is far away, each on a new connection of the client."""
    context = ssl.create_default_context(cafile=str(bench.house.ca_file))
    with bench.house.api(), bench.house.distance(ROUND_TRIP) as far:
        for system in bench.turns(bench.proxies):
            with bench.trying(system), system.started(bench.house, far) as running:
                time.sleep(SETTLE)
                bench.add(system.name, **calls(running.port))
            if system.name == OURS:  # once a round
                bench.add(NEW_TLS, **calls(far, context, CREDENTIAL))


def calls(port: int, context: ssl.SSLContext | None = None, *headers: str) -> dict[str, float]:
    """Return the milliseconds of the first of some calls, and the median of the others."""
    took = [load.timed_call(port, load.ORDERS, context, headers) * 1e3 for _ in range(1 + REPEATED)]
    return {"first_ms": took[0], "call_ms": statistics.median(took[1:])}
