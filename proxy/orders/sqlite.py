"""A store in a SQLite file: survives a restart, a kill and a power failure.

Laws
1. A file that is damaged, newer or not ours is named, and never written to.
2. A record has entered SENT after an fsync (`synchronous=FULL` of a database in WAL mode).
3. Time is counted while a proxy runs, and kept in the file: a wall clock that steps drops nothing.
4. Several processes may use one file at a time; owners.py tells which of them live.
"""

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from proxy.clock import Clock
from proxy.errors import ProxyError
from proxy.orders import writer
from proxy.orders.owners import Presence, is_alive, sweep
from proxy.orders.states import BEFORE, Answer, OrderRecord, State, after_death, has_end, may_forget
from proxy.orders.store import LISTED, SHOWN, VERSION, ClaimLost, StoreAway, Summary, unwritable

_APPLICATION: Final = 0x74506F72  # "tPor"
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_MAGIC: Final = b"SQLite format 3\0"
#: Seconds that a locked file is waited for.
_BUSY: Final = 2.0
#: Bytes that the file has at most: half a million orders with answers of usual size.
_MAX_SIZE: Final = 256 << 20
#: How much of that new orders may use. The rest is for the answers to those that are under way.
_FOR_NEW: Final = 0.9
_PAGE: Final = 4096  # bytes; SQLite's default
#: Bytes that the write-ahead log is cut down to.
_MAX_LOG: Final = 16 << 20

_SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE orders (
    id TEXT PRIMARY KEY NOT NULL, claim TEXT NOT NULL, key TEXT, client TEXT NOT NULL,
    method TEXT NOT NULL, path TEXT NOT NULL, fingerprint BLOB NOT NULL, request_id TEXT NOT NULL,
    created_at REAL NOT NULL, lifetime REAL NOT NULL, state TEXT NOT NULL,
    status INTEGER, fields BLOB, content BLOB,
    changed_at REAL NOT NULL, -- seconds since the epoch
    ends REAL                 -- in seconds of meta.elapsed; NULL: has no end
);
-- SQLite uses these where a statement repeats the condition; it then touches no other records.
CREATE INDEX orders_answered ON orders (ends) WHERE state = 'answered';
CREATE INDEX orders_not_answered ON orders (state, created_at) WHERE state != 'answered';
CREATE TABLE meta (elapsed REAL NOT NULL); -- seconds that a proxy has run on this file
INSERT INTO meta VALUES (0);
COMMIT;
"""
_ANSWERED: Final = "state = 'answered'"
_NOT_ANSWERED: Final = "state != 'answered'"
_UNKNOWN: Final = f"{_NOT_ANSWERED} AND state = 'unknown'"
#: The columns that make a record; those that listings show of it.
_SHOWN: Final = f"{', '.join(OrderRecord._fields[:-1])}, status, fields"
_RECORD: Final = f"{_SHOWN}, content"
_PUT: Final = (
    f"INSERT INTO orders ({_RECORD}, changed_at, ends) VALUES ({'?, ' * 15}?) "  # noqa: S608 # constants
    "ON CONFLICT (id) DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at, "
    "ends = excluded.ends, status = excluded.status, fields = excluded.fields, "
    "content = excluded.content"
)

_NOT_OURS: Final = (
    "the file is there, but is no store of this proxy, and was left as it is. Choose another path"
)
_NEWER: Final = (
    "the file was written by a newer version of this proxy, and was left as it is. "
    "Use that version, or choose another path"
)
_DAMAGED: Final = (
    "the file is damaged, and was left as it is. Move it away, and look its last orders up"
)
_NO_SHARED_MEMORY: Final = (
    "the file system of the file does not let processes share memory, which SQLite needs. "
    "Choose a path on a local disk"
)


class Unusable(ProxyError):
    """The file cannot be a store. Its text says why, and what to do."""


class SQLiteStore:
    """Opens the file, or makes it. Raises `Unusable`. owner: hexadecimal digits."""

    def __init__(self, path: Path, owner: str, clock: Clock, *, max_size: int = _MAX_SIZE) -> None:
        self.owner = owner
        self._path = path
        self._clock = clock
        self._most_pages = int(max_size / _PAGE * _FOR_NEW)
        with contextlib.ExitStack() as undo:
            try:
                self._connection = _open(path, max_size)
                undo.callback(self._connection.close)
                self._presence = Presence(path, owner)
                undo.callback(self._presence.end)
                sweep(path)
                (elapsed,) = self._one("SELECT elapsed FROM meta")
                self._base = elapsed - clock.now()
                self._connection.execute("BEGIN IMMEDIATE")
                self._bury()
                self._drop_old_guards()
                self._connection.execute("COMMIT")
                self._files = {name: _identity(name) for name in (str(path), f"{path}-wal")}
            except (sqlite3.Error, OSError) as error:
                raise Unusable(_why(error)) from None
            undo.pop_all()
        self._writer = writer.Writer(self._connection, self._check)

    async def reserve(self, record: OrderRecord) -> OrderRecord | None:
        """Remember a new record, unless there is one with its id."""

        def work() -> OrderRecord | None:
            found = self._find(record.id)
            if found is None:
                self._check_room()
                self._put(record, record.state)
            return None if found is None or found.claim == record.claim else found

        return await self._writer.do(work)

    async def enter(self, record: OrderRecord, state: State, answer: Answer | None = None) -> None:
        """Let it enter a state."""

        def work() -> None:
            row = self._one("SELECT claim, state FROM orders WHERE id = ?", record.id)
            if row is None or row[0] != record.claim or row[1] not in BEFORE[state]:
                raise ClaimLost
            if row[1] != state:
                self._put(record, state, answer)

        await self._writer.do(work, durable=state is State.SENT)

    async def release(self, record: OrderRecord) -> bool:
        """Drop it."""
        delete = "DELETE FROM orders WHERE id = ? AND claim = ?"
        mine = (record.id, record.claim)
        return await self._writer.do(lambda: self._connection.execute(delete, mine).rowcount > 0)

    async def look_up(self, order_id: str) -> OrderRecord | None:
        """Return the record."""
        return await self._writer.do(lambda: self._find(order_id))

    async def listing(self, *, unknown: bool, most: int = LISTED) -> Sequence[OrderRecord]:
        """Return what is remembered."""
        return await self._writer.do(lambda: self._list(most, unknown=unknown))

    async def forget(self, order_id: str) -> bool:
        """Drop it by an operator's word."""

        def work() -> bool:
            found = self._find(order_id)
            can_be = found is not None and may_forget(found.state)
            if can_be:
                self._connection.execute("DELETE FROM orders WHERE id = ?", (order_id,))
            return can_be

        return await self._writer.do(work, durable=True)

    async def upkeep(self) -> Summary:
        """Drop what is over, note whose process died, and say what is held."""

        def work() -> Summary:
            now = self._now()
            for condition in (_ANSWERED, _NOT_ANSWERED):
                delete = f"DELETE FROM orders WHERE {condition} AND ends <= ?"  # noqa: S608 # constants
                self._connection.execute(delete, (now,))
            self._bury()
            self._connection.execute("UPDATE meta SET elapsed = max(elapsed, ?)", (now,))
            (held,) = self._one("SELECT count(*) FROM orders")
            (unknown,) = self._one(f"SELECT count(*) FROM orders WHERE {_UNKNOWN}")  # noqa: S608 # constants
            return Summary(held, unknown, self._list(SHOWN, unknown=True))

        return await self._writer.do(work)

    async def close(self) -> None:
        """End."""
        with contextlib.suppress(StoreAway):
            await self.upkeep()
        await self._writer.close()
        self._presence.end()

    # --- In the writer's thread ---------------------------------------------------------------

    def _now(self) -> float:
        now: float = self._base + self._clock.now()
        return now

    def _check(self) -> None:
        """Whether the path still leads to what is open. Raises `StoreAway`."""
        for name, identity in self._files.items():
            if _identity(name) != identity:
                raise StoreAway(
                    "The file of orders.store was removed or replaced while the proxy ran. "
                    "Put it back, or restart the proxy."
                )

    def _one(self, select: str, *values: object) -> Any:  # noqa: ANN401 # SQLite's values
        return self._connection.execute(select, values).fetchone()

    def _find(self, order_id: str) -> OrderRecord | None:
        row = self._one(f"SELECT {_RECORD}, ends FROM orders WHERE id = ?", order_id)  # noqa: S608 # constants
        if row is None:
            return None
        ends, record = row[-1], _record(row[:-1])
        state: State | None = record.state
        if ends is not None and ends <= self._now():
            state = None
        elif record.owner != self.owner and after_death(record.state) is not record.state:
            state = (
                record.state if is_alive(self._path, record.owner) else after_death(record.state)
            )
        if state is None:
            self._connection.execute("DELETE FROM orders WHERE id = ?", (order_id,))
            return None
        if state is not record.state:
            self._put(record, state)
        return record._replace(state=state)

    def _check_room(self) -> None:
        (pages,) = self._one("PRAGMA page_count")
        if pages >= self._most_pages:
            (free,) = self._one("PRAGMA freelist_count")
            if pages - free >= self._most_pages:
                raise StoreAway(writer.NO_ROOM)

    def _put(self, record: OrderRecord, state: State, answer: Answer | None = None) -> None:
        kept = (None, None, None) if answer is None else answer
        ends = None
        if has_end(state, guarded=record.key is None):
            ends = self._now() + record.lifetime
        self._connection.execute(_PUT, (*record[:-2], state, *kept, self._clock.wall(), ends))

    def _list(self, most: int, *, unknown: bool) -> Sequence[OrderRecord]:
        where = _UNKNOWN if unknown else "TRUE"
        select = f"SELECT {_SHOWN}, NULL FROM orders WHERE {where} ORDER BY created_at LIMIT ?"  # noqa: S608 # constants
        return [_record(row) for row in self._connection.execute(select, (most,))]

    def _bury(self) -> None:
        """Note what became of the orders of processes that have died."""
        open_orders = f"{_NOT_ANSWERED} AND state != 'unknown'"
        select = f"SELECT id, claim FROM orders WHERE {open_orders}"  # noqa: S608 # constants
        found = {
            order: claim.partition(".")[0] for order, claim in self._connection.execute(select)
        }
        owners = set(found.values()) - {self.owner}
        dead = {owner for owner in owners if not is_alive(self._path, owner)}
        for order_id in [order for order, owner in found.items() if owner in dead]:
            self._find(order_id)

    def _drop_old_guards(self) -> None:
        """Drop records of the guard that are over by the wall clock.

        It is about seconds, so the time in which no proxy ran counts too.
        """
        delete = (
            "DELETE FROM orders WHERE key IS NULL AND state IN ('answered', 'unknown') "
            "AND changed_at + lifetime < ?"
        )
        self._connection.execute(delete, (self._clock.wall(),))


def _record(row: Sequence[Any]) -> OrderRecord:
    *values, state, status, fields, content = row
    answer = None if status is None else Answer(status, fields, content)
    return OrderRecord._make([*values, State(state), answer])


def _identity(name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name)  # noqa: PTH116 # once for each transaction
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _why(error: sqlite3.Error | OSError) -> str:
    if isinstance(error, OSError):
        return unwritable(error)
    words = writer.why(error)
    return _DAMAGED if words == writer.DAMAGED else words.removesuffix(".")


def _open(path: Path, max_size: int) -> sqlite3.Connection:
    """Open the file, or make it. Raises `Unusable`, and what SQLite and the system raise."""
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        with contextlib.suppress(PermissionError):
            os.chmod(path, 0o600)  # noqa: PTH101 # as above
        magic = os.read(descriptor, len(_MAGIC))
    finally:
        os.close(descriptor)
    if magic and magic != _MAGIC:
        raise Unusable(_NOT_OURS)
    connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        _judge(connection)
        _set_up(connection, max_size)
    except (sqlite3.Error, Unusable):
        connection.close()
        raise
    return connection


def _judge(connection: sqlite3.Connection) -> None:
    """Whether it is ours, and whole; changes nothing."""
    is_ours = _pragma(connection, "application_id") == _APPLICATION
    if not is_ours and (_has_tables(connection) or _pragma(connection, "application_id")):
        raise Unusable(_NOT_OURS)
    if _pragma(connection, "user_version") > VERSION:
        raise Unusable(_NEWER)
    if _pragma(connection, "quick_check(1)") != "ok":
        raise Unusable(_DAMAGED)


def _set_up(connection: sqlite3.Connection, max_size: int) -> None:
    _pragma(connection, f"max_page_count = {max_size // _PAGE}")
    if _pragma(connection, "journal_mode = WAL") != "wal":
        raise Unusable(_NO_SHARED_MEMORY)
    _pragma(connection, f"journal_size_limit = {_MAX_LOG}")
    if not _has_tables(connection):
        marks = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
        connection.executescript(_SCHEMA.replace("COMMIT;", marks))


def _pragma(connection: sqlite3.Connection, statement: str) -> Any:  # noqa: ANN401 # SQLite's values
    return connection.execute(f"PRAGMA {statement}").fetchone()[0]


def _has_tables(connection: sqlite3.Connection) -> bool:
    (number,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(number)
