"""What a process has cost, as the kernel counts it."""

import os
import subprocess
import sys

import pytest

from bench import measure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_a_stat_line_is_read_whatever_the_name_is() -> None:
    """User and kernel ticks follow a name that has brackets and spaces."""
    line = f"12 (a) R (b) S 7 {' '.join(['0'] * 9)} 31 41 0 0"
    assert measure.parse_stat(line) == (31, 41)


def test_cpu_time_is_a_difference() -> None:
    """Used time is later minus earlier, and the kernel's share is of the ticks."""
    used = measure.Cpu(3.0, 30, 100) - measure.Cpu(1.0, 10, 20)
    assert used == measure.Cpu(2.0, 20, 80)
    assert used.kernel_share == pytest.approx(0.25)
    assert measure.Cpu(0.0, 0, 0).kernel_share == 0


def test_work_of_another_process_is_counted() -> None:
    """A child is in the family, and its processor time and memory are read from outside."""
    script = "sum(range(3_000_000)); print(flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in measure.family(os.getpid())
        used, memory = measure.cpu([child.pid]), measure.resident([child.pid])
        child.communicate("\n")
    assert used.seconds > 0.01
    assert memory > 1_000_000


def test_the_machine_is_described() -> None:
    """With processor, cores, memory, systems and time."""
    machine = measure.machine()
    assert machine["cpu"]
    assert machine["cores"] == os.cpu_count()
    others = {"memory_gib", "system", "kernel", "python", "load_before", "began", "virtual"}
    assert others <= machine.keys()
