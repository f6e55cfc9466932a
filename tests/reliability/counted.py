"""`telenor-proxy`, in a process that tells its tasks and file descriptors when SIGUSR1 asks: for the soak, and for nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from proxy import cli

if TYPE_CHECKING:
    from types import FrameType


def _count(_signal: int, _frame: FrameType | None) -> None:
    # Python runs this between two steps of the event loop's thread, so the set does not change under it.
    tasks = len(asyncio.all_tasks(asyncio.get_running_loop()))
    # From within, for a hardened process shows this to nobody else. One of them is the listing's own.
    descriptors = len(list(Path("/proc/self/fd").iterdir())) - 1
    os.write(1, b'{"event": "soak.counts", "tasks": %d, "descriptors": %d}\n' % (tasks, descriptors))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _count)
    sys.exit(cli.main())
