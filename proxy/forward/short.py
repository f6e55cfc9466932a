"""The short way of a call: sent from within the client's `data_received`, answered from within the API's, and no task sleeps meanwhile.

It is for a request that came whole, when a token and an idle connection are at hand, and for an answer that comes whole in one piece.
Waking a task costs more than all rules together, so nearly every call goes this way; how much it saves is in docs/performance.md.

Laws
1. It decides nothing: the same guard, rewriting and pool are asked as on the other way.
2. It hands over before anything is lost: what it cannot finish at once goes to a task (`Caller.take_over`), with every byte still there.
3. It ends by one of three: an answer, bytes that are not a whole answer, or an event of the connection. Each ends it for good.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from proxy.forward import rewrite
from proxy.forward.attempt import Attempt
from proxy.http1 import grammar
from proxy.http1.grammar import EMPTY_LINE
from proxy.network.message import MAX_FIELDS, MAX_HEAD

if TYPE_CHECKING:
    from proxy.forward.attempt import Bounds
    from proxy.forward.exchange import Exchange
    from proxy.forward.upstream import Upstream, UpstreamConnection

_FINAL: Final = 200
#: Answers that the forwarder looks at: a 401 may ask for another token, a 429 is counted by its code.
_LOOKED_AT: Final = frozenset({401, 429})


class Caller(Protocol):
    """For whom a call is made."""

    def answered(self) -> None:
        """Go on after the call: it is answered, and its connection given back."""
        ...

    def take_over(self) -> None:
        """Let a task go on with the call."""
        ...


class Begun(Attempt):
    """A call that was sent on the short way and waits for its answer. token: what it was sent with."""

    _is_late = False

    def __init__(
        self,
        exchange: Exchange,
        connection: UpstreamConnection,
        bounds: Bounds,
        token: Any,  # noqa: ANN401 # whatever the keeper of tokens gives out
        upstream: Upstream,
        caller: Caller,
    ) -> None:
        self._exchange = exchange
        self.connection = connection
        self._bounds = bounds
        self.token = token
        self._upstream = upstream
        self._caller = caller
        connection.begun = self

    def data_received(self, data: bytes) -> bool:
        """Answer the call, if this is its whole answer; otherwise hand over. What was not taken is to be buffered."""
        try:
            answered = self._answer_with(data)
        except Exception:  # noqa: BLE001 # a mistake of ours: the task meets it again, and tells of it
            answered = False
        self.connection.begun = None
        if not answered:
            self._caller.take_over()
            return False
        self._upstream.release(self.connection, reusable=self.is_reusable)
        self._caller.answered()
        return True

    def _answer_with(self, data: bytes) -> bool:
        """Answer the client, if this is the whole of a final answer that nobody has to look at. If not, nothing has happened."""
        exchange = self._exchange
        client = exchange.client
        end = data.find(EMPTY_LINE) + len(EMPTY_LINE)
        if not len(EMPTY_LINE) <= end <= MAX_HEAD or client.lost:
            return False
        try:
            head = grammar.parse_response(data[:end])
            framing = grammar.response_framing(head, exchange.request.method)
        except grammar.Malformed:
            return False
        size = len(data) - end
        status = head.status
        if framing != size or status < _FINAL or status in _LOOKED_AT or len(head.lines) > MAX_FIELDS:
            return False
        exchange.upstream_seconds = time.perf_counter() - self._began
        self.is_reusable = head.minor == 1 and b"close" not in head.options
        out, exchange.keep_alive = rewrite.response_head(
            head, framing, exchange.request, exchange.request_id, keep_alive=exchange.keep_alive
        )
        client.write(out + data[end:])
        exchange.status = status
        exchange.answered = True
        exchange.bytes_out = size
        return True

    def _patience(self) -> float:
        """Go on with the silence that has begun, until the API says something."""
        silence = 0.0 if self._is_late else self._bounds.response_timeout
        if not (self.connection.buffer or self._interim):
            silence -= time.perf_counter() - self._began
        return max(0.0, silence)

    def interrupted(self, *, silent: bool = False) -> None:
        """Hand over because something else than an answer came, or nothing in time."""
        self._is_late = silent
        self._caller.take_over()

    def leave(self) -> None:
        """Leave the connection: a task waits for the answer from now on."""
        self.connection.begun = None
