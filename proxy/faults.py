"""The one wording of what can go wrong on a network: an exception -> one frozen `Fault`.

Log, metrics, answers, the token's reasons and `check` all use it. Pure: it looks at an exception
and nothing else.

Laws
1. No sentence holds a byte that a peer sent; statuses and OpenSSL's own verdicts are no such bytes.
2. A fault of the company's proxy is never said of the API, nor the other way round.
3. All of these happen before one byte of a request was written: as an answer they are `not_sent`.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from dataclasses import dataclass, replace
from typing import Final

from proxy.errors import NOT_SENT, CredentialsRefused, Failed, TokenError, TokenUnavailable
from proxy.problems import ProblemKind


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, for sentences. setting: the one that says where it is."""

    name: str
    setting: str


API: Final = Peer("the API", "upstream.url")
TOKEN_ENDPOINT: Final = Peer("the token endpoint", "upstream.url")
COMPANY_PROXY: Final = Peer("the company's proxy", "upstream.proxy_url")


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong.

    reason: a short fixed word for logs and metrics. kind: what the listener answers. happened,
    step: sentences with `{who}` and `{setting}` for the peer: what happened, and what to do.
    next_hop: `host:port` of the company's proxy, if the fault is on the way through it (RFC 9209
    section 2.1.2). received_status: what that proxy answered, if it did. is_refusal: it means it,
    so that trying again soon is no use.
    """

    reason: str
    happened: str
    step: str
    kind: ProblemKind
    next_hop: str | None = None
    received_status: int | None = None
    is_refusal: bool = False

    def said_of(self, peer: Peer) -> str:
        """Return the sentences, said of this peer."""
        subject = (
            COMPANY_PROXY if self.kind.is_company_proxy and self.received_status is None else peer
        )
        text = f"{self.happened} {self.step}".format(who=subject.name, setting=subject.setting)
        return "T" + text[1:] if text.startswith("the ") else text  # a host's name stays as it is


#: Every reason that there is.
REASONS: Final = frozenset(
    {
        *("timeout", "dns", "connect", "reset", "tls"),
        *(f"company_proxy_{word}" for word in ("timeout", "dns", "connect", "reset", "tls")),
        *(f"company_proxy_{word}" for word in ("malformed", "login", "denied", "failed")),
    }
)


class TunnelError(OSError):
    """There is no tunnel through the company's proxy; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


# --- What the system says ----------------------------------------------------------------------

_TIMEOUT: Final = Fault(
    "timeout",
    "{who} did not accept a connection in time.",
    "Ask whether a firewall drops what goes there, and have it let through.",
    ProblemKind.CONNECT_TIMEOUT,
)
_NO_NAME_SERVER: Final = Fault(
    "dns",
    "The name server did not answer for the host name of {who}.",
    "Check that this machine can look up such names.",
    ProblemKind.DNS,
)
_NO_SUCH_NAME: Final = Fault(
    "dns",
    "The host name of {who} could not be resolved.",
    "Check how {setting} is spelled, and the name server.",
    ProblemKind.DNS,
)
_REFUSED: Final = Fault(
    "connect",
    "{who} refused the connection.",
    "Check the port in {setting}, and that the firewall allows it.",
    ProblemKind.REFUSED,
)
_BROKE_OFF: Final = Fault(
    "reset",
    "The connection to {who} broke off before it was ready.",
    "Ask whether a firewall in between allows known hosts only, and have this one added.",
    ProblemKind.TERMINATED,
)
_NO_TLS: Final = Fault(
    "tls",
    "What answers in place of {who} speaks no TLS that is safe today (1.2 or later).",
    "Check scheme and port of {setting}.",
    ProblemKind.TLS,
)
_NO_DESCRIPTORS: Final = Fault(
    "connect",
    "The proxy has no file descriptors left for a connection to {who}.",
    "Raise its limit (ulimit -n), or lower limits.max_connections.",
    ProblemKind.UNROUTABLE,
)
_UNROUTABLE: Final = Fault(
    "connect",
    "There is no way to {who}.",
    "Check the network, the firewall and {setting}.",
    ProblemKind.UNROUTABLE,
)
#: The first that fits counts: the later ones are the more general.
_OF_THE_SYSTEM: Final[tuple[tuple[type[BaseException], Fault], ...]] = (
    (TimeoutError, _TIMEOUT),
    (ssl.SSLError, _NO_TLS),
    (socket.gaierror, _NO_SUCH_NAME),
    # A name that cannot even be asked for, with an empty label or one too long: the idna codec says
    # so.
    (UnicodeError, _NO_SUCH_NAME),
    (ConnectionRefusedError, _REFUSED),
    (ConnectionError, _BROKE_OFF),
)

#: Verdicts of OpenSSL (X509_V_ERR_... of x509_vfy.h): the chain ends at an authority that is not
#: among the trusted ones.
_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21})
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_WRONG_NAME: Final = frozenset({62, 64})


def explain(error: OSError | UnicodeError) -> Fault:
    """Return the fault behind an exception that ended the making of a connection."""
    if isinstance(error, TunnelError):
        return error.fault
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrust(error)
    if isinstance(error, socket.gaierror) and error.errno == getattr(socket, "EAI_AGAIN", None):
        return _NO_NAME_SERVER
    number = error.errno if isinstance(error, OSError) else None
    for kind, fault in _OF_THE_SYSTEM:
        # With a number it is the kernel that gave up, before our time was over.
        if isinstance(error, kind) and not (kind is TimeoutError and number):
            return fault
    if number in {errno.EMFILE, errno.ENFILE}:
        return _NO_DESCRIPTORS
    reason = os.strerror(number) if number else "none of its addresses accepts connections"
    answer = (
        ProblemKind.CONNECT_TIMEOUT if isinstance(error, TimeoutError) else ProblemKind.UNROUTABLE
    )
    return replace(_UNROUTABLE, kind=answer, happened=f"There is no way to {{who}}: {reason}.")


#: Why a certificate is not trusted, and what to do first.
_VERDICTS: Final = {
    **dict.fromkeys(
        _UNKNOWN_ISSUER,
        (
            "it comes from an authority that is not known here",
            "Ask your network's administrators who it is",
        ),
    ),
    _EXPIRED: ("it has expired", "Check the clock of this machine, and ask who must renew it"),
    _NOT_YET_VALID: ("it is not valid yet", "Check the clock of this machine"),
    **dict.fromkeys(
        _WRONG_NAME,
        (
            "it is not for the host in {setting}",
            "Check {setting} and the name server: something else answers there",
        ),
    ),
}
_OTHER_STEP: Final = "Ask your network's administrators what answers in its place"
_INSPECTION: Final = (
    "If a proxy in between inspects TLS, put its CA certificate into the file that "
    "upstream.ca_file names, which replaces the system's authorities."
)


def _distrust(error: ssl.SSLCertVerificationError) -> Fault:
    # OpenSSL's own words; of the peer's certificate they quote nothing.
    verdict = str(getattr(error, "verify_message", "unverified")).translate(_BRACES)
    why, step = _VERDICTS.get(getattr(error, "verify_code", 0), (verdict, _OTHER_STEP))
    happened = f"The certificate of {{who}} is not trusted: {why}."
    return Fault("tls", happened, f"{step}. {_INSPECTION}", ProblemKind.CERTIFICATE)


_BRACES: Final = str.maketrans({"{": "(", "}": ")"})


# --- The company's proxy -----------------------------------------------------------------------

#: What a fault on the way to the company's proxy is, by what it would be on the way to the API.
_OF_THE_PROXY: Final = {
    ProblemKind.DNS: ProblemKind.COMPANY_PROXY_DNS,
    ProblemKind.REFUSED: ProblemKind.COMPANY_PROXY_REFUSED,
    ProblemKind.UNROUTABLE: ProblemKind.COMPANY_PROXY_UNROUTABLE,
    ProblemKind.CONNECT_TIMEOUT: ProblemKind.COMPANY_PROXY_TIMEOUT,
    ProblemKind.CERTIFICATE: ProblemKind.COMPANY_PROXY_CERTIFICATE,
    ProblemKind.TLS: ProblemKind.COMPANY_PROXY_TLS,
    ProblemKind.TERMINATED: ProblemKind.COMPANY_PROXY_TERMINATED,
}

_UNREADABLE_STEP: Final = (
    "Check that {setting} leads to an HTTP proxy that allows CONNECT, and ask its administrators."
)
_DENIED, _SERVER_ERROR = 403, range(500, 600)
#: tinyproxy answers credentials that are wrong with 401.
_LOGIN: Final = frozenset({401, 407})


def to_company_proxy(error: OSError | UnicodeError, hop: str) -> TunnelError:
    """Return the fault behind an exception on the way to the company's proxy at `hop`."""
    if isinstance(error, TunnelError):
        return error
    fault = explain(error)
    kind = _OF_THE_PROXY[fault.kind]
    return TunnelError(
        replace(fault, reason=f"company_proxy_{fault.reason}", kind=kind, next_hop=hop)
    )


def no_tunnel(status: int, hop: str, *, has_login: bool, takes_basic: bool) -> TunnelError:
    """Return why the company's proxy opened no tunnel, by the status of its answer to CONNECT.

    has_login: whether credentials were sent. takes_basic: whether a 407 offers the scheme Basic.
    """
    reason, kind = "company_proxy_failed", ProblemKind.COMPANY_PROXY_FAILED
    if status in _LOGIN:
        reason, kind = "company_proxy_login", ProblemKind.COMPANY_PROXY_LOGIN
        happened, step = _login(status, has_login=has_login, takes_basic=takes_basic)
    elif status == _DENIED:
        reason, kind = "company_proxy_denied", ProblemKind.COMPANY_PROXY_DENIED
        happened = "The company's proxy does not allow connections to {who} (status 403)."
        step = "Ask its administrators to allow CONNECT to the host and port of {setting}."
    elif status in _SERVER_ERROR:
        happened = f"The company's proxy could not connect to {{who}} (status {status})."
        step = (
            "Ask its administrators whether it can resolve and reach the host and port of "
            "{setting}."
        )
    else:
        happened = f"The company's proxy opened no tunnel to {{who}} (status {status})."
        step = (
            "Check that upstream.proxy_url leads to an HTTP proxy that allows CONNECT, and ask "
            "its administrators."
        )
    is_refusal = status == _DENIED or status in _LOGIN
    return TunnelError(Fault(reason, happened, step, kind, hop, status, is_refusal))


_HELPER: Final = (
    "Run a helper on this machine that speaks NTLM or Kerberos with it, and set "
    "upstream.proxy_url to that (docs/network.md)."
)


def _login(status: int, *, has_login: bool, takes_basic: bool) -> tuple[str, str]:
    where = f"for connections to {{who}} (status {status})."
    if not takes_basic:
        return f"The company's proxy takes no Basic login {where}", _HELPER
    if has_login:
        happened = f"The company's proxy refused the credentials {where}"
        step = (
            "Check upstream.proxy_username and upstream.proxy_password, "
            "and ask its administrators whether they still hold."
        )
        return happened, step
    step = (
        "Set upstream.proxy_username and upstream.proxy_password_file; "
        "its administrators have them."
    )
    return f"The company's proxy asks for a login {where}", step


def unreadable(why: str, hop: str) -> TunnelError:
    """Return that the answer to CONNECT cannot be read. why: a clause in our own words."""
    happened = f"{{who}} gave no readable answer: {why}."
    reason, kind = "company_proxy_malformed", ProblemKind.COMPANY_PROXY_ANSWER
    return TunnelError(Fault(reason, happened, _UNREADABLE_STEP, kind, hop))


# --- As the parts of the proxy raise it --------------------------------------------------------


def connect_failure(error: OSError | UnicodeError) -> Failed:
    """Return the answer to a call for which no connection could be made: always `not_sent`."""
    fault = explain(error)
    failed = Failed(fault.kind, fault.said_of(API), outcome=NOT_SENT)
    failed.next_hop, failed.received_status = fault.next_hop, fault.received_status
    return failed


def token_failure(error: OSError | UnicodeError) -> TokenError:
    """Return why a fetch of a token failed, for an exception before the request was written.

    What the company's proxy refuses is `CredentialsRefused`: a soon retry may lock its account too.
    """
    fault = explain(error)
    kind = CredentialsRefused if fault.is_refusal else TokenUnavailable
    return kind(fault.reason, fault.said_of(TOKEN_ENDPOINT))
