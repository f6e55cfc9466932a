"""The fault matrix of the token endpoint: each fault, in each state of the token.

`FAULTS` says what goes wrong and what the proxy makes of it, `Phase` when. `expected` computes from
both what an order must meet, and each cell is played with a real listener, forwarder, token source
and token endpoint on real sockets. Then the fault ends: the next attempt succeeds, and orders are
placed again. docs/reliability.md shows both tables.
"""

import asyncio
import contextlib
from typing import Final, NamedTuple

import pytest

from proxy.network import tls
from proxy.settings import Origin
from tests.gateway.client import Answer, order, request, until
from tests.gateway.conftest import Lab
from tests.reliability import api_faults
from tests.reliability.api_faults import NO_CONNECTION, Strike
from tests.reliability.house import House
from tests.reliability.road import black_hole
from tests.scripted import Act, Drip, Received, ScriptedServer, Steps, reply

#: The patience with a token endpoint in the rows whose fault is silence. It passes for real, so it
#: is short.
IMPATIENT: Final = 0.05  # seconds
Phase = api_faults.Phase
REJECTED: Final = reply(401, b'{"code": 40105, "message": "Invalid access token"}')

#: The pauses after passing faults, while an order waits.
QUICK: Final = (0.5, 1, 2, 4, 8)
#: The pauses after refused credentials, and after an answer that asks for more patience than an
#: order has: one attempt, then 503.
REFUSED: Final = (30,)


class Fault(NamedTuple):
    """One way in which the token endpoint fails.

    steps: what it does instead of an answer, or why no connection can be made. reason, code: as
    logged. pauses: seconds from each failure to the next attempt, while an order waits. It gives up
    when the next attempt lies beyond its ten seconds; its Retry-After is the last pause.
    """

    steps: Steps | Strike
    reason: str
    pauses: tuple[float, ...] = QUICK
    code: str | None = None


class Expected(NamedTuple):
    """What must be true of one order that meets the fault.

    sent: how often it went upstream. placed: how often it was accepted there. calls: attempts to
    log in, from the fault's beginning to the answer. ready: what the readiness probe says then.
    """

    status: int
    sent: int
    placed: int
    calls: int
    ready: bool


GRANT: Final = b'{"access_token": "token-of-the-test-0", "expires_in": 3599}'


def answers(status: int, content: bytes = b"", *fields: bytes) -> Steps:
    """Answer with this status."""
    return [Act.WHOLE, reply(status, content, *fields)]


DAY: Final = b"Fri, 15 Jan 2027 08"
BY_DATE: Final = b"Retry-After: %b:02:00 GMT" % DAY

FAULTS: Final[dict[str, Fault]] = {
    **{name: Fault(strike, reason) for name, (strike, _, _, reason) in NO_CONNECTION.items()},
    "reset at once": Fault([Act.RST], "reset"),
    "reset after the request": Fault([Act.WHOLE, Act.RST], "reset"),
    "closed without an answer": Fault([Act.WHOLE, Act.FIN], "reset"),
    "closed inside the head": Fault([Act.WHOLE, b"HTTP/1.1 200 O", Act.FIN], "reset"),
    "reset inside the head": Fault([Act.WHOLE, b"HTTP/1.1 200 O", Act.RST], "reset"),
    "reset inside the body": Fault([Act.WHOLE, reply(200, GRANT)[:-9], Act.RST], "reset"),
    "closed inside the body": Fault([Act.WHOLE, reply(200, GRANT)[:-9], Act.FIN], "reset"),
    "silence": Fault([Act.WHOLE], "timeout"),
    "silence inside the head": Fault([Act.WHOLE, b"HTTP/1.1 200 OK\r\nContent-"], "timeout"),
    "silence inside the body": Fault([Act.WHOLE, reply(200, GRANT)[:-9]], "timeout"),
    "byte by byte, without end": Fault(
        [Act.WHOLE, b"HTTP/1.1 200 OK\r\n\r\n", Drip(b" " * 1_000_000)], "timeout"
    ),
    # What is no answer of a token endpoint.
    "garbage": Fault([Act.WHOLE, bytes(range(256)), Act.FIN], "malformed"),
    "another protocol": Fault([Act.WHOLE, b"SSH-2.0-OpenSSH_9.2\r\n", Act.FIN], "malformed"),
    "interim answers without end": Fault(
        [Act.WHOLE, b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000], "malformed"
    ),
    "a switch of protocols": Fault(
        [Act.WHOLE, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"], "malformed"
    ),
    "200 with a web page": Fault(
        answers(200, b"<html><h1>Please log in</h1></html>"), "unreadable"
    ),
    "200 with nothing": Fault(answers(200, b""), "unreadable"),
    "200 with broken JSON": Fault(answers(200, GRANT[:-9]), "unreadable"),
    "200 with a list": Fault(answers(200, b"[" + GRANT + b"]"), "unreadable"),
    "200 without a token": Fault(answers(200, b'{"expires_in": 3599}'), "no_token"),
    "200 with an empty token": Fault(
        answers(200, b'{"access_token": "", "expires_in": 3599}'), "no_token"
    ),
    "200 with an illegal token": Fault(
        answers(200, b'{"access_token": "two\\r\\nX-Lines: 1", "expires_in": 3599}'),
        "illegal_token",
    ),
    "200 with a token of another kind": Fault(
        answers(200, GRANT[:-1] + b', "token_type": "mac"}'), "wrong_token_type"
    ),
    "204": Fault(answers(204), "unreadable"),
    "an error inside 200": Fault(
        answers(200, b'{"code": 16, "message": "invalid app attributes"}'), "no_token", code="16"
    ),
    "refused credentials inside 200": Fault(
        answers(200, b'{"code": 20, "message": "invalid credentials"}'), "refused", REFUSED, "20"
    ),
    # Its own errors.
    "500": Fault(
        answers(500, b'{"code": 2, "message": "internal server error"}'), "http_500", code="2"
    ),
    "502 with a web page": Fault(answers(502, b"<html>Bad Gateway</html>"), "http_502"),
    "503": Fault(answers(503), "http_503"),
    "503 that asks for 3 seconds": Fault(
        answers(503, b"", b"Retry-After: 3"), "http_503", (3, 3, 3, 4)
    ),
    "504": Fault(answers(504), "http_504"),
    "404": Fault(answers(404), "http_404"),
    **{
        f"429{asks}": Fault(
            answers(429, b'{"code": 42901}', *fields), "rate_limited", pauses, "42901"
        )
        for asks, pauses, *fields in (
            ("", QUICK),
            (" that asks for 0 seconds", QUICK, b"Retry-After: 0"),
            (" that asks for -5 seconds", QUICK, b"Retry-After: -5"),
            (" that asks for soon", QUICK, b"Retry-After: soon"),
            (" that asks for 120 seconds", (120,), b"Retry-After: 120"),
            (" that asks for a year", (300,), b"Retry-After: 31536000"),
            (" that asks for two minutes by date", (120,), b"Date: %b:00:00 GMT" % DAY, BY_DATE),
            (" that asks for a date without saying its own", QUICK, BY_DATE),
        )
    },
    # It means it: the credentials are refused.
    "400": Fault(answers(400, b'{"code": 2}'), "refused", REFUSED, "2"),
    "401": Fault(answers(401, b'{"code": 20}'), "refused", REFUSED, "20"),
    "401 with nothing": Fault(answers(401), "refused", REFUSED),
    "401 that breaks off": Fault(
        [Act.WHOLE, reply(401, b'{"code": 20}')[:-4], Act.RST], "refused", REFUSED
    ),
    "403": Fault(answers(403, b'{"code": 8}'), "refused", REFUSED, "8"),
    # It sends the password elsewhere; {elsewhere} is a server that must never hear of it.
    **{
        f"{status} to another host": Fault(
            answers(status, b"", b"Location: {elsewhere}"), "redirected"
        )
        for status in (301, 302, 303, 307, 308)
    },
}


def expected(fault: Fault, phase: Phase) -> Expected:
    """Return a cell's outcome: a token in force serves on; without one the order is not sent."""
    attempts = len(fault.pauses)
    return {
        Phase.COLD: Expected(503, 0, 0, attempts, ready=False),
        Phase.FRESH: Expected(200, 1, 1, 0, ready=True),
        Phase.STALE: Expected(200, 1, 1, 1, ready=True),
        Phase.EXPIRED: Expected(503, 0, 0, attempts, ready=False),
        # Sent once, and rejected before it reached anybody.
        Phase.RECOVERY: Expected(503, 1, 0, attempts, ready=False),
    }[phase]


async def break_login(
    house: House, fault: Fault, lab: Lab, stack: contextlib.AsyncExitStack
) -> ScriptedServer:
    """Break the token endpoint until the stack ends; return a server that must get no login."""
    patience = IMPATIENT if fault.reason == "timeout" else 5
    elsewhere = await lab.upstream()
    stack.push_async_callback(house.log_in_at)
    stack.callback(setattr, house.login, "usual", house.grant)
    if fault.steps == Strike():
        await house.login.stop_listening()
        stack.push_async_callback(house.login.start)
    elif isinstance(fault.steps, Strike):
        elsewhere = await stand_elsewhere(house, fault.steps, patience, lab, stack)
    else:
        there = b"http://127.0.0.1:%d/oauth/v2/token" % elsewhere.port
        house.login.usual = [
            step.replace(b"{elsewhere}", there) if isinstance(step, bytes) else step
            for step in fault.steps
        ]
        await house.log_in_at(timeout_seconds=patience)
    return elsewhere


async def stand_elsewhere(
    house: House, place: Strike, patience: float, lab: Lab, stack: contextlib.AsyncExitStack
) -> ScriptedServer:
    """Have the proxy log in at another place."""
    server = await lab.upstream(
        None if place.context is None else getattr(lab.certificates, place.context)
    )
    server.greeting = place.greeting or ()
    if place.black_hole:
        origin = Origin("http", "127.0.0.1", stack.enter_context(black_hole()))
    else:
        origin = place.origin or Origin("https", "127.0.0.1", server.port)
    context = tls.client_context(lab.certificates.ca_file) if origin.is_tls else None
    await house.log_in_at(origin, timeout_seconds=patience, tls=context)
    return server


async def enter(house: House, phase: Phase) -> None:
    """Bring the proxy to the phase, with the fault in place."""
    if phase is Phase.COLD:
        house.open()
    elif phase is Phase.STALE:
        await house.clock.advance(house.lifetime - 300)
        await house.until(lambda: house.events("token.renewal_failed"))
    elif phase is Phase.EXPIRED:
        house.clock.suspend(house.lifetime)
    elif phase is Phase.RECOVERY:
        house.gateway.upstream.scripts.append([Act.WHOLE, REJECTED])


def orders(house: House) -> list[Received]:
    """Return the orders that the API got."""
    return [seen for seen in house.gateway.upstream.whole if seen.method == b"POST"]


def placed(house: House) -> int:
    """Count those that it accepted."""
    return len(orders(house)) - len(house.events("token.invalidated"))


def hold(house: House, fault: Fault, want: Expected, answer: Answer, calls: int) -> None:
    """Compare the outcome of the order with what is expected."""
    seen = Expected(answer.status, len(orders(house)), placed(house), calls, ready=house.ready)
    assert seen == want
    failures = house.events("token.renewal_failed")
    assert [(entry["reason"], entry["code"]) for entry in failures] == [
        (fault.reason, fault.code)
    ] * want.calls
    assert all(entry["detail"].endswith(".") for entry in failures)
    assert [entry["next_attempt_in"] for entry in failures] == list(fault.pauses[: want.calls])
    if want.status == 503:
        assert (answer.kind, answer.problem["outcome"]) == ("no-token", "not_sent")
        assert answer.values(b"retry-after") == [b"%d" % fault.pauses[-1]]
    record = house.gateway.records[-1]
    assert (record.status, record.attempts) == (want.status, want.sent)
    assert record.error == (None if want.status == 200 else "destination_unavailable")


#: While the token is fresh the token endpoint is not called, so one fault of each kind is enough to
#: show it.
PLAYED_FRESH: Final = {"connection refused", "silence", "503", "401"}
CELLS: Final = [
    pytest.param(name, phase, id=f"{name}-{phase.name.lower()}")
    for name in FAULTS
    for phase in Phase
    if phase is not Phase.FRESH or name in PLAYED_FRESH
]


@pytest.mark.parametrize(("name", "phase"), CELLS)
async def test_an_order_meets_a_fault_of_the_token_endpoint(
    lab: Lab, house: House, name: str, phase: Phase
) -> None:
    """As `expected` says, with the reason logged and the password sent nowhere else."""
    fault = FAULTS[name]
    want = expected(fault, phase)
    if phase is not Phase.COLD:
        await house.opened()
        # A connection is kept, so that the order is sent at once wherever there is a token.
        assert (await house.ask(request(), method=b"GET")).status == 200
    before = house.calls
    async with contextlib.AsyncExitStack() as stack:
        elsewhere = await break_login(house, fault, lab, stack)
        await enter(house, phase)
        answer = await house.ask(order())
        hold(house, fault, want, answer, house.calls - before)
    # After the fault it recovers by itself.
    await house.until(lambda: house.source.usable() is not None and not house.report.not_ready())
    if phase is not Phase.FRESH:
        await house.until(
            lambda: len(house.events("token.renewed")) == 1 + (phase is not Phase.COLD)
        )
    assert (await house.ask(order())).status == 200
    assert placed(house) == want.placed + 1
    assert house.calls - before == want.calls + (phase is not Phase.FRESH)
    assert house.bearers[-1] == b"token-of-the-test-%d" % house.granted
    assert not any(b"oauth" in connection.received for connection in elsewhere.connections)
    assert isinstance(fault.steps, Strike) or not elsewhere.connections


async def test_a_slow_grant_is_a_grant(house: House) -> None:
    """An answer that arrives byte by byte, but in time, counts."""
    house.login.usual = lambda seen: [
        step if isinstance(step, Act) else Drip(step)
        for step in house.grant(seen)
        if isinstance(step, Act | bytes)
    ]
    house.open()
    assert (await house.ask(order())).status == 200
    assert (house.calls, placed(house)) == (1, 1)


@pytest.mark.parametrize("phase", [Phase.COLD, Phase.STALE, Phase.EXPIRED, Phase.RECOVERY])
async def test_thirty_seconds_of_silence(house: House, phase: Phase) -> None:
    """One login is under way; without a token in force each order gets 503 after ten seconds."""
    let_go = asyncio.Event()
    if phase is not Phase.COLD:
        await house.opened()
    before = house.calls
    house.login.usual = lambda seen: [Act.WHOLE, let_go, *house.grant(seen)[1:]]
    await house.log_in_at(timeout_seconds=60)
    if phase is Phase.STALE:
        await house.clock.advance(house.lifetime - 300)
    else:
        await enter(house, phase)
    for _ in range(3):
        asking = asyncio.create_task(house.gateway.ask(order()))
        await until(lambda asking=asking: asking.done() or house.source.waiting)  # type: ignore[misc] # a loop's variable
        await house.clock.advance(9.9)
        assert asking.done() is (phase is Phase.STALE)
        await house.clock.advance(0.1)
        answer = await asking
        if phase is Phase.STALE:
            assert answer.status == 200
        else:
            assert (answer.status, answer.kind) == (503, "no-token")
            assert answer.problem["outcome"] == "not_sent"
            assert "has not answered yet" in answer.problem["detail"]
        assert house.ready is (phase is Phase.STALE)
    assert house.calls - before == 1
    let_go.set()
    await house.until(
        lambda: house.granted == 1 + (phase is not Phase.COLD) and not house.is_fetching
    )
    await house.until(lambda: house.ready)
    assert (await house.ask(order())).status == 200
    assert house.calls - before == 1
    assert house.bearers[-1] == b"token-of-the-test-%d" % house.granted
