"""The way to the API, straight or through the company's proxy, on both transports."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from proxy import faults
from proxy.network import dialer as dialer_module
from proxy.network import transport
from proxy.network.dialer import Dialer
from proxy.network.egress import CompanyProxy, Login
from proxy.secret import Secret
from proxy.settings.kinds import Origin
from tests.network.house import (
    ANSWER,
    API,
    ESTABLISHED,
    PROXY,
    Api,
    Authority,
    Caller,
    ScriptedProxy,
)
from tests.scripted import serving

LOGIN = Login("me", Secret("made-up-password"))
FIELD = b"Proxy-Authorization: Basic bWU6bWFkZS11cC1wYXNzd29yZA==\r\n"
PATIENCE = 3.0


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Give an authority that certifies the API and the proxy."""
    return Authority()


@pytest.fixture(params=["fast", "asyncio"], autouse=True)
def transports(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run each test on both kinds of transports."""
    yield transport.use(request.param)
    transport.use("fast")


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the names of the examples lead to this machine."""
    reach = dialer_module.reach

    async def here(origin: Origin, timing: dialer_module.Timing) -> socket.socket:
        if origin.host in {API, PROXY}:
            origin = Origin(origin.scheme, "127.0.0.1", origin.port)
        return await reach(origin, timing)

    monkeypatch.setattr(dialer_module, "reach", here)


@contextlib.asynccontextmanager
async def way(
    authority: Authority,
    *,
    proxy: ScriptedProxy | None = None,
    proxy_tls: bool = False,
    tls: bool = True,
    certified: str = API,
    login: Login | None = None,
    api: Api | None = None,
) -> AsyncIterator[tuple[Dialer, Api, ScriptedProxy]]:
    """Give a dialer that leads to an API through a proxy."""
    api, proxy = api or Api(), proxy or ScriptedProxy()
    async with (
        serving(api.serve, authority.server(certified) if tls else None) as port,
        serving(proxy.serve, authority.server(PROXY) if proxy_tls else None) as proxy_port,
    ):
        proxy.port = port
        scheme = "https" if proxy_tls else "http"
        hop = Origin.parse(f"{scheme}://{PROXY}:{proxy_port}")
        company = CompanyProxy(hop, login, authority.client() if proxy_tls else None)
        origin = Origin.parse(f"{'https' if tls else 'http'}://{API}:{port}")
        yield Dialer(origin, authority.client() if tls else None, lambda: company), api, proxy


async def ask(dialer: Dialer) -> bytes:
    """Make one call over a new connection."""
    caller = Caller()
    await dialer.dial(lambda: caller, PATIENCE)
    try:
        request = b"GET /secret HTTP/1.1\r\nAuthorization: Bearer made-up-token\r\n\r\n"
        return await caller.ask(request)
    finally:
        caller.abort()


async def fault_of(dialer: Dialer, seconds: float = PATIENCE) -> faults.Fault:
    """Return why no connection can be made."""
    try:
        await dialer.dial(Caller, seconds)
    except (OSError, UnicodeError) as error:
        return faults.explain(error)
    raise AssertionError("a connection was made")


def is_on_uvloop() -> bool:
    """Whether the running event loop is uvloop's."""
    return type(asyncio.get_running_loop()).__module__.startswith("uvloop")


both_proxies = pytest.mark.parametrize(
    "proxy_tls", [False, True], ids=["http-proxy", "https-proxy"]
)


# --- It works ----------------------------------------------------------------------------------


async def test_the_straight_way(authority: Authority) -> None:
    """Without a proxy the API is called at once."""
    async with serving(Api().serve, authority.server(API)) as port:
        dialer = Dialer(Origin.parse(f"https://{API}:{port}"), authority.client())
        assert await ask(dialer) == ANSWER


@both_proxies
@pytest.mark.parametrize("tls", [False, True], ids=["http-api", "https-api"])
async def test_a_call_through_the_proxy(
    authority: Authority, *, proxy_tls: bool, tls: bool
) -> None:
    """The proxy is asked for the API's host and port; the call arrives as it was sent."""
    async with way(authority, proxy_tls=proxy_tls, tls=tls, login=LOGIN) as (dialer, api, proxy):
        assert await ask(dialer) == ANSWER
    (head,) = proxy.heads
    asked = b"CONNECT api.example:%d HTTP/1.1\r\nHost: api.example:" % dialer.origin.port
    assert head.startswith(asked)
    assert FIELD in head
    (request,) = api.requests
    assert b"Proxy-Authorization" not in request


@both_proxies
async def test_the_proxy_sees_nothing_of_a_call(authority: Authority, *, proxy_tls: bool) -> None:
    """Inside the tunnel is TLS: no token, target or form is among the bytes that pass."""
    async with way(authority, proxy_tls=proxy_tls) as (dialer, _, proxy):
        await ask(dialer)
    assert proxy.seen.startswith(b"\x16\x03")
    for text in (b"Bearer", b"made-up", b"GET", b"secret"):
        assert text not in proxy.seen
        assert text not in proxy.heads[0]
    assert proxy.heads[0].count(b"\r\n") == 4


@both_proxies
async def test_a_large_answer_comes_whole(authority: Authority, *, proxy_tls: bool) -> None:
    """Flow control works through both layers of TLS."""
    body = bytes(range(256)) * 8192
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body + b"END"
    async with way(authority, proxy_tls=proxy_tls, api=Api(answer)) as (dialer, _, _):
        caller = Caller()
        await dialer.dial(lambda: caller, PATIENCE)
        assert await caller.ask(until=b"END") == answer
        caller.abort()


async def test_credentials_rotate_without_a_restart(authority: Authority) -> None:
    """The proxy is asked for at each connection, so the next one has the new credentials."""
    async with way(authority, login=LOGIN) as (dialer, _, proxy):
        old = dialer.through()
        assert old is not None
        await ask(dialer)
        new = CompanyProxy(old.origin, Login("you", Secret("other")), old.tls)
        dialer.through = lambda: new
        await ask(dialer)
    assert FIELD in proxy.heads[0]
    assert FIELD not in proxy.heads[1]


# --- It fails ----------------------------------------------------------------------------------

REQUIRED = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n<html>"
BEHIND = ESTABLISHED + b"HTTP/1.1 200 OK\r\n\r\n"


@both_proxies
@pytest.mark.parametrize(
    ("script", "reason", "says"),
    [
        ((REQUIRED,), "company_proxy_login", "asks for a login"),
        ((BEHIND,), "company_proxy_malformed", "bytes came behind"),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,), "company_proxy_malformed", "larger than"),
        ((b"HTTP/1.1 200 OK\r\n",), "company_proxy_reset", "broke off"),
        ((None,), "company_proxy_reset", "broke off"),
    ],
)
async def test_a_tunnel_fails(
    authority: Authority,
    script: tuple[bytes | float | None, ...],
    reason: str,
    says: str,
    *,
    proxy_tls: bool,
) -> None:
    """With a reason and words, and no byte reaches the API; tests/reliability has all faults."""
    proxy = ScriptedProxy(0, *script)
    async with way(authority, proxy=proxy, proxy_tls=proxy_tls) as (dialer, api, _):
        fault = await fault_of(dialer)
        company = dialer.through()
        assert company is not None
        assert (fault.reason, fault.next_hop) == (reason, company.hop)
        assert says in fault.said_of(faults.API)
        assert api.requests == []


@both_proxies
async def test_a_head_that_does_not_end_in_time_is_the_proxys(
    authority: Authority, *, proxy_tls: bool
) -> None:
    """The deadline bounds all of it, and it is the proxy that was too slow, not the API."""
    proxy = ScriptedProxy(0, *(b"HTTP/1.1 100 Wait\r\n\r\n", 0.02) * 200)
    async with way(authority, proxy=proxy, proxy_tls=proxy_tls) as (dialer, _, _):
        fault = await fault_of(dialer, 0.2)
    assert fault.reason == "company_proxy_timeout"


async def test_the_api_is_too_slow_inside_the_tunnel(authority: Authority) -> None:
    """A handshake that does not end in time is the API's."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    proxy = ScriptedProxy()
    async with serving(silent) as port, way(authority, proxy=proxy) as (dialer, _, _):
        proxy.port = port
        assert (await fault_of(dialer, 0.2)).reason == "timeout"


@both_proxies
async def test_the_api_must_prove_its_own_name(
    authority: Authority, transports: str, *, proxy_tls: bool
) -> None:
    """A certificate for the proxy's name is refused."""
    if proxy_tls and transports == "asyncio" and not is_on_uvloop():
        pytest.skip(
            "asyncio of CPython 3.11 cannot fail a handshake inside TLS before the deadline"
        )
    async with way(authority, proxy_tls=proxy_tls, certified=PROXY) as (dialer, api, _):
        fault = await fault_of(dialer)
    assert fault.reason == "tls"
    assert "for the host in upstream.url" in fault.said_of(faults.API)
    assert api.requests == []


async def test_the_proxy_must_prove_its_name(authority: Authority) -> None:
    """A proxy on https that shows another certificate is sent nothing, credentials least of all."""
    proxy = ScriptedProxy()
    async with serving(proxy.serve, authority.server("other.example")) as port:
        company = CompanyProxy(Origin.parse(f"https://{PROXY}:{port}"), LOGIN, authority.client())
        dialer = Dialer(Origin.parse(f"https://{API}"), authority.client(), lambda: company)
        fault = await fault_of(dialer)
    assert fault.kind.type == "company-proxy-not-trusted"
    assert "for the host in upstream.proxy_url" in fault.said_of(faults.API)
    assert proxy.heads == []


@both_proxies
async def test_an_api_that_is_cut_inside_the_tunnel_has_not_ended(
    authority: Authority, *, proxy_tls: bool
) -> None:
    """Without TLS's own end an answer until close is not complete."""

    class Cut(Api):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
            await asyncio.sleep(0.05)
            writer.transport.abort()

    async with way(authority, proxy_tls=proxy_tls, api=Cut()) as (dialer, _, _):
        caller = Caller()
        await dialer.dial(lambda: caller, PATIENCE)
        await caller.ask(until=b"half")
        assert not await caller.ended_in_order()


@both_proxies
async def test_a_cancelled_dial_leaves_no_socket(authority: Authority, *, proxy_tls: bool) -> None:
    """Cancelled at any moment, it closes what it opened (a leak is a warning, so an error)."""
    async with way(authority, proxy_tls=proxy_tls) as (dialer, _, _):
        for milliseconds in range(0, 12, 2):
            task = asyncio.create_task(dialer.dial(Caller, PATIENCE))
            await asyncio.sleep(milliseconds / 1000)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.sleep(0.05)
    gc.collect()
