"""What changes on the way: fields removed, framing written anew, the credential injected.

Pure functions from heads to bytes.

Laws
1. Strip, then inject, and inject last. Exactly one `Authorization` leaves, and it is ours.
2. Hop-by-hop fields, the fixed ones and those that `Connection` names, end here, in both directions
   (RFC 9110 section 7.6.1).
3. Everything else keeps its name, its value, its number and its order.
4. An answer's framing says what its body will be; a body without end in sight is chunked, or closes
   an HTTP/1.0 connection.
"""

from http import HTTPStatus
from typing import Final

import orjson

from proxy.clients.login import LoginAnswer
from proxy.errors import Problem
from proxy.forward.policy import Request
from proxy.http1 import grammar
from proxy.http1.fields import NOT_FORWARDED, NOT_RETURNED
from proxy.orders.desk import Replay

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_ALLOW: Final = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
_PROBLEM_TYPE: Final = "urn:telenor-proxy:problem:"


def request_head(request: Request, host: bytes, request_id: bytes, credential: bytes) -> bytes:
    """Return the head that goes upstream. `credential` is the whole `Authorization` field line."""
    lines = b"".join(request.passing)
    if b"_" in lines:
        lines = _without_lookalikes(lines)
    framing = b""
    if request.framing == grammar.CHUNKED:
        framing = _CHUNKED
    elif request.has_length:
        framing = b"Content-Length: %d\r\n" % request.framing
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%bX-Request-Id: %b\r\n%b\r\n" % (
        request.method,
        request.target,
        host,
        lines,
        framing,
        request_id,
        credential,
    )


def _without_lookalikes(lines: bytes) -> bytes:
    """Drop what servers that take `_` for `-`, as CGI does, would see as one of our fields."""
    return b"".join(
        [
            line
            for line in lines.splitlines(keepends=True)
            if line.partition(b":")[0].lower().replace(b"_", b"-") not in NOT_FORWARDED
        ]
    )


def response_head(
    head: grammar.ResponseHead,
    framing: int,
    request: Request,
    request_id: bytes,
    *,
    keep_alive: bool,
) -> tuple[bytes, bool]:
    """Return the head that goes to the client, and whether the connection can go on after it."""
    field = b""
    if framing < 0:
        field = _CHUNKED if request.minor == 1 else b""
        keep_alive = keep_alive and request.minor == 1
    elif b"content-length" in head.known and head.status != grammar.NO_CONTENT:
        # HEAD and 304 keep the length of what they do not carry.
        field = b"Content-Length: %b\r\n" % head.known[b"content-length"][0]
    connection = (
        b""
        if keep_alive and request.minor == 1
        else connection_field(request.minor, keep_alive=keep_alive)
    )
    return b"HTTP/1.1 %d %b\r\n%b%bX-Request-Id: %b\r\n%b\r\n" % (
        head.status,
        head.reason,
        passing(head),
        field,
        request_id,
        connection,
    ), keep_alive


def passing(head: grammar.ResponseHead) -> bytes:
    """Return the answer's field lines that go on.

    Neither those that always stop here nor those that `Connection` names.
    """
    named = head.options
    if named and not NOT_RETURNED.issuperset(named):
        return b"".join(grammar.without_named(head.passing, named))
    return b"".join(head.passing)


def replay(
    answer: Replay, request: Request, request_id: bytes, *, keep_alive: bool
) -> tuple[bytes, bool]:
    """Return an answer that was given before, whole, and whether the connection can go on."""
    has_content = answer.status not in {grammar.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
    keep_alive = keep_alive and request.minor == 1
    return (
        b"HTTP/1.1 %d %b\r\n%b%bIdempotency-Replayed: true\r\nIdempotency-Original-Id: "
        b"%b\r\nX-Request-Id: %b\r\n%b\r\n%b"
        % (
            answer.status,
            _phrase(answer.status),
            answer.fields,
            b"Content-Length: %d\r\n" % len(answer.content) if has_content else b"",
            answer.first_id.encode("ascii"),
            request_id,
            connection_field(request.minor, keep_alive=keep_alive),
            answer.content if has_content else b"",
        ),
        keep_alive,
    )


def _phrase(status: int) -> bytes:
    """Return the usual reason phrase; an unregistered status has none."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""


def interim_head(head: grammar.ResponseHead) -> bytes:
    """Return a 1xx answer as it goes to the client."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, passing(head))


def connection_field(minor: int, *, keep_alive: bool) -> bytes:
    """Return the `Connection` field line that this version of HTTP needs, b"" if none."""
    if not keep_alive:
        return b"Connection: close\r\n"
    return b"" if minor == 1 else b"Connection: keep-alive\r\n"


def chunk(piece: bytes | bytearray) -> bytes:
    """Return the piece as one chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), bytes(piece))


LAST_CHUNK: Final = b"0\r\n\r\n"


def options(request_id: bytes, *, minor: int, keep_alive: bool) -> bytes:
    """Return the answer to an OPTIONS request that may go no further."""
    return b"HTTP/1.1 204 No Content\r\n%bX-Request-Id: %b\r\n%b\r\n" % (
        _ALLOW,
        request_id,
        connection_field(minor, keep_alive=keep_alive),
    )


def login(answer: LoginAnswer, request_id: bytes, *, minor: int, keep_alive: bool) -> bytes:
    """Return the whole answer to an application's own login."""
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\nX-Request-Id: %b\r\n%b\r\n%b" % (
        answer.fields,
        len(answer.content),
        request_id,
        connection_field(minor, keep_alive=keep_alive),
        answer.content,
    )


def _proxy_status(error: Problem) -> bytes:
    """Return the value of `Proxy-Status`.

    next-hop is a String: a host and port may hold what a Token may not (RFC 8941).
    """
    value = f"telenor-proxy; error={error.kind.proxy_error}"
    if error.next_hop is not None:
        value += f'; next-hop="{error.next_hop}"'
    if error.received_status is not None:
        value += f"; received-status={error.received_status}"
    return value.encode("ascii")


def problem(
    error: Problem,
    request_id: bytes,
    *,
    minor: int = 1,
    keep_alive: bool = False,
    method: bytes = b"GET",
) -> bytes:
    """Return a whole answer of the proxy's own.

    Problem details (RFC 9457) and `Proxy-Status` (RFC 9209).
    """
    kind = error.kind
    details: dict[str, object] = {
        "type": _PROBLEM_TYPE + kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": error.detail,
        "instance": request_id.decode("ascii"),
    }
    if error.outcome is not None:
        details["outcome"] = error.outcome
    body = orjson.dumps(details)
    extra = b""
    if error.retry_after is not None:
        extra += b"Retry-After: %d\r\n" % max(1, -int(-error.retry_after // 1))
    if kind.status == HTTPStatus.METHOD_NOT_ALLOWED:
        extra += _ALLOW
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/problem+json\r\nContent-Length: "
        b"%d\r\nCache-Control: no-store\r\n"
        b"Proxy-Status: %b\r\nX-Request-Id: %b\r\n%b%b\r\n"
        % (
            kind.status,
            HTTPStatus(kind.status).phrase.encode("ascii"),
            len(body),
            _proxy_status(error),
            request_id,
            extra,
            connection_field(minor, keep_alive=keep_alive),
        )
    ) + (b"" if method == b"HEAD" else body)
