"""What a process has cost, as the kernel counts it, and the machine that it ran on.

Reads `/proc` and clocks only: it starts nothing but `git`, and never touches what it measures,
except for `reset_peak`.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
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
#: proc(5), `clear_refs`: 5 sets the peak of the resident memory (VmHWM) to its present size.
_RESET_PEAK: Final = "5"


class Cpu(NamedTuple):
    """Processor time of some processes. seconds: all of it.

    kernel: which part of it was spent in the kernel, 0 to 1, by samples.
    """

    seconds: float
    kernel_ticks: int
    ticks: int

    def __sub__(self, earlier: Cpu) -> Cpu:
        """Return what was used since."""
        return Cpu(
            self.seconds - earlier.seconds,
            self.kernel_ticks - earlier.kernel_ticks,
            self.ticks - earlier.ticks,
        )

    @property
    def kernel_share(self) -> float:
        """The part of the time that was spent in the kernel, 0 to 1, as its timer found it."""
        return self.kernel_ticks / self.ticks if self.ticks else 0.0


class Memory(NamedTuple):
    """Resident memory of some processes in bytes: now, and at its highest.

    What two of them share counts twice.
    """

    resident: int
    peak: int


def parse_stat(text: str) -> tuple[int, int, int]:
    """Return parent, user ticks and kernel ticks from the text of `/proc/PID/stat`.

    The name in it may hold anything, brackets too.
    """
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), int(fields[11]), int(fields[12])


def parse_status(text: str) -> Memory:
    """Return the memory from the text of `/proc/PID/status`."""
    sizes = {
        name: int(size) * 1024
        for name, size in re.findall(r"^(Vm\w+):\s+(\d+) kB$", text, re.MULTILINE)
    }
    return Memory(sizes["VmRSS"], sizes["VmHWM"])


def family(process: int) -> list[int]:
    """Return a process and all that it has started, directly or not, as far as they live."""
    children: dict[int, list[int]] = {}
    for directory in _PROC.iterdir():
        if directory.name.isdecimal():
            try:
                parent = parse_stat((directory / "stat").read_text())[0]
            except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
                continue
            children.setdefault(parent, []).append(int(directory.name))
    found = [process]
    for member in found:
        found += children.get(member, [])
    return found


def cpu(processes: list[int]) -> Cpu:
    """Return the processor time that processes have used so far."""
    seconds = (
        sum(time.clock_gettime_ns(~process << _CLOCK_SHIFT | _CLOCK_SCHED) for process in processes)
        / 1e9
    )
    stats = [parse_stat((_PROC / str(process) / "stat").read_text()) for process in processes]
    kernel = sum(stat[2] for stat in stats)
    return Cpu(seconds, kernel, kernel + sum(stat[1] for stat in stats))


def memory(processes: list[int]) -> Memory:
    """Return the memory of processes, added up."""
    found = [parse_status((_PROC / str(process) / "status").read_text()) for process in processes]
    return Memory(sum(each.resident for each in found), sum(each.peak for each in found))


def reset_peak(processes: list[int]) -> None:
    """Let the peak be counted from now on."""
    for process in processes:
        (_PROC / str(process) / "clear_refs").write_text(_RESET_PEAK)


def machine() -> dict[str, object]:
    """Return what the measurement runs on, in words that a reader can compare with another machine."""
    about_cpu = (_PROC / "cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", about_cpu, re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "virtual": bool(re.search(r"^flags\s*:.*\bhypervisor\b", about_cpu, re.MULTILINE)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": _pretty_name(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "began": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _pretty_name() -> str:
    names = platform.freedesktop_os_release() if sys.platform == "linux" else {}
    return names.get("PRETTY_NAME", platform.system())


def revision() -> str:
    """Return the commit that is checked out, with a word if files differ from it.

    "unknown" outside of a checkout.
    """
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()
