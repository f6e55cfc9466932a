"""`telenor-proxy check` on the store of orders.

What it finds, in words and as JSON, and what it leaves alone.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

from proxy import check
from proxy.check import Options
from proxy.clock import SystemClock
from proxy.findings import Finding, Mark
from proxy.orders.sqlite import SQLiteStore
from proxy.orders.states import State
from proxy.sandbox.server import running
from proxy.sandbox.state import DEFAULT_CREDENTIALS, Sandbox
from proxy.settings import examine
from tests.orders.made import record
from tests.orders.servers import RedisServer, free_port, needs_redis

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ENVIRON = {
    f"TELENOR_PROXY_OAUTH__{name.upper()}": getattr(DEFAULT_CREDENTIALS, name)
    for name in ("client_id", "client_secret", "username", "password")
}


async def found(
    store: Path | str, *, offline: bool = False, url: str | None = None
) -> Finding | None:
    """Check with a sandbox that works, and give the finding about orders, which comes last."""
    environ = ENVIRON | {"TELENOR_PROXY_ORDERS__STORE": str(store)}
    async with running(Sandbox()) as sandbox:
        environ["TELENOR_PROXY_UPSTREAM__URL"] = url or sandbox
        reading = examine(None, environ, offline=offline)
        options = Options(offline=offline)
        findings = [finding async for finding in check._findings(reading, environ, None, options)]
    orders = [finding for finding in findings if finding.step == "orders"]
    assert orders in ([], findings[-1:])
    return orders[0] if orders else None


async def finding_on(store: Path | str, *, offline: bool = False) -> Finding:
    """Give the finding, which has to be there."""
    finding = await found(store, offline=offline)
    assert finding is not None
    return finding


async def test_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    """It is made by `serve` only; a directory that cannot be written is a failure."""
    finding = await finding_on(tmp_path / "orders.db")
    assert finding.mark is Mark.OK
    assert "The proxy makes it" in finding.text
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 # a test's own directory
    finding = await finding_on(tmp_path / "nowhere" / "orders.db")
    assert finding.mark is Mark.FAILED
    assert "cannot be written: No such file" in finding.text
    assert (await finding_on("memory")).mark is Mark.OK


async def test_what_a_file_holds(tmp_path: Path) -> None:
    """Its version, and how many orders are remembered.

    Unknown ones are a warning with what to do.
    """
    path = tmp_path / "orders.db"
    store = SQLiteStore(path, "aa", SystemClock())
    assert (await finding_on(path)).mark is Mark.OK
    order, unknown = record("aa", "k"), record("aa", "l")
    for one in (order, unknown):
        await store.reserve(one)
        await store.enter(one, State.SENT)
    await store.enter(unknown, State.UNKNOWN)
    finding = await finding_on(path)
    assert finding.mark is Mark.WARNING
    assert "holds 2 orders, 1 of them with an unknown outcome" in finding.text
    assert "orders list --unknown" in finding.text
    assert dict(finding.more) == {"held": 2, "unknown": 1, "version": 1}
    await store.enter(order, State.SENT)  # a check takes no claim away
    await store.close()


async def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    """One of a newer version, and one that is something else; both stay as they are."""
    path = tmp_path / "orders.db"
    await SQLiteStore(path, "aa", SystemClock()).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    other = tmp_path / "words.txt"
    other.write_text("words\n" * 100, encoding="utf-8")
    for name, why in ((path, "newer version"), (other, "no store of this proxy")):
        before = name.read_bytes()
        finding = await finding_on(name)
        assert finding.mark is Mark.FAILED
        assert why in finding.text
        assert name.read_bytes() == before


@needs_redis
async def test_a_redis(tmp_path: Path) -> None:
    """One that answers, and one that is away."""
    server = RedisServer(tmp_path).start()
    try:
        finding = await finding_on(server.url)
    finally:
        server.stop()
    assert finding.mark is Mark.OK
    assert "holds 0 orders" in finding.text
    finding = await finding_on(f"redis://127.0.0.1:{free_port()}/0")
    assert finding.mark is Mark.FAILED
    assert "cannot be reached" in finding.text


async def test_offline(tmp_path: Path) -> None:
    """Nothing is opened: a directory that is not there is a warning, all else is silent."""
    assert await found(tmp_path / "orders.db", offline=True) is None
    assert await found(f"redis://127.0.0.1:{free_port()}/0", offline=True) is None
    finding = await finding_on(tmp_path / "nowhere" / "orders.db", offline=True)
    assert finding.mark is Mark.WARNING
    assert "there is no directory" in finding.text


async def test_without_a_token_it_is_not_looked_at(tmp_path: Path) -> None:
    """The first failure ends a check."""
    assert await found(tmp_path / "nowhere" / "x", url=f"http://127.0.0.1:{free_port()}") is None


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
