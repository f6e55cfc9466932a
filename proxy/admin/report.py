"""What operators see: readiness in words, and the content of `/status`.

Keeps the last failures, the orders to look up, the last hour's counts, and what the calls get.
Never: anything that a client or the API sent, except a request id, and of an order to look up its
path, without which it cannot be found. Paths may hold phone numbers.
"""

from __future__ import annotations

import dataclasses
import math
import platform
from collections import deque
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, cast

import proxy
from proxy.admin.calls import Calls
from proxy.admin.counts import CHANGING
from proxy.admin.headline import Headline, Since, judge
from proxy.errors import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.admin.history import History
    from proxy.admin.metrics import Metrics
    from proxy.clock import Clock
    from proxy.records import Record
    from proxy.settings import Settings
    from proxy.tokens.values import TokenEvent, TokenStatus

#: As many as a person looks through; of refused requests as many again, so that a noisy client
#: hides no failure.
_FAILURES_KEPT: Final = 20
#: The reason of `CredentialsRefused`.
_REFUSED: Final = "refused"
#: Orders to look up. A batch that breaks off leaves as many as there are connections to the API
#: (100); a few such batches fit. Each is some hundred bytes. A store names as many (`store.SHOWN`).
ORDERS_KEPT: Final = 300
#: What of a `Record` is kept with `at`: of a failure, when it ended; of an order to look up, when
#: its request had come, by which Telenor finds it.
_OF_FAILURE: Final = (
    *("request_id", "method", "status", "error", "refused", "attempts", "outcome"),
    *("client", "client_address", "detail"),
)
_OF_ORDER: Final = (
    *("client", "client_address", "request_id", "method", "path", "status", "error"),
)


class Report:
    """Collects what the admin listener shows. Call it with each `Record`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        history: History,
        *,
        token_status: Callable[[], TokenStatus],
        clients: Callable[[], Mapping[str, object]],
        upstream: Callable[[], dict[str, int]],
        configuration: Callable[[], dict[str, list[str]]] = dict,
        log: Callable[[], dict[str, object]] = dict,
        limits: Callable[[], dict[str, object]] = dict,
        certificates: Callable[[], list[dict[str, object]]] = list,
        orders: Callable[[], dict[str, object]] | None = None,
    ) -> None:
        """All functions give JSON and are asked for each status; `clients` may have a `by_name`."""
        self.settings = settings
        self._clock = clock
        self._metrics = metrics
        self._history = history
        self._token_status = token_status
        self._clients = clients
        self._upstream = upstream
        self._configuration = configuration
        self._log = log
        self._limits = limits
        self._calls = Calls(clock)
        self._certificates = certificates
        self._stored = orders
        self._started_at = clock.wall()
        self._failed: deque[dict[str, Any]] = deque(maxlen=_FAILURES_KEPT)
        self._refused: deque[dict[str, Any]] = deque(maxlen=_FAILURES_KEPT)
        # Each with whether the store of orders has it.
        self._orders: deque[tuple[bool, dict[str, Any]]] = deque(maxlen=ORDERS_KEPT)
        self._orders_counted = 0
        self._draining_since: float | None = None
        # Since when renewals fail, and whether another login ended this proxy's tokens at the last
        # look.
        self._token_failing_since: float | None = None
        self._token_stopped_since: float | None = None
        self._contended = False
        self._token_well_since: float | None = None
        # Set while the credentials' files are watched; the page then says that a change of them is
        # noticed.
        self.credentials_watched = False
        self._credentials_refused = False
        metrics.report(self.headline, credentials_refused=lambda: self._credentials_refused)

    def __call__(self, record: Record) -> None:
        """Count a finished request, and remember it if the proxy could not serve it."""
        now = self._clock.now()
        self._history.observe(record, now)
        self._calls.observe(record, now)
        if record.error is None and record.outcome is None:
            return
        wall = self._clock.wall()
        if record.outcome == UNKNOWN and not record.refused and record.method in CHANGING:
            self._orders_counted += 1
            order = _picked(wall - record.seconds, record, _OF_ORDER)
            self._orders.append((record.recorded, order))
        if record.error is not None:
            failure = _picked(wall, record, _OF_FAILURE)
            (self._refused if record.refused else self._failed).append(failure)

    @property
    def draining(self) -> bool:
        """Whether the proxy is about to end."""
        return self._draining_since is not None

    @draining.setter
    def draining(self, is_so: bool) -> None:
        self._draining_since = self._clock.wall() if is_so else None

    def on_token(self, event: TokenEvent) -> None:
        """Note a fetch of a token."""
        now, wall = self._clock.now(), self._clock.wall()
        if event.name == "renewed":
            self._history.renewed(now)
            self._credentials_refused = False
            self._token_stopped_since = None
            if self._token_failing_since is not None:
                self._token_failing_since, self._token_well_since = None, wall
        elif event.name == "renewal_failed":
            self._history.renewal_failed(now)
            self._credentials_refused = self._credentials_refused or event.reason == _REFUSED
            if self._token_failing_since is None:
                self._token_failing_since = wall
            self._note_stop(self._token_status())

    def _note_stop(self, token: TokenStatus) -> None:
        """Note the moment from which no token is left while renewals fail."""
        is_failing = self._token_failing_since is not None and not token.state.is_usable
        if is_failing and self._token_stopped_since is None:
            self._token_stopped_since = self._clock.wall()

    def headline(self) -> Headline:
        """Return one sentence on whether it works."""
        token = self._token_status()
        if self._contended and not token.contended:
            self._token_well_since = self._clock.wall()
        self._contended = token.contended
        well = [at for at in (self._calls.well_since, self._token_well_since) if at is not None]
        self._note_stop(token)
        log = self._log()
        since = Since(
            self._token_failing_since,
            self._token_stopped_since,
            self._calls.failing_since,
            self._draining_since,
            max(well, default=None),
            cast("float | None", log.get("since")),
        )
        finding = self._calls.find(self._clock.now())
        return judge(
            token,
            finding,
            since,
            draining=self.draining,
            any_good=self._calls.any_good,
            log_lost=cast("str | None", log.get("reason")),
        )

    def started(self) -> bool:
        """Whether there has been a token."""
        return self._token_status().generation > 0

    def not_ready(self) -> str | None:
        """Return why requests cannot be served now, in words; None if they can."""
        if self.draining:
            return "The proxy is shutting down."
        status = self._token_status()
        if status.state.is_usable:
            return None
        if status.last_failure is None:
            return "The access token is being fetched."
        seconds = status.next_attempt_in_seconds
        wait = f" Next attempt in {seconds:.0f} s." if seconds else ""
        return status.last_failure.detail + wait

    def _unknown_orders(self) -> list[dict[str, Any]]:
        """Return the orders to look up, newest first: of this process, and of the store.

        A recorded one that the store no longer has was forgotten by an operator.
        """
        stored: dict[str, Any] = {"away": "", "records": []}
        if self._stored is not None:
            stored = self._stored()
        records = stored["records"]  # the oldest ones
        known = {record["request_id"] for record in records}
        complete_until = -math.inf
        if stored["away"] is None:
            is_complete = len(records) < ORDERS_KEPT
            complete_until = math.inf if is_complete else records[-1]["at"]
        orders = [
            order
            for is_recorded, order in reversed(self._orders)
            if not is_recorded or order["request_id"] in known or order["at"] > complete_until
        ]
        known.difference_update([order["request_id"] for order in orders])
        orders += [
            {name: record.get(name) for name in ("at", *_OF_ORDER)}
            for record in records
            if record["request_id"] in known
        ]
        return sorted(orders, key=itemgetter("at"), reverse=True)

    def remark(self) -> str | None:
        """Return what is not served although requests are; None if there is nothing."""
        away = None if self._stored is None else self._stored()["away"]
        return None if away is None else f"Orders with an Idempotency-Key are refused. {away}"

    def status(self, *, history: bool = False) -> dict[str, object]:
        """Return everything for operators, JSON-serialisable.

        headline: see `Headline`. unknown_orders: calls on which the API may have acted, newest
        first, at most `ORDERS_KEPT`; `unknown_orders_counted` is how many there are, with those that
        are no longer kept. throttled: answers 429 of the API by the code that it gave. configuration: what is
        wrong with the configuration as it was read last (`refused`), and which of its settings wait
        for a restart (`restart_needed`). `settings` are those in force. clients.by_name: for each
        named client its calls, refusals, last call and the use of its keys. log: how many lines
        could not be written (`lost`), and why none can be now (`reason`; None if they can). limits:
        how many connections fit into the descriptors that the process may have (see
        `descriptors.status`). certificates: those that are known, as a list of `{what, not_after,
        standing}`; in seconds since the epoch, and `good`, `soon` (14 days), `urgent` (3 days) or
        `ended`. history: see `History.series`; only if asked for, because it is most of the whole.
        orders: what is remembered of orders, see `Keeper.status`; None without a store.
        """
        problem = self.not_ready()
        orders = self._unknown_orders()
        failures = sorted([*self._failed, *self._refused], key=itemgetter("at"))
        shown: dict[str, object] = {
            "version": proxy.__version__,
            "python": platform.python_version(),
            "now": self._clock.wall(),
            "started_at": self._started_at,
            "headline": self.headline().as_json(),
            "ready": problem is None,
            "draining": self.draining,
            "problem": problem,
            "credentials_watched": self.credentials_watched,
            "token": dataclasses.asdict(self._token_status()),
            "clients": {"by_name": [], **self._clients()},
            "upstream": self._upstream(),
            "throttled": self._metrics.throttled_by_code(),
            "requests": self._metrics.requests(),
            "unknown_orders": orders[:ORDERS_KEPT],
            "unknown_orders_counted": len(orders) + self._orders_counted - len(self._orders),
            "last_failures": failures[::-1],
            "configuration": self._configuration(),
            "log": self._log(),
            "limits": self._limits(),
            "certificates": self._certificates(),
            "orders": None if self._stored is None else self._stored(),
            "settings": self.settings.effective(),
        }
        if history:
            shown["history"] = self._history.series(self._clock.now())
        return shown

    def metrics(self) -> bytes:
        """Return Prometheus' text format."""
        return self._metrics.exposition()


def _picked(at: float, record: Record, names: tuple[str, ...]) -> dict[str, Any]:
    """Return these of a record's fields. at: seconds since the epoch."""
    return {"at": at, **{name: getattr(record, name) for name in names}}
