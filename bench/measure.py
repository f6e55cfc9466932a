"""What a process has cost, as the kernel counts it, and the machine that it ran on.

Reads `/proc` and clocks; it starts nothing but `git`, and never touches what it measures.
"""

from __future__ import annotations

import operator
import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
_PROC: Final = Path("/proc")
#: clock_getcpuclockid(3): the clock of process N is the complement of N, three bits further left; 2
#: is CPUCLOCK_SCHED. It is the sum of `sum_exec_runtime` over all threads, ended ones included, in
#: nanoseconds. `/proc/PID/stat` has the same sum in steps of 10 ms.
_CLOCK_SHIFT: Final = 3
_CLOCK_SCHED: Final = 2


class Cpu(NamedTuple):
    """Processor time of some processes; the ticks are samples of the kernel's timer."""

    seconds: float
    kernel_ticks: int
    ticks: int

    def __sub__(self, earlier: Cpu) -> Cpu:
        """Return what was used since."""
        return Cpu(*map(operator.sub, self, earlier))

    @property
    def kernel_share(self) -> float:
        """The part of the time that was spent in the kernel, 0 to 1."""
        return self.kernel_ticks / self.ticks if self.ticks else 0.0


def parse_stat(text: str) -> tuple[int, int]:
    """Return user ticks and kernel ticks from `/proc/PID/stat`, whatever the name is."""
    fields = text.rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def family(process: int) -> list[int]:
    """Return a process and its living descendants."""
    found = [process]
    for member in found:
        for children in (_PROC / str(member) / "task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def cpu(processes: list[int]) -> Cpu:
    """Return the processor time that processes have used so far."""
    clocks = [~process << _CLOCK_SHIFT | _CLOCK_SCHED for process in processes]
    seconds = sum(map(time.clock_gettime_ns, clocks)) / 1e9
    stats = [parse_stat((_PROC / str(process) / "stat").read_text()) for process in processes]
    return Cpu(seconds, sum(kernel for _, kernel in stats), sum(map(sum, stats)))


def resident(processes: list[int]) -> int:
    """Return the resident memory of processes in bytes; what two of them share counts twice."""
    pages = sum(int((_PROC / str(each) / "statm").read_text().split()[1]) for each in processes)
    return pages * os.sysconf("SC_PAGE_SIZE")


def machine() -> dict[str, object]:
    """Return what the measurement runs on, for a reader with another machine."""
    about_cpu = (_PROC / "cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", about_cpu, re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "virtual": bool(re.search(r"^flags\s*:.*\bhypervisor\b", about_cpu, re.MULTILINE)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "began": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def revision() -> str:
    """Return the commit, with `-dirty` if files differ from it; "unknown" outside of a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
