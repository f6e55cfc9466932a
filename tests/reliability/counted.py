"""`telenor-proxy` in a process that reports its resources on SIGUSR1, for the soak."""

import asyncio
import ctypes
import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import orjson

from proxy import cli


class _Mallinfo(ctypes.Structure):
    """The result of mallinfo2(3) of the GNU C library."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for line in (
            "arena ordblks smblks hblks hblkhd",
            "usmblks fsmblks uordblks fordblks keepcost",
        )
        for name in line.split()
    ]


def _allocated() -> int:
    """Return the bytes in use of the C library's allocator; 0 if it cannot say."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:  # another library, or an old one
        return 0
    mallinfo.restype = _Mallinfo
    found = mallinfo()
    return int(found.uordblks) + int(found.hblkhd)


def _report(_signal: int, _frame: FrameType | None) -> None:
    gc.collect()
    counts = {
        "event": "soak.counts",
        "blocks": sys.getallocatedblocks(),
        "allocated": _allocated(),
        # From within, for a hardened process shows this to no other. One of them is the
        # listing's own.
        "descriptors": len(list(Path("/proc/self/fd").iterdir())) - 1,
        # Python runs this between two steps of the event loop's thread, so the set does not change
        # under it.
        "tasks": len(asyncio.all_tasks(asyncio.get_running_loop())),
    }
    os.write(1, orjson.dumps(counts) + b"\n")


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _report)
    sys.exit(cli.main())
