"""No secret is in anything that `serve` writes or answers, nor in a dump of its memory."""

import asyncio
import base64
import contextlib
import json
import sys
from urllib.parse import quote, quote_plus

import aiohttp
import pytest

from tests.e2e.process import (
    ACCOUNTS,
    CREDENTIALS,
    DEADLINE,
    ORDERS,
    Answer,
    Api,
    Running,
    Starter,
    call,
    configuration,
    order,
    serving_api,
)
from tests.integration.test_token_endpoint import answering
from tests.scripted import reply

CLIENT_KEY = "SentinelClientKey005"
WRONG_KEY = "SentinelWrongKey0006"
CLIENTS_OWN = "SentinelBearer00007"
QUERY = "SentinelQuery000008"
#: linux/prctl.h
PR_GET_DUMPABLE = 3
DEBUG = {"PYTHONASYNCIODEBUG": "1"}

#: Faults of the token endpoint whose answer or request a careless program would write down.
TOKEN_FAULTS = ["token_error", "token_html", "token_illegal", "token_redirect", "token_half"]

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads what only Linux has")


def written(answer: Answer) -> str:
    """Return an answer's fields and content."""
    return f"{answer.fields}{answer.text}"


async def pages(http: aiohttp.ClientSession, proxy: Running, *paths: str) -> list[str]:
    """Return what pages of the admin listener answer."""
    return [written(await call(http, await proxy.admin_url(path))) for path in paths]


def forms(secret: str) -> set[str]:
    """Give a secret as it stands, and as it may stand on the wire."""
    coded = base64.b64encode(secret.encode()).decode()
    return {secret, quote(secret, safe=""), quote_plus(secret), coded}


def needles(*tokens: str) -> set[str]:
    """Everything that may appear nowhere."""
    pair = f"{CREDENTIALS.client_id}:{CREDENTIALS.client_secret}"
    held = [CREDENTIALS.client_secret, CREDENTIALS.password, pair]
    held += [CLIENT_KEY, WRONG_KEY, CLIENTS_OWN, QUERY]
    return {form for secret in [*tokens, *held] for form in forms(secret)}


def secret_configuration(api: Api) -> dict[str, dict[str, object]]:
    """Make a configuration that holds every secret, and logs as much as it can."""
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
    host, chunked = "Host: 127.0.0.1\r\n", "Transfer-Encoding: chunked\r\n"
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
        f"POST {ACCOUNTS} HTTP/1.1\r\n{host}{key}{own}{chunked}\r\n5\r\n{QUERY}",
        f"{own}{key}\r\n\r\n",
    ]
    return [line.encode("latin-1") for line in lines]


async def test_no_secret_is_written_or_answered(
    start: Starter, api: Api, http: aiohttp.ClientSession
) -> None:
    """At level debug, whatever clients and API do, logs, pages and answers hold no secret."""
    proxy = await start.ready(secret_configuration(api), environ=DEBUG)
    answers = [await speak(proxy, request) for request in requests()]
    assert answers[0].startswith("HTTP/1.1 200 ")
    assert all(answer.startswith(("HTTP/1.1 4", "HTTP/1.1 501 ")) for answer in answers[1:])
    fields = {"X-Proxy-Key": CLIENT_KEY, "Authorization": f"Bearer {CLIENTS_OWN}"}
    url = await proxy.url(ORDERS)
    for fault, value in [("api_error", "40105"), ("api_drop_after", None), ("api_status", "503")]:
        api.sandbox.fault(fault, value, 1)
        answers.append(written(await order(http, f"{url}?q={QUERY}", **fields)))
    probes = ("/startup", "/readiness", "/liveness")
    answers += await pages(http, proxy, *probes, "/metrics", "/status", "/")
    assert await proxy.stop() == 0
    assert len(proxy.events("request.completed")) >= len(requests())
    texts = "\n".join([proxy.output, proxy.errors, *answers])
    tokens = [token.value for token in api.sandbox.issued]
    assert len(tokens) == 2
    assert [needle for needle in needles(*tokens) if needle in texts] == []


async def test_no_secret_is_written_when_logins_fail(
    start: Starter, http: aiohttp.ClientSession
) -> None:
    """Log and pages give the reason of a failed login without a secret."""
    texts = []
    tokens: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        proxies = []
        apis = [await stack.enter_async_context(serving_api()) for _ in TOKEN_FAULTS]
        for fault, api in zip(TOKEN_FAULTS, apis, strict=True):
            api.sandbox.fault(fault)
            proxies.append(await start("serve", secret_configuration(api), environ=DEBUG))
        for proxy in proxies:
            assert (await proxy.event("token.renewal_failed"))["detail"]
            texts += await pages(http, proxy, "/readiness", "/status", "/metrics")
            assert await proxy.stop() == 0
            texts += [proxy.output, proxy.errors]
        tokens += [token.value for api in apis for token in api.sandbox.issued]
    assert tokens
    assert [needle for needle in needles(*tokens) if needle in "\n".join(texts)] == []


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
        texts = await pages(http, proxy, "/readiness", "/status", "/metrics", "/")
        texts.append(written(await call(http, await proxy.url(ACCOUNTS))))
        assert await proxy.stop() == 0
    assert (failed["reason"], failed["code"]) == ("refused", None)
    assert value not in "\n".join([proxy.output, proxy.errors, *texts])


@linux
@pytest.mark.parametrize("command", ["serve", "check"])
async def test_other_processes_may_not_look_into_it(start: Starter, command: str) -> None:
    """The process is not dumpable before it reads secrets, so others cannot trace it."""
    # Asked from inside: from outside it shows only to another user than root.
    program = (
        "import ctypes, sys; from proxy.cli import main; "
        f"print(main(sys.argv[1:]), ctypes.CDLL(None).prctl({PR_GET_DUMPABLE}, 0, 0, 0, 0))"
    )
    assert (await start.run(command, program=("-c", program)))[:2] == (0, "78 0\n")


async def test_tls_keys_are_not_written(
    start: Starter, tls_api: Api, http: aiohttp.ClientSession
) -> None:
    """SSLKEYLOGFILE is ignored: its file would decrypt recorded traffic."""
    keys = start.directory / "keys"
    config = configuration(tls_api.url, upstream={"ca_file": str(tls_api.ca_file)})
    proxy = await start.ready(config, environ={"SSLKEYLOGFILE": str(keys)})
    assert (await order(http, await proxy.url(ORDERS))).status == 201
    assert await proxy.stop() == 0
    check = await start.run("check", config=config, environ={"SSLKEYLOGFILE": str(keys)})
    assert check.status == 0
    assert not keys.exists()
