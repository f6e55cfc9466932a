"""A SQLite file: what survives a kill, and what a disk, a lock or another program can do to it."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.clock import SystemClock
from proxy.orders import sqlite, writer
from proxy.orders.sqlite import SQLiteStore, Unusable
from proxy.orders.states import OrderRecord, State
from proxy.orders.store import ClaimLost, StoreAway
from tests.clock import FakeClock
from tests.orders.made import ANSWER, DAY, placed, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a store that is not there yet."""
    return tmp_path / "orders.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    """Give a store."""
    opened = SQLiteStore(path, "aa", SystemClock())
    yield opened
    await opened.close()


def move(source: Path, target: Path) -> None:
    """Rename a file, as an operator may."""
    source.rename(target)


async def states(store: SQLiteStore) -> dict[str | None, State]:
    """Return the states of all records by key."""
    return {found.key: found.state for found in await store.listing(unknown=False)}


# --- A life ------------------------------------------------------------------------------------


async def test_it_survives_a_restart(path: Path) -> None:
    """What was answered is there, with its answer, and what was unknown."""
    first = SQLiteStore(path, "aa", SystemClock())
    for state in State:
        await placed(first, state.value, state)
    await first.close()
    second = SQLiteStore(path, "bb", SystemClock())
    expected = {"answered": State.ANSWERED, "unknown": State.UNKNOWN, "sent": State.UNKNOWN}
    assert await states(second) == expected
    found = await second.look_up(record("x", "answered").id)
    assert found is not None
    assert found.answer == ANSWER
    await second.close()


def test_only_its_user_may_read_it(path: Path) -> None:
    """Mode 0600, for all its files, also if the file was there with another mode."""
    path.touch(0o644)

    async def use() -> set[int]:
        store = SQLiteStore(path, "aa", SystemClock())
        await store.reserve(record("aa"))
        files = list(path.parent.iterdir())
        assert len(files) == 4
        modes = {stat.S_IMODE(file.stat().st_mode) for file in files}
        await store.close()
        return modes

    assert asyncio.run(use()) == {0o600}
    assert [file.name for file in path.parent.iterdir()] == ["orders.db"]


async def test_a_batch_of_orders_shares_a_transaction(store: SQLiteStore) -> None:
    """Many that come at once are committed together."""
    statements: list[str] = []
    store._connection.set_trace_callback(statements.append)
    await asyncio.gather(*(placed(store, str(number)) for number in range(200)))
    store._connection.set_trace_callback(None)
    assert 2 <= statements.count("COMMIT") < 50


async def test_no_statement_reads_all_records(store: SQLiteStore) -> None:
    """An order and the upkeep find the few records that they need by an index."""
    statements: set[str] = set()
    connection = store._connection
    connection.set_trace_callback(statements.add)
    answered = await placed(store, "k", State.ANSWERED)
    unknown = await placed(store, "l", State.UNKNOWN)
    await store.upkeep()
    await store.look_up(answered.id)
    await store.forget(unknown.id)
    await store.release(answered)
    connection.set_trace_callback(None)

    def plans() -> list[tuple[str, Any]]:
        kinds = ("SELECT", "UPDATE", "DELETE", "INSERT")
        found = [statement for statement in statements if statement.startswith(kinds)]
        assert len(found) > 10
        return [(one, connection.execute(f"EXPLAIN QUERY PLAN {one}").fetchone()) for one in found]

    for statement, plan in await store._writer.do(plans):
        is_whole = plan is not None and plan[3].startswith("SCAN") and "INDEX" not in plan[3]
        assert not is_whole or "meta" in plan[3], statement


async def test_an_order_leaves_after_an_fsync(store: SQLiteStore) -> None:
    """Marking one as sent is committed with `synchronous=FULL`; what follows need not be."""
    order = await placed(store, state=State.RESERVED)
    assert store._writer._synchronous == "NORMAL"
    await store.enter(order, State.SENT)
    assert store._writer._synchronous == "FULL"
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    await store.enter(order, State.ANSWERED, ANSWER)
    assert store._writer._synchronous == "NORMAL"


async def test_a_clock_that_steps_drops_nothing(path: Path) -> None:
    """Time is counted while a proxy runs: neither a step nor a restart in another year ends it."""
    clock = FakeClock()
    store = SQLiteStore(path, "aa", clock)
    await placed(store, state=State.ANSWERED)
    clock.step_wall(1e9)
    await clock.advance(DAY - 10)
    await store.close()
    for owner, step, held in (("b0", 1e9, 1), ("b1", -5e9, 1), ("cc", 0, 0)):
        again = FakeClock()
        again.step_wall(step)
        store = SQLiteStore(path, owner, again)
        await again.advance(4)
        assert (await store.upkeep()).held == held
        await store.close()


async def test_the_guard_ends_while_no_proxy_runs(path: Path) -> None:
    """It is about seconds: a proxy that starts the next day does not know of it."""
    clock = FakeClock()
    store = SQLiteStore(path, "aa", clock)
    await placed(store, None, State.UNKNOWN, lifetime=60.0)
    await store.close()
    clock.step_wall(61)
    store = SQLiteStore(path, "bb", clock)
    assert await states(store) == {}
    await store.close()


# --- A kill ------------------------------------------------------------------------------------

_VICTIM = """
    async def main(store):
        for number in range(1_000_000):
            order = record("dead", f"k{number}")
            await store.reserve(order)
            print(f"reserved {number}", flush=True)
            await store.enter(order, State.SENT)
            print(f"sent {number}", flush=True)
            if number % 3 == 0:
                await store.enter(order, State.ANSWERED, ANSWER)
                print(f"answered {number}", flush=True)
            elif number % 3 == 1:
                await store.release(order)
                print(f"released {number}", flush=True)
"""


def program(path: Path, main: str) -> list[str]:
    """Return a command that runs `main` on a store at a path."""
    imports = """
        import asyncio, resource, signal
        from pathlib import Path
        from proxy.clock import SystemClock
        from proxy.orders.sqlite import SQLiteStore
        from proxy.orders.states import State
        from proxy.orders.store import StoreAway
        from tests.orders.made import ANSWER, placed, record
    """
    run = f"""
        async def run():
            await main(SQLiteStore(Path({str(path)!r}), "dead", SystemClock()))

        asyncio.run(run())
    """
    return [sys.executable, "-c", "".join(map(textwrap.dedent, (imports, main, run)))]


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
@pytest.mark.parametrize("lines", [1, 2, 3, 333])
def test_a_killed_process_leaves_what_it_said(path: Path, lines: int) -> None:
    """SIGKILL at any moment: each step that was over is there, and what was sent is unknown."""
    with subprocess.Popen(program(path, _VICTIM), stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        said = [victim.stdout.readline().split() for _ in range(lines)]
        victim.send_signal(signal.SIGKILL)
        said += [line.split() for line in victim.stdout]
    asyncio.run(_judge_what_is_left(path, said))
    assert [file.name for file in path.parent.iterdir()] == ["orders.db"]


async def _judge_what_is_left(path: Path, said: list[list[str]]) -> None:
    store = SQLiteStore(path, "witness", SystemClock())
    expected = {"answered": State.ANSWERED, "sent": State.UNKNOWN, "released": None}
    newest = said[-1][1]  # it died between this step and the next
    for number, word in {number: word for word, number in said}.items():
        found = await store.look_up(record("x", f"k{number}").id)
        if word == "answered" or number != newest:
            assert (found and found.state) is expected[word]
        assert found is None or found.answer == (ANSWER if found.state is State.ANSWERED else None)
    assert set((await states(store)).values()) <= {State.ANSWERED, State.UNKNOWN}
    await store.close()


async def test_a_living_process_is_not_taken_for_dead(path: Path) -> None:
    """Two on one file, as during an update: each one's orders are under way until it ends."""
    first = SQLiteStore(path, "aa", SystemClock())
    order = await placed(first)
    second = SQLiteStore(path, "bb", SystemClock())
    await second.upkeep()
    assert await states(second) == {"k": State.SENT}
    await first.enter(order, State.ANSWERED, ANSWER)
    await first.close()
    assert await states(second) == {"k": State.ANSWERED}
    await second.close()


# --- A file that is none -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_made", "spoil", "why"),
    [
        (False, b"listen: {port: 8080}\n" * 1000, "no store of this proxy"),
        (False, "CREATE TABLE theirs (a)", "no store of this proxy"),
        (False, "PRAGMA application_id = 7", "no store of this proxy"),
        (True, "PRAGMA user_version = 2", "newer version"),
        (True, "DROP TABLE meta", "cannot be used"),
        (True, b"\xff" * 8192, "damaged"),
    ],
)
def test_a_file_that_is_none_is_left_as_it_is(
    path: Path, *, is_made: bool, spoil: bytes | str, why: str
) -> None:
    """It is named in words, and no byte of it changes."""

    async def make() -> None:
        store = SQLiteStore(path, "aa", SystemClock())
        await placed(store)
        await store.close()

    if is_made:
        asyncio.run(make())
    if isinstance(spoil, str):
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(spoil)
    else:
        with path.open("r+b" if is_made else "wb") as file:
            file.seek(4096 * is_made)
            file.write(spoil)
    before = path.read_bytes()
    with pytest.raises(Unusable, match=why):
        SQLiteStore(path, "aa", SystemClock())
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["orders.db"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A directory that is missing, a directory in the file's place, and a read-only directory."""
    (tmp_path / "read-only").mkdir(mode=0o500)
    places = {
        tmp_path / "nowhere" / "orders.db": "its directory does not exist",
        tmp_path: "it is a directory",
    }
    if os.geteuid() != 0:
        places[tmp_path / "read-only" / "orders.db"] = "cannot be written"
    for place, why in places.items():
        with pytest.raises(Unusable, match=why):
            SQLiteStore(place, "aa", SystemClock())


# --- What can happen to a file that is open ----------------------------------------------------


async def test_a_file_that_was_removed_takes_no_orders(store: SQLiteStore, path: Path) -> None:
    """What would be gone at the next start is not remembered; back in its place it is used."""
    order = await placed(store, state=State.RESERVED)
    wal, away = path.parent / "orders.db-wal", path.with_suffix(".away")
    move(path, away)
    with pytest.raises(StoreAway, match="removed or replaced"):
        await store.enter(order, State.SENT)
    move(away, path)
    await store.enter(order, State.SENT)
    move(wal, away)
    with pytest.raises(StoreAway, match="removed or replaced"):
        await store.reserve(record("aa", "l"))
    move(away, wal)


async def test_a_file_that_is_locked(store: SQLiteStore, path: Path) -> None:
    """Within a few seconds the call fails, and afterwards it is used again."""
    store._connection.execute("PRAGMA busy_timeout = 50")
    order = await placed(store, state=State.RESERVED)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreAway, match="locked"):
        await store.enter(order, State.SENT)
    other.execute("ROLLBACK")
    other.close()
    await store.enter(order, State.SENT)


async def test_a_file_that_is_full(path: Path) -> None:
    """Nothing that was remembered is dropped for what is new; what ends makes room."""
    store = SQLiteStore(path, "aa", SystemClock(), max_size=40 * 4096)
    orders: list[OrderRecord] = []

    async def fill() -> None:
        for number in range(10_000):
            orders.extend([await placed(store, f"key-{number}", State.RESERVED)])

    with pytest.raises(StoreAway, match="no room"):
        await fill()
    assert (await store.upkeep()).held == len(orders) > 50
    await store.enter(orders[-1], State.SENT)
    await store.enter(orders[-1], State.ANSWERED, ANSWER._replace(content=b"x" * 1000))
    for order in orders[:40]:
        assert await store.release(order)
    assert await store.reserve(record("aa", "new")) is None
    (size,) = store._connection.execute("PRAGMA page_count").fetchone()
    assert 36 <= size <= 40
    await store.close()


_SMALL_DISK = """
    async def main(store):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        for number in range(100_000):
            try:
                await placed(store, f"k{number}")
            except StoreAway as error:
                print(f"away {number} {error}")
                return
            print(f"sent {number}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
async def test_a_disk_that_is_full(path: Path) -> None:
    """The kernel takes no more bytes: that order is refused, and all before it are remembered."""
    ran = await asyncio.to_thread(
        subprocess.run,
        program(path, _SMALL_DISK),
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    *sent, away = ran.stdout.splitlines()
    assert away.startswith(f"away {len(sent)} ")
    assert "Check" in away or "Free" in away
    store = SQLiteStore(path, "aa", SystemClock())
    found = await states(store)
    assert {f"k{number}" for number in range(len(sent))} <= found.keys()
    assert set(found.values()) == {State.UNKNOWN}
    await store.close()


async def test_a_disk_that_hangs(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller waits for a bounded time; the work may be done later, and can be taken back."""
    monkeypatch.setattr(writer, "_PATIENCE", 0.05)
    order = await placed(store, state=State.RESERVED)
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang() -> None:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()

    hanging = asyncio.create_task(store._writer.do(hang))
    marking = asyncio.create_task(store.enter(order, State.SENT))
    await asyncio.sleep(0.2)
    gate.set()
    with pytest.raises(StoreAway, match="took longer"):
        await marking
    await asyncio.wait({hanging})
    assert isinstance(hanging.exception(), StoreAway)
    monkeypatch.setattr(writer, "_PATIENCE", 5.0)
    assert await store.release(order)


async def test_a_disk_that_does_not_keep_up(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is bounded."""
    monkeypatch.setattr(writer, "_MOST_WAITING", 0)
    with pytest.raises(StoreAway, match="wait for the disk"):
        await store.reserve(record("aa"))


async def test_a_claim_that_is_lost_spoils_no_batch(store: SQLiteStore) -> None:
    """Of orders that share a transaction, one that fails by itself does not fail the others."""
    good, lost = await placed(store, "good", State.RESERVED), record("aa", "lost")
    results = await asyncio.gather(
        store.enter(lost, State.SENT), store.enter(good, State.SENT), return_exceptions=True
    )
    assert isinstance(results[0], ClaimLost)
    assert await states(store) == {"good": State.SENT}


async def test_a_mistake_of_ours_stops_nothing(store: SQLiteStore) -> None:
    """Work that raises an unexpected exception changes nothing, and the thread goes on."""

    def mistaken() -> None:
        store._connection.execute("DELETE FROM orders")
        raise ZeroDivisionError

    await placed(store)
    with pytest.raises(ZeroDivisionError):
        await store._writer.do(mistaken)
    assert await states(store) == {"k": State.SENT}


def test_every_error_has_words() -> None:
    """Known or not, and none of them is SQLite's own text."""
    for code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_AUTH):
        error = sqlite3.OperationalError("secret")
        error.sqlite_errorcode = code
        assert "orders" in writer.why(error)
        assert "secret" not in writer.why(error) + sqlite._why(error)
