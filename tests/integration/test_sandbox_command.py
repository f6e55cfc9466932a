"""The commands `sandbox` and `sandbox-control`: processes, signals, exit statuses, messages."""

import asyncio
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy import cli
from proxy.sandbox.messages import Call
from proxy.sandbox.server import running
from proxy.sandbox.state import Sandbox
from tests.scripted import Act, ScriptedServer

ORDERS = "/corporate-mobile-subscriptions/v2/orders"
ORDER = {"productId": "50795", "msisdn": "4799885577", "type": "ADD_PRODUCT"}


async def control_of(url: str, *words: str) -> int:
    """Run `sandbox-control`, in a thread as if in another process; return its status."""
    return await asyncio.to_thread(cli.main, ["sandbox-control", "--url", url, *words])


@asynccontextmanager
async def started(*words: str) -> AsyncIterator[tuple[Process, str]]:
    """Run the sandbox as a process; gives it and what it says at its start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "sandbox", "--port", "0", *words),
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    try:
        yield process, (await process.stdout.readuntil(b"Ctrl-C.\n")).decode()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def ended(process: Process, number: signal.Signals) -> tuple[int | None, str, str]:
    """End the process by a signal; gives its exit status and the rest of its output."""
    process.send_signal(number)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def said(welcome: str, name: str) -> str:
    """Find what the welcome says about a name."""
    found = re.search(rf"^ *{name} +(\S+)$", welcome, re.MULTILINE)
    assert found is not None, welcome
    return found[1]


async def test_a_whole_session() -> None:
    """It prints URL and credentials, takes an order, ends by SIGTERM, and logs no secret."""
    async with started() as (process, welcome), aiohttp.ClientSession() as session:
        url = said(welcome, "The sandbox stands in for api.telenor.no on")
        basic = aiohttp.encode_basic_auth(
            said(welcome, "client_id"), said(welcome, "client_secret")
        )
        form = {
            "grant_type": "password",
            "username": said(welcome, "username"),
            "password": said(welcome, "password"),
        }
        async with session.post(
            f"{url}/oauth/v2/token", data=form, headers={"Authorization": basic}
        ) as answer:
            token = (await answer.json())["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        async with session.post(f"{url}{ORDERS}?t={token}", json=ORDER, headers=bearer) as answer:
            assert answer.status == 201
        async with session.get(said(welcome, "Orders it has accepted:")) as answer:
            assert [order["body"] for order in (await answer.json())["orders"]] == [ORDER]
        async with session.get(said(welcome, "State and counters:")) as answer:
            assert answer.status == 200
        status, out, err = await ended(process, signal.SIGTERM)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "POST /oauth/v2/token 200",
        f"POST {ORDERS} 201",
        "GET /_sandbox/orders 200",
        "GET /_sandbox/state 200",
    ]


async def test_faults_and_settings_from_the_start() -> None:
    """Options take effect before the first call, in their order; SIGINT ends it with 0."""
    words = ["--fault", "api_error=42901:2", "--fault", "api_drop"]
    words += ["--set", "token_lifetime_seconds=5"]
    async with started(*words) as (process, welcome), aiohttp.ClientSession() as session:
        async with session.get(said(welcome, "State and counters:")) as answer:
            state = await answer.json()
        assert await ended(process, signal.SIGINT) == (0, "GET /_sandbox/state 200\n", "")
    assert state["settings"]["token_lifetime_seconds"] == 5
    assert state["faults"] == [
        {"name": "api_error", "value": "42901", "remaining": 2},
        {"name": "api_drop", "value": None, "remaining": None},
    ]


async def test_tls_with_an_authority_of_its_own() -> None:
    """--tls names a CA file, which clients need to connect and which is removed at the end."""
    async with started("--tls") as (process, welcome), aiohttp.ClientSession() as session:
        ca_file = said(welcome, "Its CA certificate, until it ends:")
        page = said(welcome, "State and counters:")
        url = page.removesuffix("/_sandbox/state")
        assert f"upstream.url: {url}  upstream.ca_file: {ca_file}" in welcome
        assert "PRIVATE" not in Path(ca_file).read_text(encoding="ascii")  # noqa: ASYNC240 # a small local file
        context = ssl.create_default_context(cafile=ca_file)
        for host in ("127.0.0.1", "localhost"):
            async with session.get(page.replace("127.0.0.1", host), ssl=context) as answer:
                assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(page)
        assert await control_of(url, "--ca-file", ca_file, "state") == 0
        assert (await ended(process, signal.SIGTERM))[0] == 0
        assert not Path(ca_file).parent.exists()  # as above


def test_without_the_extra_tls_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where trustme is not installed, --tls ends with exit status 1 and says what to install."""
    monkeypatch.setitem(sys.modules, "trustme", None)
    assert cli.main(["sandbox", "--tls", "--port", "0"]) == 1
    assert "Install requirements/sandbox.txt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("absent", "modules"),
    [
        (
            "'trustme', 'cryptography'",
            "proxy.app, proxy.check, proxy.cli, proxy.demo, proxy.sandbox.server",
        ),
        ("'trustme', 'aiohttp'", "proxy.sandbox.command"),
    ],
    ids=["the extra", "slow imports"],
)
def test_modules_are_imported_where_they_are_needed(absent: str, modules: str) -> None:
    """Only --tls needs the extra; to read the arguments, no library of the server is imported."""
    code = f"import sys; sys.modules.update(dict.fromkeys([{absent}])); import {modules}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_a_port_in_use_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1, and what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.main(["sandbox", "--port", str(port)]) == 1
    assert f"port {port} on 127.0.0.1 is in use" in capsys.readouterr().err


# 192.0.2.0/24 is reserved for documentation (RFC 5737): no host has it. No name under .invalid
# exists (RFC 6761).
@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_of_another_host_is_refused(
    capsys: pytest.CaptureFixture[str], host: str
) -> None:
    """Exit status 1, and the reason."""
    assert cli.main(["sandbox", "--host", host, "--port", "0"]) == 1
    said = re.search(
        rf"cannot listen on {host} port 0 \((.+)\)\. Give an address", capsys.readouterr().err
    )
    assert said is not None
    assert said[1] != "None"


async def test_a_wider_address_comes_with_a_warning() -> None:
    """On all interfaces it warns that anybody can drive it, and shows a URL that works here."""
    async with started("--host", "0.0.0.0") as (_, welcome), aiohttp.ClientSession() as session:
        assert "there is no password" in welcome
        async with session.get(said(welcome, "State and counters:")) as answer:
            assert answer.status == 200
    async with started() as (_, welcome):
        assert "there is no password" not in welcome


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sandbox --port 65536", "from 0 to 65535"),
        ("sandbox --port -1", "from 0 to 65535"),
        ("sandbox --fault api_dorp", "unknown fault 'api_dorp'; known: token_error, "),
        ("sandbox --fault api_error=1", "no such error code; known: 400/40001, "),
        ("sandbox --fault api_drop:", "write NAME, NAME=VALUE"),
        ("sandbox --set lifetime=5", "unknown setting 'lifetime'; known: "),
        ("sandbox --set expires_in", "the value must be one of number, "),
        ("sandbox-control --url ftp://x state", "must begin with http:// or https://"),
        ("sandbox-control fault api_dorp", "unknown fault 'api_dorp'; known: token_error, "),
        ("sandbox-control set single_session", "the value must be one of true, "),
        ("sandbox-control dance", "invalid choice: 'dance'"),
        ("sandbox-control", "ACTION"),
    ],
)
def test_wrong_arguments_are_refused(
    capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    """Exit status 2, before anything is sent, and what would be right."""
    with pytest.raises(SystemExit, match="2"):
        cli.main(words.split())
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "name", "value", "remaining"),
    [
        ("api_drop", "api_drop", None, None),
        ("api_drop:3", "api_drop", None, 3),
        ("token_slow=0.5", "token_slow", "0.5", None),
        ("token_error=500/2:1", "token_error", "500/2", 1),
        ("token_redirect=http://127.0.0.1:9999/", "token_redirect", "http://127.0.0.1:9999/", None),
    ],
)
def test_a_fault_on_the_command_line(
    word: str, name: str, value: object, remaining: int | None
) -> None:
    """Name, value and count are separated, also if the value holds colons."""
    (fault,) = cli.command_line().parse_args(["sandbox", "--fault", word]).fault
    assert (fault.name, fault.value, fault.remaining) == (name, value, remaining)


def test_the_help_lists_faults_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """--help shows every name that can be used."""
    with pytest.raises(SystemExit, match="0"):
        cli.main(["sandbox", "--help"])
    shown = capsys.readouterr().out
    assert "  api_drop_after\n" in shown
    assert "  token_lifetime_seconds\n" in shown


async def control(sandbox: Sandbox, *words: str) -> int:
    """Drive a sandbox that runs here."""
    async with running(sandbox) as url:
        return await control_of(url, *words)


async def test_control_prints_what_the_sandbox_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON, for each action."""
    sandbox = Sandbox()
    sandbox.log_in()
    sandbox.place_order(ORDER, Call("POST", ORDERS))

    async def printed(*words: str) -> Any:
        assert await control(sandbox, *words) == 0
        return json.loads(capsys.readouterr().out)

    counters = (await printed("state"))["counters"]
    assert (counters["orders"], counters["api_calls"]) == (1, 0)
    assert (await printed("orders"))["orders"][0]["body"] == ORDER
    assert (await printed("placed"))["placed"][0]["times"] == 1
    on = {"name": "api_error", "value": "42901", "remaining": 2}
    assert await printed("fault", "api_error=42901:2") == {"faults": [on]}
    assert await printed("fault", "api_error:0") == {"faults": []}
    assert (await printed("set", "single_session=true"))["settings"]["single_session"] is True
    assert await printed("revoke") == {"revoked": 1}
    assert sandbox.issued[0].ended
    shown = await printed("reset")
    assert (shown["settings"]["single_session"], shown["counters"]["orders"]) == (False, 0)


async def test_control_ignores_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy leads to a program on this host."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert await control(Sandbox(), "state") == 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "no sandbox answers on"),
        (b"SSH-2.0-x\r\n\r\n", "no sandbox answers on"),
        (
            b'HTTP/1.1 400 Bad Request\r\nContent-Length: 15\r\n\r\n{"error": "no"}',
            "telenor-proxy sandbox: no\n",
        ),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n[]",
            "what answers there is not a sandbox",
        ),
    ],
)
async def test_control_of_something_else(
    capsys: pytest.CaptureFixture[str], answer: bytes, message: str
) -> None:
    """Another program on the port is reported, with exit status 1."""
    async with ScriptedServer(Act.WHOLE, answer, Act.FIN) as other:
        assert await control_of(f"http://127.0.0.1:{other.port}", "state") == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("ca_file", [None, "/nonexistent", __file__])
async def test_control_of_nothing(capsys: pytest.CaptureFixture[str], ca_file: str | None) -> None:
    """Without a sandbox, or without a usable CA file, the command says so and ends with 1."""
    async with running(Sandbox()) as url:
        pass
    if ca_file is not None:
        url = url.replace("http:", "https:")
    words = ["--ca-file", ca_file] if ca_file else []
    assert await control_of(url, *words, "state") == 1
    assert f"no sandbox answers on {url}" in capsys.readouterr().err
