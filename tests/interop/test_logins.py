"""Applications that log in by themselves work with `listen.answer_login` as they are.

Each program in `logins/` is called with the base URL and an order. It logs in with a form and
Basic, binds the answer strictly, makes two calls with its token, and logs out. For each step it
prints step, status and media type, separated by tabs.
"""

import json
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from proxy.clients.login import MADE_UP_TOKEN
from tests.e2e.process import ACCOUNTS, DEADLINE, ORDER, ORDERS, Running, Starter, configuration
from tests.interop.parts import PROGRAMS, Recorder, Wiretap

_LOGINS: Final = Path(__file__).parent / "logins"
_STEPS: Final = [
    ("login", 200, "application/json"),
    ("list", 200, "application/json"),
    ("order", 201, "application/json"),
    ("logout", 200, "text/plain"),
]


#: Each program of `logins/`, by what runs it.
APPLICATIONS: Final = {
    "curl": "login.sh",
    "java": "Login.java",
    "node": "login.mjs",
    "perl": "login.pl",
    "php-curl": "login.php",
    "requests": "login.py",
}


@pytest.fixture
async def proxy(starter: Starter, recorder: Recorder) -> Running:
    """Run a proxy that answers logins."""
    return await starter.ready(configuration(recorder.url, listen={"answer_login": True}))


@pytest.mark.parametrize("runner", APPLICATIONS)
async def test_an_unchanged_application_that_logs_in_works(
    runner: str, recorder: Recorder, proxy: Running, tmp_path: Path
) -> None:
    """The API sees its calls with the proxy's token, and no login but the proxy's."""
    file = _LOGINS / APPLICATIONS[runner]
    wiretap = Wiretap()
    async with wiretap.between((await proxy.event("listener.started"))["port"]) as url:
        ran = await PROGRAMS[runner].run(file, url, json.dumps(ORDER), place=tmp_path)
    status, output, errors = ran
    assert status == 0, f"{output}{errors}"
    seen = [tuple(line.split("\t")) for line in output.splitlines()]
    assert [(step, int(number), kind.partition(";")[0]) for step, number, kind in seen] == _STEPS
    assert b"authorization: bearer %b" % MADE_UP_TOKEN.lower() in wiretap.asked.lower()
    _check_calls(recorder)
    await proxy.event("request.completed", len(_STEPS))
    lines = proxy.events("request.completed")
    assert [(line["path"], line["attempts"]) for line in lines] == [
        ("/oauth/v2/token", 0),
        (ACCOUNTS, 1),
        (ORDERS, 1),
        ("/oauth/v2/logout", 0),
    ]


def _check_calls(recorder: Recorder) -> None:
    """See that two calls have reached the API, each with the one token that the proxy fetched."""
    assert [(call.method, call.target) for call in recorder.calls] == [
        ("GET", ACCOUNTS),
        ("POST", ORDERS),
    ]
    (token,) = recorder.sandbox.issued
    assert [call.all("authorization") for call in recorder.calls] == [[f"Bearer {token.value}"]] * 2
    assert len(recorder.sandbox.orders) == 1


async def test_every_login_gets_the_same_answer_and_is_counted(
    recorder: Recorder, proxy: Running
) -> None:
    """Whatever is sent, even no login, gets the same bytes; metrics count what was asked."""
    sent: tuple[dict[str, str] | bytes | None, ...] = (
        None,
        {"grant_type": "nonsense"},
        b"\x00" * 100_000,
    )
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE)) as http:
        found = set()
        for content in sent:
            async with http.post(await proxy.url("/oauth/v2/token"), data=content) as answer:
                assert answer.status == 200
                found.add(await answer.read())
        assert found == {b'{"access_token" : "%b", "expires_in" : "3600"}' % MADE_UP_TOKEN}
        async with http.get(await proxy.admin_url("/metrics")) as answer:
            text = await answer.text()
    assert 'telenor_proxy_answered_logins_total{asked="token"} 3.0' in text
    assert recorder.calls == []
