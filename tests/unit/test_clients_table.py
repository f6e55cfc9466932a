"""Register, policy and rates together: each combination of what a client shows, asks and may do.

The tables say what is expected; the test goes through all of their combinations.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.clients.roster import Roster
from proxy.errors import Problem
from proxy.forward import policy
from proxy.problems import ProblemKind
from tests.clock import FakeClock
from tests.unit.made import settings

if TYPE_CHECKING:
    from proxy.settings import Settings

ALLOWED: Final = ["/corporate-accounts/", "/corporate-mobile-subscriptions/"]
#: Each is known in another way: by a certificate, by a key or a certificate, by a key.
CLIENTS: Final[list[dict[str, Any]]] = [
    {"name": "erp", "certificate": "erp.internal", "requests_per_second": 1},
    {
        "name": "shop",
        "key": "key-of-the-shop",
        "certificate": "shop.internal",
        "allowed_paths": ["/corporate-mobile-subscriptions/v2/orders"],
        "requests_per_second": 1,
    },
    {"name": "report", "key": "key-of-the-report", "allowed_methods": ["GET", "HEAD"]},
]
#: The field X-Proxy-Key and the client; "" stands for no field, None for an unknown key.
KEYS: Final[dict[bytes, str | None]] = {
    b"": "",
    b"X-Proxy-Key: key-of-the-shop\r\n": "shop",
    b"X-Proxy-Key: key-of-the-report\r\n": "report",
    b"X-Proxy-Key: some-other-key\r\n": None,
    b"X-Proxy-Key: key-of-the-shop\r\nX-Proxy-Key: key-of-the-shop\r\n": None,
}
#: The name in the certificate and the client.
CERTIFICATES: Final[dict[str, str | None]] = {
    "": None,
    "erp.internal": "erp",
    "shop.internal": "shop",
    "elsewhere.internal": None,
}
METHODS: Final = {
    b"GET": {"erp", "shop", "report"},
    b"HEAD": {"erp", "shop", "report"},
    b"POST": {"erp", "shop"},
}
#: Paths and the clients that may call them; None is a path that the listener refuses to all.
PATHS: Final[dict[bytes, set[str] | None]] = {
    b"/corporate-mobile-subscriptions/v2/orders": {"erp", "shop", "report"},
    b"/corporate-mobile-subscriptions/v2/orders/1?a=b": {"erp", "shop", "report"},
    b"/corporate-mobile-subscriptions/v2/orders-of-others": {"erp", "report"},
    b"/corporate-accounts/v2/accounts": {"erp", "report"},
    b"/organizations/v1/organizations": None,
    b"/oauth/v2/token": None,
}
#: Calls made just before, and the clients that are then beyond their rates.
BEFORE: Final[dict[int, set[str]]] = {0: set(), 1: {"erp", "shop"}}
PATIENCE: Final = 0.5  # seconds, less than one interval of the clients' rates


def configured() -> Settings:
    """Return the settings; certificates are added here, since the listener's own are left out."""
    clients = [{"key": f"unused-key-of-{client['name']}"} | client for client in CLIENTS]
    for client in clients:
        client.pop("certificate", None)
    plain = settings(
        listen={"clients": clients},
        upstream={"allowed_paths": ALLOWED},
        pacing={"max_wait_seconds": PATIENCE},
    )
    named = [
        dataclasses.replace(client, certificate=given.get("certificate"))
        for client, given in zip(plain.listen.clients, CLIENTS, strict=True)
    ]
    return dataclasses.replace(
        plain, listen=dataclasses.replace(plain.listen, clients=tuple(named))
    )


SETTINGS: Final = configured()
RULES: Final = policy.Rules.of(SETTINGS)


def expected(
    key: str | None,
    certificate: str | None,
    path: set[str] | None,
    method: set[str],
    beyond: set[str],
) -> ProblemKind | None:
    """Return the kind of the refusal, None for a call that is forwarded."""
    who = certificate if key == "" else key
    if who is None:
        return ProblemKind.CLIENT_KEY
    if path is None:
        return ProblemKind.PATH_NOT_ALLOWED
    if who not in path or who not in method:
        return ProblemKind.CLIENT_RIGHTS
    return ProblemKind.CLIENT_RATE if who in beyond else None


async def got(
    key: bytes, certificate: str, path: bytes, method: bytes, before: int
) -> ProblemKind | None:
    """Make the call as listener and forwarder do; return the kind of the refusal."""
    roster = Roster(SETTINGS, FakeClock(), bytes(32))
    head = policy.parse(b"%b %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (method, path, key), RULES)
    names = (certificate,) if certificate else ()
    who = roster.register.identify(head.known.get(b"x-proxy-key", ()), names)
    try:
        policy.judge(head, RULES, who)
        assert who is not None
        assert all(roster.rates.take(who.name) for _ in range(before))
        if not roster.rates.take(who.name):
            await roster.rates.turn(who.name)
    except Problem as problem:
        return problem.kind
    return None


@pytest.mark.parametrize(
    "key", KEYS, ids=lambda key: key.decode().strip().replace("\r\n", ", ") or "no key"
)
@pytest.mark.parametrize("certificate", CERTIFICATES, ids=lambda name: name or "no certificate")
async def test_each_combination_gets_what_the_tables_say(key: bytes, certificate: str) -> None:
    """Each path, method and rate, with this key and this certificate."""
    for path, method, before in itertools.product(PATHS, METHODS, BEFORE):
        who = KEYS[key], CERTIFICATES[certificate]
        async with asyncio.timeout(5):
            kind = await got(key, certificate, path, method, before)
        assert kind == expected(*who, PATHS[path], METHODS[method], BEFORE[before]), path
