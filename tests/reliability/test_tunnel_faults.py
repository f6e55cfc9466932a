"""Each fault of a tunnel through the company's proxy, and its outcome in docs/reliability.md.

A call meets the fault at a real listener, and a login at the token endpoint; the company's proxy is
scripted, on a real socket.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final, Literal, NamedTuple

import pytest

from proxy.errors import TokenError
from proxy.network.dialer import Dialer
from proxy.network.egress import CompanyProxy, Login
from proxy.secret import Secret
from proxy.settings import Origin
from proxy.tokens.endpoint import TokenEndpoint
from tests.docs.pages import PAGES, rows, section
from tests.gateway.client import ORDER, order
from tests.gateway.conftest import Lab
from tests.network.house import ESTABLISHED, Authority, ScriptedProxy
from tests.reliability.house import CREDENTIALS, LOGIN_PATH
from tests.reliability.road import black_hole
from tests.scripted import serving

Step = bytes | float | None
LOGIN: Final = Login("me", Secret("made-up-password"))
#: Seconds. What is silent fails after the shorter time; what fails by itself has the longer one.
IMPATIENT, PATIENT = 0.3, 20.0


def refused(status: int, *fields: str) -> bytes:
    """Return an answer that opens no tunnel."""
    lines = "".join(f"{line}\r\n" for line in ("Content-Length: 0", *fields))
    return f"HTTP/1.1 {status} No\r\n{lines}\r\n".encode()


class Fault(NamedTuple):
    """What the proxy does with a CONNECT. certified: the name that it shows; None without TLS."""

    script: tuple[Step, ...] = ()
    login: Login | None = None
    scheme: Literal["http", "https"] = "http"
    certified: str | None = None
    seconds: float = PATIENT
    host: str = "127.0.0.1"
    is_closed: bool = False
    is_full: bool = False


DROPS: Final[tuple[Step, ...]] = (b"HTTP/1.1 100 Continue\r\n\r\n", 0.02)
BASIC: Final = 'Proxy-Authenticate: Basic realm="proxy"'
#: By its name in the table.
FAULTS: Final = {
    "no such name": Fault(host="no*such*name"),
    "connection refused": Fault(is_closed=True),
    "no answer to SYN": Fault(is_full=True, seconds=IMPATIENT),
    "a certificate of another host, on `https://`": Fault(
        scheme="https", certified="other.example"
    ),
    "plain HTTP, on `https://`": Fault(scheme="https"),
    "407, without credentials": Fault((refused(407, BASIC),)),
    "407, with credentials": Fault((refused(407, BASIC),), LOGIN),
    "407 for NTLM or Kerberos only": Fault((refused(407, "Proxy-Authenticate: Negotiate"),), LOGIN),
    "401, as tinyproxy has it": Fault((refused(401),), LOGIN),
    "403": Fault((refused(403),)),
    "500": Fault((refused(500),)),
    "502": Fault((refused(502),)),
    "503, with `Retry-After`": Fault((refused(503, "Retry-After: 5"),)),
    "a redirect": Fault((refused(302, "Location: http://login.example"),)),
    "a switch of protocols": Fault((refused(101),)),
    "closed without an answer": Fault((b"",)),
    "reset without an answer": Fault((None,)),
    "closed inside the head": Fault((b"HTTP/1.1 200 OK\r\n",)),
    "reset inside the head": Fault((b"HTTP/1.1 200 OK\r\n", None)),
    "silence": Fault((PATIENT,), seconds=IMPATIENT),
    "silence inside the head": Fault((b"HTTP/1.1 200 OK\r\n", PATIENT), seconds=IMPATIENT),
    "interim answers without end, in drops": Fault(DROPS * 200, seconds=IMPATIENT),
    "a head that is too large": Fault((b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,)),
    "200 with bytes behind its head": Fault((ESTABLISHED + b"HTTP/1.1 200 OK\r\n\r\n",)),
    "garbage": Fault((b"\x00\xff garbage",)),
    "another protocol": Fault((b"SSH-2.0-OpenSSH\r\n",)),
}
TABLE: Final = rows(section(PAGES["docs/reliability.md"], "When the company's proxy fails"))


async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a TLS handshake as a server of plain HTTP does."""
    await reader.read(1)
    writer.write(refused(400))


@contextlib.asynccontextmanager
async def company_of(fault: Fault) -> AsyncIterator[tuple[CompanyProxy, ScriptedProxy]]:
    """Run the proxy that fails so."""
    authority, proxy = Authority(), ScriptedProxy(0, *fault.script)
    shown = None if fault.certified is None else authority.server(fault.certified)
    async with contextlib.AsyncExitStack() as stack:
        serve = no_tls if fault.scheme == "https" and shown is None else proxy.serve
        port = await stack.enter_async_context(serving(serve, shown))
        if fault.is_closed:
            await stack.aclose()
        if fault.is_full:
            port = stack.enter_context(black_hole())
        trust = authority.client() if fault.scheme == "https" else None
        yield CompanyProxy(Origin(fault.scheme, fault.host, port), fault.login, trust), proxy


def test_the_table_has_each_fault() -> None:
    """In the same order."""
    assert [row[0] for row in TABLE] == list(FAULTS)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
async def test_a_tunnel_fails(lab: Lab, row: list[str]) -> None:
    """A call and a login fail as the table says; the API gets no byte, the proxy no secret."""
    fault = FAULTS[row[0]]
    gateway = await lab.gateway(upstream__connect_timeout_seconds=fault.seconds)
    async with company_of(fault) as (company, proxy):
        way = Dialer(gateway.settings.upstream.origin, None, lambda: company, fault.seconds)
        gateway.pool.dialer = way
        answer = await gateway.ask(order(), method=b"POST")
        endpoint = TokenEndpoint(way, LOGIN_PATH, "/oauth/v2/logout", timeout_seconds=PATIENT)
        with pytest.raises(TokenError) as raised:
            await endpoint.fetch(CREDENTIALS)
    (record,) = gateway.records
    error_part, hop, *received = answer.values(b"proxy-status")[0].decode().split("; ")[1:]
    assert hop == f'next-hop="{company.hop}"'
    status = received[0].removeprefix("received-status=") if received else "-"
    error = error_part.removeprefix("error=")
    found = (str(answer.status), answer.kind, error, status, raised.value.reason)
    assert record.error == answer.kind
    assert found == tuple(cell.strip("`") for cell in row[1:])
    assert answer.problem["outcome"] == record.outcome == "not_sent"
    assert gateway.upstream.requests == []
    assert all(head.startswith(b"CONNECT ") for head in proxy.heads)
    assert bytes(proxy.seen) == b""
    assert not any(word in head for head in proxy.heads for word in (b"Bearer", b"secret", ORDER))
