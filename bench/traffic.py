"""Scenarios of many small requests: what one of them costs, and how long it takes.

wrk sends them, the API answers 86 bytes of JSON.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from bench import load, measure
from bench.report import NO_PROXY, RELAY
from bench.systems import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.contest import Bench
    from bench.processes import Running
    from bench.systems import System

#: As many as an order system with a busy pool has.
CONNECTIONS: Final = 32
SCALE: Final = (1, 10, 100, 1000)
#: Before each measurement: a pool may have closed its idle connections while others had their turn.
WARM_UP: Final = 1  # second
CREDENTIAL: Final = f"Authorization: Bearer {TOKEN}"


class Shape(NamedTuple):
    """What the requests of a scenario are like; see `load.wrk`.

    relay: whether a relay that knows no HTTP can pass them on.
    """

    path: str = load.ORDERS
    connections: int = CONNECTIONS
    headers: tuple[str, ...] = ()
    script: str | None = None
    relay: bool = True


def probe(system: System, running: Running) -> None:
    """Make one call, and look whether the system does its work.

    The credential gets there, the answer back, with an id.
    """
    answer = load.call(running.port, load.ORDERS, system.headers).checked(load.ORDER_BYTES)
    if system.name != RELAY and b"\nx-request-id: " not in answer.head.lower():
        raise load.Refused("no request id comes back")


def many(shape: Shape) -> Callable[[Bench], None]:
    """Return a scenario of many requests of one shape."""

    def run(bench: Bench) -> None:
        systems = bench.systems if shape.relay else bench.proxies
        with ExitStack() as stack:
            stack.enter_context(bench.house.api())
            running = start_all(bench, systems, stack)
            for system in bench.turns(systems):
                with bench.trying(system):
                    bench.add(system.name, **drive(bench, system, running[system.name], shape))

    return run


def start_all(bench: Bench, systems: Sequence[System], stack: ExitStack) -> dict[str, Running]:
    """Start systems beside each other, until the stack unwinds."""
    running = {}
    for system in systems:
        with bench.trying(system):
            running[system.name] = stack.enter_context(system.started(bench.house))
            probe(system, running[system.name])
    return running


def drive(bench: Bench, system: System, running: Running, shape: Shape) -> dict[str, float]:
    """Have wrk call a system, and return what that has cost.

    Before it, connections are opened and caches filled.
    """
    url = f"http://127.0.0.1:{running.port}{shape.path}"
    headers = (*shape.headers, *system.headers)
    processes = running.family()
    wrk(bench, url, WARM_UP, shape, headers)
    before = measure.cpu(processes)
    seen = wrk(bench, url, bench.seconds, shape, headers)
    used = measure.cpu(processes) - before
    return {
        "cpu_us": used.seconds * 1e6 / seen.requests,
        "kernel_percent": used.kernel_share * 100,
        "per_second": seen.per_second,
        "p50_us": seen.p50,
        "p99_us": seen.p99,
        "errors": seen.errors,
    }


def wrk(bench: Bench, url: str, seconds: int, shape: Shape, headers: tuple[str, ...]) -> load.Load:
    """Send requests of that shape."""
    return load.wrk(
        bench.wrk,
        bench.house.directory,
        url,
        connections=shape.connections,
        seconds=seconds,
        headers=headers,
        script=shape.script,
    )


def single(bench: Bench) -> None:
    """One connection: what a call takes when nothing else is going on, and what it takes without a proxy."""
    shape = Shape(connections=1)
    many(shape)(bench)
    with bench.house.api():
        url = f"https://127.0.0.1:{bench.house.api_port}{shape.path}"
        for _ in range(bench.rounds):
            seen = wrk(bench, url, bench.seconds, shape, (CREDENTIAL,))
            bench.add(NO_PROXY, per_second=seen.per_second, p50_us=seen.p50, p99_us=seen.p99)


def scale(bench: Bench) -> None:
    """Find the cost of a request by the number of connections that are busy."""
    with ExitStack() as stack:
        stack.enter_context(bench.house.api())
        running = start_all(bench, bench.systems, stack)
        for system in bench.turns(bench.systems):
            with bench.trying(system):
                found = {
                    number: drive(bench, system, running[system.name], Shape(connections=number))
                    for number in SCALE
                }
                costs = {f"cpu_us_{number}": figures["cpu_us"] for number, figures in found.items()}
                bench.add(
                    system.name,
                    **costs,
                    growth=found[SCALE[-1]]["cpu_us"] / found[SCALE[0]]["cpu_us"],
                    errors=sum(figures["errors"] for figures in found.values()),
                )
