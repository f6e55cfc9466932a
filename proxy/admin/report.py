"""What operators see: readiness in words, and the content of `/status`.

Keeps the last failures, the orders to look up, the last hour's counts, and what the calls get.
Never: anything that a client or the API sent, except a request id, and of an order to look up its
path, without which it cannot be found. Paths may hold phone numbers.
"""

import dataclasses
import math
import platform
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any, Final

from prometheus_client import Metric

import proxy
from proxy.admin.calls import Calls, HeadlineState, Known
from proxy.admin.counts import CHANGING, gauge
from proxy.admin.headline import Headline, judge
from proxy.admin.history import History
from proxy.admin.metrics import Metrics
from proxy.clock import Clock
from proxy.errors import UNKNOWN
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
        log: Callable[[], Mapping[str, Any]] = dict,
        orders: Callable[[], dict[str, Any]] | None = None,
        **parts: Callable[[], object],
    ) -> None:
        """All functions give JSON and are asked for each status; `parts` are others of its keys."""
        self.settings = settings
        self._clock = clock
        self._metrics = metrics
        self._history = history
        self._token_status = token_status
        self._log = log
        self._stored = orders
        self._parts = parts
        self._started_at = clock.wall()
        self._failed: deque[dict[str, Any]] = deque(maxlen=_FAILURES_KEPT)
        self._refused: deque[dict[str, Any]] = deque(maxlen=_FAILURES_KEPT)
        # Each with the time from which the store of orders has it; never, without a record.
        self._orders: deque[tuple[float, dict[str, Any]]] = deque(maxlen=ORDERS_KEPT)
        self._orders_counted = 0
        self._known = Known()
        self._calls = Calls(clock, self._known)
        #: Whether another login ended this proxy's tokens at the last look.
        self._contended = False
        self._credentials_refused = False
        metrics.expose(self._families)

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
            self._orders.append((wall if record.recorded else math.inf, order))
        if record.error is not None:
            failure = _picked(wall, record, _OF_FAILURE)
            (self._refused if record.refused else self._failed).append(failure)

    @property
    def draining(self) -> bool:
        """Whether the proxy is about to end."""
        return self._known.draining is not None

    @draining.setter
    def draining(self, is_so: bool) -> None:
        self._known.draining = self._clock.wall() if is_so else None

    def on_token(self, event: TokenEvent) -> None:
        """Note a fetch of a token."""
        now, wall, known = self._clock.now(), self._clock.wall(), self._known
        if event.name == "renewed":
            self._history.renewed(now)
            self._credentials_refused = False
            if known.token_failing is not None:
                known.well = wall
            known.token_failing = known.token_stopped = None
        elif event.name == "renewal_failed":
            self._history.renewal_failed(now)
            self._credentials_refused = self._credentials_refused or event.reason == _REFUSED
            known.token_failing = known.token_failing or wall
            self._note_stop(self._token_status())

    def _note_stop(self, token: TokenStatus) -> None:
        """Note the moment from which no token is left while renewals fail."""
        known = self._known
        if known.token_failing is not None and not token.state.is_usable:
            known.token_stopped = known.token_stopped or self._clock.wall()

    def headline(self) -> Headline:
        """Return one sentence on whether it works."""
        token, known, log = self._token_status(), self._known, self._log()
        if self._contended and not token.contended:
            known.well = self._clock.wall()
        self._contended = token.contended
        self._note_stop(token)
        known.log_lost, known.log_reason = log.get("since"), log.get("reason")
        known.scope = self.settings.oauth.scope
        known.pace = self.settings.pacing.requests_per_second
        return judge(token, self._calls.find(self._clock.now()), known)

    def _families(self) -> Iterator[Metric]:
        """Yield what alerts need; of a sentence that is not of a closed list only the title."""
        headline = self.headline()
        text = "1 for the state that the status page shows: working, impaired or not_working."
        states = {state.value: state is headline.state for state in HeadlineState}
        yield gauge("telenor_proxy_working", text, (["state"], states))
        text = "1, labelled with the status page's sentence."
        sentence = headline.text if headline.is_closed else f"{headline.title}."
        shown = {(headline.state.value, sentence): 1}
        yield gauge("telenor_proxy_headline", text, (["state", "text"], shown))
        text = "1 from a refusal of the credentials to the next token."
        yield gauge("telenor_proxy_credentials_refused", text, self._credentials_refused)

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

    def _unknown_orders(self, stored: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """Return the orders to look up, newest first: of this process, and of the store.

        stored: the store's part of `/status`, None without a store. A recorded order that the store
        did not have at a later look was forgotten by an operator.
        """
        stored = stored or {"away": "", "looked_at": None, "records": []}
        records = stored["records"]  # the oldest ones
        known = {record["request_id"] for record in records}
        looked_at, complete_until = stored["looked_at"] or -math.inf, -math.inf
        if stored["away"] is None:
            is_complete = len(records) < ORDERS_KEPT
            complete_until = math.inf if is_complete else records[-1]["at"]
        orders = [
            order
            for recorded_at, order in reversed(self._orders)
            if recorded_at > looked_at
            or order["request_id"] in known
            or order["at"] > complete_until
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
        """Return everything for operators, JSON-serialisable; docs/operation.md explains the keys.

        history: see `History.series`; only if asked for, because it is most of the whole.
        """
        problem = self.not_ready()
        stored = None if self._stored is None else self._stored()
        orders = self._unknown_orders(stored)
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
            "token": dataclasses.asdict(self._token_status()),
            "throttled": self._metrics.throttled_by_code(),
            "requests": self._metrics.requests(),
            "unknown_orders": orders[:ORDERS_KEPT],
            "unknown_orders_counted": len(orders) + self._orders_counted - len(self._orders),
            "last_failures": failures[::-1],
            "log": self._log(),
            "orders": stored,
            "settings": self.settings.effective(),
            **{name: give() for name, give in self._parts.items()},
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
