"""What the tests of `deploy/` share: its files, and the programs that judge them."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = ROOT / "deploy"
#: Seconds. What takes longer is broken.
DEADLINE: Final = 20.0
_PAUSE: Final = 0.05


def needs(program: str, package: str) -> pytest.MarkDecorator:
    """Skip where a program is not installed, unless this is CI, which installs it."""
    return pytest.mark.skipif(
        shutil.which(program) is None and os.environ.get("CI") != "true",
        reason=f"{program} is not installed; Debian has it in the package {package}",
    )


def until(question: Callable[[], object]) -> None:
    """Poll until the answer is true."""
    deadline = time.monotonic() + DEADLINE
    while not question():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(_PAUSE)


async def until_async(question: Callable[[], object]) -> None:
    """Poll in a thread, while the event loop of the test goes on."""
    await asyncio.to_thread(until, question)
