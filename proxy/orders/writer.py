"""The one thread that works on a SQLite connection: what waits is done in one transaction.

A batch of orders so shares one fsync. If the transaction fails, all of it has failed: each of
its callers gets `StoreAway`. Durable work is committed with `synchronous=FULL`, other work with
NORMAL, which a kill of the process does not lose, but a power failure may.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from proxy.errors import ProxyError
from proxy.orders.store import StoreAway

T = TypeVar("T")

#: Works that one transaction does at most.
_BATCH: Final = 512
#: Works that may wait. More is a disk that does not keep up.
_MOST_WAITING: Final = 10_000
#: Seconds that a caller waits for its work. A disk that hangs must not hang requests.
_PATIENCE: Final = 5.0

NO_ROOM: Final = (
    "There is no room for more records of orders. Remove files from the disk, "
    "or lower orders.remember_seconds."
)
DAMAGED: Final = (
    "The file of orders.store is damaged. Move it away, look its last orders up, and restart the "
    "proxy."
)
#: By the primary code of SQLite's error.
_REASONS: Final = {
    sqlite3.SQLITE_FULL: NO_ROOM,
    sqlite3.SQLITE_BUSY: "Another program holds the file of orders.store locked. Stop that one.",
    sqlite3.SQLITE_READONLY: "The file of orders.store has become read-only. "
    "Let the proxy's user write it.",
    sqlite3.SQLITE_IOERR: "The disk fails to take the records of orders. "
    "Check the disk of orders.store.",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
_OTHERWISE: Final = "The file of orders.store cannot be used. Check that file and its disk."


def why(error: sqlite3.Error) -> str:
    """Say in words what is wrong, and what to do."""
    return _REASONS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, _OTHERWISE)


class _Work(NamedTuple):
    do: Callable[[], Any]
    is_durable: bool
    future: asyncio.Future[Any]


class Writer:
    """Owns the connection from now on. check: raises `StoreAway` if the file is not what it was."""

    def __init__(self, connection: sqlite3.Connection, check: Callable[[], None]) -> None:
        self._connection = connection
        self._check = check
        self._synchronous = ""
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)
        self._thread.start()

    async def do(self, work: Callable[[], T], *, durable: bool = False) -> T:
        """Have it done; return when it is committed. Raises `StoreAway`, or what the work raises.

        Work that raises an error of ours must not have changed anything.
        """
        if self._queue.qsize() >= _MOST_WAITING:
            raise StoreAway("Too many records of orders wait for the disk. Check its speed.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Work(work, durable, future))
        try:
            async with asyncio.timeout(_PATIENCE):
                return await future
        except TimeoutError:
            raise StoreAway(
                f"The disk of orders.store took longer than {_PATIENCE:g} s. Check that disk."
            ) from None

    async def close(self) -> None:
        """Do what waits, and close the connection."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        going_on = True
        while going_on:
            batch = [self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get())
            going_on = None not in batch
            works = [work for work in batch if work is not None]
            if works:
                results = self._transact(works)
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    works[0].future.get_loop().call_soon_threadsafe(_settle, works, results)
        self._connection.close()

    def _transact(self, works: list[_Work]) -> list[Any]:
        """Do it all, and return the results; an exception stands for work that failed."""
        connection = self._connection
        try:
            self._check()
            mode = "FULL" if any(work.is_durable for work in works) else "NORMAL"
            if mode != self._synchronous:
                connection.execute(f"PRAGMA synchronous={mode}")
                self._synchronous = mode
            connection.execute("BEGIN IMMEDIATE")
            results = [_result(work) for work in works]
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 # each caller gets it
            with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            failure = StoreAway(why(error)) if isinstance(error, sqlite3.Error) else error
            return [failure] * len(works)
        return results


def _result(work: _Work) -> object:
    try:
        return work.do()
    except ProxyError as error:
        return error


def _settle(works: list[_Work], results: list[Any]) -> None:
    """Hand the results over, in the event loop."""
    for work, result in zip(works, results, strict=True):
        if work.future.done():
            continue  # its caller has left
        if isinstance(result, Exception):
            work.future.set_exception(result)
        else:
            work.future.set_result(result)
