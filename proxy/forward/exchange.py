"""One request of a client and what becomes of it: the only state that listener and forwarder share about a call.

The access line and the metrics are made of it when it is over. It holds no token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.forward.guard import Request
    from proxy.network.message import Body
    from proxy.network.stream import Stream

#: NGINX's status for a client that left before its answer; it never goes over the wire.
CLIENT_LEFT: Final = 499


class Exchange:
    """A call under way.

    request_id: as sent upstream and returned. status: of the answer, 0 while there is none. bytes_out: content bytes sent to the client.
    attempts: how often the request was sent. upstream_seconds: from sending (the last time) to the head of the answer.
    token_seconds: waited for a token. error: a word for what went wrong, or None. refused: by our own rules, in the middle of its body.
    outcome: of a call that failed.
    kept: the request's content so far, for sending it again; None when it is too much for that.
    committed: the API may have begun to act on it, so it is followed to its end even if the client leaves.
    answered: the head of the final answer is out. keep_alive: the client's connection may go on afterwards.
    """

    status = 0
    bytes_out = 0
    attempts = 0
    upstream_seconds: float | None = None
    token_seconds = 0.0
    error: str | None = None
    refused = False
    outcome: str | None = None
    committed = False
    continued = False
    answered = False

    def __init__(
        self,
        request: Request,
        body: Body,
        client: Stream,
        request_id: bytes,
        started: float,
        *,
        keep_alive: bool,
    ) -> None:
        self.request = request
        self.body = body
        self.client = client
        self.request_id = request_id
        self.started = started
        self.keep_alive = keep_alive
        self.kept: bytes | bytearray | None = b""

    def keep(self, piece: bytes, limit: int) -> None:
        """Remember a piece of the request's content as long as all of it fits the limit."""
        if self.kept is None or not piece:
            return
        if len(self.kept) + len(piece) > limit:
            self.kept = None
        elif isinstance(self.kept, bytearray):
            self.kept += piece
        else:
            self.kept = bytearray(self.kept + piece)
