"""The gateway's parts in the test's event loop, between a raw client and a scripted upstream.

    async def test_x(gateway: Gateway) -> None: ...             # with the default settings
    gateway = await lab.gateway(limits__max_body_bytes=10)      # with others

After each test, `lab` checks what must always hold: all that was sent upstream is one well-formed
request after the other, each with our credential and no other; no task, socket or unretrieved
exception is left; no client got a secret.
"""

import asyncio
import contextlib
import gc
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from structlog.testing import capture_logs

from proxy import settings
from proxy.clients.roster import Roster
from proxy.clock import SystemClock
from proxy.errors import TokenError
from proxy.forward.connection import ClientConnection
from proxy.forward.forwarder import Forwarder
from proxy.forward.listener import Listener
from proxy.forward.pool import Pool
from proxy.network import serving, transport
from proxy.network.dialer import Dialer
from proxy.network.tls import client_context, server_context
from proxy.orders.desk import Desk
from proxy.records import Record
from proxy.settings import Settings
from proxy.tokens.diagnosis import error_code_of, rejected_token
from tests.gateway.client import Answer, Client, until
from tests.gateway.variants import PLAIN, Variant, variants
from tests.scripted import Connection, Received, ScriptedServer

#: Stands for any credential of a client: it may reach no peer under any name.
SENTINEL: Final = b"credential-of-the-client"
CLIENT_KEY: Final = "key-of-the-listener"
_TOKEN: Final = "token-of-the-test-"

_CREDENTIALS: Final = {
    "oauth__client_id": "made-up-client-id",
    "oauth__client_secret": "made-up-client-secret",
    "oauth__username": "api1",
    "oauth__password": "made-up-password",
}
_NEVER_UPSTREAM: Final = frozenset(
    b"connection keep-alive proxy-connection te trailer upgrade http2-settings expect "
    b"proxy-authorization x-proxy-key".split()
)
_NEVER_BACK: Final = frozenset(
    b"keep-alive proxy-connection te trailer upgrade alt-svc proxy-authenticate".split()
)
#: Longest that the parts may take to end, once the test is over.
_GRACE: Final = 2.0  # seconds


class StubToken:
    """An access token that says which it is."""

    def __init__(self, number: int) -> None:
        self.number = number

    def reveal(self) -> str:
        """Return the secret."""
        return f"{_TOKEN}{self.number}"


class StubTokens:
    """A keeper with a new token at once. failure: raised. gate: waited for. stubborn: keeps all."""

    def __init__(self) -> None:
        self.issued = 0
        self.rejected: list[int] = []
        self.waiting = 0
        self.failure: TokenError | None = None
        self.gate: asyncio.Event | None = None
        self.stubborn = False
        self._current: StubToken | None = None
        self.issue()

    def issue(self) -> None:
        """Put the next token in force."""
        self.issued += 1
        self._current = StubToken(self.issued)

    def lose(self) -> None:
        """Have none from now on."""
        self._current = None

    def usable(self) -> StubToken | None:
        """Return the token in force."""
        return self._current

    async def get(self) -> StubToken:
        """Wait for the gate, if there is one, and return the next token."""
        if self._current is None and self.gate is not None:
            self.waiting += 1
            try:
                await self.gate.wait()
            finally:
                self.waiting -= 1
        if self.failure is not None:
            raise self.failure
        if self._current is None:
            self.issue()
        assert self._current is not None
        return self._current

    def invalidate(self, rejected: StubToken) -> bool:
        """Compare and swap."""
        self.rejected.append(rejected.number)
        if not self.stubborn and self._current is rejected:
            self._current = None
        return not self.stubborn


class Certificates:
    """What upstream and listener show on TLS, and the CA file that their clients trust."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = trustme.CA(), trustme.CA()
        self.ca_file = folder / "ca.pem"
        ours.cert_pem.write_to_path(str(self.ca_file))
        self.good = _context(ours.issue_cert("localhost", "127.0.0.1"))
        self.wrong_host = _context(ours.issue_cert("elsewhere.example"))
        self.untrusted = _context(theirs.issue_cert("localhost", "127.0.0.1"))
        long_ago = datetime(2002, 1, 1, tzinfo=UTC)
        self.expired = _context(ours.issue_cert("127.0.0.1", not_after=long_ago))
        pair = folder / "listener.pem"
        ours.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pair))
        self.listener = server_context(pair, None, None)


@dataclass(eq=False, repr=False)
class Gateway:
    """One proxy in front of one upstream.

    cut_short: how many requests the test means to begin upstream and not to end; None if any number
    may be. trust: what clients trust, where the listener speaks TLS.
    """

    settings: Settings
    upstream: ScriptedServer
    tokens: Any
    pool: Pool
    listener: Listener
    records: list[Record]
    address: tuple[str, int] | str
    trust: ssl.SSLContext | None
    cut_short: int | None = 0
    clients: list[Client] = field(default_factory=list)

    async def connect(self, *, receive_buffer: int | None = None) -> Client:
        """Return a new client."""
        client = await Client.connect(self.address, tls=self.trust, receive_buffer=receive_buffer)
        self.clients.append(client)
        return client

    async def begin(self, raw: bytes, *, whole: bool = True) -> Client:
        """Send a request on a new connection; wait until the upstream has it, or its head."""
        before = len(self.upstream.requests)
        client = await self.connect()
        await client.send(raw)
        await until(lambda: len(self.upstream.whole if whole else self.upstream.requests) > before)
        return client

    async def ask(self, *pieces: bytes, method: bytes = b"GET") -> Answer:
        """Send one request on a new connection, and return the answer."""
        return await (await self.connect()).ask(*pieces, method=method)

    async def refuses(
        self, *pieces: bytes, status: int, kind: str | None = None, method: bytes = b"GET"
    ) -> Answer:
        """Hold that the proxy refuses this itself, closes, and sends no whole request upstream."""
        before = len(self.upstream.whole)
        client = await self.connect()
        answer = await client.ask(*pieces, method=method)
        assert answer.status == status, answer
        assert answer.whole
        assert answer.values(b"connection") == [b"close"]
        assert answer.proxy_error is not None
        if method != b"HEAD":
            assert kind is None or answer.kind == kind, answer.kind
        if self.trust is not None:
            client.half_close()  # TLS cannot end one side only: the proxy waits for the client's
        assert await client.closed() == "fin"
        assert len(self.upstream.whole) == before
        return answer

    @property
    def record(self) -> Record:
        """What was noted of the only request."""
        (record,) = self.records
        return record

    async def noted(self) -> Record:
        """Wait for the record of the latest request."""
        await until(lambda: self.records)
        return self.records[-1]

    async def served(self) -> ClientConnection:
        """Wait for the proxy's side of the only client connection."""
        await until(lambda: self.listener.connections)
        (served,) = self.listener._service.clients
        return served

    @property
    def free_permits(self) -> int:
        """How many connections to the upstream may be taken now."""
        return self.pool.free

    async def close(self) -> None:
        """End everything, and hold the laws."""
        for _ in range(5):
            await asyncio.sleep(0)
        for client in self.clients:
            client.close()
        await self.upstream.close()
        await until(
            lambda: not self.listener.connections and not self.listener._service.turned_away, _GRACE
        )
        if self.listener._server is not None:  # a drain would wait for clients that are not there
            self.listener._server.close()
        await self.pool.close()
        await until(lambda: not self.pool._open, _GRACE)
        assert self.free_permits == self.settings.upstream.max_connections, "a lost permit"
        unfinished = sum(map(self._audit_connection, self.upstream.connections))
        assert self.cut_short in {None, unfinished}, f"{unfinished} requests have no end"
        self._audit_clients()

    def _audit_connection(self, connection: Connection) -> bool:
        """Check all that was received; return whether the last request has no end."""
        assert connection.problem is None, connection.problem
        assert SENTINEL not in connection.received
        requests = connection.requests
        assert all(request.whole for request in requests[:-1])
        unfinished = bool(requests) and not requests[-1].whole
        assert unfinished or not connection.rest, f"left over: {connection.rest[:80]!r}"
        for request in requests:
            self._audit_request(request)
        return unfinished

    def _audit_request(self, request: Received) -> None:
        names = [name.lower() for name, _ in request.fields]
        assert request.version == b"1.1"
        for name in (b"host", b"x-request-id", b"authorization"):
            assert names.count(name) == 1
        assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
        assert request.values(b"transfer-encoding") in ([], [b"chunked"])
        assert request.values(b"host") == [self.settings.upstream.origin.host_header]
        assert _NEVER_UPSTREAM.isdisjoint(names), names
        assert names[-1] == b"authorization"
        issued = [
            f"Bearer {_TOKEN}{number}".encode() for number in range(1, self.tokens.issued + 1)
        ]
        assert request.values(b"authorization")[0] in issued

    def _audit_clients(self) -> None:
        secrets = (_TOKEN.encode(), CLIENT_KEY.encode(), SENTINEL, b"access-control-")
        for client in self.clients:
            lower = bytes(client.received).lower()
            assert not any(secret in lower for secret in secrets)
            assert not any(b"\r\n%b:" % name in lower for name in _NEVER_BACK)


class Lab:
    """Builds gateways; `close` closes them, and raises what one of them found."""

    def __init__(self, certificates: Certificates, variant: Variant = PLAIN) -> None:
        self.certificates = certificates
        self.variant = variant
        self._stack = contextlib.AsyncExitStack()
        self.close = self._stack.aclose

    async def upstream(self, tls: ssl.SSLContext | None = None) -> ScriptedServer:
        """Start an upstream whose requests are not audited. tls: what it shows."""
        return await self._stack.enter_async_context(ScriptedServer(tls=tls))

    async def gateway(
        self,
        *,
        tls: bool = False,
        tokens: Any = None,
        url: str | None = None,
        desk: Desk | None = None,
        shown: ssl.SSLContext | None = None,
        **changes: object,
    ) -> Gateway:
        """Build one. tls: to the upstream. url: of an upstream that is not ours.

        desk: remembers orders. shown: to clients. changes: settings, as `section__key=value`.
        """
        upstream = await self.upstream(self.certificates.good if tls else None)
        if url is None:
            url = f"{'https' if tls else 'http'}://127.0.0.1:{upstream.port}"
        chosen = chosen_settings(
            **{"upstream__url": url, "upstream__ca_file": self.certificates.ca_file, **changes}
        )
        origin = chosen.upstream.origin
        pool = Pool(
            Dialer(origin, client_context(chosen.upstream.ca_file) if origin.is_tls else None),
            max_connections=chosen.upstream.max_connections,
            connect_timeout=chosen.upstream.connect_timeout_seconds,
            idle_timeout=chosen.upstream.idle_timeout_seconds,
            max_age=chosen.upstream.max_age_seconds,
        )
        keeper = tokens or StubTokens()
        records: list[Record] = []
        roster = Roster(chosen, SystemClock(), bytes(32))
        forwarder = Forwarder(
            chosen,
            keeper,
            pool,
            error_code=error_code_of,
            is_token_rejected=rejected_token,
            rates=roster.rates,
            desk=desk,
        )
        listener = Listener(chosen, forwarder, records.append, roster)
        address: tuple[str, int] | str
        trust = None
        if chosen.listen.unix_socket is not None:
            address = str(chosen.listen.unix_socket)
            await listener.start_unix(address)
        else:
            if shown is None and self.variant.listener == "tls":
                shown, trust = self.certificates.listener, client_context(self.certificates.ca_file)
            port = await listener.listen(await serving.bind(["127.0.0.1"], 0), shown)
            address = ("127.0.0.1", port)
        gateway = Gateway(chosen, upstream, keeper, pool, listener, records, address, trust)
        self._stack.push_async_callback(gateway.close)
        return gateway


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    return context


def chosen_settings(**values: object) -> Settings:
    """Return made-up credentials and these settings, given as `section__key=value`."""
    given = {**_CREDENTIALS, **values}
    return settings.load(
        None, {f"TELENOR_PROXY_{name.upper()}": _text(value) for name, value in given.items()}
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _is_noise(context: dict[str, Any]) -> bool:
    """Whether aiofastnet 1.2 logs what it raises too: the peer ended the TLS handshake."""
    return (
        context["message"] == "SSL handshake failed"
        and context.get("exception") is ConnectionResetError
    )


def _sockets() -> int:
    """Count the sockets that this process has open; 0 where the system does not say."""
    count = 0
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            count += str(entry.readlink()).startswith("socket:")
        except OSError:  # closed meanwhile: the listing's own
            continue
    return count


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make the certificates once."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on each of its variants."""
    chosen = variants(metafunc.config, metafunc.module.__name__.rpartition(".")[2])
    if len(chosen) > 1:
        metafunc.parametrize("variant", chosen, indirect=True, ids=str)


@pytest.fixture
def variant(request: pytest.FixtureRequest) -> Iterator[Variant]:
    """Choose the transports; skip a test that holds on plain TCP only, on TLS."""
    chosen: Variant = getattr(request, "param", None) or variants(request.config, "")[0]
    mark = request.node.get_closest_marker("plain_tcp")
    if chosen.listener == "tls" and mark is not None:
        pytest.skip(*mark.args)
    transport.use(chosen.transport)
    yield chosen
    transport.use("fast")


@pytest.fixture(autouse=True)
async def lab(certificates: Certificates, variant: Variant) -> AsyncIterator[Lab]:
    """Build gateways, and hold the laws after the test."""
    loop = asyncio.get_running_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(
        lambda _, context: None if _is_noise(context) else faults.append(context)
    )
    sockets, tasks = _sockets(), asyncio.all_tasks()
    made = Lab(certificates, variant)
    with capture_logs() as logs:
        yield made
        await made.close()
        del made
        await until(
            lambda: (
                asyncio.all_tasks() - tasks <= {asyncio.current_task()} and _sockets() <= sockets
            ),
            _GRACE,
        )
        gc.collect(1)
        await asyncio.sleep(0)
    assert not faults, faults
    assert not [entry for entry in logs if entry["log_level"] in {"error", "critical"}], logs


@pytest.fixture
async def gateway(lab: Lab) -> Gateway:
    """Build a gateway with the default settings and a plain upstream."""
    return await lab.gateway()
