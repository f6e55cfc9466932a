"""What may pass: judges a parsed request head against the rules of one listener.

Pure: no sockets, no clocks.

Laws
1. What is judged is what is sent: the target is looked at as it stands and goes on byte for byte,
   or not at all.
2. Whatever two servers could read in two ways is refused, never repaired.
3. No path of the listener reaches the token or logout endpoint, in any spelling.
4. A refusal quotes nothing of the request but the name in `Host`, which the grammar limits to
   harmless characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from proxy.clients import login, register
from proxy.errors import Refused
from proxy.forward import targets
from proxy.http1 import grammar
from proxy.http1.fields import BROWSER_MARKS, NOT_FORWARDED
from proxy.problems import ProblemKind
from proxy.settings import Settings

#: RFC 9110 section 9.3 without CONNECT and TRACE, and PATCH (RFC 5789). Methods are case-sensitive.
METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
#: What a client may repeat without harm, and an intermediary too (RFC 9110 section 9.2.1).
SAFE_METHODS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
#: A TLS record of type handshake (RFC 8446 section 5.1); the third byte, a minor version, varies.
_TLS_HANDSHAKE: Final = b"\x16\x03"
NEVER_FORWARDED: Final = frozenset({b"CONNECT", b"TRACE"})

#: What has content by its nature, so that an HTTP/1.0 request without a length is a mistake.
_WITH_CONTENT: Final = frozenset({b"POST", b"PUT", b"PATCH"})
_MOST_DIGITS: Final = 9  # of a Max-Forwards that are read
_MOST_FORWARDS: Final = 1000  # no chain of proxies is longer

# RFC 9110 section 7.2: uri-host [ ":" port ], and a port may be empty (RFC 3986 section 3.2.3).
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]++\]|[0-9A-Za-z\-._]++)(?::([0-9]{0,5}))?")
_MAX_PORT: Final = 65535
#: Characters of a Host that are quoted. Those that it may hold are harmless anywhere.
_MOST_SHOWN: Final = 100
_SANE_REQUEST_ID: Final = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._:/+=@-]{0,127}")
# W3C Trace Context section 3.2: neither id is all zeros. Only its first version: what later ones
# add is not ours to judge.
_TRACE: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_NO_LOGIN_NEEDED: Final = (
    "The proxy logs in by itself, and no client may. Take the login out of the application."
)
#: Undici, the client behind Node's `fetch`, sends this alone; no browser sends it without
#: Sec-Fetch-Site.
_NODE_FETCH: Final = [(b"sec-fetch-mode", b"cors")]


class Rules(NamedTuple):
    """The rules of one listener, compiled once.

    hosts: in lower case; None accepts every Host. prefixes: what paths may begin with, each up to a
    slash; paths: what they may be. protected: paths that clients may not reach although a prefix
    leads there, in `targets.plain_segments` form. logins: see `clients.login`.
    """

    hosts: frozenset[bytes] | None
    prefixes: tuple[bytes, ...]
    paths: frozenset[bytes]
    protected: tuple[list[bytes], ...]
    logins: Mapping[tuple[bytes, bytes], login.LoginAnswer]
    max_body: int
    max_target: int
    max_head: int
    max_fields: int

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """Compile the settings."""
        hosts = settings.listen.allowed_hosts
        prefixes = tuple(prefix.encode("ascii") for prefix in settings.upstream.allowed_paths)
        protected = [
            targets.plain_segments(path.encode("ascii"))
            for path in ("/oauth", settings.oauth.token_path, settings.oauth.logout_path)
        ]
        return cls(
            hosts=None
            if "*" in hosts
            else frozenset(host.lower().encode("ascii") for host in hosts),
            prefixes=tuple(
                prefix if prefix.endswith(b"/") else prefix + b"/" for prefix in prefixes
            ),
            paths=frozenset(prefix for prefix in prefixes if not prefix.endswith(b"/")),
            protected=tuple(
                path
                for path in protected
                if any(targets.may_reach(prefix, path) for prefix in prefixes)
            ),
            logins=login.answers(settings),
            max_body=settings.limits.max_body_bytes,
            max_target=settings.limits.max_target_bytes,
            max_head=settings.limits.max_header_bytes,
            max_fields=settings.limits.max_header_fields,
        )


class Request(NamedTuple):
    """A request that may pass.

    target: what goes upstream. path: the same without its query. minor: of its HTTP version.
    passing: the field lines that go upstream. framing: a length or `grammar.CHUNKED`; has_length:
    it said so, if only 0. keep_alive: the client wants to go on. expects: it waits for `100
    Continue`. trace: its `traceparent`, if it sent a valid one. is_safe: sending it twice does no
    harm. max_forwards: of an OPTIONS request that has this field (RFC 9110 section 7.6.2), else
    None. login: what it gets here if it is an application's own login. order_keys: the values of
    its Idempotency-Key fields.
    """

    method: bytes
    target: bytes
    path: str
    minor: int
    passing: list[bytes]
    framing: int
    has_length: bool
    keep_alive: bool
    expects: bool
    trace: str | None
    is_safe: bool
    max_forwards: int | None = None
    login: login.LoginAnswer | None = None
    order_keys: Sequence[bytes] = ()


def measure_head(buffer: bytearray, scanned: int, rules: Rules) -> int:
    """Return the length of the request head in front of the buffer, 0 if its end is not there yet.

    `scanned` bytes are known to hold no end. Raises `Refused` (414, 431, 400) as soon as no valid
    end can come.
    """
    end = buffer.find(b"\r\n\r\n", max(0, scanned - 3))
    size = end + 4 if end >= 0 else len(buffer)
    line = buffer.find(b"\r\n", 2, rules.max_target + 64)  # room for method and version
    if line < 0 and size > rules.max_target + 64:
        raise Refused(
            ProblemKind.TARGET_TOO_LONG,
            f"The request target is longer than {rules.max_target} bytes. Shorten it, or raise "
            "limits.max_target_bytes.",
        )
    if size > rules.max_head:
        raise Refused(
            ProblemKind.HEAD_TOO_LARGE,
            f"The request head is larger than {rules.max_head} bytes. Send less, such as fewer "
            "cookies, or raise limits.max_header_bytes.",
        )
    if end >= 0:
        return end + 4
    if buffer.startswith(_TLS_HANDSHAKE):
        raise Refused(
            ProblemKind.MALFORMED,
            "The client speaks TLS, and this port speaks plain HTTP. Use http:// in the client's "
            "base URL, or turn TLS on here.",
        )
    try:
        grammar.check_beginning(buffer)
    except grammar.Malformed as error:
        raise _malformed(error) from None
    return 0


def parse(head: bytes, rules: Rules) -> grammar.RequestHead:
    """Parse a whole request head and hold it against the limits.

    Raises `Refused` (400, 414, 431, 505).
    """
    try:
        parsed = grammar.parse_request(head)
    except grammar.Malformed as error:
        raise _malformed(error) from None
    if parsed.minor < 0:
        raise Refused(
            ProblemKind.VERSION,
            "The request is neither HTTP/1.1 nor HTTP/1.0. Set the client to HTTP/1.1.",
        )
    if len(parsed.target) > rules.max_target:
        raise Refused(
            ProblemKind.TARGET_TOO_LONG,
            f"The request target is longer than {rules.max_target} bytes. Shorten it, or raise "
            "limits.max_target_bytes.",
        )
    if parsed.field_count > rules.max_fields:
        raise Refused(
            ProblemKind.HEAD_TOO_LARGE,
            f"The request has more than {rules.max_fields} fields. Send fewer, or raise "
            "limits.max_header_fields.",
        )
    return parsed


def request_id(head: grammar.RequestHead) -> bytes | None:
    """Return the client's own request id, if it sent one sane one."""
    ids = head.known.get(b"x-request-id")
    if ids is None or len(ids) != 1 or _SANE_REQUEST_ID.fullmatch(ids[0]) is None:
        return None
    return ids[0]


def judge(head: grammar.RequestHead, rules: Rules, who: register.Client | None) -> Request:
    """Judge a parsed request head.

    who: sent it, as the register says; None is a client that may not call. Raises `Refused`.
    """
    method, target, minor, passing, found, _, connection = head
    try:
        framing = grammar.request_framing(head)
    except grammar.Malformed as error:
        raise _malformed(error) from None
    if method not in METHODS:
        raise _method_refused(method)
    host = _judge_host(found.get(b"host", []), minor, rules.hosts)
    if not BROWSER_MARKS.isdisjoint(found):
        _refuse_web_pages(found)
    if who is None:
        raise register.unknown()
    target = targets.in_origin_form(target, host)
    path = target.partition(b"?")[0]
    answer = _judge_call(method, path, rules, who)
    has_length = b"content-length" in found
    if minor == 0 and not has_length and method in _WITH_CONTENT:
        raise Refused(
            ProblemKind.LENGTH_REQUIRED,
            "An HTTP/1.0 request of this method needs a Content-Length: without one its body "
            "would be lost. Send one, or use HTTP/1.1.",
        )
    expects = b"expect" in found and _judge_expectation(found[b"expect"], minor)
    if framing > rules.max_body:
        raise too_large(rules.max_body)
    if connection and not NOT_FORWARDED.issuperset(connection):
        passing = grammar.without_named(passing, connection)
    max_forwards = None
    if method == b"OPTIONS" and b"max-forwards" in found:
        max_forwards = _judge_max_forwards(found[b"max-forwards"])
        passing = _decremented(passing, max_forwards)
    return Request(
        method,
        target,
        path.decode("ascii"),
        minor,
        passing,
        framing,
        has_length,
        b"close" not in connection and (minor == 1 or b"keep-alive" in connection),
        expects and framing != 0,
        _trace(found[b"traceparent"]) if b"traceparent" in found else None,
        method in SAFE_METHODS,
        max_forwards,
        answer,
        found.get(b"idempotency-key", ()),
    )


def too_large(max_body: int) -> Refused:
    """Return the refusal of a body of more bytes than `max_body`."""
    return Refused(
        ProblemKind.CONTENT_TOO_LARGE,
        f"The request body is larger than {max_body} bytes. Send less, or raise "
        "limits.max_body_bytes.",
    )


def _judge_max_forwards(values: list[bytes]) -> int:
    if len(values) != 1 or not values[0].isdigit():
        raise Refused(
            ProblemKind.MALFORMED,
            "The Max-Forwards field is not one plain number. Correct the client, or leave the "
            "field out.",
        )
    return min(int(values[0][:_MOST_DIGITS]), _MOST_FORWARDS)


def _decremented(lines: list[bytes], forwards: int) -> list[bytes]:
    """Return the field lines with `Max-Forwards` one lower (RFC 9110 section 7.6.2)."""
    kept = grammar.without_named(lines, [b"max-forwards"])
    return [*kept, b"Max-Forwards: %d\r\n" % (forwards - 1)]


def _malformed(error: grammar.Malformed) -> Refused:
    return Refused(
        ProblemKind.MALFORMED,
        f"The request is refused because {error}. Correct the client: nothing is repaired here.",
    )


def _method_refused(method: bytes) -> Refused:
    if method in NEVER_FORWARDED:
        return Refused(
            ProblemKind.METHOD_NOT_ALLOWED,
            "CONNECT and TRACE are never forwarded. Set the proxy as the client's base URL, not "
            "as its HTTP proxy.",
        )
    return Refused(
        ProblemKind.METHOD_UNKNOWN,
        "The method is none of those that are forwarded. Use GET, HEAD, POST, PUT, PATCH, DELETE "
        "or OPTIONS, in capital letters.",
    )


def _judge_host(hosts: list[bytes], minor: int, allowed: frozenset[bytes] | None) -> bytes:
    if not hosts and minor == 0:
        # HTTP/1.0 knows no Host; a browser always sends one, and browsers are what the list keeps
        # out
        return b""
    if len(hosts) != 1:
        raise Refused(
            ProblemKind.MALFORMED,
            "The request has no Host field, or more than one. Send exactly one.",
        )
    return _allowed_host(hosts[0], allowed)


def _allowed_host(host: bytes, allowed: frozenset[bytes] | None) -> bytes:
    """Return the Host in lower case (RFC 9110 section 4.2.3)."""
    match = _HOST.fullmatch(host)
    if match is None or int(match[2] or 0) > _MAX_PORT:
        raise Refused(
            ProblemKind.MALFORMED,
            "The Host field is not a host name or address with an optional port. Correct the "
            "client's base URL.",
        )
    lower = host.lower()
    if allowed is not None and match[1].lower() not in allowed:
        shown = lower[:_MOST_SHOWN].decode("ascii")
        raise Refused(
            ProblemKind.HOST_NOT_ALLOWED,
            f"The name in Host, {shown}, is not listed in listen.allowed_hosts. Call the proxy by "
            "one that is, or add this one.",
        )
    return lower


def _refuse_web_pages(found: grammar.Known) -> None:
    """Refuse requests of web pages.

    Browsers mark them with Origin or with W3C Fetch Metadata Request Headers.
    """
    is_cors = b"origin" in found or b"access-control-request-method" in found
    marks = [
        (key, value)
        for key, values in found.items()
        if key.startswith(b"sec-fetch-")
        for value in values
    ]
    is_fetch = marks and marks != _NODE_FETCH and found.get(b"sec-fetch-site") != [b"none"]
    if is_cors or is_fetch:
        raise Refused(
            ProblemKind.BROWSER,
            "The request comes from a web page. Call the proxy from a program: pages have no "
            "business with its credentials.",
        )


def _judge_call(
    method: bytes, path: bytes, rules: Rules, who: register.Client
) -> login.LoginAnswer | None:
    """Judge whether this client may make this call.

    Return what it gets here, if it is an application's own login.
    """
    answer = rules.logins.get((method, path)) if rules.logins else None
    if answer is None:
        _judge_path(path, rules)
        if not who.may(method, path):
            raise register.not_covered(who)
    return answer


def _judge_path(path: bytes, rules: Rules) -> None:
    if not path.startswith(rules.prefixes) and path not in rules.paths:
        if path.lower().startswith(b"/oauth/"):
            raise Refused(ProblemKind.PATH_NOT_ALLOWED, _NO_LOGIN_NEEDED)
        raise Refused(
            ProblemKind.PATH_NOT_ALLOWED,
            "The path is not under upstream.allowed_paths. Correct it, or add its prefix there.",
        )
    if not rules.protected:
        return
    segments = targets.plain_segments(path)
    for protected in rules.protected:
        if segments[: len(protected)] == protected:
            raise Refused(ProblemKind.PATH_NOT_ALLOWED, _NO_LOGIN_NEEDED)


def _judge_expectation(expectations: list[bytes], minor: int) -> bool:
    if minor == 0:  # RFC 9110 section 10.1.1: ignored in HTTP/1.0
        return False
    if [value.lower() for value in expectations] != [b"100-continue"]:
        raise Refused(
            ProblemKind.EXPECTATION,
            "The request expects something other than 100-continue. Remove its Expect field.",
        )
    return True


def _trace(values: list[bytes]) -> str | None:
    return (
        values[0].decode("ascii")
        if len(values) == 1 and _TRACE.fullmatch(values[0]) is not None
        else None
    )
