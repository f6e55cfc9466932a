"""The faults of the API, when they happen, on which way of a call, and what must follow.

docs/reliability.md shows these tables; tests/reliability/test_api_faults.py plays them.
"""

import enum
from collections.abc import Iterator
from typing import Final, NamedTuple

from proxy.settings import Origin
from tests.reliability import road
from tests.scripted import Act, Step, Steps

#: A name that the system refuses without asking a name server, which may take longer than any
#: patience here.
NO_SUCH_NAME: Final = Origin("http", "no*such*name", 80)


class Phase(enum.Enum):
    """In which state of the token the fault meets the proxy."""

    COLD = "before the first token"
    FRESH = "while the token is fresh"
    STALE = "while the token is being renewed ahead"
    EXPIRED = "after the token has expired"
    RECOVERY = "after the API rejected the token"


class Way(enum.Enum):
    """How the call goes through the proxy."""

    NEW = "on a new connection"
    SHORT = "on a kept connection, in one piece"
    TASK = "in two pieces"  # by a task; on a kept connection, if there is any to be had


class Strike(NamedTuple):
    """Why no connection can be made. origin: of the API. context, greeting: shown on TLS."""

    origin: Origin | None = None
    context: str | None = None
    greeting: Steps | None = None
    black_hole: bool = False

    @property
    def is_on_tls(self) -> bool:
        """Whether it is a fault of TLS."""
        return self.context is not None or self.greeting is not None


class Fault(NamedTuple):
    """One way in which the API fails.

    cause: why no connection can be made, or what happens to a request on one. status: of the
    answer; None if it is the API's own. error, outcome: in the log and the answer. again: a safe
    call is sent once more. placed: how often an order is placed. cut: the answer breaks off.
    silent: a timeout ends the call. needs_content: it cannot happen to a call without content.
    """

    cause: Steps | Strike
    status: int | None
    error: str | None = None
    outcome: str | None = None
    placed: int = 0
    again: bool = False
    cut: bool = False
    silent: bool = False
    needs_content: bool = False

    @property
    def connects(self) -> bool:
        """Whether there is a connection."""
        return not isinstance(self.cause, Strike)


class Expected(NamedTuple):
    """What must be true of one call that meets the fault.

    sent: how often it went to the API. placed: how often the sandbox accepted it as an order.
    logins: calls of the token endpoint, from the fault's beginning to the answer. ready: what the
    readiness probe says then. level, error, outcome: of the call's line in the log.
    """

    status: int
    sent: int
    placed: int
    logins: int
    ready: bool
    level: str
    error: str | None
    outcome: str | None


#: Before the first token there has been no call that left a connection.
PLAYED: Final[dict[Phase, tuple[Way, ...]]] = {
    Phase.COLD: (Way.NEW,),
    Phase.FRESH: (Way.NEW, Way.SHORT, Way.TASK),
    Phase.STALE: (Way.SHORT, Way.TASK),
    Phase.EXPIRED: (Way.TASK,),
    Phase.RECOVERY: (Way.SHORT, Way.TASK),
}
#: Where no connection can be made, none is kept.
PLAYED_WITHOUT_CONNECTION: Final[dict[Phase, tuple[Way, ...]]] = {
    Phase.COLD: (Way.NEW,),
    Phase.FRESH: (Way.NEW, Way.TASK),
    Phase.STALE: (Way.NEW,),
    Phase.EXPIRED: (Way.TASK,),
    Phase.RECOVERY: (Way.NEW, Way.TASK),
}

#: A safe call is no different from an order in how it gets its token; so it is played where a fault
#: may make it be sent again.
PLAYED_SAFE: Final = (Phase.FRESH, Phase.RECOVERY)

#: Calls of the token endpoint that the phase itself brings about.
LOGINS: Final = {Phase.COLD: 1, Phase.FRESH: 0, Phase.STALE: 1, Phase.EXPIRED: 1, Phase.RECOVERY: 1}

_OK: Final = b"HTTP/1.1 200 OK\r\n"
_INTERIM: Final = b"HTTP/1.1 102 Processing\r\n\r\n"


_ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x28"  # fatal, handshake_failure
_BAD_CERTIFICATE: Final = (502, "tls_certificate_error", "tls")
_NO_TLS: Final = (502, "tls_protocol_error", "tls")
_LOST: Final = (502, "connection_terminated", "reset")
_TOO_SLOW: Final = (504, "connection_timeout", "timeout")
#: Why no connection can be made: status and error of a call, and the reason of a failed login.
NO_CONNECTION: Final[dict[str, tuple[Strike, int, str, str]]] = {
    "connection refused": (Strike(), 502, "connection_refused", "connect"),
    "no such name": (Strike(NO_SUCH_NAME), 502, "dns_error", "dns"),
    "no answer to SYN": (Strike(black_hole=True), *_TOO_SLOW),
    "a certificate that has expired": (Strike(None, "expired"), *_BAD_CERTIFICATE),
    "a certificate of another host": (Strike(None, "wrong_host"), *_BAD_CERTIFICATE),
    "a certificate of an unknown authority": (Strike(None, "untrusted"), *_BAD_CERTIFICATE),
    "plain HTTP instead of TLS": (Strike(greeting=[_OK + b"\r\n"]), *_NO_TLS),
    "an alert instead of a handshake": (Strike(greeting=[_ALERT]), *_NO_TLS),
    "closed in the handshake": (Strike(greeting=[Act.FIN]), *_LOST),
    "reset in the handshake": (Strike(greeting=[b"\x16\x03", Act.RST]), *_LOST),
    "silence in the handshake": (Strike(greeting=[b"\x16\x03"]), *_TOO_SLOW),
}


def _lost(*steps: Step, placed: int = 0, again: bool = False) -> Fault:
    """Give one in which the connection ends before the head of an answer is whole."""
    return Fault(
        steps,
        502,
        "connection_terminated",
        "unknown",
        placed,
        again=again,
        needs_content=Act.HALF_BODY in steps,
    )


def _acted(*steps: Step, again: bool = False) -> Fault:
    """Give one in which the API acts, and the connection ends before its head is whole."""
    return _lost(Act.WHOLE, Act.ASK, *steps, placed=1, again=again)


def _nonsense(answer: bytes) -> Fault:
    """Give one in which the API acts, and answers like this."""
    return Fault((Act.WHOLE, Act.ASK, answer), 502, "http_protocol_error", "unknown", placed=1)


def _silent(*steps: Step) -> Fault:
    """Give one in which nothing more comes before the head of an answer is whole."""
    placed = int(Act.ASK in steps)
    return Fault(steps, 504, "http_response_timeout", "unknown", placed, silent=True)


def _cut(*steps: Step) -> Fault:
    """Give one in which the answer breaks off after its head, by the last step or in silence."""
    silent = steps[-1] not in {Act.FIN, Act.RST}
    error = "http_response_timeout" if silent else "connection_terminated"
    return Fault(
        (Act.WHOLE, Act.ASK, *steps), None, error, "unknown", placed=1, cut=True, silent=silent
    )


def _harmless(*steps: Step) -> Fault:
    """Give one that is unusual, but no fault."""
    return Fault((Act.WHOLE, Act.ASK, *steps), None, placed=1)


FAULTS: Final[dict[str, Fault]] = {
    **{
        name: Fault(strike, status, error, "not_sent", silent=status == 504)
        for name, (strike, status, error, _) in NO_CONNECTION.items()
    },
    # The API has not got the whole request.
    "closed with the request's head": _lost(Act.FIN, again=True),
    "reset with the request's head": _lost(Act.RST, again=True),
    "closed inside the request's body": _lost(Act.HALF_BODY, Act.FIN),
    "reset inside the request's body": _lost(Act.HALF_BODY, Act.RST),
    # It has got it, and not acted on it.
    "closed with the whole request": _lost(Act.WHOLE, Act.FIN, again=True),
    "reset with the whole request": _lost(Act.WHOLE, Act.RST, again=True),
    # It has acted on it.
    "closed instead of an answer": _acted(Act.FIN, again=True),
    "half-closed instead of an answer": _acted(Act.HALF, again=True),
    "reset instead of an answer": _acted(Act.RST, again=True),
    "closed after an interim answer": _acted(_INTERIM, Act.FIN),
    "closed inside the status line": _acted(road.until_half_of_status_line, Act.FIN),
    "reset inside the status line": _acted(road.until_half_of_status_line, Act.RST),
    "closed inside the answer's head": _acted(road.until_half_of_head, Act.FIN),
    "reset inside the answer's head": _acted(road.until_half_of_head, Act.RST),
    "garbage": _nonsense(bytes(range(256)) + b"\r\n\r\n"),
    "another protocol": _nonsense(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "an answer of two lengths": _nonsense(
        _OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"
    ),
    "an answer that switches protocols": _nonsense(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    # Silence.
    "silence from the request's head on": _silent(),
    "silence after the whole request": _silent(Act.WHOLE),
    "silence instead of an answer": _silent(Act.WHOLE, Act.ASK),
    "silence after an interim answer": _silent(Act.WHOLE, Act.ASK, _INTERIM),
    "silence inside the status line": _silent(Act.WHOLE, Act.ASK, road.until_half_of_status_line),
    "silence inside the answer's head": _silent(Act.WHOLE, Act.ASK, road.until_half_of_head),
    # The answer breaks off.
    "closed after the answer's head": _cut(road.until_body, Act.FIN),
    "reset after the answer's head": _cut(road.until_body, Act.RST),
    "closed inside the answer's body": _cut(road.until_half_of_body, Act.FIN),
    "reset inside the answer's body": _cut(road.until_half_of_body, Act.RST),
    "closed inside a chunk": _cut(road.until_half_of_chunk, Act.FIN),
    "closed before the last chunk": _cut(road.until_last_chunk, Act.FIN),
    "silence after the answer's head": _cut(road.until_body),
    "silence inside the answer's body": _cut(road.until_half_of_body),
    "silence before the last chunk": _cut(road.until_last_chunk),
    # Nothing is wrong with these.
    "an answer byte by byte": _harmless(road.byte_by_byte),
    "an answer in two pieces": _harmless(road.until_body, road.body),
    "an answer in chunks": _harmless(road.in_chunks),
    "an interim answer before it": _harmless(_INTERIM, road.whole),
    "closed after its answer, as announced": _harmless(road.closing, Act.FIN),
    "closed after its answer, unannounced": _harmless(road.whole, Act.FIN),
    "reset after its answer": _harmless(road.whole, Act.RST),
}


def cells() -> Iterator[tuple[str, Phase, Way, bytes]]:
    """Give all cells: the fault's name, the phase, the way, and the method of the call."""
    for name, fault in FAULTS.items():
        for phase, ways in (PLAYED if fault.connects else PLAYED_WITHOUT_CONNECTION).items():
            for way in ways:
                yield name, phase, way, b"POST"
                if phase in PLAYED_SAFE and not fault.needs_content:
                    yield name, phase, way, b"GET"


def expected(fault: Fault, phase: Phase, *, is_order: bool) -> Expected:
    """Return a cell's outcome: an order is sent once, and again only after a 401 for its token."""
    rejected = phase is Phase.RECOVERY
    times = 2 if fault.again and not is_order else int(fault.connects)
    own = 201 if is_order else 200
    return Expected(
        status=own if fault.status is None else fault.status,
        sent=rejected + times,
        placed=fault.placed if is_order else 0,
        logins=LOGINS[phase],
        # readiness is about tokens: a restart, or less traffic, would not repair the API
        ready=True,
        level="info" if fault.error is None else "warning",
        error=fault.error,
        outcome=fault.outcome,
    )
