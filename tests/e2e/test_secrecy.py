"""Where no secret may appear: anything that `serve` writes or answers.

And what the process gives up so that its memory stays its own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest

from tests.e2e.process import (
    ACCOUNTS,
    CREDENTIALS,
    DEADLINE,
    ORDER,
    ORDERS,
    Api,
    Running,
    Starter,
    configuration,
    serving_api,
)
from tests.integration.test_token_endpoint import answering
from tests.scripted import reply

if TYPE_CHECKING:
    import aiohttp

CLIENT_KEY = "SentinelClientKey005"
WRONG_KEY = "SentinelWrongKey0006"
CLIENTS_OWN = "SentinelBearer00007"
QUERY = "SentinelQuery000008"
#: linux/prctl.h
PR_GET_DUMPABLE = 3
DEBUG = {"PYTHONASYNCIODEBUG": "1"}

#: Faults of the token endpoint whose answer or request a careless program would write down.
TOKEN_FAULTS = ["token_error", "token_html", "token_illegal", "token_redirect", "token_half"]


linux = pytest.mark.skipif(
    sys.platform != "linux", reason="what is looked at is there on Linux only"
)


def forms(secret: str) -> set[str]:
    """Give a secret as it stands, and as it may stand on the wire."""
    return {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(secret.encode()).decode(),
    }


def needles(*tokens: str) -> set[str]:
    """Everything that may appear nowhere."""
    pair = f"{CREDENTIALS.client_id}:{CREDENTIALS.client_secret}"
    held = [
        CREDENTIALS.client_secret,
        CREDENTIALS.password,
        pair,
        CLIENT_KEY,
        WRONG_KEY,
        CLIENTS_OWN,
        QUERY,
    ]
    return {form for secret in [*tokens, *held] for form in forms(secret)}


def secret_configuration(api: Api) -> dict[str, dict[str, object]]:
    """Make a configuration that holds every secret there is, and tells as much as it can."""
    return configuration(api.url, listen={"client_key": CLIENT_KEY}, log={"level": "debug"})


async def speak(proxy: Running, request: bytes) -> str:
    """Send bytes to the listener, end our side, and read all that comes."""
    port = (await proxy.event("listener.started"))["port"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode("latin-1")


def requests() -> list[bytes]:
    """Make requests that carry secrets in every place, most of them wrong in some way."""
    key = f"X-Proxy-Key: {CLIENT_KEY}\r\n"
    own = f"Authorization: Bearer {CLIENTS_OWN}\r\n"
    host = "Host: 127.0.0.1\r\n"
    lines = [
        f"GET {ACCOUNTS}?q={QUERY} HTTP/1.1\r\n{host}{key}{own}Connection: close\r\n\r\n",
        f"GET {ACCOUNTS} HTTP/1.1\r\n{host}X-Proxy-Key: {WRONG_KEY}\r\n{own}\r\n",
        f"GET {ACCOUNTS} HTTP/1.1\r\n{host}{own}\r\n",
        f"GET /oauth/v2/token?q={QUERY} HTTP/1.1\r\n{host}{key}{own}\r\n",
        f"GET /corporate-accounts/../x?q={QUERY} HTTP/1.1\r\n{host}{key}{own}\r\n",
        f"GET http://user:{QUERY}@elsewhere/ HTTP/1.1\r\n{host}{key}{own}\r\n",
        f"GET {ACCOUNTS} HTTP/1.1\r\nHost: {QUERY}.example\r\n{key}{own}\r\n",
        f"GET {ACCOUNTS} HTTP/1.1\r\n{host}{key}Authorization : Bearer {CLIENTS_OWN}\r\n\r\n",
        f"GET {ACCOUNTS} HTTP/1.1\r\n{host}{key}{own}X: \x00{QUERY}\r\n\r\n",
        f"{QUERY} {ACCOUNTS} HTTP/1.1\r\n{host}{key}{own}\r\n",
        f"GET {ACCOUNTS} HTTP/1.1\r\n{host}{key}{own}Expect: {QUERY}\r\n\r\n",
        f"POST {ACCOUNTS} HTTP/1.1\r\n{host}{key}{own}Transfer-Encoding: chunked\r\n\r\n5\r\n{QUERY}",
        f"{own}{key}\r\n\r\n",
    ]
    return [line.encode("latin-1") for line in lines]


async def test_no_secret_is_written_or_answered(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """At level debug, in asyncio's debug mode, whatever clients and API do.

    No log line, page, metric or answer of ours holds a secret.
    """
    proxy = await start.ready(secret_configuration(api), environ=DEBUG)
    answers = [await speak(proxy, request) for request in requests()]
    assert answers[0].startswith("HTTP/1.1 200 ")
    assert all(answer.startswith(("HTTP/1.1 4", "HTTP/1.1 501 ")) for answer in answers[1:])
    fields = {"X-Proxy-Key": CLIENT_KEY, "Authorization": f"Bearer {CLIENTS_OWN}"}
    url = await proxy.url(ORDERS)
    for fault, value in [("api_error", "40105"), ("api_drop_after", None), ("api_status", "503")]:
        api.sandbox.fault(fault, value, 1)
        async with http.post(f"{url}?q={QUERY}", json=ORDER, headers=fields) as answer:
            answers += [f"{answer.headers}", await answer.text()]
    for page in ("/startup", "/readiness", "/liveness", "/metrics", "/status", "/"):
        async with http.get(await proxy.admin_url(page)) as answer:
            answers += [f"{answer.headers}", await answer.text()]
    assert await proxy.stop() == 0
    assert len(proxy.events("request.completed")) >= len(requests())
    told = "\n".join([proxy.output, proxy.errors, *answers])
    tokens = [token.value for token in api.sandbox.issued]
    assert len(tokens) == 2
    assert [needle for needle in needles(*tokens) if needle in told] == []


async def test_no_secret_is_written_when_logins_fail(
    start: Starter, http: aiohttp.ClientSession
) -> None:
    """However the token endpoint answers or breaks off, the log and the pages say why, without a secret."""
    told = []
    tokens: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        proxies = []
        apis = [await stack.enter_async_context(serving_api()) for _ in TOKEN_FAULTS]
        for fault, api in zip(TOKEN_FAULTS, apis, strict=True):
            api.sandbox.fault(fault)
            proxies.append(await start("serve", secret_configuration(api), environ=DEBUG))
        for proxy in proxies:
            assert (await proxy.event("token.renewal_failed"))["detail"]
            for page in ("/readiness", "/status", "/metrics"):
                async with http.get(await proxy.admin_url(page)) as answer:
                    told.append(await answer.text())
            assert await proxy.stop() == 0
            told += [proxy.output, proxy.errors]
        tokens += [token.value for api in apis for token in api.sandbox.issued]
    assert tokens
    assert [needle for needle in needles(*tokens) if needle in "\n".join(told)] == []


@linux
@pytest.mark.parametrize("credential", ["client_secret", "password", "username", "client_id"])
async def test_a_credential_that_comes_back_as_an_error_code_goes_nowhere(
    start: Starter, http: aiohttp.ClientSession, credential: str
) -> None:
    """A server may repeat one where its code should be; one of letters alone looks like a word."""
    value = "SentinelOfLettersAlone"
    body = json.dumps({"error": value, "errorCode": value}).encode()
    async with answering(reply(401, body)) as server:
        settings = configuration(f"http://127.0.0.1:{server.port}", log={"level": "debug"})
        settings["oauth"] = {**settings["oauth"], credential: value, "wait_seconds": 1}
        proxy = await start("serve", settings, environ=DEBUG)
        failed = await proxy.event("token.renewal_failed")
        told = []
        for url in [
            *[await proxy.admin_url(page) for page in ("/readiness", "/status", "/metrics", "/")],
            await proxy.url(ACCOUNTS),
        ]:
            async with http.get(url) as answer:
                told += [f"{answer.headers}", await answer.text()]
        assert await proxy.stop() == 0
    assert (failed["reason"], failed["code"]) == ("refused", None)
    assert value not in "\n".join([proxy.output, proxy.errors, *told])


async def test_nothing_of_the_memory_reaches_the_disk(start: Starter, api: Api) -> None:
    """A running proxy may write no core dump."""
    proxy = await start.ready(configuration(api.url))
    limits = await asyncio.to_thread(Path(f"/proc/{proxy.pid}/limits").read_text)
    assert re.search(r"(?m)^Max core file size +0 +0 ", limits)


@linux
@pytest.mark.parametrize("command", ["serve", "check"])
async def test_other_processes_may_not_look_into_it(start: Starter, command: str) -> None:
    """From before the secrets are read, the process is not dumpable, so that another one of the same user cannot trace it."""
    # Asked from inside, at the end: seen from outside, only a process of another user than root
    # shows it.
    program = (
        "import ctypes, sys; from proxy.cli import main; "
        f"print(main(sys.argv[1:]), ctypes.CDLL(None).prctl({PR_GET_DUMPABLE}, 0, 0, 0, 0))"
    )
    ended = await start([command], program=("-c", program))
    assert await ended.ended() == 0
    assert ended.output == "78 0\n"


async def test_tls_keys_are_not_written(
    start: Starter, tls_api: Api, http: aiohttp.ClientSession
) -> None:
    """SSLKEYLOGFILE is not heeded: with it, whoever records the traffic could read it later."""
    keys = start.directory / "keys"
    config = configuration(tls_api.url, upstream={"ca_file": str(tls_api.ca_file)})
    proxy = await start.ready(config, environ={"SSLKEYLOGFILE": str(keys)})
    async with http.post(await proxy.url(ORDERS), json=ORDER) as answer:
        assert answer.status == 201
    assert await proxy.stop() == 0
    check = await start("check", config, environ={"SSLKEYLOGFILE": str(keys)})
    assert await check.ended() == 0
    assert not keys.exists()
