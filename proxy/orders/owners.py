"""Which processes that share a file are alive: each holds a lock on a file of its own beside it.

The system drops the lock when the process ends, however it ends, so a killed process is found
without a clock. Locks are flock(2)'s, or LockFileEx's on Windows.
"""

import contextlib
import glob
import os
import sys
from pathlib import Path
from typing import Final

_FLAGS: Final = os.O_RDWR | getattr(os, "O_CLOEXEC", 0)


def _lock(descriptor: int) -> bool:
    """Take the lock; say whether it was free."""
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415 # there only

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415 # not on Windows

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _file(store: Path, owner: str) -> Path:
    return Path(f"{store}-owner-{owner}")


class Presence:
    """Shows that an owner is alive until `end`, or until the process ends. Raises OSError."""

    def __init__(self, store: Path, owner: str) -> None:
        self._path = _file(store, owner)
        while True:
            self._descriptor = os.open(self._path, _FLAGS | os.O_CREAT, 0o600)
            with contextlib.suppress(FileNotFoundError):
                is_locked = _lock(self._descriptor)
                if is_locked and os.path.samestat(self._path.stat(), os.fstat(self._descriptor)):
                    break
            os.close(self._descriptor)  # `sweep` of another process came between

    def end(self) -> None:
        """End."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


def is_alive(store: Path, owner: str) -> bool:
    """Whether that owner's process lives; the file of one that does not is removed."""
    path = _file(store, owner)
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # in doubt: a record of a living process is not touched
    try:
        if not _lock(descriptor):
            return True
    finally:
        os.close(descriptor)
    with contextlib.suppress(OSError):
        path.unlink()
    return False


def sweep(store: Path) -> None:
    """Remove the files of processes that have died."""
    prefix = f"{store.name}-owner-"
    for path in store.parent.glob(f"{glob.escape(prefix)}*"):
        is_alive(store, path.name.removeprefix(prefix))
