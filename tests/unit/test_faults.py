"""One wording for what goes wrong on a network: which exception means what, whoever meets it."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Final

import pytest

from proxy import faults
from proxy.errors import CredentialsRefused, TokenUnavailable
from proxy.faults import API, COMPANY_PROXY, TOKEN_ENDPOINT, explain
from proxy.problems import ProblemKind

HOP = "proxy.example:3128"


def distrust(code: int, message: str = "invalid CA certificate") -> ssl.SSLCertVerificationError:
    """Return OpenSSL's verdict on a certificate."""
    error = ssl.SSLCertVerificationError(1, "")
    error.verify_code, error.verify_message = code, message
    return error


#: What the system says when no connection is made.
FAULTS_OF_THE_SYSTEM: Final[tuple[OSError, ...]] = (
    TimeoutError(),
    *map(distrust, (10, 9, 20, 62, 79)),
    ssl.SSLError(1, ""),
    socket.gaierror(socket.EAI_AGAIN, ""),
    socket.gaierror(socket.EAI_NONAME, ""),
    ConnectionRefusedError(errno.ECONNREFUSED, ""),
    ConnectionResetError(errno.ECONNRESET, ""),
    OSError(errno.EMFILE, ""),
    OSError(errno.EHOSTUNREACH, ""),
    OSError("several"),
)
#: What the company's proxy says, or what happens on the way to it.
FAULTS_OF_THE_PROXY: Final[tuple[OSError, ...]] = (
    *(faults.to_company_proxy(error, HOP) for error in FAULTS_OF_THE_SYSTEM),
    faults.no_tunnel(407, HOP, has_login=False, takes_basic=True),
    faults.no_tunnel(407, HOP, has_login=True, takes_basic=True),
    faults.no_tunnel(407, HOP, has_login=False, takes_basic=False),
    *(
        faults.no_tunnel(status, HOP, has_login=False, takes_basic=False)
        for status in (403, 502, 405)
    ),
    faults.unreadable("it is not HTTP", HOP),
)


@pytest.mark.parametrize(
    ("error", "reason", "kind", "says"),
    [
        (
            TimeoutError(),
            "timeout",
            ProblemKind.CONNECT_TIMEOUT,
            "The API did not accept a connection in time.",
        ),
        (
            socket.gaierror(socket.EAI_AGAIN, ""),
            "dns",
            ProblemKind.DNS,
            "The name server did not answer",
        ),
        (socket.gaierror(socket.EAI_NONAME, ""), "dns", ProblemKind.DNS, "could not be resolved"),
        (UnicodeError("label too long"), "dns", ProblemKind.DNS, "could not be resolved"),
        (
            ConnectionRefusedError(),
            "connect",
            ProblemKind.REFUSED,
            "The API refused the connection.",
        ),
        (ConnectionResetError(), "reset", ProblemKind.TERMINATED, "broke off before it was ready"),
        (OSError(errno.EHOSTUNREACH, ""), "connect", ProblemKind.UNROUTABLE, "No route to host"),
        (
            OSError("Multiple exceptions"),
            "connect",
            ProblemKind.UNROUTABLE,
            "none of its addresses",
        ),
        (OSError(errno.EMFILE, ""), "connect", ProblemKind.UNROUTABLE, "no file descriptors left"),
        (ssl.SSLError(1, ""), "tls", ProblemKind.TLS, "speaks no TLS"),
        (distrust(10), "tls", ProblemKind.CERTIFICATE, "it has expired"),
        (distrust(9), "tls", ProblemKind.CERTIFICATE, "it is not valid yet"),
        (distrust(20), "tls", ProblemKind.CERTIFICATE, "an authority that is not known here"),
        (distrust(62), "tls", ProblemKind.CERTIFICATE, "it is not for the host in upstream.url"),
        (
            distrust(79, "invalid {CA}"),
            "tls",
            ProblemKind.CERTIFICATE,
            "not trusted: invalid (CA).",
        ),
    ],
)
def test_each_exception_has_its_meaning(
    error: OSError | UnicodeError, reason: str, kind: ProblemKind, says: str
) -> None:
    """A reason for log and metrics, a kind of answer, and a sentence."""
    fault = explain(error)
    assert (fault.reason, fault.kind) == (reason, kind)
    assert says in fault.said_of(API)


@pytest.mark.parametrize("error", FAULTS_OF_THE_SYSTEM, ids=repr)
def test_one_fault_is_told_alike_of_each_peer(error: OSError) -> None:
    """Only the name of the peer differs between a call, the token and the company's proxy."""
    fault = explain(error)
    told = {peer: fault.said_of(peer) for peer in (API, TOKEN_ENDPOINT)}
    assert told[TOKEN_ENDPOINT] == told[API].replace("the API", "the token endpoint").replace(
        "The API", "The token endpoint"
    )
    tunnel = faults.to_company_proxy(error, HOP).fault
    assert tunnel.kind.is_company_proxy
    assert "API" not in tunnel.said_of(API)
    assert tunnel.reason == f"company_proxy_{fault.reason}"


@pytest.mark.parametrize("error", FAULTS_OF_THE_PROXY, ids=lambda error: error.fault.kind.type)
def test_a_fault_of_the_companys_proxy_names_the_next_hop(error: faults.TunnelError) -> None:
    """The answer is `not_sent`, of a kind of its own, and says which proxy it was about."""
    failed = faults.connect_failure(error)
    assert failed.kind.is_company_proxy
    assert (failed.outcome, failed.next_hop) == ("not_sent", HOP)
    assert failed.received_status == error.fault.received_status
    assert "company's proxy" in failed.detail or "upstream.proxy_url" in failed.detail


@pytest.mark.parametrize(
    ("status", "has_login", "takes_basic", "reason", "says"),
    [
        (407, False, True, "company_proxy_login", "asks for a login"),
        (407, True, True, "company_proxy_login", "refused the credentials"),
        (407, True, False, "company_proxy_login", "takes no Basic login"),
        (
            401,
            True,
            True,
            "company_proxy_login",
            "refused the credentials for connections to the API (status 401)",
        ),
        (
            403,
            True,
            True,
            "company_proxy_denied",
            "does not allow connections to the API (status 403)",
        ),
        (502, True, True, "company_proxy_failed", "could not connect to the API (status 502)"),
        (405, True, True, "company_proxy_failed", "opened no tunnel to the API (status 405)"),
    ],
)
def test_what_the_companys_proxy_answers_has_its_words(
    status: int, *, has_login: bool, takes_basic: bool, reason: str, says: str
) -> None:
    """Each refusal says what the proxy said; what it means is told apart by status."""
    error = faults.no_tunnel(status, HOP, has_login=has_login, takes_basic=takes_basic)
    assert error.fault.reason == reason
    assert error.fault.received_status == status
    assert says in error.fault.said_of(API)


@pytest.mark.parametrize(("status", "slow"), [(407, True), (403, True), (502, False), (400, False)])
def test_what_the_companys_proxy_refuses_is_tried_again_slowly(status: int, *, slow: bool) -> None:
    """407 and 403 mean it, as refused credentials do; the rest passes."""
    error = faults.token_failure(faults.no_tunnel(status, HOP, has_login=True, takes_basic=True))
    assert type(error) is (CredentialsRefused if slow else TokenUnavailable)
    assert "the token endpoint" in error.detail


def test_every_reason_is_known_in_advance() -> None:
    """Metrics have a series for each from the start."""
    told = {explain(error).reason for error in (*FAULTS_OF_THE_SYSTEM, *FAULTS_OF_THE_PROXY)}
    assert told == faults.REASONS


def test_a_fault_of_the_proxy_stays_what_it_is() -> None:
    """A second translation changes nothing."""
    error = faults.unreadable("it is not HTTP", HOP)
    assert faults.to_company_proxy(error, HOP) is error
    assert error.fault.said_of(COMPANY_PROXY).startswith(
        "The company's proxy gave no readable answer"
    )
