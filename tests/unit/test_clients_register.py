"""Which client calls, by key or certificate, what it may do, and when a key was last used."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import pytest

from proxy.clients.register import ANYBODY, Client, Register
from proxy.secret import Secret
from proxy.settings import ClientSettings

PEPPER: Final = bytes(range(32))
ERP_OLD, ERP_NEW, SHOP = "erp-key-of-2026", "erp-key-of-2027", "shop-key-of-2027"
ORDERS, ACCOUNTS = b"/corporate-mobile-subscriptions/v2/orders", b"/corporate-accounts/v2/accounts"


def secrets(*keys: str) -> tuple[Secret, ...]:
    """Return keys as the settings hold them."""
    return tuple(Secret(key) for key in keys)


ENTRIES: Final = (
    ClientSettings(name="erp", keys=secrets(ERP_OLD, ERP_NEW), certificate="erp.internal"),
    ClientSettings(
        name="shop",
        keys=secrets(SHOP),
        allowed_paths=("/corporate-mobile-subscriptions/",),
        allowed_methods=("POST",),
    ),
    ClientSettings(name="report", certificate="Report.internal", allowed_methods=("GET", "HEAD")),
)


class Wall:
    """A wall clock that a test sets."""

    at = 1_800_000_000.0

    def __call__(self) -> float:
        """Give the time."""
        return self.at


@pytest.fixture
def wall() -> Wall:
    """Give a clock that stands still."""
    return Wall()


def registered(wall: Wall, *entries: ClientSettings) -> Register:
    """Return a register with these clients in force."""
    made = Register(PEPPER, wall)
    made.follow(entries or ENTRIES)
    return made


#: The X-Proxy-Key fields and the client; "" stands for no field, None for an unknown key.
KEYS: Final[tuple[tuple[tuple[bytes, ...], str | None], ...]] = (
    ((), ""),
    ((ERP_OLD.encode(),), "erp"),
    ((ERP_NEW.encode(),), "erp"),
    ((SHOP.encode(),), "shop"),
    ((b"some-other-key",), None),
    ((b"",), None),
    ((ERP_OLD.encode()[:-1],), None),
    ((ERP_OLD.encode() + b"x",), None),
    ((ERP_OLD.upper().encode(),), None),
    ((b"\xff\x00" * 16_000,), None),
    ((ERP_OLD.encode(), ERP_OLD.encode()), None),
    ((ERP_OLD.encode(), SHOP.encode()), None),
)
#: The names in the certificate (RFC 4343: without case) and the client.
CERTIFICATES: Final[tuple[tuple[tuple[str, ...], str | None], ...]] = (
    ((), None),
    (("erp.internal",), "erp"),
    (("report.internal",), "report"),
    (("elsewhere.internal", "report.internal"), "report"),
    (("elsewhere.internal",), None),
    (("erp.internal", "report.internal"), None),
    (("erp.internal.",), None),
)
#: Calls that the policy allows, and the clients that may make them.
CALLS: Final = {
    (b"GET", ACCOUNTS): {"erp", "report"},
    (b"HEAD", ACCOUNTS): {"erp", "report"},
    (b"POST", ACCOUNTS): {"erp"},
    (b"DELETE", ACCOUNTS): {"erp"},
    (b"GET", ORDERS): {"erp", "report"},
    (b"POST", ORDERS): {"erp", "shop"},
    (b"POST", b"/corporate-mobile-subscriptions/"): {"erp", "shop"},
    (b"POST", b"/corporate-mobile-subscriptions"): {"erp"},
    (b"POST", b"/corporate-mobile-subscriptions-v2/"): {"erp"},
    (b"POST", b"/CORPORATE-MOBILE-SUBSCRIPTIONS/v2/orders"): {"erp"},
}


@pytest.mark.parametrize(
    ("shown", "certificate"),
    [*itertools.product(KEYS, CERTIFICATES)],
    ids=lambda case: f"{case[1]!r}{len(case[0])}",
)
def test_each_combination_of_key_and_certificate_is_one_client_or_none(
    shown: tuple[Sequence[bytes], str | None],
    certificate: tuple[Sequence[str], str | None],
    wall: Wall,
) -> None:
    """A key decides, right or wrong; without one, the certificate does."""
    keys, by_key = shown
    names, by_certificate = certificate
    who = registered(wall).identify(keys, names)
    assert (who.name if who else None) == (by_certificate if by_key == "" else by_key)


@pytest.mark.parametrize(
    ("name", "call"), [*itertools.product(["erp", "shop", "report"], CALLS)], ids=str
)
def test_each_client_may_do_what_its_rights_cover(name: str, call: tuple[bytes, bytes]) -> None:
    """Paths by segment and case, methods exactly; without limits, all is allowed."""
    (entry,) = (entry for entry in ENTRIES if entry.name == name)
    assert Client(entry).may(*call) == (name in CALLS[call])


def test_a_path_without_a_slash_at_its_end_is_one_path_and_all_below() -> None:
    """As with `upstream.allowed_paths`, but not `/accounts2`."""
    client = Client(ClientSettings(name="a", allowed_paths=("/accounts", "/x/")))
    allowed = {
        path
        for path in (b"/accounts", b"/accounts/1", b"/accounts2", b"/x/1", b"/x")
        if client.may(b"GET", path)
    }
    assert allowed == {b"/accounts", b"/accounts/1", b"/x/1"}


def test_without_clients_anybody_may_call(wall: Wall) -> None:
    """Every request passes, whatever it shows, and has no name."""
    for keys, names in (((), ()), ((b"some-key",), ()), ((b"a", b"b"), ("erp.internal",))):
        made = Register(PEPPER, wall)
        assert made.identify(keys, names) is ANYBODY
    assert ANYBODY.name is None
    assert ANYBODY.may(b"DELETE", b"/anything")


def test_clients_that_cannot_be_read_leave_the_register_closed(wall: Wall) -> None:
    """A failure on the way changes nothing."""
    register = registered(wall, ClientSettings(name="a", keys=secrets(SHOP)))

    def broken() -> Iterator[ClientSettings]:
        yield ClientSettings(name="b")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 # its own
        register.follow(broken())
    assert register.identify([]) is None
    assert register.identify([SHOP.encode("ascii")]) is not None


def test_the_use_of_each_key_is_remembered_by_its_position(wall: Wall) -> None:
    """A key that was never used has no time."""
    made = registered(wall)
    made.identify([ERP_NEW.encode()])
    wall.at += 60
    made.identify([ERP_NEW.encode()])
    made.identify([b"some-other-key"])
    assert made.last_used() == {"erp": [None, wall.at], "shop": [None], "report": []}


def test_the_use_of_a_key_stays_with_the_key(wall: Wall) -> None:
    """At its new position; the same key of another client is another key."""
    made = registered(wall)
    made.identify([ERP_NEW.encode()])
    made.identify([SHOP.encode()])
    made.follow(
        [
            ClientSettings(name="erp", keys=secrets("erp-key-of-2028", ERP_NEW)),
            ClientSettings(name="web", keys=secrets(SHOP)),
        ]
    )
    assert made.last_used() == {"erp": [None, wall.at], "web": [None]}


def test_nothing_shows_a_key(wall: Wall) -> None:
    """Neither as text nor as a hash that another process has, so lookup times reveal nothing."""
    made, other = registered(wall), Register(bytes(32), wall)
    other.follow(ENTRIES)
    assert made._keys.keys().isdisjoint(other._keys)
    made.identify([ERP_OLD.encode()])
    kept = repr([vars(made), [repr(key.client) for key in made._keys.values()]])
    assert ERP_OLD not in kept
    assert hashlib.blake2b(ERP_OLD.encode(), digest_size=16).hexdigest() not in kept
    assert hashlib.blake2b(ERP_OLD.encode(), digest_size=16).digest() not in made._keys
