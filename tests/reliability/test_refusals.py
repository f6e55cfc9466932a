"""Refusals of the API pass unchanged on each way of a call, and its 429s are counted by code.

Pacing is in tests/integration/test_pacing.py.
"""

import itertools
from typing import Final

import orjson

from tests.e2e.process import ORDERS, Api, Starter, configuration
from tests.gateway.client import ORDER, Answer, Client, request

PLACE: Final = request(b"POST", ORDERS.encode(), b"Content-Type: application/json", content=ORDER)
#: A whole request on a kept connection, and one in pieces.
WAYS: Final = {"whole": [PLACE], "in two pieces": [PLACE[:-9], PLACE[-9:]]}
#: Codes of the gateway about rights, limits and its own faults, with the status of each.
REFUSALS: Final = {40101: 401, 40301: 403, 40401: 404, 42901: 429, 42902: 429, 50001: 500}


async def test_a_refusal_of_the_api_is_passed_on(start: Starter, api: Api) -> None:
    """Sent once, unchanged, no token invalidated; quota and spike arrest are counted apart."""
    proxy = await start.ready(configuration(api.url))
    client = await Client.connect(("127.0.0.1", (await proxy.event("listener.started"))["port"]))
    admin = await Client.connect(("127.0.0.1", (await proxy.event("admin.started"))["port"]))

    async def ask(other: Client, *pieces: bytes) -> Answer:
        await other.send(*pieces)
        return await other.answer(pieces[0].partition(b" ")[0])

    assert (await ask(client, PLACE)).status == 201
    for number, (code, pieces) in enumerate(itertools.product(REFUSALS, WAYS.values()), 2):
        api.sandbox.fault("api_error", str(code), 1)
        answer = await ask(client, *pieces)
        assert (answer.status, answer.proxy_error, answer.whole) == (REFUSALS[code], None, True)
        assert orjson.loads(answer.content)["code"] == code
        line = await proxy.event("request.completed", number)
        assert line["level"] == ("info" if code == 40401 else "warning")
        assert (line["status"], line["error"], line["outcome"]) == (REFUSALS[code], None, None)
    assert (await ask(client, PLACE)).status == 201

    assert (api.counter("orders"), api.counter("token_calls")) == (2, 1)
    assert api.counter("api_calls") == 2 + len(WAYS) * len(REFUSALS)
    assert {line["attempts"] for line in proxy.events("request.completed")} == {1}
    assert not proxy.events("token.invalidated")
    shown = orjson.loads((await ask(admin, request(b"GET", b"/status"))).content)
    assert shown["throttled"] == {"42901": len(WAYS), "42902": len(WAYS), "other": 0}
    metrics = bytes((await ask(admin, request(b"GET", b"/metrics"))).content).decode()
    for code in (42901, 42902):
        assert f'telenor_proxy_upstream_throttled_total{{code="{code}"}} {len(WAYS)}.0' in metrics
    client.close()
    admin.close()
    assert await proxy.stop() == 0
