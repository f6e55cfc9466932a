"""The admin listener over HTTP.

Probes that say why, metrics, the status, and nothing that changes anything.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.admin.server import create_app

if TYPE_CHECKING:
    from aiohttp.test_utils import TestClient
    from aiohttp.web import Application, Request
    from pytest_aiohttp.plugin import AiohttpClient

PATHS = ["/startup", "/readiness", "/liveness", "/metrics", "/status", "/"]


class FakeReport:
    """What a report says, set by the test."""

    def __init__(self) -> None:
        self.has_started = True
        self.problem: str | None = None
        self.remarked: str | None = None

    def started(self) -> bool:
        """Whether there has been a token."""
        return self.has_started

    def not_ready(self) -> str | None:
        """Why not."""
        return self.problem

    def remark(self) -> str | None:
        """Say what is not served all the same."""
        return self.remarked

    def status(self, *, history: bool = False) -> dict[str, object]:
        """Everything."""
        token = {"state": "fresh", "expires_in_seconds": 1.5}
        return {"ready": self.problem is None, "token": token} | (
            {"history": {}} if history else {}
        )

    def metrics(self) -> bytes:
        """Everything, for Prometheus."""
        return b"telenor_proxy_x 1.0\n"


@pytest.fixture
def report() -> FakeReport:
    """Give a report that says that all is well."""
    return FakeReport()


@pytest.fixture
async def client(
    aiohttp_client: AiohttpClient, report: FakeReport
) -> TestClient[Request, Application]:
    """Give a client of the admin listener."""
    return await aiohttp_client(create_app(report))


async def test_probes_are_ok_when_all_is_well(client: TestClient[Request, Application]) -> None:
    """200 and a word, for every probe."""
    for path in ("/startup", "/readiness", "/liveness"):
        async with client.get(path) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/json"
            assert await answer.json() == {"ok": True}


async def test_startup_waits_for_the_first_token(
    client: TestClient[Request, Application], report: FakeReport
) -> None:
    """503 until there has been one, whatever readiness says."""
    report.has_started = False
    async with client.get("/startup") as answer:
        assert answer.status == 503
        assert await answer.json() == {"ok": False, "detail": "There has been no access token yet."}


async def test_readiness_says_why_not(
    client: TestClient[Request, Application], report: FakeReport
) -> None:
    """503 with the report's words.

    Liveness is another question, since a restart would mend nothing.
    """
    report.problem = "Set a new password in «Min Bedrift»."
    async with client.get("/readiness") as answer:
        assert answer.status == 503
        assert await answer.json() == {
            "ok": False,
            "detail": "Set a new password in «Min Bedrift».",
        }
    for path in ("/liveness", "/startup"):
        async with client.get(path) as answer:
            assert answer.status == 200


async def test_metrics_are_in_prometheus_text_format(
    client: TestClient[Request, Application],
) -> None:
    """With the media type that Prometheus asks for."""
    async with client.get("/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert await answer.read() == b"telenor_proxy_x 1.0\n"


async def test_the_status_is_json(
    client: TestClient[Request, Application], report: FakeReport
) -> None:
    """What the report says, as it is."""
    async with client.get("/status") as answer:
        assert answer.content_type == "application/json"
        assert await answer.json() == report.status()
    async with client.get("/status?history=1") as answer:
        assert await answer.json() == report.status(history=True)
    async with client.get("/status?history=0") as answer:
        assert "history" not in await answer.json()


async def test_the_page_is_html(client: TestClient[Request, Application]) -> None:
    """People get a page at the root."""
    async with client.get("/") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert (await answer.text()).lower().startswith("<!doctype html>")


@pytest.mark.parametrize("path", [*PATHS, "/nowhere"])
async def test_no_answer_is_kept_framed_or_sniffed(
    client: TestClient[Request, Application], path: str
) -> None:
    """Every answer forbids caching, framing and guessing, lets in nothing from elsewhere, and does not say what serves it."""
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
async def test_nothing_can_be_changed(
    client: TestClient[Request, Application], method: str, path: str
) -> None:
    """Only reading methods are known."""
    async with client.request(method, path) as answer:
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    "path", ["/nowhere/hunter2", "/status/", "/STATUS", "/status%2f", "/..%2fstatus"]
)
async def test_what_is_unknown_is_not_repeated(
    client: TestClient[Request, Application], path: str
) -> None:
    """404 in two words, without what was asked."""
    async with client.get(path, headers={"X-A": "hunter2"}) as answer:
        assert answer.status == 404
        assert await answer.text() == "Not Found\n"


async def test_head_is_answered(client: TestClient[Request, Application]) -> None:
    """For load balancers that ask so."""
    for path in PATHS:
        async with client.head(path) as answer:
            assert answer.status == 200
            assert await answer.read() == b""


async def test_a_prober_that_speaks_http_1_0_is_answered(
    client: TestClient[Request, Application],
) -> None:
    """As the healthcheck command and older load balancers do."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"GET /readiness HTTP/1.0\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"200"
    assert body == b'{"ok":true}'
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9090", 200),
        ("127.0.0.1", 200),
        ("[::1]:9090", 200),
        ("10.0.0.7:9090", 200),
        ("evil.example", 421),
        ("[::1", 400),
        ("127.0.0.1:port", 400),
        ("LOCALHOST:9090", 200),
        ("::1", 400),
        ("user@[:80", 400),
        ("localhost.evil.example:9090", 421),
        ("127.0.0.1.evil.example", 421),
    ],
)
async def test_a_rebound_name_gets_nothing(
    aiohttp_client: AiohttpClient, host: str, status: int
) -> None:
    """On loopback, a web page that points a name of its own at the admin listener reads nothing from it."""
    client = await aiohttp_client(create_app(FakeReport(), local=True))
    async with client.get("/status", headers={"Host": host}) as response:
        assert response.status == status
        assert (b"fresh" in await response.read()) == (status == 200)


@pytest.mark.parametrize("fields", [b"", b"Host: localhost\r\nHost: localhost\r\n", b"Host:\r\n"])
async def test_a_request_has_one_host(aiohttp_client: AiohttpClient, fields: bytes) -> None:
    """None, two of them, or an empty one: refused, and never answered with 500."""
    client = await aiohttp_client(create_app(FakeReport(), local=True))
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"GET /status HTTP/1.1\r\n" + fields + b"Connection: close\r\n\r\n")
    assert (await reader.readline()).split()[1] in {b"400", b"421"}
    writer.close()
    await writer.wait_closed()


async def test_a_health_check_needs_no_host(
    aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP/1.0 knows no `Host`: what this machine is called does not matter then."""
    monkeypatch.setattr("socket.getfqdn", lambda: "somewhere.example")
    client = await aiohttp_client(create_app(FakeReport(), local=True))
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"GET /readiness HTTP/1.0\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"200"
    writer.close()
    await writer.wait_closed()


async def test_behind_a_pod_address_any_name_is_good(aiohttp_client: AiohttpClient) -> None:
    """Probes and Prometheus call by whatever name they know."""
    client = await aiohttp_client(create_app(FakeReport()))
    async with client.get(
        "/readiness", headers={"Host": "telenor-proxy.monitoring.svc"}
    ) as response:
        assert response.status == 200


async def test_readiness_may_have_a_remark(
    client: TestClient[Request, Application], report: FakeReport
) -> None:
    """While some calls are refused and others are served, it is 200, and its body says so."""
    report.remarked = "Orders with an Idempotency-Key are refused."
    async with client.get("/readiness") as response:
        assert response.status == 200
        assert await response.json() == {"ok": True, "detail": report.remarked}
