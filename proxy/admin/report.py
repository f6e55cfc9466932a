"""What operators are told: readiness in words, and the content of `/status`. Reads everybody's state, keeps only the last failures."""

from __future__ import annotations

import dataclasses
import platform
from collections import deque
from typing import TYPE_CHECKING, Final

import proxy
from proxy.tokens.values import TokenState

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.admin.metrics import Metrics
    from proxy.clock import Clock
    from proxy.records import Record
    from proxy.settings import Settings
    from proxy.tokens.values import TokenStatus

#: As many as a person looks through.
_FAILURES_KEPT: Final = 20


class Report:
    """Collects what the admin listener shows. Call it with each `Record`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        *,
        token_status: Callable[[], TokenStatus],
        clients: Callable[[], dict[str, int]],
        upstream: Callable[[], dict[str, int]],
    ) -> None:
        self._settings = settings.effective()
        self._clock = clock
        self._metrics = metrics
        self._token_status = token_status
        self._clients = clients
        self._upstream = upstream
        self._started_at = clock.wall()
        self._failures: deque[dict[str, object]] = deque(maxlen=_FAILURES_KEPT)
        self.draining = False

    def __call__(self, record: Record) -> None:
        """Remember a finished request if the proxy could not serve it."""
        if record.error is not None:
            self._failures.appendleft(
                {
                    "at": self._clock.wall(),
                    "request_id": record.request_id,
                    "method": record.method,
                    "status": record.status,
                    "error": record.error,
                    "attempts": record.attempts,
                }
            )

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

    def status(self) -> dict[str, object]:
        """Return everything for operators, JSON-serialisable."""
        problem = self.not_ready()
        return {
            "version": proxy.__version__,
            "python": platform.python_version(),
            "now": self._clock.wall(),
            "started_at": self._started_at,
            "ready": problem is None,
            "draining": self.draining,
            "problem": problem,
            "token": dataclasses.asdict(self._token_status()),
            "clients": self._clients(),
            "upstream": self._upstream(),
            "requests": self._metrics.requests(),
            "last_failures": list(self._failures),
            "settings": self._settings,
        }

    def metrics(self) -> bytes:
        """Return Prometheus' text format."""
        return self._metrics.exposition()
