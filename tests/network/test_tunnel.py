"""The messages that open a tunnel: what is asked, and which answer opens one."""

import asyncio

import pytest

from proxy import faults
from proxy.network import message, tunnel
from proxy.network.stream import Stream
from proxy.settings import Origin

HOP = "proxy.example:3128"
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Written(Stream):
    """A connection on which nothing is sent."""

    def write(self, data: bytes) -> None:
        """Send nothing."""


async def fault_of(received: bytes) -> faults.Fault | None:
    """Return the fault of such an answer; None if it opens a tunnel. Raises `TimeoutError`."""
    stream = Written(asyncio.get_running_loop())
    stream.transport = asyncio.Transport()  # knows nothing, and says so
    stream.data_received(received)
    try:
        async with asyncio.timeout(0):
            await tunnel.opened(stream, b"", HOP, has_login=False)
    except faults.TunnelError as error:
        return error.fault
    return None


async def outcome(received: bytes) -> str:
    """Return what an answer means: `open`, `more`, or the reason of the fault."""
    try:
        fault = await fault_of(received)
    except TimeoutError:
        return "more"
    return "open" if fault is None else fault.reason


def test_the_request_names_target_and_agent() -> None:
    """One line and two fields, in a known order."""
    asked = tunnel.request(Origin("https", "api.example", 443), None)
    line, host, agent, *rest = asked.split(b"\r\n")
    assert (line, host) == (b"CONNECT api.example:443 HTTP/1.1", b"Host: api.example:443")
    assert agent.startswith(b"User-Agent: telenor-proxy/")
    assert rest == [b"", b""]


def test_credentials_are_one_field_more() -> None:
    """They are the proxy's own."""
    asked = tunnel.request(Origin("https", "api.example", 443), b"Basic bWU6eA==")
    assert asked.count(b"\r\n") == 5
    assert b"\r\nProxy-Authorization: Basic bWU6eA==\r\n" in asked


def test_an_address_of_ipv6_goes_in_brackets() -> None:
    """Otherwise its port could not be told from it."""
    assert tunnel.request(Origin("https", "2001:db8::1", 443), None).startswith(
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n"
    )


@pytest.mark.parametrize(
    ("received", "means"),
    [
        (b"", "more"),
        (b"HTTP/1.", "more"),
        (OK[:-1], "more"),
        (OK, "open"),
        (b"HTTP/1.0 200 Connection established\r\nProxy-agent: x\r\n\r\n", "open"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "open"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "open"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "more"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, "open"),
        (OK + b"x", "company_proxy_malformed"),
        (OK + b"\x16\x03\x03", "company_proxy_malformed"),
        (b"\x05\x00", "company_proxy_malformed"),
        (b"HTTP/2 200\r\n\r\n", "company_proxy_malformed"),
        (b"HTTP/1.1 abc\r\n\r\n", "company_proxy_malformed"),
        (b"HTTP/1.1 200 OK\r\nno field\r\n\r\n", "company_proxy_malformed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * message.MAX_HEAD, "company_proxy_malformed"),
        (
            b"HTTP/1.1 200 OK\r\nX: %b\r\n\r\n" % (b"x" * message.MAX_HEAD),
            "company_proxy_malformed",
        ),
        (b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\nbody", "company_proxy_login"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "company_proxy_failed"),
    ],
)
async def test_only_a_success_opens_a_tunnel(received: bytes, means: str) -> None:
    """Any 2xx whose head is whole, and behind which nothing stands."""
    assert await outcome(received) == means


@pytest.mark.parametrize(
    "received", [OK, b"HTTP/1.1 407 No\r\n\r\n", b"HTTP/1.1 100 Wait\r\n\r\n" + OK]
)
async def test_an_answer_may_come_in_pieces(received: bytes) -> None:
    """Before its end there is no verdict."""
    for size in range(len(received)):
        assert await outcome(received[:size]) == "more"
    assert await outcome(received) != "more"


@pytest.mark.parametrize(
    ("challenges", "says"),
    [
        (["Basic realm=proxy"], "asks for a login"),
        (['NTLM, basic realm="x"'], "asks for a login"),
        (["Negotiate", "Basic"], "asks for a login"),
        ([], "asks for a login"),
        (["NTLM", "Negotiate"], "takes no Basic login"),
        (['Digest realm="basic"'], "takes no Basic login"),
    ],
)
async def test_a_proxy_that_takes_no_basic_login(challenges: list[str], says: str) -> None:
    """For NTLM or Kerberos another password does not help, so the words differ."""
    fields = "".join(f"Proxy-Authenticate: {value}\r\n" for value in challenges)
    answer = f"HTTP/1.1 407 Proxy Authentication Required\r\n{fields}\r\n".encode()
    fault = await fault_of(answer)
    assert fault is not None
    assert says in fault.happened
