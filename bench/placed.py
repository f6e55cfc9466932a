"""`python -m bench.placed`: the cost of a remembered order, next to a proxy without a store.

Measured in turns; a ratio is that within a round, and the median of those is shown. Every order has
a key of its own, which the proxy without a store passes on. A Redis runs on the load's core, with
`appendonly yes`; it is left out if none is installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from bench import load, report
from bench.processes import program
from bench.scenarios import Bench, drive
from bench.systems import Cores, House, System, known

if TYPE_CHECKING:
    from bench.processes import Running

#: By name: what `orders.store` is; empty for none.
STORES: Final = {
    "none": "",
    "memory": "memory",
    "SQLite": "@DIRECTORY@/orders.db",
    "Redis": "redis://127.0.0.1:{port}/0",
}


def redis() -> System:
    """Return a Redis that keeps what it is given."""
    path = program("redis-server") or program("valkey-server")
    words = "--bind 127.0.0.1 --port @PORT@ --dir @DIRECTORY@ --save '' --appendonly yes"
    return System("Redis", path, "", (), f"{words} --maxmemory-policy noeviction", probe=None)


def compare(bench: Bench, server: Running | None, connections: int) -> None:
    """Measure all stores in turns, and print a row of medians for each."""
    shape = load.Shape(connections=connections, script="keyed")
    for system in bench.turns(bench.systems):
        store = server if system.name == "Redis" else None
        with system.started(bench.house) as proxy:  # anew, since memory holds 100,000 orders
            bench.add(system.name, **drive(bench, system, proxy, shape, store))
    found = bench.findings()
    for name, figures in found.items():
        keys = ("cpu_us", "store_us", "per_second", "p50_us", "p99_us")
        cells = [f"{median(figures.get(key, [0])):,.0f}" for key in keys]
        cells += [
            f"{report.ratio(figures[key], found['none'][key]):.2f}" for key in ("cpu_us", "p50_us")
        ]
        print(f"| {connections} | {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure at 1, 10 and 100 clients."""
    parser = argparse.ArgumentParser(prog="python -m bench.placed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=4, help="of load for each figure")
    given = parser.parse_args()
    if program("wrk") is None:
        sys.exit("wrk is not installed")
    ours = next(system for system in known() if system.name == report.OURS)
    with tempfile.TemporaryDirectory(prefix="placed-") as name:
        house = House(Path(name), Cores("0", "1"))
        store = redis()
        running = store.started(house, cores=house.cores.load) if store.program else nullcontext()
        with house.api(), running as server:
            port = 0 if server is None else server.port
            systems = [
                dataclasses.replace(
                    ours,
                    name=name,
                    environment={"TELENOR_PROXY_ORDERS__STORE": store.format(port=port)},
                )
                for name, store in STORES.items()
                if name != "Redis" or server is not None
            ]
            print("clients, store, CPU of proxy and Redis in us, orders/s, p50, p99, ratios")
            for connections in (1, 10, 100):
                bench = Bench(house, systems, given.rounds, given.seconds)
                compare(bench, server, connections)


if __name__ == "__main__":
    main()
