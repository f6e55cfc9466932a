"""The admin listener over HTTP: probes, metrics and status, and no way to change anything."""

import asyncio
import dataclasses

import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request
from pytest_aiohttp.plugin import AiohttpClient

from proxy.admin import page, server
from proxy.admin.server import create_app
from proxy.tokens.values import TokenFailure, TokenState
from tests.page.staged import Stage

Client = TestClient[Request, Application]

PATHS = ["/startup", "/readiness", "/liveness", "/metrics", "/status", "/"]


class Book:
    """Orders in a store that takes very long to say what it holds, or fails."""

    away: str | None = None

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.looks = 0

    async def look_after(self) -> None:
        """Take very long, or fail."""
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        await asyncio.sleep(60)

    async def listed(self, *, unknown: bool) -> list[dict[str, object]] | str:
        """Have none."""
        return [] if unknown else ""

    async def forget(self, order_id: str) -> tuple[int, str] | None:
        """Have none."""
        return 404, order_id


@pytest.fixture
def stage() -> Stage:
    """Give the state of a proxy that works."""
    return Stage()


@pytest.fixture
async def client(aiohttp_client: AiohttpClient, stage: Stage) -> Client:
    """Give a client of the admin listener."""
    return await aiohttp_client(create_app(stage.report))


async def raw(client: Client, request: bytes) -> bytes:
    """Send bytes on a connection of their own; return the answer up to its end."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_probes_are_ok_when_all_is_well(client: Client, stage: Stage) -> None:
    """200 and `ok`; startup is 503 until there has been a token."""
    for path in ("/startup", "/readiness", "/liveness"):
        async with client.get(path) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/json"
            assert await answer.json() == {"ok": True}
    stage.token_is(generation=0)
    async with client.get("/startup") as answer:
        assert answer.status == 503
        assert await answer.json() == {"ok": False, "detail": "There has been no access token yet."}


async def test_readiness_says_why_not(client: Client, stage: Stage) -> None:
    """503 with the reason; the other probes stay 200."""
    problem = "Set a new password in «Min Bedrift»."
    failure = TokenFailure("refused", "20", problem, refused=True, at=1.0)
    stage.token_is(state=TokenState.EXPIRED, last_failure=failure, next_attempt_in_seconds=None)
    async with client.get("/readiness") as answer:
        assert answer.status == 503
        assert await answer.json() == {"ok": False, "detail": problem}
    for path in ("/liveness", "/startup"):
        async with client.get(path) as answer:
            assert answer.status == 200


async def test_orders_that_are_refused_are_a_remark(aiohttp_client: AiohttpClient) -> None:
    """With 200: calls without the field are served."""
    stage = Stage(orders=lambda: {"records": [], "away": "It is full."})
    client = await aiohttp_client(create_app(stage.report))
    async with client.get("/readiness") as answer:
        assert answer.status == 200
        detail = "Orders with an Idempotency-Key are refused. It is full."
        assert await answer.json() == {"ok": True, "detail": detail}


async def test_the_status_needs_no_store(
    aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes too long, or fails of a mistake of ours, does not keep it from operators."""
    monkeypatch.setattr(server, "_LOOK_SECONDS", 0.01)
    book = Book()
    client = await aiohttp_client(create_app(Stage().report, book=book))
    for failure in (None, ValueError("a mistake")):
        book.failure = failure
        async with client.get("/status") as answer:
            assert answer.status == 200
    assert book.looks == 2


async def test_each_path_has_its_media_type(client: Client, stage: Stage) -> None:
    """The status with its history on request, Prometheus' metrics, and the page."""
    async with client.get("/status") as answer:
        assert answer.content_type == "application/json"
        assert (await answer.json())["token"] == dataclasses.asdict(stage.token)
    async with client.get("/status?history=1") as answer:
        assert "history" in await answer.json()
    async with client.get("/status?history=0") as answer:
        assert "history" not in await answer.json()
    async with client.get("/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "telenor_proxy_working" in await answer.text()
    async with client.get("/") as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Security-Policy"] == page.POLICY
        assert await answer.read() == page.CONTENT


@pytest.mark.parametrize("path", [*PATHS, "/nowhere"])
async def test_no_answer_is_kept_framed_or_sniffed(client: Client, path: str) -> None:
    """Every answer forbids caching, framing, sniffing and foreign content; HEAD has the same."""
    async with client.head(path) as head:
        assert head.status == (404 if path == "/nowhere" else 200)
        assert await head.read() == b""
    async with client.get(path) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Server" not in answer.headers
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_nothing_can_be_changed(client: Client, method: str, path: str) -> None:
    """Only GET and HEAD are allowed."""
    async with client.request(method, path) as answer:
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    "path", ["/nowhere/hunter2", "/status/", "/STATUS", "/status%2f", "/..%2fstatus"]
)
async def test_what_is_unknown_is_not_repeated(client: Client, path: str) -> None:
    """404 without what was asked."""
    async with client.get(path, headers={"X-A": "hunter2"}) as answer:
        assert answer.status == 404
        assert await answer.text() == "Not Found\n"


@pytest.mark.parametrize(
    ("status", "hosts"),
    [
        (200, "localhost:9090 127.0.0.1 [::1]:9090 10.0.0.7:9090 LOCALHOST:9090"),
        (400, "[::1 127.0.0.1:port ::1 user@[:80"),
        (421, "evil.example localhost.evil.example:9090 127.0.0.1.evil.example"),
    ],
)
async def test_a_rebound_name_gets_nothing(
    aiohttp_client: AiohttpClient, status: int, hosts: str
) -> None:
    """A web page whose name resolves to loopback cannot read the status; a pod accepts any name."""
    local = await aiohttp_client(create_app(Stage().report, local=True))
    for host in hosts.split():
        async with local.get("/status", headers={"Host": host}) as response:
            assert response.status == status, host
            assert (b"fresh" in await response.read()) == (status == 200)
    pod = await aiohttp_client(create_app(Stage().report))
    async with pod.get("/readiness", headers={"Host": "telenor-proxy.monitoring.svc"}) as response:
        assert response.status == 200


@pytest.mark.parametrize("fields", [b"", b"Host: localhost\r\nHost: localhost\r\n", b"Host:\r\n"])
async def test_a_request_has_one_host(aiohttp_client: AiohttpClient, fields: bytes) -> None:
    """A missing, second or empty `Host` is refused, and never answered with 500."""
    client = await aiohttp_client(create_app(Stage().report, local=True))
    answer = await raw(client, b"GET /status HTTP/1.1\r\n" + fields + b"Connection: close\r\n\r\n")
    assert answer.split()[1] in {b"400", b"421"}


async def test_http_1_0_needs_no_host(
    aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Health checks send none, and the name of this machine does not matter then."""
    monkeypatch.setattr("socket.getfqdn", lambda: "somewhere.example")
    client = await aiohttp_client(create_app(Stage().report, local=True))
    head, _, body = (await raw(client, b"GET /readiness HTTP/1.0\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"200"
    assert body == b'{"ok":true}'
