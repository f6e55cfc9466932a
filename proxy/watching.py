"""Notices that files have changed, or that their names lead to other files now.

Reads no file's content: the caller compares. It follows links, so it sees a file that is written or
replaced as well as Kubernetes' way: `password` links to `..data/password`, and the link `..data` to
a directory is replaced.

It polls once a second: that works on every file system and operating system, and needs no thread,
no watches that can run out, and none of the 2 MB that watchfiles took (docs/architecture.md).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Final

from proxy.clock import Clock

#: Seconds between two looks. Kubernetes itself takes up to a minute to bring a changed secret to a
#: pod.
LOOK_SECONDS: Final = 1.0


async def watch(
    files: Callable[[], Collection[Path]], changed: Callable[[], Awaitable[bool]], clock: Clock
) -> None:
    """Await `changed` at the beginning and whenever the files have changed, until cancelled.

    files: which ones; asked again at each look. changed: if it returns false, it is awaited again
    at the next look.
    """
    taken: dict[Path, object] | None = None
    before = marks = {path: _mark(path) for path in files()}
    while True:
        # What changed since the last look may not be written whole yet, or not all that changes
        # together.
        if marks != taken and marks == before:
            taken = marks if await changed() else None
        before = marks
        await clock.wait(asyncio.Event(), LOOK_SECONDS)
        marks = {path: _mark(path) for path in files()}


def _mark(path: Path) -> object:
    """Return what changes when the file behind the path does; None without a file."""
    try:
        file = path.stat()
    except OSError:
        return None
    return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns
