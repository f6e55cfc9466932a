"""Notices that files have changed, or that their names lead to other files now.

Reads no file's content: it says "look again", and whoever is told compares. It looks at where a path leads, whatever links are on the way,
so it sees a file that is written or replaced as well as Kubernetes' way: `password` is a link to `..data/password`, and `..data`, a link to
a directory, is replaced. The operating system tells of changes in directories; where it cannot (network file systems, no watches left, a
directory that came anew), looking from time to time finds them all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from pathlib import Path

    from proxy.clock import Clock

#: Seconds between two looks when nothing is told of. Kubernetes itself takes up to a minute to bring a changed secret to a pod.
LOOK_SECONDS: Final = 10.0
#: Milliseconds. A change is told of when it has been quiet for this long: by then a file is written whole, and all that change together
#: have changed. watchfiles wakes up its thread this often.
_QUIET: Final = 250

log = structlog.get_logger("proxy.watching")


class Watcher:
    """Awaits `changed` once at the beginning, and whenever the files may have changed since, as long as `run` runs.

    files: which ones; asked again after each change. changed: if it returns false, it is awaited again at the next look, changes or not.
    await_event: waits until something happens in these directories; if it raises, looking from time to time has to do.
    """

    def __init__(
        self,
        files: Callable[[], Collection[Path]],
        changed: Callable[[], Awaitable[bool]],
        clock: Clock,
        await_event: Callable[[Collection[Path]], Awaitable[None]] | None = None,
    ) -> None:
        self._files = files
        self._changed = changed
        self._clock = clock
        self._await_event = await_event or _await_event
        self._told_of_failure = False

    async def run(self) -> None:
        """Watch; until cancelled."""
        seen: dict[Path, object] | None = None
        while True:
            paths = set(self._files())
            happened = asyncio.Event()
            listening = asyncio.create_task(self._listen(_directories(paths), happened))
            try:
                await asyncio.sleep(0)  # from here on it listens: what changes after the look ends the wait
                marks = {path: _mark(path) for path in paths}
                if marks != seen:
                    seen = marks if await self._changed() else None
                if set(self._files()) == paths:
                    await self._clock.wait(happened, LOOK_SECONDS)
            finally:
                listening.cancel()
                await asyncio.wait({listening})

    async def _listen(self, directories: Collection[Path], happened: asyncio.Event) -> None:
        try:
            await self._await_event(directories)
        except Exception as error:  # noqa: BLE001 # whatever it is, there is another way
            if not self._told_of_failure:
                self._told_of_failure = True
                reason = getattr(error, "strerror", None) or "unknown"
                log.warning(
                    "configuration.watch_failed",
                    reason=reason,
                    look_seconds=LOOK_SECONDS,
                    detail=f"The system cannot tell of changes to the configuration's files ({reason}), so they are looked at every "
                    f"{LOOK_SECONDS:g} s: a change is taken up that much later. Raise fs.inotify.max_user_watches and "
                    "fs.inotify.max_user_instances, if that is what is short.",
                )
        else:
            happened.set()


def _mark(path: Path) -> object:
    """Return what changes when the file that the path leads to is written or is another one; None without a file."""
    try:
        file = path.stat()
    except OSError:
        return None
    return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns


def _directories(paths: Collection[Path]) -> set[Path]:
    """Return the directories in which the files and the links to them change."""
    found = {path.parent for path in paths}
    for path in paths:
        with contextlib.suppress(OSError, RuntimeError):  # a loop of links
            found.add(path.resolve().parent)
    return {directory for directory in found if directory.is_dir()}


async def _await_event(directories: Collection[Path]) -> None:
    from watchfiles import awatch  # noqa: PLC0415 # 15 ms and 4 MB, only for those who have files to watch

    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of each change, by path
    events = awatch(
        *directories, watch_filter=None, step=_QUIET, recursive=False, ignore_permission_denied=True
    )
    async with contextlib.aclosing(events):
        async for _ in events:
            return
