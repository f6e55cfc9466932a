"""Thousands of orders at an API that breaks off anywhere: each is accounted for, none placed twice.

In the end the API's count of accepted orders is compared with what each client was told.
`TELENOR_PROXY_SOAK_ORDERS=10000` places that many (`make soak` does); `pytest -s` shows the
figures.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Final

import pytest

from tests.gateway.client import ORDERS, Answer, Client, Gone, chunks, request, until
from tests.gateway.conftest import Gateway, Lab
from tests.reliability.api import BreakingApi, Call, Framing, Plan, Point, content_of, dice_of
from tests.reliability.api_faults import FAULTS, Strike
from tests.reliability.figures import show
from tests.reliability.road import WHOLE_WAY, scene_of

NUMBER: Final = int(os.environ.get("TELENOR_PROXY_SOAK_ORDERS", "2500"))
WORKERS: Final = 40
#: Fewer than workers, so that some orders wait for a connection, and some in vain.
CONNECTIONS: Final = 24
#: Longest silence of the API that the gateway bears here.
PATIENCE: Final = 0.5  # seconds

#: Orders that go to the sandbox itself, which is slower than the stand-in.
AT_SANDBOX: Final = 500

#: Size of an answer's content at the most.
LARGEST: Final = 4000  # bytes

#: The outcomes that a client may see.
PLACED: Final = "2xx, whole"
REFUSED: Final = "an error of the API"
NOT_SENT: Final = "not_sent"
UNKNOWN: Final = "unknown"
CUT: Final = "2xx, cut off"

#: How often an order with that outcome may have been accepted.
ALLOWED: Final = {PLACED: {1}, REFUSED: {0}, NOT_SENT: {0}, UNKNOWN: {0, 1}, CUT: {1}}


def plan_of(seed: int, call: Call) -> Plan:
    """Decide what happens to one arrival of an order: four of ten are unharmed."""
    dice = dice_of(seed, call)
    point = dice.choices(list(Point), weights=[6, 6, 10, 8, 8, 8, 1, 53])[0]
    status = dice.choices([200, 401, 429, 500, 503], weights=[88, 6, 2, 2, 2])[0]
    return Plan(point, dice.random() < 0.5, status, dice.choice(list(Framing)))


def outcome_of(client: Client, answer: Answer) -> str:
    """Return the outcome that a client sees, and note if its connection ends."""
    if answer.values(b"connection") == [b"close"]:
        client.ended = client.ended or "fin"
    if answer.proxy_error is not None:
        return str(answer.problem["outcome"])
    if answer.status not in {200, 201}:
        return REFUSED
    return PLACED if answer.whole else CUT


class Crowd:
    """The clients. Each keeps its connection while it may, and places orders."""

    def __init__(self, gateway: Gateway, seed: int) -> None:
        self._gateway = gateway
        self._seed = seed
        self.outcomes: dict[bytes, str] = {}
        self.mixed_up: list[bytes] = []

    async def work(self, numbers: Iterator[int]) -> None:
        """Place orders until there are no more numbers."""
        client: Client | None = None
        for number in numbers:
            mark = b"order-%d" % number
            if client is None:
                client = await Client.connect(self._gateway.address)
            self.outcomes[mark] = await self._place(client, mark, number)
            if client.ended is not None:
                client.close()
                client = None
        if client is not None:
            client.close()

    async def reach(self, count: int) -> None:
        """Wait until so many orders have an outcome."""
        await until(lambda: len(self.outcomes) >= count, 300)

    async def _place(self, client: Client, mark: bytes, number: int) -> str:
        content = b'{"order": "%b", "padding": "%b"}' % (mark, b"x" * (number * 37 % 3000))
        half = len(content) // 2
        field = b"X-Request-Id: " + mark
        if number % 4 == 0:
            framed = chunks(content[:half], content[half:])
            raw = request(b"POST", ORDERS, field, b"Transfer-Encoding: chunked") + framed
        else:
            raw = request(b"POST", ORDERS, field, content=content)
        # In two pieces now and then, so that the API can break off between them.
        pieces = [raw[:-half], raw[-half:]] if number % 3 == 0 else [raw]
        try:
            with contextlib.suppress(ConnectionError):  # the answer is there all the same
                await client.send(*pieces)
            answer = await client.answer()
        except Gone as gone:
            return f"no answer, {gone.how}"  # which must not be
        outcome = outcome_of(client, answer)
        if outcome not in {PLACED, CUT}:
            return outcome
        whole = content_of(mark, LARGEST)
        if bytes(answer.content) != whole[: len(answer.content)] or answer.values(
            b"x-request-id"
        ) != [mark]:
            self.mixed_up.append(mark)
        if answer.whole and len(answer.content) != len(whole):
            self.mixed_up.append(mark)  # a broken answer that looks whole
        return outcome


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [20270115])
async def test_every_order_is_accounted_for(lab: Lab, seed: int) -> None:
    """Accepted are those that were placed, some of `unknown`, no other, and none twice."""
    api = BreakingApi(
        lambda call: plan_of(seed, call), greet=lambda number: number % 29 != 0, largest=LARGEST
    )
    await api.start()
    gateway = await lab.gateway(
        url=f"http://127.0.0.1:{api.port}",
        upstream__max_connections=CONNECTIONS,
        upstream__response_timeout_seconds=PATIENCE,
        upstream__connect_timeout_seconds=PATIENCE / 2,
    )
    crowd = Crowd(gateway, seed)
    numbers = iter(range(NUMBER))
    began = time.perf_counter()
    workers = [asyncio.create_task(crowd.work(numbers)) for _ in range(WORKERS)]
    for third in range(1, 3):  # the API's host is away for a moment, twice
        await crowd.reach(NUMBER * third // 3)
        api.stop_listening()
        await crowd.reach(NUMBER * third // 3 + NUMBER // 50)
        await api.start()
    await asyncio.gather(*workers)
    seconds = time.perf_counter() - began
    await until(lambda: len(gateway.records) == NUMBER)
    await api.close()

    outcomes = Counter(crowd.outcomes.values())
    accepted = Counter(crowd.outcomes[mark] for mark in api.accepted)
    show(
        orders=NUMBER,
        seconds=round(seconds, 1),
        seed=seed,
        broken_off=dict(api.broken),
        outcomes=dict(outcomes),
        accepted=dict(accepted),
        accepted_twice=sum(count > 1 for count in api.accepted.values()),
    )
    assert len(crowd.outcomes) == NUMBER
    assert not crowd.mixed_up
    assert set(outcomes) == set(ALLOWED), "a kind of outcome has not come up"
    wrong = {
        mark: (outcome, api.accepted[mark])
        for mark, outcome in crowd.outcomes.items()
        if api.accepted[mark] not in ALLOWED[outcome]
    }
    assert not wrong
    assert set(api.accepted) <= set(crowd.outcomes)
    # Sent again only where nothing can have been acted on: after a 401, and not after anything
    # else.
    assert max(api.arrived.values()) <= 2


# --- The same at the sandbox -------------------------------------------------------------------


def order_of(number: int) -> bytes:
    """Return an order unlike all others; every tenth names no product, and is refused."""
    product = b"" if number % 10 == 0 else b"50795"
    return b'{"productId": "%b", "msisdn": "47%08d", "type": "ADD_PRODUCT"}' % (product, number)


async def place_at_sandbox(client: Client, number: int) -> str:
    """Place an order; return the outcome that the client sees."""
    raw = request(b"POST", ORDERS, content=order_of(number))
    with contextlib.suppress(ConnectionError):  # the answer is there all the same
        await client.send(*([raw[:-20], raw[-20:]] if number % 3 == 0 else [raw]))
    return outcome_of(client, await client.answer(b"POST"))


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_order_is_accounted_for_at_the_sandbox(lab: Lab, seed: int) -> None:
    """Random faults of the matrix, refused connections, revoked tokens: no outcome is wrong."""
    dice = Random(seed)  # noqa: S311 # faults, not secrets
    scripts = [
        fault.cause
        for fault in FAULTS.values()
        if not (isinstance(fault.cause, Strike) or fault.silent or fault.needs_content)
    ]
    outcomes: dict[int, str] = {}
    async with scene_of(lab, upstream__max_connections=4) as scene:
        await scene.house.opened()
        road = scene.road
        road.usual = lambda _: WHOLE_WAY if dice.random() < 0.5 else dice.choice(scripts)

        async def work(numbers: Iterator[int]) -> None:
            client: Client | None = None
            for number in numbers:
                if client is None:
                    client = await scene.house.gateway.connect()
                outcomes[number] = await place_at_sandbox(client, number)
                if client.ended is not None:
                    client = None

        numbers = iter(range(AT_SANDBOX))
        workers = [asyncio.create_task(work(numbers)) for _ in range(6)]
        for part in range(1, 5):
            await until(lambda part=part: len(outcomes) >= AT_SANDBOX * part // 5)  # type: ignore[misc] # a loop's variable
            await road.stop_listening()
            scene.sandbox.revoke()
            await until(lambda part=part: len(outcomes) >= AT_SANDBOX * part // 5 + 10)  # type: ignore[misc] # as above
            await road.start()
            await scene.house.clock.advance(60)  # so that a rejected token may be exchanged again
        await asyncio.gather(*workers)
        placed = Counter(int(str(each.body["msisdn"])[2:]) for each in scene.sandbox.orders)
    show(
        orders=AT_SANDBOX,
        seed=seed,
        outcomes=dict(Counter(outcomes.values())),
        placed=placed.total(),
    )
    assert len(outcomes) == AT_SANDBOX
    assert set(outcomes.values()) == set(ALLOWED), "a kind of outcome has not come up"
    assert [
        number for number, outcome in outcomes.items() if placed[number] not in ALLOWED[outcome]
    ] == []
    assert set(placed) <= set(outcomes)
