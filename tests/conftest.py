"""What holds for all tests: none of them fails because a machine is slow."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_xdist_auto_num_workers() -> int:
    """Run two tests at once for each core: half of their time is waiting for sockets and clocks."""
    return 2 * (os.cpu_count() or 1)
