"""One wording for what goes wrong on a network, wherever it happens."""

import errno
import re
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
    *(faults.no_tunnel(code, HOP, has_login=False, takes_basic=False) for code in (403, 502, 405)),
    faults.unreadable("it is not HTTP", HOP),
)


@pytest.mark.parametrize(
    ("error", "reason", "kind", "says"),
    [
        (
            TimeoutError(),
            "timeout",
            "CONNECT_TIMEOUT",
            "The API did not accept a connection in time.",
        ),
        # The kernel's own, before our time was over.
        (TimeoutError(errno.ETIMEDOUT, ""), "timeout", "CONNECT_TIMEOUT", "There is no way to"),
        (socket.gaierror(socket.EAI_AGAIN, ""), "dns", "DNS", "The name server did not answer"),
        (socket.gaierror(socket.EAI_NONAME, ""), "dns", "DNS", "could not be resolved"),
        (UnicodeError("label too long"), "dns", "DNS", "could not be resolved"),
        (ConnectionRefusedError(), "connect", "REFUSED", "The API refused the connection."),
        (ConnectionResetError(), "reset", "TERMINATED", "broke off before it was ready"),
        (OSError(errno.EHOSTUNREACH, ""), "connect", "UNROUTABLE", "No route to host"),
        (OSError("Multiple exceptions"), "connect", "UNROUTABLE", "none of its addresses"),
        (OSError(errno.EMFILE, ""), "connect", "UNROUTABLE", "no file descriptors left"),
        (ssl.SSLError(1, ""), "tls", "TLS", "speaks no TLS"),
        (distrust(10), "tls", "CERTIFICATE", "it has expired"),
        (distrust(9), "tls", "CERTIFICATE", "it is not valid yet"),
        (distrust(20), "tls", "CERTIFICATE", "an authority that is not known here"),
        (distrust(62), "tls", "CERTIFICATE", "it is not for the host in upstream.url"),
        (distrust(79, "invalid {CA}"), "tls", "CERTIFICATE", "not trusted: invalid (CA)."),
    ],
)
def test_each_exception_has_its_meaning(
    error: OSError | UnicodeError, reason: str, kind: str, says: str
) -> None:
    """A reason for log and metrics, a kind of answer, and a sentence."""
    fault = explain(error)
    assert (fault.reason, fault.kind) == (reason, ProblemKind[kind])
    assert says in fault.said_of(API)


@pytest.mark.parametrize("error", FAULTS_OF_THE_SYSTEM, ids=repr)
def test_a_fault_has_the_same_words_for_each_peer(error: OSError) -> None:
    """Only the name of the peer differs."""
    fault = explain(error)
    texts = {peer: fault.said_of(peer) for peer in (API, TOKEN_ENDPOINT)}
    assert texts[TOKEN_ENDPOINT] == re.sub("(t|T)he API", r"\1he token endpoint", texts[API])
    tunnel = faults.to_company_proxy(error, HOP).fault
    assert tunnel.kind.is_company_proxy
    assert "API" not in tunnel.said_of(API)
    assert tunnel.reason == f"company_proxy_{fault.reason}"


@pytest.mark.parametrize("error", FAULTS_OF_THE_PROXY, ids=lambda error: error.fault.kind.type)
def test_a_fault_of_the_companys_proxy_names_the_next_hop(error: faults.TunnelError) -> None:
    """The answer is `not_sent`, of a kind of its own, and names the proxy."""
    failed = faults.connect_failure(error)
    assert failed.kind.is_company_proxy
    assert (failed.outcome, failed.next_hop) == ("not_sent", HOP)
    assert failed.received_status == error.fault.received_status
    assert "company's proxy" in failed.detail or "upstream.proxy_url" in failed.detail


@pytest.mark.parametrize(
    ("status", "has_login", "takes_basic", "reason", "says"),
    [
        (407, False, True, "login", "asks for a login"),
        (407, True, True, "login", "refused the credentials"),
        (407, True, False, "login", "takes no Basic login"),
        (401, True, True, "login", "refused the credentials for connections to the API"),
        (403, True, True, "denied", "does not allow connections to the API"),
        (502, True, True, "failed", "could not connect to the API"),
        (405, True, True, "failed", "opened no tunnel to the API"),
    ],
)
def test_what_the_companys_proxy_answers_has_its_words(
    status: int, *, has_login: bool, takes_basic: bool, reason: str, says: str
) -> None:
    """Each status has its meaning."""
    fault = faults.no_tunnel(status, HOP, has_login=has_login, takes_basic=takes_basic).fault
    assert (fault.reason, fault.received_status) == (f"company_proxy_{reason}", status)
    text = fault.said_of(API)
    assert says in text
    assert f"(status {status})" in text or status == 407


@pytest.mark.parametrize(("status", "slow"), [(407, True), (403, True), (502, False), (400, False)])
def test_what_the_companys_proxy_refuses_is_tried_again_slowly(status: int, *, slow: bool) -> None:
    """407 and 403 back off as refused credentials do."""
    error = faults.token_failure(faults.no_tunnel(status, HOP, has_login=True, takes_basic=True))
    assert type(error) is (CredentialsRefused if slow else TokenUnavailable)
    assert "the token endpoint" in error.detail


def test_every_reason_is_known_in_advance() -> None:
    """Metrics have a series for each from the start."""
    texts = {explain(error).reason for error in (*FAULTS_OF_THE_SYSTEM, *FAULTS_OF_THE_PROXY)}
    assert texts == faults.REASONS


def test_a_fault_of_the_proxy_stays_what_it_is() -> None:
    """A second translation changes nothing."""
    error = faults.unreadable("it is not HTTP", HOP)
    assert faults.to_company_proxy(error, HOP) is error
    text = error.fault.said_of(COMPANY_PROXY)
    assert text.startswith("The company's proxy gave no readable answer")
