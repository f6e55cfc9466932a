"""`python -m bench.placed`.

What an order costs that is remembered, next to the same order through a proxy without a store.

Measured in turns; a ratio is that within a round, and the median of those is shown. Every order has
a key of its own, which the proxy without a store passes on. A Redis runs on the load's core, with
`appendonly yes`; it is left out if none is installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from bench import load, measure
from bench.processes import Running, free_ports, program, spawn, until_done
from bench.report import OURS
from bench.systems import Cores, House, known

if TYPE_CHECKING:
    from collections.abc import Iterator

#: By name: what `orders.store` is; empty for none.
STORES: Final = {
    "none": "",
    "memory": "memory",
    "SQLite": "@DIRECTORY@/orders.db",
    "Redis": "redis://127.0.0.1:{port}/0",
}
_WARM_UP: Final = 1  # second
_CORES: Final = Cores("0", "1")


class Sample(NamedTuple):
    """One measurement. cpu, store_cpu: of the proxy, of a Redis, in us an order; p50, p99: us."""

    cpu: float
    store_cpu: float
    per_second: float
    p50: float
    p99: float


@contextmanager
def redis(house: House) -> Iterator[Running | None]:
    """Run a Redis that keeps what it is given; None if none is installed."""
    path = program("redis-server") or program("valkey-server")
    if path is None:
        yield None
        return
    (port,) = free_ports(1)
    directory = house.new_directory("redis")
    options = {"bind": "127.0.0.1", "port": str(port), "dir": str(directory), "save": ""}
    options |= {"appendonly": "yes", "maxmemory-policy": "noeviction"}
    command = [path, *(part for name, value in options.items() for part in (f"--{name}", value))]
    process = spawn(command, house.cores.load, directory, {})
    with until_done(Running("Redis", process, directory, port), None) as running:
        yield running


def drive(
    house: House, running: Running, store: Running | None, connections: int, seconds: int
) -> Sample:
    """Send orders for so many seconds, after a warm-up."""
    url = f"http://127.0.0.1:{running.port}{load.ORDERS}"
    processes = running.family()
    stores = [] if store is None else store.family()

    def send(duration: int) -> load.Load:
        return load.wrk(
            str(program("wrk")),
            house.directory,
            url,
            connections=connections,
            seconds=duration,
            script="keyed",
        )

    send(_WARM_UP)
    before, store_before = measure.cpu(processes), measure.cpu(stores)
    seen = send(seconds)
    used, store_used = measure.cpu(processes) - before, measure.cpu(stores) - store_before
    if seen.errors:
        raise load.Refused(f"{seen.errors} orders were not placed")
    each = 1e6 / seen.requests
    return Sample(
        used.seconds * each, store_used.seconds * each, seen.per_second, seen.p50, seen.p99
    )


def compare(
    house: House, server: Running | None, connections: int, rounds: int, seconds: int
) -> None:
    """Measure all stores in turns, and print a row of medians for each."""
    ours = next(system for system in known() if system.name == OURS)
    names = [name for name in STORES if name != "Redis" or server is not None]
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            used = server if name == "Redis" else None
            store = STORES[name].format(port=0 if used is None else used.port)
            environment = {"TELENOR_PROXY_ORDERS__STORE": store} if store else {}
            system = dataclasses.replace(ours, environment=environment)
            with system.started(house) as running:  # anew, since memory holds 100,000 orders
                samples[name].append(drive(house, running, used, connections, seconds))
    for name, found in samples.items():
        pairs = list(zip(found, samples["none"], strict=True))
        cpu, store_cpu, per_second, p50, p99 = map(statistics.median, zip(*found, strict=True))
        more = statistics.median(one.cpu / base.cpu for one, base in pairs)
        longer = statistics.median(one.p50 / base.p50 for one, base in pairs)
        print(
            f"| {connections} | {name} | {cpu:.0f} | {store_cpu:.0f} | {per_second:,.0f} "
            f"| {p50:,.0f} | {p99:,.0f} | {more:.2f} | {longer:.2f} |",
            flush=True,
        )


def main() -> None:
    """Measure at 1, 10 and 100 clients."""
    parser = argparse.ArgumentParser(prog="python -m bench.placed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=4, help="of load for each figure")
    arguments = parser.parse_args()
    if program("wrk") is None:
        raise SystemExit("wrk is not installed")
    with tempfile.TemporaryDirectory(prefix="placed-") as name:
        house = House(Path(name), _CORES)
        with house.api(), redis(house) as server:
            print("clients, store, CPU of proxy and Redis in us, orders/s, p50, p99, ratios")
            for connections in (1, 10, 100):
                compare(house, server, connections, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
