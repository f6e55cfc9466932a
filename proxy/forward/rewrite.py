"""What changes on the way: fields removed, framing written anew, the credential injected. Pure functions from heads to bytes.

Laws
1. Strip, then inject, and inject last. Exactly one `Authorization` leaves, and it is ours.
2. Hop-by-hop fields, the fixed ones and those that `Connection` names, end here, in both directions (RFC 9110 section 7.6.1).
3. Everything else keeps its name, its value, its number and its order.
4. An answer's framing says what its body will be; a body without end in sight is chunked, or closes an HTTP/1.0 connection.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

from proxy.forward import wire
from proxy.forward.fields import NOT_FORWARDED

if TYPE_CHECKING:
    from proxy.errors import Problem
    from proxy.forward.guard import Request

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_PROBLEM_TYPE: Final = "urn:telenor-proxy:problem:"


def request_head(request: Request, host: bytes, request_id: bytes, credential: bytes) -> bytes:
    """Return the head that goes upstream. `credential` is the whole `Authorization` field line."""
    named = request.named
    lines = [
        line for key, line in request.fields if key not in named and not (b"_" in key and _is_lookalike(key))
    ]
    if request.framing == wire.CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif request.has_length:
        lines.append(b"Content-Length: %d\r\n" % request.framing)
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%bX-Request-Id: %b\r\n%b\r\n" % (
        request.method,
        request.target,
        host,
        b"".join(lines),
        request_id,
        credential,
    )


def _is_lookalike(key: bytes) -> bool:
    """Whether servers that take `_` for `-`, as CGI does, would see one of our fields."""
    return key.replace(b"_", b"-") in NOT_FORWARDED


def response_head(
    head: wire.ResponseHead, framing: int, request: Request, request_id: bytes, *, keep_alive: bool
) -> tuple[bytes, bool]:
    """Return the head that goes to the client, and whether the connection can go on after it."""
    lines = _returned(head)
    if framing >= 0:
        length = head.known.get(b"content-length")
        if (
            length and head.status != wire.NO_CONTENT
        ):  # HEAD and 304 keep the length of what they do not carry
            lines.append(b"Content-Length: %b\r\n" % length[0])
    elif request.minor == 1:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    else:
        keep_alive = False
    return (
        b"HTTP/1.1 %d %b\r\n%bX-Request-Id: %b\r\n%b\r\n"
        % (
            head.status,
            head.reason,
            b"".join(lines),
            request_id,
            connection_field(request.minor, keep_alive=keep_alive),
        ),
        keep_alive,
    )


def interim_head(head: wire.ResponseHead) -> bytes:
    """Return a 1xx answer as it goes to the client."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, b"".join(_returned(head)))


def _returned(head: wire.ResponseHead) -> list[bytes]:
    if b"connection" not in head.known:
        return [line for _, line in head.fields]
    named = wire.members(head.known[b"connection"])
    return [line for key, line in head.fields if key not in named]


def connection_field(minor: int, *, keep_alive: bool) -> bytes:
    """Return the `Connection` field line that this version of HTTP needs, b"" if none."""
    if not keep_alive:
        return b"Connection: close\r\n"
    return b"" if minor == 1 else b"Connection: keep-alive\r\n"


def chunk(piece: bytes) -> bytes:
    """Return the piece as one chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


LAST_CHUNK: Final = b"0\r\n\r\n"


def problem(
    error: Problem, request_id: bytes, *, minor: int = 1, keep_alive: bool = False, method: bytes = b"GET"
) -> bytes:
    """Return a whole answer of the proxy's own: problem details (RFC 9457) and `Proxy-Status` (RFC 9209)."""
    kind = error.kind
    details: dict[str, object] = {
        "type": _PROBLEM_TYPE + kind.name,
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
        extra += b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nCache-Control: no-store\r\n"
        b"Proxy-Status: telenor-proxy; error=%b\r\nX-Request-Id: %b\r\n%b%b\r\n"
        % (
            kind.status,
            HTTPStatus(kind.status).phrase.encode("ascii"),
            len(body),
            kind.proxy_error.encode("ascii"),
            request_id,
            extra,
            connection_field(minor, keep_alive=keep_alive),
        )
    ) + (b"" if method == b"HEAD" else body)
