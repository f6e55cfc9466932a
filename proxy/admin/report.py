"""What operators are told: readiness in words, and the content of `/status`.

Reads everybody's state; keeps the last failures, the last hour's counts, and whether calls reach the API. Never: paths, which may hold
phone numbers, or anything else that a client or the API sent, except a request id.
"""

from __future__ import annotations

import dataclasses
import platform
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

import proxy
from proxy.errors import KINDS
from proxy.tokens.values import TokenState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.admin.history import History
    from proxy.admin.metrics import Metrics
    from proxy.clock import Clock
    from proxy.records import Record
    from proxy.settings import Settings
    from proxy.tokens.source import TokenObserver
    from proxy.tokens.values import Cause, TokenStatus

#: As many as a person looks through; of refused requests as many again, so that a noisy client hides no failure.
_FAILURES_KEPT: Final = 20
#: Errors that say: no answer came from the API. They are the 502s and 504s.
_UPSTREAM_ERRORS: Final = frozenset(kind.word for kind in KINDS if kind.status in {502, 504})
#: Stands for them when the API answered, but with a 5xx of its own.
_API_ERROR: Final = "api_error"
_SERVER_ERRORS: Final = 500


@dataclasses.dataclass(slots=True)
class _Trouble:
    """Calls that failed at the API, without one between them that did not. Instants are seconds since the epoch."""

    since: float
    at: float
    error: str
    status: int
    calls: int = 1


class _Failure(NamedTuple):
    """A request that the proxy could not serve. `at`: seconds since the epoch; the rest as in `Record`."""

    at: float
    request_id: str
    method: str | None
    status: int
    error: str
    refused: bool
    attempts: int
    outcome: str | None


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
        orders: Callable[[], dict[str, object]] | None = None,
    ) -> None:
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
        self._orders = orders
        self._started_at = clock.wall()
        self._failed: deque[_Failure] = deque(maxlen=_FAILURES_KEPT)
        self._refused: deque[_Failure] = deque(maxlen=_FAILURES_KEPT)
        self._trouble: _Trouble | None = None
        self.draining = False
        # Whoever watches the files with the credentials says so; the page then tells that a change of them is noticed.
        self.credentials_watched = False

    def __call__(self, record: Record) -> None:
        """Count a finished request, and remember it if the proxy could not serve it."""
        self._history.observe(record, self._clock.now())
        if record.error is None:
            if record.status >= _SERVER_ERRORS:
                self._note_trouble(_API_ERROR, record.status)
            elif self._trouble is not None:
                self._trouble = None
            return
        if record.error in _UPSTREAM_ERRORS:
            self._note_trouble(record.error, record.status)
        (self._refused if record.refused else self._failed).append(
            _Failure(
                self._clock.wall(),
                record.request_id,
                record.method,
                record.status,
                record.error,
                record.refused,
                record.attempts,
                record.outcome,
            )
        )

    def _note_trouble(self, error: str, status: int) -> None:
        now, trouble = self._clock.wall(), self._trouble
        if trouble is None:
            self._trouble = _Trouble(now, now, error, status)
        else:
            trouble.at, trouble.error, trouble.status = now, error, status
            trouble.calls += 1

    def started(self) -> bool:
        """Whether there has been a token."""
        return self._token_status().generation > 0

    def not_ready(self) -> str | None:
        """Why requests cannot be served now, in words; None if they can."""
        if self.draining:
            return "The proxy is shutting down."
        status = self._token_status()
        if status.state in {TokenState.FRESH, TokenState.STALE}:
            return None
        if status.last_failure is not None:
            wait = (
                f" Next attempt in {status.next_attempt_in_seconds:.0f} s."
                if status.next_attempt_in_seconds
                else ""
            )
            return status.last_failure.detail + wait
        return "The access token is being fetched."

    def remark(self) -> str | None:
        """Say what is not served although requests are; None if there is nothing."""
        away = None if self._orders is None else self._orders()["away"]
        return None if away is None else f"Orders with an Idempotency-Key are refused. {away}"

    def status(self) -> dict[str, object]:
        """Return everything for operators, JSON-serialisable.

        upstream_trouble: how the calls since the last good one failed at the API; None after a good one. `error` is an RFC 9209 type, or
        `api_error` if the API answered 5xx.
        throttled: answers 429 of the API by the code that it gave.
        configuration: what is wrong with the configuration as it was read last (`refused`), and which of its settings wait for a restart
        (`restart_needed`). `settings` are those in force.
        log: how many lines could not be written (`lost`), and why none can be now (`reason`; None if they can).
        limits: how many connections fit into the descriptors that the process may have (see `descriptors.status`).
        history: see `History.series`.
        orders: what is remembered of orders, see `Keeper.status`; None without a store.
        """
        problem = self.not_ready()
        failures = sorted([*self._failed, *self._refused], key=attrgetter("at"))
        return {
            "version": proxy.__version__,
            "python": platform.python_version(),
            "now": self._clock.wall(),
            "started_at": self._started_at,
            "ready": problem is None,
            "draining": self.draining,
            "problem": problem,
            "credentials_watched": self.credentials_watched,
            "token": dataclasses.asdict(self._token_status()),
            "clients": self._clients(),
            "upstream": self._upstream(),
            "upstream_trouble": None if self._trouble is None else dataclasses.asdict(self._trouble),
            "throttled": self._metrics.throttled_by_code(),
            "requests": self._metrics.requests(),
            "last_failures": [failure._asdict() for failure in reversed(failures)],
            "history": self._history.series(self._clock.now()),
            "configuration": self._configuration(),
            "log": self._log(),
            "limits": self._limits(),
            "orders": None if self._orders is None else self._orders(),
            "settings": self.settings.effective(),
        }

    def metrics(self) -> bytes:
        """Return Prometheus' text format."""
        return self._metrics.exposition()


class TokenWitness:
    """A token source's observer: counts per minute what happens to tokens, and passes it on."""

    def __init__(self, observer: TokenObserver, history: History, clock: Clock) -> None:
        self._observer = observer
        self._history = history
        self._clock = clock

    def renewed(self, cause: Cause, seconds: float) -> None:
        """Count a fetch that gave a token."""
        self._history.renewed(self._clock.now())
        self._observer.renewed(cause, seconds)

    def renewal_failed(self, cause: Cause, reason: str) -> None:
        """Count a fetch that failed."""
        self._history.renewal_failed(self._clock.now())
        self._observer.renewal_failed(cause, reason)

    def invalidated(self) -> None:
        """Pass it on."""
        self._observer.invalidated()

    def contended(self) -> None:
        """Pass it on."""
        self._observer.contended()
