"""What is measured, and how: many small requests by wrk, and memory with idle connections.

The systems take turns within each round, and another one begins each round, so that what disturbs
the machine disturbs all of them.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from bench import load, measure
from bench.report import NO_PROXY, RELAY
from bench.systems import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.processes import Running
    from bench.systems import House, System

IDLE_CONNECTIONS: Final = 1000
#: Before each load: a pool may have closed its idle connections since.
WARM_UP: Final = 1  # second
#: Before memory is read.
SETTLE: Final = 2.0  # seconds
#: A megabyte is a million bytes here, as networks count.
MEGABYTE: Final = 1_000_000
CREDENTIAL: Final = f"Authorization: Bearer {TOKEN}"

#: For each system and each of its figures, one value a round.
Samples = dict[str, dict[str, list[float]]]


def say(text: str) -> None:
    """Print progress on standard error; the tables are on standard output."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Bench:
    """One scenario's systems and findings. seconds: of load."""

    house: House
    systems: Sequence[System]
    rounds: int
    seconds: int
    _samples: Samples = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    @property
    def proxies(self) -> list[System]:
        """The systems that are proxies: all but the relay."""
        return [system for system in self.systems if system.name != RELAY]

    def add(self, system: str, **figures: float) -> None:
        """Note what one round gave."""
        for key, value in figures.items():
            self._samples[system][key].append(round(value, 3))

    def turns(self, systems: Sequence[System]) -> Iterator[System]:
        """Give the systems in turn, round by round."""
        for number in range(self.rounds):
            say(f"  round {number + 1} of {self.rounds}")
            first = number % len(systems)
            yield from (*systems[first:], *systems[:first])

    def findings(self) -> Samples:
        """Return the samples in the order of the systems; what is none comes last."""
        names = dict.fromkeys([*(system.name for system in self.systems), *self._samples])
        return {name: dict(self._samples[name]) for name in names if name in self._samples}


def probe(system: System, running: Running) -> None:
    """Make one call, and check that credential, answer and request id are there."""
    answer = load.call(running.port, load.ORDERS, system.headers).checked(load.ORDER_BYTES)
    if system.name != RELAY and "x-request-id" not in answer.fields:
        raise load.Refused("no request id comes back")


def many(shape: load.Shape) -> Callable[[Bench], None]:
    """Return a scenario of many requests of one shape, to systems that run beside each other."""

    def run(bench: Bench) -> None:
        systems = bench.systems if shape.relay else bench.proxies
        with bench.house.api(), ExitStack() as stack:
            running = {}
            for system in systems:
                running[system.name] = stack.enter_context(system.started(bench.house))
                probe(system, running[system.name])
            for system in bench.turns(systems):
                bench.add(system.name, **drive(bench, system, running[system.name], shape))

    return run


def drive(
    bench: Bench, system: System, running: Running, shape: load.Shape, store: Running | None = None
) -> dict[str, float]:
    """Load a system, after a second that fills its caches, and return what that has cost.

    store: a program whose processor time is shown besides.
    """
    url = f"http://127.0.0.1:{running.port}{shape.path}"
    processes, others = running.family(), [] if store is None else store.family()
    load.wrk(bench.house.directory, url, shape, WARM_UP, system.headers)
    before, others_before = measure.cpu(processes), measure.cpu(others)
    seen = load.wrk(bench.house.directory, url, shape, bench.seconds, system.headers)
    used, others_used = measure.cpu(processes) - before, measure.cpu(others) - others_before
    if seen.errors:
        raise load.Refused(f"{system.name}: {seen.errors} of the calls failed")
    figures = {
        "cpu_us": used.seconds * 1e6 / seen.requests,
        "kernel_percent": used.kernel_share * 100,
        "per_second": seen.per_second,
        "p50_us": seen.p50,
        "p99_us": seen.p99,
    }
    return figures | ({"store_us": others_used.seconds * 1e6 / seen.requests} if store else {})


def single(bench: Bench) -> None:
    """Measure one connection, to each system and to the API without a proxy."""
    shape = load.Shape(connections=1)
    many(shape)(bench)
    with bench.house.api():
        url = f"https://127.0.0.1:{bench.house.api_port}{shape.path}"
        for _ in range(bench.rounds):
            seen = load.wrk(bench.house.directory, url, shape, bench.seconds, (CREDENTIAL,))
            bench.add(NO_PROXY, per_second=seen.per_second, p50_us=seen.p50, p99_us=seen.p99)


def memory(bench: Bench) -> None:
    """Find the resident memory after one request, and with idle connections."""
    with bench.house.api():
        for system in bench.turns(bench.proxies):
            with system.started(bench.house) as running, ExitStack() as stack:
                probe(system, running)
                time.sleep(SETTLE)
                idle = measure.resident(running.family())
                for _ in range(IDLE_CONNECTIONS):
                    connection = stack.enter_context(closing(load.connect(running.port)))
                    load.get(connection, load.ORDERS).checked()
                time.sleep(SETTLE)
                full = measure.resident(running.family())
                bench.add(
                    system.name,
                    idle_mb=idle / MEGABYTE,
                    full_mb=full / MEGABYTE,
                    kb_per_connection=(full - idle) / 1e3 / IDLE_CONNECTIONS,
                )


class Metric(NamedTuple):
    """One figure. unit: as it is shown; digits: how many after the point."""

    key: str
    title: str
    unit: str
    digits: int = 0


class Scenario(NamedTuple):
    """One thing to measure. shows: a sentence; headline: the figure that ratios are made of."""

    name: str
    title: str
    shows: str
    metrics: tuple[Metric, ...]
    headline: str
    run: Callable[[Bench], None]


_REQUESTS: Final = (
    Metric("cpu_us", "CPU per request", "µs", 1),
    Metric("kernel_percent", "of it in the kernel", "%"),
    Metric("per_second", "requests", "/s"),
    Metric("p50_us", "p50", "µs"),
    Metric("p99_us", "p99", "µs"),
)
_MEMORY: Final = (
    Metric("idle_mb", "idle", "MB", 1),
    Metric("full_mb", "with 1,000 connections", "MB", 1),
    Metric("kb_per_connection", "per connection", "kB", 1),
)

SCENARIOS: Final = (
    Scenario(
        "orders",
        "Orders, as they come",
        "32 connections that stay open, each sending one order after the other: a POST of 69 bytes "
        "of JSON with the client's own `Authorization`, each with another path, id and body, and "
        "each answer with another head and body.",
        _REQUESTS,
        "cpu_us",
        many(load.Shape(path=load.NEW_ORDERS, script="orders", relay=False)),
    ),
    Scenario(
        "close",
        "Orders on new connections",
        "The same from 32 clients without keep-alive: each order comes on a new connection, with "
        "`Connection: close`.",
        _REQUESTS,
        "cpu_us",
        many(
            load.Shape(
                path=load.NEW_ORDERS, script="orders", headers=("Connection: close",), relay=False
            )
        ),
    ),
    Scenario(
        "identical",
        "Identical requests",
        "32 connections that stay open, each sending the very same GET without a credential again "
        "and again: what load generators send, and no order system.",
        _REQUESTS,
        "cpu_us",
        many(load.Shape()),
    ),
    Scenario(
        "single",
        "One connection",
        "One client that sends one request after the other: the time that a call takes when "
        "nothing else is going on.",
        _REQUESTS,
        "p50_us",
        single,
    ),
    Scenario(
        "memory",
        "Memory",
        "Resident memory after one request, and with 1,000 idle connections of clients that have "
        "made one request each.",
        _MEMORY,
        "idle_mb",
        memory,
    ),
)
