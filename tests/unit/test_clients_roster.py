"""The settings' clients become register, rates and counts, at the start and at each change."""

from pathlib import Path
from typing import Any, Final

import pytest

from proxy.clients.register import ANYBODY
from proxy.clients.roster import Roster
from proxy.errors import Failed
from proxy.records import Record
from proxy.settings import Settings
from tests.clock import FakeClock
from tests.unit.made import settings as configured

ERP, SHOP = b"key-of-the-erp", b"key-of-the-shop"
CLIENTS: Final[list[dict[str, Any]]] = [
    {"name": "erp", "key": ERP.decode(), "requests_per_second": 1},
    {
        "name": "shop",
        "key": SHOP.decode(),
        "allowed_methods": ["GET"],
        "allowed_paths": ["/corporate-accounts/"],
    },
]


def with_clients(*clients: dict[str, Any], **sections: dict[str, Any]) -> Settings:
    """Return settings with these clients."""
    return configured(listen={"clients": [*clients]}, **sections)


def roster(settings: Settings) -> Roster:
    """Return a roster that follows these settings."""
    return Roster(settings, FakeClock(), bytes(32))


async def test_the_clients_of_the_settings_are_in_force() -> None:
    """Key, rights and rate of each; none for an unknown key."""
    made = roster(with_clients(*CLIENTS, pacing={"max_wait_seconds": 0.5}))
    erp, shop = made.register.identify([ERP]), made.register.identify([SHOP])
    assert erp is not None
    assert shop is not None
    assert (erp.name, erp.may(b"DELETE", b"/x")) == ("erp", True)
    assert (shop.name, shop.may(b"GET", b"/corporate-accounts/a")) == ("shop", True)
    assert not shop.may(b"POST", b"/corporate-accounts/a")
    assert not shop.may(b"GET", b"/organizations/a")
    assert made.register.identify([b"some-other-key"]) is None
    assert [made.rates.take(name) for name in ("erp", "erp")] == [True, False]
    assert [made.rates.take(name) for name in ("shop", "shop")] == [True, True]
    with pytest.raises(Failed):
        await made.rates.turn("erp")


def record(
    client: str | None, status: int = 200, *, refused: bool = False, error: str | None = None
) -> Record:
    """Return a finished request of that client."""
    return Record("id", "GET", "/a", status, 0.01, error=error, refused=refused, client=client)


def test_all_that_is_set_follows_a_change() -> None:
    """The next request meets the new ones; a client that stays keeps its counts."""
    made = roster(with_clients(*CLIENTS))
    for name in ("erp", "shop"):
        made.count(record(name))
    made.follow(with_clients({"name": "web", "key": ERP.decode()}, CLIENTS[1]))
    who = made.register.identify([ERP])
    assert who is not None
    assert who.name == "web"
    assert made.rates.take("erp")
    assert made.rates.take("erp")
    assert [(row["name"], row["calls"]) for row in made.by_name()] == [("web", 0), ("shop", 1)]
    now = FakeClock().wall()
    assert made.by_name()[0]["keys"] == [{"position": 1, "last_used_at": now}]


def test_without_clients_the_single_key_goes_on_as_before() -> None:
    """With `listen.client_key` its holder has no name; with neither, anybody may call."""
    made = roster(configured(listen={"client_key": ERP.decode()}))
    who = made.register.identify([ERP])
    assert who is not None
    assert (who.name, made.by_name()) == (None, [])
    assert who.may(b"POST", b"/anything")
    assert made.register.identify([SHOP]) is None
    assert made.register.identify([]) is None
    assert roster(configured()).register.identify([]) is ANYBODY


def test_all_keys_of_a_file_are_valid(tmp_path: Path) -> None:
    """Keys overlap during a rotation; each has its own last use."""
    file = tmp_path / "erp.key"
    file.write_bytes(ERP + b"\n\n" + SHOP + b"\n")
    made = roster(with_clients({"name": "erp", "key_file": str(file)}))
    for key in (ERP, SHOP):
        who = made.register.identify([key])
        assert who is not None
        assert who.name == "erp"
    assert [len(row["keys"]) for row in made.by_name()] == [2]  # type: ignore[arg-type]


def test_calls_and_refusals_are_counted_by_client() -> None:
    """A refusal is the proxy's own, by its rules or the client's rate."""
    clock = FakeClock()
    made = Roster(with_clients(*CLIENTS), clock, bytes(32))
    made.count(record("erp"))
    made.count(record("erp", 404))
    made.count(record("erp", 403, refused=True, error="client-not-allowed"))
    made.count(record("erp", 429, error="http_request_denied"))
    clock.step_wall(5)
    made.count(record("erp", 502, error="connection_refused"))
    made.count(record(None))
    made.count(record("unknown"))
    erp, shop = ({key: row[key] for key in row if key != "keys"} for row in made.by_name())
    assert erp == {"name": "erp", "calls": 5, "refused": 2, "last_call_at": clock.wall()}
    assert shop == {"name": "shop", "calls": 0, "refused": 0, "last_call_at": None}
