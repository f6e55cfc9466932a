"""One request of a client and what becomes of it: the only state of a call.

It exists from the first byte of the request to the end of the answer, and becomes the call's record
when it is over. It holds no token.
"""

from typing import Final

from proxy.errors import NOT_SENT, UNKNOWN, Outcome, Problem, Refused
from proxy.forward.policy import Request
from proxy.network.message import Body
from proxy.network.stream import Stream
from proxy.orders.content import HeldContent
from proxy.orders.desk import Order
from proxy.records import Record

#: NGINX's status for a client that disconnected before its answer; it never goes over the wire.
CLIENT_DISCONNECTED: Final = 499

_MAY_BE_PLACED: Final = (
    " An order may or may not have been placed: look it up before sending it again."
)
_HARMLESS: Final = " Send it again: that does no harm."


class Exchange:
    """A call.

    request_id: as sent upstream and returned. started: when the whole head was there, on
    `time.perf_counter`. method and path: None until they are known to be harmless in a log.
    admitted: the request may pass; request and body are set only then. client_name: of the client
    that calls, as the register says; client_address: where it calls from. status: of the answer, 0
    while there is none. bytes_out: content bytes sent to the client. attempts: how often the
    request was sent. upstream_seconds: from sending (the last time) to the head of the answer.
    token_seconds: waited for a token. error: a word for what went wrong, or None; detail: the same
    as a sentence. refused: by the proxy's own rules. outcome: of a call that failed. code: the
    API's own error code. kept: the request's content so far, for sending it again; None when it is
    too much for that. committed: the API may have begun to act on it, so it is followed to its end
    even if the client disconnects. held: the content of an order that is remembered, whole. order:
    its record; see `proxy.orders.desk`. replayed_from: the id of the first request, if the answer
    is its record's. answered: the head of the final answer is out. keep_alive: the client's
    connection may go on afterwards.
    """

    admitted = False
    request: Request
    body: Body
    method: bytes | None = None
    path: str | None = None
    trace: str | None = None
    status = 0
    bytes_out = 0
    attempts = 0
    upstream_seconds: float | None = None
    token_seconds = 0.0
    error: str | None = None
    detail: str | None = None
    refused = False
    outcome: str | None = None
    code: str | None = None
    committed = False
    continued = False
    answered = False
    keep_alive = False
    held: HeldContent | None = None
    order: Order | None = None
    replayed_from: str | None = None

    client_name: str | None = None
    client_address: str | None = None

    def __init__(self, client: Stream, request_id: bytes, started: float) -> None:
        self.client = client
        self.request_id = request_id
        self.started = started
        self.kept: bytes | bytearray | None = b""

    def admit(self, request: Request, body: Body, *, keep_alive: bool) -> None:
        """Note that the request may pass."""
        self.admitted = True
        self.request = request
        self.body = body
        self.path = request.path
        self.trace = request.trace
        self.keep_alive = keep_alive

    def keep(self, piece: bytes, limit: int) -> None:
        """Remember a piece of the request's content as long as all of it fits the limit."""
        kept = self.kept
        if kept is None or not piece:
            return
        if len(kept) + len(piece) > limit:
            self.kept = None
        elif not kept:
            self.kept = piece
        elif isinstance(kept, bytearray):
            kept += piece
        else:
            self.kept = bytearray(kept + piece)

    @property
    def outcome_so_far(self) -> Outcome:
        """Whether the API may have acted on the call, if it ends now."""
        sent = self.committed or (self.attempts > 0 and self.request.is_safe)
        return UNKNOWN if sent else NOT_SENT

    @property
    def advice(self) -> str:
        """What to do about an unknown outcome, as a sentence to append."""
        return _HARMLESS if self.request.is_safe else _MAY_BE_PLACED

    def fail(self, problem: Problem) -> None:
        """Note why there is no answer of the API's, or no whole one."""
        self.refused = isinstance(problem, Refused)
        # A refusal by the proxy's own name for it, a failure by RFC 9209's finer one.
        self.error = problem.kind.type if self.refused else problem.kind.word
        self.detail = problem.detail
        self.outcome = problem.outcome

    def record(self, ended: float) -> Record:
        """Return what is said of the call. ended: on `time.perf_counter`."""
        return Record(
            self.request_id.decode("ascii"),
            None if self.method is None else self.method.decode("ascii"),
            self.path,
            self.status or (CLIENT_DISCONNECTED if self.error == "client_left" else 0),
            ended - self.started,
            self.body.size if self.admitted else 0,
            self.bytes_out,
            self.upstream_seconds,
            self.token_seconds,
            self.attempts,
            self.error,
            self.refused,
            self.outcome,
            self.trace,
            self.code,
            self.client_name,
            self.client_address,
            self.detail,
            self.replayed_from,
            self.order is not None and self.order.is_unknown,
        )
