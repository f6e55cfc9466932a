"""What the calls get: good answers, answers that turn them down, or none; in a row, or not.

Fed with each `Record`; keeps counts and the last `WINDOW` calls, so memory does not grow. It reads
no clock of its own and keeps no path and no request id.

How it judges (each number is a constant below, with its reason):

1. A *good* call got 2xx or 3xx. One that got a 4xx about its content (400, 409, 422, ...) reached
   the API with a good token, so it ends a row of failed ones as well.
2. A *fault* is an answer 401, 403, 429 or 5xx, or no answer. Faults in a row without a good call
   between them are `not_working`, once they are `ROW` and no call has gone through for
   `QUIET_SECONDS`, or once they are `LONG_ROW`. One that every next call meets too (name not found,
   connection refused) needs no row.
3. A *mild* fault may be about one call only: 404, and 40104 (this number). Among good calls it says
   nothing. It is `not_working` when nothing goes through for `WINDOW_SECONDS`, or after
   `VERY_LONG_ROW`.
4. Faults among good calls are `impaired` if the last call is one, or a tenth of the window, until
   `WELL_ROW` good calls have followed, or none failed for `WELL_SECONDS`.
5. A row of faults that pass by themselves (429, 5xx, no answer) is `impaired` once it is older than
   the window: nothing is known of now. A row of others stands until a call goes through.
6. Only answers about content, or only refusals of the proxy's own, are `impaired`: an application
   gets nothing done, but the way to Telenor is good.
7. `ROW` refusals of one kind that keeps an application out (its key, its rights, a path, a Host)
   are `impaired` beside good calls too: another application makes those. It ends when none came for
   `WELL_SECONDS`.

What says nothing about the API does not count: clients that disconnected, calls without a token
(the token has its own status), and other refusals beside calls that are forwarded.
"""

import enum
import math
from collections import Counter, deque
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from proxy.clock import Clock
from proxy.problems import ProblemKind
from proxy.records import Record
from proxy.tokens import codes

#: As many calls as one reads off at a glance: a failure of one in ten still shows, and the share
#: moves soon.
WINDOW: Final = 50
#: Seconds. The alerts' usual window: what is older says nothing of now.
WINDOW_SECONDS: Final = 900.0
#: So many faults in a row are no accident.
ROW: Final = 3
#: With so many in a row it does not matter that a call went through a moment before.
LONG_ROW: Final = 10
VERY_LONG_ROW: Final = 20
#: Seconds without a good call before a short row counts: a busy proxy has three unlucky calls now
#: and then. An operator should know within a minute.
QUIET_SECONDS: Final = 30.0
#: So many good calls in a row, or so many seconds without a fault, and it is over.
WELL_ROW: Final = 10
WELL_SECONDS: Final = 300.0
#: Share of faults in the window from which on calls fail in part.
_SHARE: Final = 0.1
_FEWEST: Final = 2

#: Faults that every next call meets too, until an operator acts.
LASTING: Final = frozenset(
    {
        *("dns_error", "connection_refused", "destination_ip_unroutable", "connection_timeout"),
        *("tls_certificate_error", "tls_protocol_error"),
        *(kind.word for kind in ProblemKind if kind.is_company_proxy),
    }
)
#: Refusals that every next call of the same application meets too.
KEPT_OUT: Final = frozenset(kind.type for kind in ProblemKind if kind.keeps_out)
#: Errors of calls to which the API gave no answer: because of it, or because of the proxy.
FAULTS: Final = frozenset(
    {
        *(kind.word for kind in ProblemKind if kind.status in {502, 504}),
        *(ProblemKind.NO_CONNECTION.word, ProblemKind.OVERLOADED.word, ProblemKind.INTERNAL.word),
    }
)
_BAD_REQUEST: Final = 400
_NOT_FOUND: Final = 404
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_HARD: Final = frozenset({401, 403, 407, _TOO_MANY})
#: Not authorized to use the given MSISDN: about one number, until it is about all.
_ABOUT_A_NUMBER: Final = "40104"


class HeadlineState(enum.StrEnum):
    """The state, in a word."""

    WORKING = "working"
    IMPAIRED = "impaired"
    NOT_WORKING = "not_working"


#: Which calls failed. all: each since the last good one; some: a part of the last ones; last: the
#: last, or the last few; content: each was turned down for its content; refused: by the proxy's own
#: rules; kept_out: by them too, but only those of one kind, while others pass.
Extent = Literal["all", "some", "last", "content", "refused", "kept_out"]


@dataclass(slots=True)
class Known:
    """What a headline is made of beside the token's status and the finding.

    Times are in seconds since the epoch; None: it is not so, or was never otherwise. token_failing:
    since when renewals fail. token_stopped: they fail and no token is left. calls_failing: calls
    fail, none well. well: since when all is well again. any_good: whether a call has succeeded
    since the start. log_lost: since when lines of the log are being lost; log_reason: why. scope,
    pace: `oauth.scope` and `pacing.requests_per_second`.
    """

    token_failing: float | None = None
    token_stopped: float | None = None
    calls_failing: float | None = None
    draining: float | None = None
    well: float | None = None
    any_good: bool = False
    log_lost: float | None = None
    log_reason: str | None = None
    scope: str | None = None
    pace: float | None = None


class CallFault(NamedTuple):
    """How a call failed.

    status: of the answer. code: the API's, as `codes.label` gives it. error: an RFC 9209 type if
    the API gave no answer, or the kind of the proxy's refusal; else None. mild: it may be about
    this call only.
    """

    status: int
    code: str
    error: str | None = None
    mild: bool = False

    @property
    def passes(self) -> bool:
        """Whether it may end without an operator's action."""
        if self.error is not None:
            return self.error not in LASTING
        return self.status == _TOO_MANY or self.status >= _SERVER_ERROR


class CallFinding(NamedTuple):
    """What is wrong with the calls: `failed` of `calls` (0 of those kept out while others pass).

    since: seconds since the epoch. caller: of the last one, if the proxy itself refused it: the
    client's name or address.
    """

    state: HeadlineState
    extent: Extent
    fault: CallFault
    since: float
    failed: int
    calls: int
    caller: str | None = None


_NO_FAULT: Final = CallFault(0, "")


@dataclass(slots=True)
class _Row:
    """Calls of one kind in a row. since: wall clock; at: of the last one's end, on `Clock.now`."""

    calls: int = 0
    since: float = 0.0
    at: float = 0.0
    fault: CallFault = _NO_FAULT
    caller: str | None = None

    def add(self, fault: CallFault, clock: Clock, caller: str | None = None) -> None:
        if not self.calls:
            self.since = clock.wall()
        self.calls += 1
        self.at = clock.now()
        self.fault = fault
        self.caller = caller

    def impaired(self, extent: Extent, fault: CallFault | None = None) -> CallFinding:
        found, calls = fault or self.fault, self.calls
        return CallFinding(
            HeadlineState.IMPAIRED, extent, found, self.since, calls, calls, self.caller
        )


class Calls:
    """Watches the calls. Call it with each `Record`; `find` judges."""

    def __init__(self, clock: Clock, known: Known) -> None:
        self._clock = clock
        self._known = known
        #: When each ended, and how it failed; None for a good one.
        self._window: deque[tuple[float, CallFault | None, float]] = deque(maxlen=WINDOW)
        self._faults = _Row()
        self._hard = 0
        self._content = _Row()
        self._refused = _Row()
        #: By the kind of refusal; good calls do not end these rows.
        self._kept_out = {kind: _Row() for kind in KEPT_OUT}
        #: When a call last went through to the API's own logic, and when one last succeeded.
        self._through_at = self._good_at = -math.inf

    def observe(self, record: Record, now: float) -> None:
        """Note a finished request."""
        if record.error is None and record.status < _BAD_REQUEST:
            self._window.append((now, None, 0.0))
            self._through_at = self._good_at = now
            self._known.any_good, self._known.calls_failing = True, None
            if self._faults.calls or self._content.calls or self._refused.calls:
                self._recover()
            return
        # The word of a client's own rate is the same as that of pacing.
        if record.refused or record.error == ProblemKind.PACED.proxy_error:
            self._refuse(record, now)
            return
        fault = _fault(record)
        failed = record.error == ProblemKind.NO_TOKEN.word if fault is None else not fault.mild
        if failed and self._known.calls_failing is None:
            self._known.calls_failing = self._clock.wall()
        if fault is not None:
            self._faults.add(fault, self._clock)
            self._hard += not fault.mild
        elif record.error is None:
            self._through_at = now
            self._known.calls_failing = None
            self._faults, self._hard = _Row(), 0
            self._content.add(CallFault(record.status, codes.label(record.code)), self._clock)
        else:
            return
        self._refused = _Row()
        self._window.append((now, fault, self._clock.wall()))

    def _refuse(self, record: Record, now: float) -> None:
        kind = record.error if record.refused else ProblemKind.PACED.type
        fault = CallFault(record.status, "", kind)
        caller = record.client or record.client_address
        self._refused.add(fault, self._clock, caller)
        row = self._kept_out.get(kind or "")
        if row is not None:
            row.calls = 0 if now - row.at > WELL_SECONDS else row.calls
            row.add(fault, self._clock, caller)

    def _recover(self) -> None:
        if self._hard or self._content.calls >= ROW or self._refused.calls >= ROW:
            self._known.well = self._clock.wall()
        self._faults, self._content, self._refused = _Row(), _Row(), _Row()
        self._hard = 0

    def find(self, now: float) -> CallFinding | None:
        """Return what is wrong with the calls at this moment; None if nothing is."""
        return (
            self._down(now)
            or self._some(now)
            or self._last()
            or self._content_only(now)
            or self._refused_only(now)
            or self._kept_out_beside(now)
        )

    def _down(self, now: float) -> CallFinding | None:
        row = self._faults
        if not row.calls:
            return None
        is_quiet = now - self._through_at >= QUIET_SECONDS
        is_down = (
            (self._hard >= ROW and (is_quiet or self._hard >= LONG_ROW))
            or (row.fault.error in LASTING and is_quiet)
            or (row.calls >= ROW and now - self._through_at >= WINDOW_SECONDS)
            or row.calls >= VERY_LONG_ROW
        )
        if not is_down:
            return None
        fault = self._usual()
        unknown_now = fault.passes and now - row.at > WINDOW_SECONDS
        state = HeadlineState.IMPAIRED if unknown_now else HeadlineState.NOT_WORKING
        return CallFinding(state, "all", fault, row.since, row.calls, row.calls)

    def _some(self, now: float) -> CallFinding | None:
        recent = [each for each in self._window if now - each[0] <= WINDOW_SECONDS]
        faults = [each for each in recent if each[1] is not None and not each[1].mild]
        if len(faults) < max(_FEWEST, _SHARE * len(recent)) or len(faults) == len(recent):
            return None
        goes_well = all(fault is None for _, fault, _ in recent[-WELL_ROW:])
        if goes_well or now - faults[-1][0] > WELL_SECONDS:
            return None
        usual = _most([fault for _, fault, _ in faults if fault is not None])
        since, failed = faults[0][2], len(faults)
        return CallFinding(HeadlineState.IMPAIRED, "some", usual, since, failed, len(recent))

    def _last(self) -> CallFinding | None:
        return self._faults.impaired("last", self._usual()) if self._hard else None

    def _usual(self) -> CallFault:
        """Return the fault that most calls of the row have, the graver ones first."""
        row = [fault for _, fault, _ in self._window if fault is not None][-self._faults.calls :]
        return _most([fault for fault in row if not fault.mild] or row)

    def _content_only(self, now: float) -> CallFinding | None:
        stands = self._content.calls >= ROW and now - self._good_at >= WINDOW_SECONDS
        return self._content.impaired("content") if stands else None

    def _refused_only(self, now: float) -> CallFinding | None:
        row = self._refused
        forwarded_at = self._window[-1][0] if self._window else -math.inf
        is_recent = row.calls >= ROW and now - row.at <= WINDOW_SECONDS
        stands = is_recent and now - forwarded_at >= WINDOW_SECONDS
        return row.impaired("refused") if stands else None

    def _kept_out_beside(self, now: float) -> CallFinding | None:
        recent = (row for row in self._kept_out.values() if now - row.at <= WELL_SECONDS)
        row = max(recent, key=lambda row: row.calls, default=_Row())
        return row.impaired("kept_out")._replace(calls=0) if row.calls >= ROW else None


def _fault(record: Record) -> CallFault | None:
    """Return how the call failed; None if that says nothing of the API, or it is about content."""
    status, error = record.status, record.error
    if error is not None:
        return CallFault(status, "", error) if error in FAULTS else None
    code = codes.label(record.code)
    if status == _NOT_FOUND or code == _ABOUT_A_NUMBER:
        return CallFault(status, code, mild=True)
    if status in _HARD or status >= _SERVER_ERROR:
        return CallFault(status, code)
    return None


def _most(faults: list[CallFault]) -> CallFault:
    """Return the most frequent one; of equals the last."""
    return Counter(reversed(faults)).most_common(1)[0][0]
