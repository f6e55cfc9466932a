"""What the process gives up so that its memory stays its own: core dumps, being traced by its peers, key logs."""

from __future__ import annotations

import contextlib
import os
import sys

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def harden() -> None:
    """Forbid core dumps and tracing, and forget SSLKEYLOGFILE before any library looks for it. Where a system knows none of it, go on."""
    os.environ.pop("SSLKEYLOGFILE", None)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 # not on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 # only where it is used

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
