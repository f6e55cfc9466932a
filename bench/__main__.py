"""Measures the proxy and its peers side by side: `make bench BENCH="orders --rounds 3"`.

Prints tables, and writes all samples as JSON. Needs Linux, two cores, and wrk and NGINX (Debian:
`apt-get install wrk nginx-light`); peers that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import os
import resource
import ssl
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import measure, processes, report, systems
from bench.scenarios import SCENARIOS, Bench, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.systems import System

OUTPUT: Final = measure.ROOT / ".cache" / "bench" / "results.json"
ROUNDS: Final = 5
SECONDS: Final = 3
#: Load average of a minute above which other work disturbs the measurement.
QUIET: Final = 0.5


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Return what the command line says."""
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("scenarios", nargs="*", metavar="SCENARIO", help=f"{', '.join(names)} (default: all)")
    add("--rounds", type=int, default=ROUNDS, help="measurements of each system (%(default)s)")
    add("--seconds", type=int, default=SECONDS, help="of load (default: %(default)s)")
    add("--systems", help="only these, separated by commas")
    add("--proxy-cores", default="0", help="for what is measured (default: 0)")
    add("--load-cores", default="1", help="for clients and API (default: 1)")
    add("--output", type=Path, default=OUTPUT, help="the JSON (default: in .cache/bench)")
    given = parser.parse_args(words)
    unknown = [name for name in given.scenarios if name not in names]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(names)}")
    given.systems = [name.strip().lower() for name in (given.systems or "").split(",") if name]
    return given


def choose(known: Sequence[System], wanted: Sequence[str]) -> list[System]:
    """Return the systems that are wanted and installed; ours always, since ratios are to it."""
    names = wanted or [system.name.lower() for system in known]
    return [
        system
        for system in known
        if system.program and (system.name == report.OURS or system.name.lower() in names)
    ]


def conditions(given: argparse.Namespace) -> dict[str, object]:
    """Return what the measurement was made with."""
    return {
        **measure.machine(),
        "revision": measure.revision(),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "proxy_cores": given.proxy_cores,
        "load_cores": given.load_cores,
        "wrk": processes.version_of(processes.program("wrk"), "-v", r"wrk (?:debian/)?(\d[\w.]*)"),
        "api": f"NGINX {systems.nginx_version()}",
        "openssl": ssl.OPENSSL_VERSION.split()[1],
        "uvloop": version("uvloop"),
        "aiofastnet": version("aiofastnet"),
    }


def measured(given: argparse.Namespace, known: Sequence[System]) -> report.Document:
    """Measure, and return the results."""
    chosen = choose(known, given.systems)
    results: report.Document = {
        "conditions": conditions(given),
        "systems": {system.name: system.version for system in chosen},
        "absent": [system.name for system in known if not system.program],
        "scenarios": [],
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        house = systems.House(Path(directory), systems.Cores(given.proxy_cores, given.load_cores))
        for scenario in SCENARIOS:
            if scenario.name not in (given.scenarios or [scenario.name]):
                continue
            say(f"{scenario.name}: {scenario.title}")
            bench = Bench(house, chosen, given.rounds, given.seconds)
            scenario.run(bench)
            found = scenario._asdict() | {"samples": bench.findings()}
            found["metrics"] = [metric._asdict() for metric in scenario.metrics]
            del found["run"]
            results["scenarios"].append(found)
            print(report.section(found), flush=True)
    return results


def main(words: Sequence[str]) -> int:
    """Return the exit status: 0, 1 if something required is missing, 2 for wrong arguments."""
    given = arguments(words)
    known = systems.known()
    unknown = set(given.systems) - {system.name.lower() for system in known}
    if unknown:
        names = ", ".join(system.name for system in known)
        say(f"No such system: {', '.join(sorted(unknown))}. There are {names}.")
        return 2
    if sys.platform != "linux" or not all(map(processes.program, ("wrk", "nginx"))):
        say("The benchmark needs Linux, wrk and NGINX. On Debian: apt-get install wrk nginx-light")
        return 1
    if not processes.move_to(given.load_cores):
        say("The proxy needs one core and the load another: --proxy-cores, --load-cores")
        return 1
    # A thousand connections take more than two thousand open files.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if os.getloadavg()[0] > QUIET:
        say(f"The machine is busy (load {os.getloadavg()[0]:.2f}): the figures will not be good.")
    results = measured(given, known)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(report.as_json(results), encoding="utf-8")
    print(report.conditions(results))
    print(f"\nwritten: {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
