"""`python -m bench.placed`.

What an order costs that is remembered, next to the same order through a proxy without a store.

Measured in turns; a ratio is that within a round, and the median of those is shown. Every order has
a key of its own, which the proxy without a store passes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import load, measure
from bench.processes import program
from bench.report import OURS
from bench.systems import Cores, House, known

if TYPE_CHECKING:
    from bench.processes import Running

#: By name: what `orders.store` is; empty for none.
STORES: Final = {"none": "", "memory": "memory", "SQLite": "@DIRECTORY@/orders.db"}
_WARM_UP: Final = 1  # second
_CORES: Final = Cores("0", "1")


def drive(
    wrk: str, house: House, running: Running, connections: int, seconds: int
) -> tuple[float, ...]:
    """Send orders; return CPU in us an order, orders a second, and the median and p99 time in us."""
    url = f"http://127.0.0.1:{running.port}{load.ORDERS}"
    processes = running.family()

    def send(duration: int) -> load.Load:
        return load.wrk(
            wrk, house.directory, url, connections=connections, seconds=duration, script="keyed"
        )

    send(_WARM_UP)
    before = measure.cpu(processes)
    seen = send(seconds)
    used = measure.cpu(processes) - before
    if seen.errors:
        raise load.Refused(f"{seen.errors} orders were not placed")
    return used.seconds * 1e6 / seen.requests, seen.per_second, seen.p50, seen.p99


def compare(wrk: str, house: House, connections: int, rounds: int, seconds: int) -> None:
    """Measure all stores in turns, and print a row of medians for each."""
    ours = next(system for system in known() if system.name == OURS)
    samples: dict[str, list[tuple[float, ...]]] = {name: [] for name in STORES}
    for turn in range(rounds):
        names = list(STORES)[turn % 3 :] + list(STORES)[: turn % 3]
        for name in names:
            environment = {"TELENOR_PROXY_ORDERS__STORE": STORES[name]} if STORES[name] else {}
            system = dataclasses.replace(ours, environment=environment)
            with system.started(house) as running:  # anew, since memory holds 100,000 orders
                samples[name].append(drive(wrk, house, running, connections, seconds))
    for name, rows in samples.items():
        figures = [statistics.median(column) for column in zip(*rows, strict=True)]
        ratios = [
            statistics.median(
                row[at] / base[at] for row, base in zip(rows, samples["none"], strict=True)
            )
            for at in (0, 2)
        ]
        print(
            f"{connections:4} clients  {name:8} {figures[0]:7.1f} us CPU  {figures[1]:8,.0f} orders/s  "
            f"p50 {figures[2]:8,.0f} us  p99 {figures[3]:9,.0f} us  CPU x{ratios[0]:.2f}  p50 x{ratios[1]:.2f}"
        )


def main() -> None:
    """Measure at 1, 10 and 100 clients."""
    parser = argparse.ArgumentParser(prog="python -m bench.placed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=4, help="of load for each figure")
    arguments = parser.parse_args()
    wrk = program("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed")
    with tempfile.TemporaryDirectory(prefix="placed-") as name:
        house = House(Path(name), _CORES)
        with house.api():
            for connections in (1, 10, 100):
                compare(wrk, house, connections, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
