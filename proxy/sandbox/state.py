"""Everything in the sandbox that changes: tokens, orders, accounts, counters, settings, faults.

The one place with mutable state. Never: HTTP, sockets, waiting. The clock comes in from outside.
"""

import base64
import math
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

import orjson

from proxy.sandbox import company
from proxy.sandbox.faults import Faults, Place, make_fault
from proxy.sandbox.messages import Call, Reply
from proxy.sandbox.settings import SandboxSettings

#: So many tokens, orders and accounts are remembered: enough for any test, and a load test of days
#: does not fill the memory.
KEPT: Final = 10_000
#: Published: an account's id has up to 8 digits.
_FIRST_ACCOUNT: Final = 90_000_000
#: 160 bits, as RFC 6749 section 10.10 recommends against guessing.
_TOKEN_BYTES: Final = 20
#: Names for the control API: plain counters, and calls by place.
_COUNTERS: Final = (
    *("max_concurrent_token_calls", "tokens_issued", "redirects_followed"),
    *("orders", "repeated_orders", "accounts"),
)
_CALLS: Final[dict[str, Place]] = {"token_calls": "token", "logouts": "logout", "api_calls": "api"}


@dataclass(frozen=True, slots=True)
class SandboxCredentials:
    """The four that a login needs."""

    client_id: str
    client_secret: str = field(repr=False)
    username: str
    password: str = field(repr=False)


#: Made up, in the form of real ones: length, alphabet, and a machine user's name of `api` and
#: digits.
DEFAULT_CREDENTIALS: Final = SandboxCredentials(
    client_id="sandboxApp0123456789abcdefghijk",
    client_secret="sandboxSecret016",  # noqa: S106 # made up, and printed by the command
    username="api1000000000",
    password="sandboxPassword02020",  # noqa: S106 # as above
)


@dataclass(slots=True)
class IssuedToken:
    """A token that was issued. ended: by logout, by revocation, or by a newer login."""

    value: str = field(repr=False)
    expires_at: float
    ended: bool = False


@dataclass(frozen=True, slots=True)
class SandboxOrder:
    """An order that was accepted.

    path: where it was placed, on a subscription or on an agreement. count: orders with this body at
    that path so far. request_id, idempotency_key: of the fields, if they came.
    authorization_fields: how many came. field_names: all names, in lower case, in their order.
    """

    id: str
    path: str
    body: dict[str, Any]
    count: int
    request_id: str | None
    idempotency_key: str | None
    authorization_fields: int
    field_names: tuple[str, ...]
    placed_at: float


@dataclass(frozen=True, slots=True)
class Account:
    """A company account; the list shows it from `visible_at` on."""

    id: str
    body: dict[str, Any]
    visible_at: float


class Sandbox:
    """The stand-in's whole memory. `now` counts seconds and only its differences mean anything."""

    def __init__(
        self,
        credentials: SandboxCredentials = DEFAULT_CREDENTIALS,
        *,
        settings: SandboxSettings | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.credentials = credentials
        self.settings = settings or SandboxSettings()
        self._initial = replace(self.settings)
        self._now = now
        self._tokens: dict[str, IssuedToken] = {}
        self._token_calls_now = 0
        self._forget()

    def _forget(self) -> None:
        self.faults = Faults()
        self._orders: dict[str, SandboxOrder] = {}
        self.accounts: dict[str, Account] = {}
        self._placed: Counter[tuple[str, bytes]] = Counter()
        self.subscriptions = company.subscriptions()
        self._changed_at = dict.fromkeys(self.subscriptions, self._now())
        self.counters: Counter[str] = Counter()
        self._by_outcome: defaultdict[Place, Counter[str]] = defaultdict(Counter)

    def reset(self) -> None:
        """Go back to the start: settings, faults, orders, accounts, counters. Tokens stay valid."""
        self.settings.change(asdict(self._initial))
        self._forget()

    # Tokens

    @property
    def issued(self) -> list[IssuedToken]:
        """The tokens given out, oldest first."""
        return list(self._tokens.values())

    def token_state(self, value: str) -> Literal["valid", "expired", "unknown"]:
        """Return what the gateway thinks of an access token; one that was ended is unknown."""
        token = self._tokens.get(value)
        if token is None or token.ended:
            return "unknown"
        return "valid" if self._now() < token.expires_at else "expired"

    def _valid(self) -> list[IssuedToken]:
        return [token for token in self.issued if self.token_state(token.value) == "valid"]

    def log_in(self) -> tuple[str, float]:
        """Issue a token; return its value and its lifetime in seconds, whole if it is shared."""
        earlier = self._valid()
        if self.settings.shared_token and earlier:
            return earlier[-1].value, int(earlier[-1].expires_at - self._now())
        if self.settings.single_session:
            for token in earlier:
                token.ended = True
        # Plain Base64, since `+`, `/` and `=` are characters of RFC 6750's b64token that a client
        # must not trip over.
        value = base64.b64encode(secrets.token_bytes(_TOKEN_BYTES)).decode()
        lifetime = self.settings.token_lifetime_seconds
        self._tokens[value] = IssuedToken(value, self._now() + lifetime)
        _keep_newest(self._tokens)
        self.counters["tokens_issued"] += 1
        return value, lifetime

    def log_out(self, value: str) -> None:
        """End one token."""
        self._tokens[value].ended = True

    def revoke(self) -> int:
        """End all tokens; says how many of them were valid."""
        valid = len(self._valid())
        for token in self._tokens.values():
            token.ended = True
        return valid

    # Orders

    @property
    def orders(self) -> list[SandboxOrder]:
        """The orders that were accepted, oldest first."""
        return list(self._orders.values())

    def place_order(self, body: dict[str, Any], call: Call) -> SandboxOrder:
        """Accept an order. The same order twice is two orders: the API knows no idempotency key."""
        self.counters["orders"] += 1
        content = _content(call.path, body)
        self._placed[content] += 1
        if self._placed[content] > 1:
            self.counters["repeated_orders"] += 1
        order = SandboxOrder(
            id=f"sandbox-order-{self.counters['orders']}",
            path=call.path,
            body=body,
            count=self._placed[content],
            request_id=call.first("X-Request-Id"),
            idempotency_key=call.first("Idempotency-Key"),
            authorization_fields=len(call.all("Authorization")),
            field_names=tuple(name.lower() for name, _ in call.fields),
            placed_at=self._now(),
        )
        self._orders[order.id] = order
        _keep_newest(self._orders)
        _keep_newest(self._placed)
        return order

    def find_order(self, order_id: str) -> SandboxOrder | None:
        """Find the order of that id."""
        return self._orders.get(order_id)

    def order_status(self, order: SandboxOrder) -> str:
        """Return `ACCEPTED` at first, `COMPLETED` after the delay."""
        return "COMPLETED" if self._now() >= self._completed_at(order) else "ACCEPTED"

    def _completed_at(self, order: SandboxOrder) -> float:
        return order.placed_at + self.settings.order_delay_seconds

    # Subscriptions

    def find_subscriptions(self, product_id: str | None, since_seconds: int | None) -> list[str]:
        """Find the MSISDNs with a product that changed within so many seconds. None: any, ever."""
        newest = dict(self._changed_at)
        having: set[str] = set()
        for order in self.orders:
            number = order.body.get("msisdn")
            if number not in newest or self.order_status(order) != "COMPLETED":
                continue
            newest[number] = max(newest[number], self._completed_at(order))
            if order.body.get("productId") == product_id:
                (having.discard if order.body.get("type") == "REMOVE_PRODUCT" else having.add)(
                    number
                )
        earliest = -math.inf if since_seconds is None else self._now() - since_seconds
        return [
            number
            for number, changed_at in newest.items()
            if changed_at >= earliest
            and (number in having or product_id in {None, self.subscriptions[number]["type"]["id"]})
        ]

    def change_subscription(self, number: str, changes: Mapping[str, str]) -> dict[str, Any] | None:
        """Change a subscription's references; None when there is no such subscription."""
        subscription = self.subscriptions.get(number)
        if subscription is not None:
            subscription.update(changes)
            self._changed_at[number] = self._now()
        return subscription

    # Accounts

    def create_account(self, body: dict[str, Any]) -> Account:
        """Create an account; it becomes visible after the delay."""
        self.counters["accounts"] += 1
        visible_at = self._now() + self.settings.account_delay_seconds
        account = Account(f"{_FIRST_ACCOUNT + self.counters['accounts']}", body, visible_at)
        self.accounts[account.id] = account
        _keep_newest(self.accounts)
        return account

    def visible_accounts(self) -> list[Account]:
        """List the accounts that can be seen by now."""
        return [account for account in self.accounts.values() if account.visible_at <= self._now()]

    # Faults, counting, and what the control API shows

    def fault(self, name: object, value: object = None, count: object = None) -> None:
        """Switch a fault on for `count` calls (None: until reset; 0: off). Raises UsageError."""
        self.faults.set(make_fault(name, value, count))

    @contextmanager
    def token_call(self) -> Iterator[None]:
        """One call of the token endpoint from its arrival until it is answered."""
        self._token_calls_now += 1
        highest = max(self.counters["max_concurrent_token_calls"], self._token_calls_now)
        self.counters["max_concurrent_token_calls"] = highest
        try:
            yield
        finally:
            self._token_calls_now -= 1

    def record(self, place: Place, reply: Reply) -> None:
        """Count an answer."""
        self._by_outcome[place][reply.outcome] += 1

    def shown(self) -> dict[str, object]:
        """Return the state for the control API. Tokens are counted, never shown."""
        counters: dict[str, object] = {name: self.counters[name] for name in _COUNTERS}
        counters["tokens_valid"] = len(self._valid())
        for name, place in _CALLS.items():
            counters[name] = self._by_outcome[place].total()
            counters[f"{name}_by_status"] = dict(self._by_outcome[place])
        settings, faults = asdict(self.settings), self.faults.shown()
        return {"settings": settings, "faults": faults, "counters": counters}

    def orders_shown(self) -> list[dict[str, object]]:
        """Return the orders for the control API."""
        shown = [asdict(order) | {"status": self.order_status(order)} for order in self.orders]
        for order in shown:
            del order["placed_at"]
        return shown

    def placed_shown(self) -> list[dict[str, object]]:
        """Count how often each order was placed: a row for each content, the oldest first."""
        rows: dict[tuple[str, bytes], list[SandboxOrder]] = {}
        for order in self.orders:
            rows.setdefault(_content(order.path, order.body), []).append(order)
        return [
            {
                "path": same[0].path,
                "body": same[0].body,
                "times": len(same),
                "ids": [order.id for order in same],
                "request_ids": [order.request_id for order in same],
                "idempotency_keys": [order.idempotency_key for order in same],
            }
            for same in rows.values()
        ]


def _content(path: str, body: dict[str, Any]) -> tuple[str, bytes]:
    """Return what makes two orders the same: path, and JSON without spaces and order."""
    return path, orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def _keep_newest(remembered: dict[Any, Any]) -> None:
    while len(remembered) > KEPT:
        del remembered[next(iter(remembered))]
