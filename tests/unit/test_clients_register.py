"""Who calls, and what this client may do.

Keys, certificates, rights, and what is remembered of a key's use.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from typing import TYPE_CHECKING, Final

import pytest

from proxy.clients import register
from proxy.clients.register import ANYBODY, Client, Register
from proxy.secret import Secret
from proxy.settings import ClientSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Stand still until it is set."""
    return Wall()


def registered(wall: Wall, *entries: ClientSettings) -> Register:
    """Return a register with these clients in force."""
    made = Register(PEPPER, wall)
    made.follow(entries or ENTRIES)
    return made


#: What is shown in X-Proxy-Key, and whose key that is; "" stands for nothing shown, None for a key
#: that is nobody's.
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
#: The names in the certificate, and whose they are.
CERTIFICATES: Final[tuple[tuple[tuple[str, ...], str | None], ...]] = (
    ((), None),
    (("erp.internal",), "erp"),
    (("report.internal",), "report"),
    (("elsewhere.internal", "report.internal"), "report"),
    (("elsewhere.internal",), None),
    (("erp.internal", "report.internal"), None),
    (("erp.internal.",), None),
)
#: What the policy lets pass, and what each client may do of it.
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
    """A key that is shown decides, right or wrong; without one, the certificate does."""
    keys, by_key = shown
    names, by_certificate = certificate
    who = registered(wall).identify(keys, names)
    assert (who.name if who else None) == (by_certificate if by_key == "" else by_key)


@pytest.mark.parametrize(
    ("name", "call"), [*itertools.product(["erp", "shop", "report"], CALLS)], ids=str
)
def test_each_client_may_do_what_its_rights_cover(name: str, call: tuple[bytes, bytes]) -> None:
    """Paths are compared segment by segment and with their case, methods exactly.

    What is not limited is allowed.
    """
    (entry,) = (entry for entry in ENTRIES if entry.name == name)
    assert Client(entry).may(*call) == (name in CALLS[call])


def test_a_path_without_a_slash_at_its_end_is_one_path_and_all_below() -> None:
    """As with `upstream.allowed_paths`, `/accounts` is itself and what stands below it, and not `/accounts2`."""
    client = Client(ClientSettings(name="a", allowed_paths=("/accounts", "/x/")))
    allowed = {
        path
        for path in (b"/accounts", b"/accounts/1", b"/accounts2", b"/x/1", b"/x")
        if client.may(b"GET", path)
    }
    assert allowed == {b"/accounts", b"/accounts/1", b"/x/1"}


def test_without_clients_anybody_may_call(wall: Wall) -> None:
    """With neither keys nor clients, every request passes, whatever it shows, and has no name."""
    for keys, names in (((), ()), ((b"some-key",), ()), ((b"a", b"b"), ("erp.internal",))):
        made = Register(PEPPER, wall)
        assert made.identify(keys, names) is ANYBODY
    assert ANYBODY.name is None
    assert ANYBODY.may(b"DELETE", b"/anything")


def test_a_single_key_makes_a_client_without_a_name(wall: Wall) -> None:
    """`listen.client_key` goes on as before.

    The key is asked for, nobody has a name, and all may do everything.
    """
    made = registered(wall, ClientSettings(keys=secrets(SHOP)))
    who = made.identify([SHOP.encode()])
    assert who is not None
    assert (who.name, who.may(b"POST", ORDERS)) == (None, True)
    assert made.identify([b"some-other-key"]) is None
    assert made.identify([]) is None
    assert made.last_used() == {}


def test_a_removed_key_ends_its_right_at_once(wall: Wall) -> None:
    """From the change on, the next request with the old key is refused, and the new key and its rights are in force."""
    made = registered(wall)
    made.follow([ClientSettings(name="erp", keys=secrets(ERP_NEW), allowed_methods=("GET",))])
    assert made.identify([ERP_OLD.encode()]) is None
    assert made.identify([SHOP.encode()]) is None
    assert made.identify([], ["report.internal"]) is None
    who = made.identify([ERP_NEW.encode()])
    assert who is not None
    assert not who.may(b"POST", ORDERS)


def test_the_use_of_each_key_is_remembered_by_its_position(wall: Wall) -> None:
    """Each key has the time of its last use; one that was never used has none."""
    made = registered(wall)
    made.identify([ERP_NEW.encode()])
    wall.at += 60
    made.identify([ERP_NEW.encode()])
    made.identify([b"some-other-key"])
    assert made.last_used() == {"erp": [None, wall.at], "shop": [None], "report": []}


def test_the_use_of_a_key_stays_with_the_key(wall: Wall) -> None:
    """When the file changes, a key that stays keeps its time, at its new position.

    The same text as a key of another client is another key.
    """
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
    """Neither what is kept nor how it is shown holds a key or a part of one, as text or as a plain hash."""
    made = registered(wall)
    made.identify([ERP_OLD.encode()])
    kept = repr([vars(made), [repr(key.client) for key in made._keys.values()]])
    assert ERP_OLD not in kept
    assert hashlib.blake2b(ERP_OLD.encode(), digest_size=16).hexdigest() not in kept
    assert hashlib.blake2b(ERP_OLD.encode(), digest_size=16).digest() not in made._keys


def test_what_is_compared_depends_on_the_process(wall: Wall) -> None:
    """Two processes keep other digests of one key, so that how long a lookup takes tells nothing that could be collected."""
    one, other = Register(PEPPER, wall), Register(bytes(32), wall)
    for made in (one, other):
        made.follow(ENTRIES)
    assert one._keys.keys().isdisjoint(other._keys)


def test_fifty_clients_cost_what_one_costs(wall: Wall) -> None:
    """The judgement does as much for fifty clients as for one: a hash and a lookup.

    The bound is wide; time is this thread's own.
    """

    def seconds(number: int) -> float:
        made = Register(PEPPER, wall)
        made.follow(
            ClientSettings(name=f"client-{index}", keys=secrets(f"key-of-client-{index}"))
            for index in range(number)
        )
        keys = [f"key-of-client-{number - 1}".encode()]
        begun = time.thread_time()
        for _ in range(2_000):
            made.identify(keys)
        return time.thread_time() - begun

    one = min(seconds(1) for _ in range(5))
    fifty = min(seconds(50) for _ in range(5))
    assert fifty < one * 2


def test_a_name_of_a_certificate_is_compared_without_case(wall: Wall) -> None:
    """DNS names know no case (RFC 4343), neither in the settings nor in a certificate."""
    who = registered(wall).identify([], ["report.internal"])
    assert who is not None
    assert who.name == "report"


def test_the_digest_has_room_for_a_thousand_clients() -> None:
    """Two keys do not meet by chance."""
    assert register._DIGEST_SIZE >= 16
