"""What is said of a finished request.

One value, made by the listener, read by the access log, the metrics and the status page.
"""

from typing import NamedTuple


class Record(NamedTuple):
    """What became of one request.

    method and path: None when the request could not be parsed; `path` has no query. status: of the
    answer; 499 when the client left before one, 0 when the connection was cut without one. seconds:
    from the whole request head to the end of the answer. bytes_in, bytes_out: content.
    upstream_seconds: from the last sending to the head of the answer. token_seconds: waited for a
    token. attempts: how often it was sent upstream. error: a word for what went wrong. refused: the
    request was turned down by the proxy's own rules. outcome: of one that failed, whether the API
    may have acted on it: `not_sent` or `unknown`. trace: the request's `traceparent` (W3C Trace
    Context), if it is a valid one. code: the API's own error code, of an answer 4xx or 5xx that
    names one. client: the name of the client that called, None without named clients.
    client_address: where it called from: an IP address, or `uid:pid` on a Unix socket. detail: why
    the proxy answered in the place of the API, as a sentence. replayed_from: of a recorded answer,
    the id of the request that placed the order. recorded: `orders.store` keeps the order's record,
    of an unknown outcome, until an operator forgets it.
    """

    request_id: str
    method: str | None
    path: str | None
    status: int
    seconds: float
    bytes_in: int = 0
    bytes_out: int = 0
    upstream_seconds: float | None = None
    token_seconds: float = 0.0
    attempts: int = 0
    error: str | None = None
    refused: bool = False
    outcome: str | None = None
    trace: str | None = None
    code: str | None = None
    client: str | None = None
    client_address: str | None = None
    detail: str | None = None
    replayed_from: str | None = None
    recorded: bool = False

    def fields(self) -> dict[str, object]:
        """Return what is said of the request, by name, in the order of the log.

        Durations are in milliseconds, to two decimals. `detail`, `replayed_from` and `trace_id` are
        there only if the record has them.
        """
        request_id, method, path, status, seconds, bytes_in, bytes_out, upstream = self[:8]
        # An integer division costs a third of `round`.
        fields: dict[str, object] = {
            "request_id": request_id,
            "method": method,
            "path": path,
            "status": status,
            "duration_ms": int(seconds * 100_000 + 0.5) / 100,
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
            "upstream_ms": None if upstream is None else int(upstream * 100_000 + 0.5) / 100,
            "attempts": self.attempts,
            "error": self.error,
            "outcome": self.outcome,
            "code": self.code,
            "client": self.client,
            "client_address": self.client_address,
        }
        if self.detail is not None:
            fields["detail"] = self.detail
        if self.replayed_from is not None:
            fields["replayed_from"] = self.replayed_from
        if self.trace is not None:
            fields["trace_id"] = self.trace.split("-")[1]
        return fields
