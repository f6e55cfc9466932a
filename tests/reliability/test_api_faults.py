"""The fault matrix of the API: each fault, in each state of the token, on each way of a call.

`api_faults` holds the faults and what must follow. Each cell is played with a real listener,
forwarder, token source and token endpoint on real sockets. The sandbox decides what is placed and
which token is valid; between it and the proxy lies a road that breaks. Then the fault ends, and the
next order is placed.
"""

import asyncio
import contextlib
from typing import Final

import pytest

from tests.gateway.client import ORDER, Answer, order, request, until
from tests.gateway.conftest import Lab
from tests.reliability.api_faults import (
    FAULTS,
    Expected,
    Fault,
    Phase,
    Strike,
    Way,
    cells,
    expected,
)
from tests.reliability.house import HOUR
from tests.reliability.road import WHOLE_WAY, Scene, black_hole, closing, scene_of
from tests.scripted import Act, ScriptedServer

#: The patience with the API. On a connection the test ends it (see `sit_out`); until there is one
#: it passes for real, and is short.
PATIENT: Final = 60.0  # seconds
IMPATIENT: Final = 0.4  # seconds; on a busy machine a TLS handshake takes a tenth
#: In so many turns of the event loop, which polls the sockets at each, what was sent has arrived.
TURNS: Final = 20

GET: Final = request()
POST: Final = order()
#: The log's events about the token in each phase, from the fault's beginning to the answer.
TOLD: Final = {
    Phase.COLD: ["token.renewed"],
    Phase.FRESH: [],
    Phase.STALE: [],  # the renewal is still under way
    Phase.EXPIRED: ["token.renewed"],
    Phase.RECOVERY: ["token.invalidated", "token.renewed"],
}

CELLS: Final = [
    pytest.param(*cell, id=f"{cell[0]}-{cell[1].name}-{cell[2].name}-{cell[3].decode()}".lower())
    for cell in cells()
]
#: The faults of a connection that can happen on TLS too, which has no half-closed connections.
ON_TLS: Final = [
    name
    for name, fault in FAULTS.items()
    if not (isinstance(fault.cause, Strike) or fault.needs_content or Act.HALF in fault.cause)
]


async def strike(scene: Scene, how: Strike, stack: contextlib.AsyncExitStack) -> None:
    """Make new connections impossible until `stack` ends."""
    road, pool = scene.road, scene.house.gateway.pool
    if how.origin is not None:
        stack.callback(setattr, pool.dialer, "origin", pool.dialer.origin)
        pool.dialer.origin = how.origin
        return
    await road.stop_listening()
    stack.push_async_callback(road.start)
    if how.black_hole:
        stack.enter_context(black_hole(road.port))
    if how.is_on_tls:
        stack.callback(setattr, road, "tls", road.tls)
        stack.callback(setattr, road, "greeting", road.greeting)
        stack.push_async_callback(road.stop_listening)
        road.tls = None if how.context is None else getattr(scene.certificates, how.context)
        road.greeting = how.greeting or ()
        await road.start()


async def enter(scene: Scene, phase: Phase, way: Way, fault: Fault) -> None:
    """Bring the proxy to the phase, with a connection to the API if the way is on a kept one."""
    house = scene.house
    if phase is Phase.COLD:
        return
    await house.opened()
    if way is not Way.NEW and fault.connects:
        assert (await house.ask(GET, method=b"GET")).status == 200
        assert house.gateway.pool.connections == (0, 1)
    if phase is Phase.STALE:
        scene.sandbox.fault("token_slow", 60, 1)
    elif phase is Phase.EXPIRED:
        house.clock.suspend(HOUR)
    elif phase is Phase.RECOVERY:
        scene.sandbox.revoke()


async def begin(scene: Scene, phase: Phase, fault: Fault, stack: contextlib.AsyncExitStack) -> None:
    """Let the fault begin: at once, or in RECOVERY once the API has rejected the token."""
    house, road, cause = scene.house, scene.road, fault.cause
    if isinstance(cause, Strike) and phase is Phase.RECOVERY:
        road.scripts.append(
            [Act.WHOLE, Act.ASK, lambda _: strike(scene, cause, stack), closing, Act.FIN]
        )
    elif isinstance(cause, Strike):
        await strike(scene, cause, stack)
    else:
        stack.callback(setattr, road, "usual", WHOLE_WAY)
        road.usual = cause
        if phase is Phase.RECOVERY:
            road.scripts.append(WHOLE_WAY)
    if phase is Phase.COLD:
        house.open()
    elif phase is Phase.STALE:
        await house.clock.advance(HOUR - 300)
        await house.until(lambda: house.is_fetching and scene.counter("token_calls") == 2)


async def sit_out(scene: Scene, calls: int) -> None:
    """Wait until so many calls are waiting, check their deadline, and let it pass."""
    road, pool = scene.road, scene.house.gateway.pool
    await until(
        lambda: len(road.requests) == calls and road.requests[-1].whole and not road.playing
    )
    for _ in range(TURNS):
        await asyncio.sleep(0)
    (connection,) = [each for each in pool._open if each.in_use]
    deadline = connection._readable._deadline
    assert deadline is not None
    assert PATIENT - 5 < deadline - asyncio.get_running_loop().time() <= PATIENT
    connection.postpone(0)


def in_pieces(raw: bytes, way: Way) -> list[bytes]:
    """Cut a request in the middle of its content, or of its head if it has none."""
    at = len(raw) - (len(ORDER) if raw.endswith(ORDER) else len(raw)) // 2
    return [raw[:at], raw[at:]] if way is Way.TASK else [raw]


def outcome_of(answer: Answer, fault: Fault, *, is_order: bool) -> str | None:
    """Return the outcome that the client was given, and check the rest of its answer."""
    own = fault.status is not None and fault.error is not None
    assert answer.whole is not fault.cut
    assert answer.proxy_error == (fault.error if own else None)
    if not own:
        return fault.outcome
    problem = answer.problem
    maybe_placed = fault.outcome == "unknown" and is_order
    assert ("may or may not have been placed" in problem["detail"]) is maybe_placed
    if fault.error == "tls_certificate_error":
        assert answer.kind == "upstream-not-trusted"
        assert "upstream.ca_file" in problem["detail"]
    return str(problem["outcome"])


def hold_connections(scene: Scene, answer: Answer, *, cut: bool) -> None:
    """Hold that a cut answer has one head, and that no other peer got a credential."""
    client = scene.house.gateway.clients[-1]
    if cut:
        assert client.ended == "rst"
        assert client.received.count(b"HTTP/1.1 ") == 1 + len(answer.interim)
    for connection in scene.road.connections:
        assert connection.problem is None or b"Bearer" not in connection.received


@pytest.mark.parametrize(("name", "phase", "way", "method"), CELLS)
async def test_a_call_meets_a_fault_of_the_api(
    lab: Lab, name: str, phase: Phase, way: Way, method: bytes
) -> None:
    """All see what `expected` says: client, sandbox, token endpoint, probe, log."""
    cause = FAULTS[name].cause
    await play(lab, name, phase, way, method, tls=isinstance(cause, Strike) and cause.is_on_tls)


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("name", ON_TLS)
async def test_a_call_meets_a_fault_of_the_api_on_tls(lab: Lab, name: str, method: bytes) -> None:
    """On TLS the same faults have the same outcomes."""
    await play(lab, name, Phase.FRESH, Way.SHORT, method, tls=True)


async def play(lab: Lab, name: str, phase: Phase, way: Way, method: bytes, *, tls: bool) -> None:
    """Play one cell."""
    fault, is_order = FAULTS[name], method == b"POST"
    connect = IMPATIENT if fault.silent and not fault.connects else PATIENT
    async with (
        scene_of(
            lab,
            tls=tls,
            upstream__connect_timeout_seconds=connect,
            upstream__response_timeout_seconds=PATIENT,
        ) as scene,
        contextlib.AsyncExitStack() as stack,
    ):
        house, road = scene.house, scene.road
        await enter(scene, phase, way, fault)
        logins, passed, lines = scene.counter("token_calls"), len(road.requests), len(house.logs)
        await begin(scene, phase, fault, stack)
        want = expected(fault, phase, is_order=is_order)
        asking = asyncio.create_task(
            house.ask(*in_pieces(POST if is_order else GET, way), method=method)
        )
        if fault.silent and fault.connects:
            await sit_out(scene, passed + want.sent)
        answer = await asking

        line = scene.access_line(house.gateway.records[-1])
        assert want == Expected(
            answer.status,
            len(road.requests) - passed,
            scene.counter("orders"),
            scene.counter("token_calls") - logins,
            house.ready,
            line["level"],
            line["error"],
            line["outcome"],
        )
        assert (line["event"], line["method"]) == ("request.completed", method.decode())
        assert (line["status"], line["attempts"]) == (want.status, want.sent)
        assert outcome_of(answer, fault, is_order=is_order) == want.outcome
        hold_connections(scene, answer, cut=fault.cut)
        assert [entry["event"] for entry in house.logs[lines:]] == TOLD[phase]

        await stack.aclose()
        scene.login.set()
        # The next order must not meet a connection that is about to end: that is another test.
        await until(
            lambda: not road.playing and len(road.open) == house.gateway.pool.connections[1]
        )
        house.gateway.pool._connect_timeout = PATIENT  # a loaded machine may be slow to connect
        assert (await house.ask(POST)).status == 201
        assert scene.counter("orders") == want.placed + 1
        assert house.ready


# --- The very moment of use --------------------------------------------------------------------


async def end_all(road: ScriptedServer, how: Act) -> None:
    """End all of the road's connections like this."""
    for connection in road.open:
        await connection.end(how)


@pytest.mark.parametrize("end", [Act.FIN, Act.HALF, Act.RST], ids=lambda end: end.name.lower())
@pytest.mark.parametrize("way", [Way.SHORT, Way.TASK], ids=lambda way: way.name.lower())
@pytest.mark.parametrize("method", [b"GET", b"POST"], ids=["get", "post"])
async def test_a_kept_connection_ends_at_the_moment_of_use(
    lab: Lab, method: bytes, way: Way, end: Act
) -> None:
    """A safe call is served; an order is placed once if so answered, and never if `not_sent`."""
    raw = in_pieces(POST if method == b"POST" else GET, way)
    async with scene_of(lab) as scene:
        house, road = scene.house, scene.road
        await house.opened()
        for turns in range(12):
            assert (await house.gateway.ask(GET)).status == 200
            placed = scene.counter("orders")
            client = await house.gateway.connect()
            ending = asyncio.create_task(end_all(road, end))
            for _ in range(turns):
                await asyncio.sleep(0)
            answer = await client.ask(*raw, method=method)
            await ending
            outcome = "placed" if answer.status < 300 else answer.problem["outcome"]
            allowed = {"placed": {1}, "not_sent": {0}, "unknown": {0, 1}}[outcome]
            if method == b"GET":
                assert answer.status == 200
            else:
                assert scene.counter("orders") - placed in allowed
