"""`telenor-proxy check` on the store of orders.

What it finds, in words and as JSON, and what it leaves alone.
"""

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from proxy import check
from proxy.check import Options
from proxy.clock import SystemClock
from proxy.findings import Finding, Mark
from proxy.orders.sqlite import SQLiteStore
from proxy.orders.states import State
from proxy.sandbox.server import running
from proxy.sandbox.state import DEFAULT_CREDENTIALS, Sandbox
from proxy.settings import examine
from tests.orders.made import placed
from tests.orders.servers import RedisServer, needs_redis
from tests.ports import free_port

ENVIRON = {
    f"TELENOR_PROXY_OAUTH__{name.upper()}": getattr(DEFAULT_CREDENTIALS, name)
    for name in ("client_id", "client_secret", "username", "password")
}


async def findings(
    store: Path | str, *, offline: bool = False, url: str | None = None
) -> list[Finding]:
    """Check with a sandbox that works; return what is found about orders, which comes last."""
    environ = ENVIRON | {"TELENOR_PROXY_ORDERS__STORE": str(store)}
    async with running(Sandbox()) as sandbox:
        environ["TELENOR_PROXY_UPSTREAM__URL"] = url or sandbox
        reading = examine(None, environ, offline=offline)
        options = Options(offline=offline)
        found = [finding async for finding in check._findings(reading, environ, None, options)]
    orders = [finding for finding in found if finding.step == "orders"]
    assert orders in ([], found[-1:])
    return orders


NOWHERE = "redis://127.0.0.1:1/0"  # tcpmux, which nothing speaks


@pytest.mark.parametrize(
    ("store", "offline", "mark", "text"),
    [
        ("memory", False, Mark.OK, "until the proxy ends"),
        ("orders.db", False, Mark.OK, "The proxy makes it"),
        ("nowhere/orders.db", False, Mark.FAILED, "its directory does not exist"),
        ("newer.db", False, Mark.FAILED, "newer version"),
        ("words.txt", False, Mark.FAILED, "no store of this proxy"),
        pytest.param(NOWHERE, False, Mark.FAILED, "cannot be reached", marks=needs_redis),
        ("orders.db", True, None, ""),
        (NOWHERE, True, None, ""),
        ("nowhere/orders.db", True, Mark.WARNING, "there is no directory"),
    ],
)
async def test_what_is_found(
    tmp_path: Path, store: str, mark: Mark | None, text: str, *, offline: bool
) -> None:
    """Nothing is made or changed; offline, nothing is opened."""
    await SQLiteStore(tmp_path / "newer.db", "aa", SystemClock()).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "newer.db")) as connection:
        connection.execute("PRAGMA user_version = 2")
    (tmp_path / "words.txt").write_text("words\n" * 100, encoding="utf-8")
    before = _contents(tmp_path)
    named = store if store in {"memory", NOWHERE} else str(tmp_path / store)
    found = await findings(named, offline=offline)
    assert [finding.mark for finding in found] == ([] if mark is None else [mark])
    assert all(text in finding.text for finding in found)
    assert _contents(tmp_path) == before


def _contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


async def test_what_a_file_holds(tmp_path: Path) -> None:
    """Its version and its records; unknown ones are a warning with what to do."""
    path = tmp_path / "orders.db"
    store = SQLiteStore(path, "aa", SystemClock())
    assert [finding.mark for finding in await findings(path)] == [Mark.OK]
    order = await placed(store, "k")
    await placed(store, "l", State.UNKNOWN)
    (finding,) = await findings(path)
    assert finding.mark is Mark.WARNING
    assert "holds 2 orders, 1 of them with an unknown outcome" in finding.text
    assert "orders list --unknown" in finding.text
    assert dict(finding.more) == {"held": 2, "unknown": 1, "version": 1}
    await store.enter(order, State.SENT)  # a check takes no claim away
    await store.close()


@needs_redis
async def test_a_redis(tmp_path: Path) -> None:
    """One that answers."""
    with RedisServer(tmp_path).start() as server:
        (finding,) = await findings(server.url)
    assert finding.mark is Mark.OK
    assert "holds 0 orders" in finding.text


async def test_without_a_token_it_is_not_looked_at(tmp_path: Path) -> None:
    """The first failure ends a check."""
    assert await findings(tmp_path / "nowhere" / "x", url=f"http://127.0.0.1:{free_port()}") == []


async def test_its_last_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, an object a line; and a failure of the store is not said to be one of the token."""
    path = tmp_path / "orders.db"
    path.write_text("words\n" * 100, encoding="utf-8")
    async with running(Sandbox()) as url:
        environ = ENVIRON | {
            "TELENOR_PROXY_ORDERS__STORE": str(path),
            "TELENOR_PROXY_UPSTREAM__URL": url,
        }
        reading = examine(None, environ)
        for options in (Options(as_json=True), Options()):
            assert await check._run(reading, environ, None, options) == 78
        away = environ | {"TELENOR_PROXY_ORDERS__STORE": f"redis://127.0.0.1:{free_port()}/0"}
        assert await check._run(examine(None, away), away, None, Options()) == 1  # it may come
    lines = capsys.readouterr().out.splitlines()
    objects = [json.loads(line) for line in lines if line.startswith("{")]
    assert (objects[-1]["step"], objects[-1]["mark"]) == ("orders", "failed")
    assert lines[-1] == "Orders cannot be remembered. Fix what failed, and check again."
