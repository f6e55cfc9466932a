"""The one wording of what can go wrong on a network: an exception -> one frozen `Fault`.

Log, metrics, answers, the token's reasons and `check` all use it. Pure: it looks at an exception
and nothing else.

Laws
1. No sentence holds a byte that a peer sent; statuses and OpenSSL's own verdicts are no such bytes.
2. A fault of the company's proxy is never said of the API, nor the other way round.
3. All of these happen before one byte of a request was written: as an answer they are `not_sent`.
"""

import errno
import os
import socket
import ssl
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from proxy.errors import NOT_SENT, CredentialsRefused, Failed, TokenError, TokenUnavailable
from proxy.problems import ProblemKind


class Peer(NamedTuple):
    """The other end of a connection, for sentences. setting: the one that says where it is."""

    name: str
    setting: str


API: Final = Peer("the API", "upstream.url")
TOKEN_ENDPOINT: Final = Peer("the token endpoint", "upstream.url")
COMPANY_PROXY: Final = Peer("the company's proxy", "upstream.proxy_url")


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong.

    happened, step: sentences with `{who}` and `{setting}` for the peer: what happened, and what to
    do. kind: what the listener answers. next_hop: `host:port` of the company's proxy, if the fault
    is on the way through it (RFC 9209 section 2.1.2). received_status: what that proxy answered, if
    it did.
    """

    happened: str
    step: str
    kind: ProblemKind
    next_hop: str | None = None
    received_status: int | None = None

    @property
    def reason(self) -> str:
        """A short fixed word for logs and metrics."""
        return _reason(self.kind)

    def said_of(self, peer: Peer) -> str:
        """Return the sentences, said of this peer."""
        subject = (
            COMPANY_PROXY if self.kind.is_company_proxy and self.received_status is None else peer
        )
        text = f"{self.happened} {self.step}".format(who=subject.name, setting=subject.setting)
        return "T" + text[1:] if text.startswith("the ") else text  # a host's name stays as it is


_OF_COMPANY_PROXY: Final = "COMPANY_PROXY_"
_REASONS: Final = {
    "DNS": "dns",
    "CONNECT_TIMEOUT": "timeout",
    "REFUSED": "connect",
    "UNROUTABLE": "connect",
    "TERMINATED": "reset",
    "TLS": "tls",
    "CERTIFICATE": "tls",
    "ANSWER": "malformed",
    "LOGIN": "login",
    "DENIED": "denied",
    "FAILED": "failed",
}


def _reason(kind: ProblemKind) -> str:
    _, prefix, name = kind.name.rpartition(_OF_COMPANY_PROXY)
    return prefix.lower() + _REASONS[name]


#: Every reason that there is.
REASONS: Final = frozenset(
    _reason(kind) for kind in ProblemKind if kind.name.removeprefix(_OF_COMPANY_PROXY) in _REASONS
)


class TunnelError(OSError):
    """There is no tunnel through the company's proxy; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


# --- What the system says ----------------------------------------------------------------------

_NO_SUCH_NAME: Final = Fault(
    "The host name of {who} could not be resolved.",
    "Check how {setting} is spelled, and the name server.",
    ProblemKind.DNS,
)
_NO_NAME_SERVER: Final = replace(
    _NO_SUCH_NAME,
    happened="The name server did not answer for the host name of {who}.",
    step="Check that this machine can look up such names.",
)
_UNROUTABLE: Final = Fault(
    "There is no way to {who}: %s.",
    "Check the network, the firewall and {setting}.",
    ProblemKind.UNROUTABLE,
)
_NO_DESCRIPTORS: Final = replace(
    _UNROUTABLE,
    happened="The proxy has no file descriptors left for a connection to {who}.",
    step="Raise its limit (ulimit -n), or lower limits.max_connections.",
)
#: The first that fits counts: the later ones are the more general.
_OF_THE_SYSTEM: Final[dict[type[BaseException], Fault]] = {
    TimeoutError: Fault(
        "{who} did not accept a connection in time.",
        "Ask whether a firewall drops what goes there, and have it let through.",
        ProblemKind.CONNECT_TIMEOUT,
    ),
    ssl.SSLError: Fault(
        "What answers in place of {who} speaks no TLS that is safe today (1.2 or later).",
        "Check scheme and port of {setting}.",
        ProblemKind.TLS,
    ),
    socket.gaierror: _NO_SUCH_NAME,
    UnicodeError: _NO_SUCH_NAME,  # the idna codec's: an empty label, or one too long
    ConnectionRefusedError: Fault(
        "{who} refused the connection.",
        "Check the port in {setting}, and that the firewall allows it.",
        ProblemKind.REFUSED,
    ),
    ConnectionError: Fault(
        "The connection to {who} broke off before it was ready.",
        "Ask whether a firewall in between allows known hosts only, and have this one added.",
        ProblemKind.TERMINATED,
    ),
}


def explain(error: OSError | UnicodeError) -> Fault:
    """Return the fault behind an exception that ended the making of a connection."""
    if isinstance(error, TunnelError):
        return error.fault
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrust(error)
    if isinstance(error, socket.gaierror) and error.errno == getattr(socket, "EAI_AGAIN", None):
        return _NO_NAME_SERVER
    number = error.errno if isinstance(error, OSError) else None
    for kind, fault in _OF_THE_SYSTEM.items():
        # With a number it is the kernel that gave up, before our time was over.
        if isinstance(error, kind) and not (kind is TimeoutError and number):
            return fault
    if number in {errno.EMFILE, errno.ENFILE}:
        return _NO_DESCRIPTORS
    reason = os.strerror(number) if number else "none of its addresses accepts connections"
    answer = (
        ProblemKind.CONNECT_TIMEOUT if isinstance(error, TimeoutError) else ProblemKind.UNROUTABLE
    )
    return replace(_UNROUTABLE, kind=answer, happened=_UNROUTABLE.happened % reason)


_UNKNOWN_ISSUER: Final = (
    "it comes from an authority that is not known here",
    "Ask your network's administrators who it is",
)
_WRONG_NAME: Final = (
    "it is not for the host in {setting}",
    "Check {setting} and the name server: something else answers there",
)
#: Why a certificate is not trusted, and what to do first, by OpenSSL's verdict (X509_V_ERR_... of
#: x509_vfy.h): issuer not among the trusted ones, name or address of another host, validity.
_VERDICTS: Final = {
    **dict.fromkeys((2, 18, 19, 20, 21), _UNKNOWN_ISSUER),
    **dict.fromkeys((62, 64), _WRONG_NAME),
    10: ("it has expired", "Check the clock of this machine, and ask who must renew it"),
    9: ("it is not valid yet", "Check the clock of this machine"),
}
_OTHER_STEP: Final = "Ask your network's administrators what answers in its place"
_INSPECTION: Final = (
    "If a proxy in between inspects TLS, put its CA certificate into the file that "
    "upstream.ca_file names, which replaces the system's authorities."
)
_BRACES: Final = str.maketrans({"{": "(", "}": ")"})


def _distrust(error: ssl.SSLCertVerificationError) -> Fault:
    # OpenSSL's own words; of the peer's certificate they quote nothing.
    verdict = str(getattr(error, "verify_message", "unverified")).translate(_BRACES)
    why, step = _VERDICTS.get(getattr(error, "verify_code", 0), (verdict, _OTHER_STEP))
    happened = f"The certificate of {{who}} is not trusted: {why}."
    return Fault(happened, f"{step}. {_INSPECTION}", ProblemKind.CERTIFICATE)


# --- The company's proxy -----------------------------------------------------------------------

_DENIED, _SERVER_ERROR = 403, range(500, 600)
#: tinyproxy answers credentials that are wrong with 401.
_LOGIN: Final = frozenset({401, 407})
_ASK: Final = "leads to an HTTP proxy that allows CONNECT, and ask its administrators."
_SET_LOGIN: Final = (
    "Set upstream.proxy_username and upstream.proxy_password_file; its administrators have them."
)
_CHECK_LOGIN: Final = (
    "Check upstream.proxy_username and upstream.proxy_password, and ask its administrators whether "
    "they still hold."
)
_HELPER: Final = (
    "Run a helper on this machine that speaks NTLM or Kerberos with it, and set "
    "upstream.proxy_url to that (docs/network.md)."
)


def to_company_proxy(error: OSError | UnicodeError, hop: str) -> TunnelError:
    """Return the fault behind an exception on the way to the company's proxy at `hop`."""
    if isinstance(error, TunnelError):
        return error
    fault = explain(error)
    kind = ProblemKind[_OF_COMPANY_PROXY + fault.kind.name]
    return TunnelError(replace(fault, kind=kind, next_hop=hop))


def no_tunnel(status: int, hop: str, *, has_login: bool, takes_basic: bool) -> TunnelError:
    """Return why the company's proxy opened no tunnel, by the status of its answer to CONNECT.

    has_login: whether credentials were sent. takes_basic: whether a 407 offers the scheme Basic.
    """
    kind = ProblemKind.COMPANY_PROXY_FAILED
    if status in _LOGIN:
        kind = ProblemKind.COMPANY_PROXY_LOGIN
        if not takes_basic:
            happened, step = "takes no Basic login", _HELPER
        elif has_login:
            happened, step = "refused the credentials", _CHECK_LOGIN
        else:
            happened, step = "asks for a login", _SET_LOGIN
        happened += " for connections to {who}"
    elif status == _DENIED:
        kind = ProblemKind.COMPANY_PROXY_DENIED
        happened = "does not allow connections to {who}"
        step = "Ask its administrators to allow CONNECT to the host and port of {setting}."
    elif status in _SERVER_ERROR:
        happened = "could not connect to {who}"
        step = (
            "Ask its administrators whether it can resolve and reach the host and port of "
            "{setting}."
        )
    else:
        happened = "opened no tunnel to {who}"
        step = f"Check that upstream.proxy_url {_ASK}"
    happened = f"The company's proxy {happened} (status {status})."
    return TunnelError(Fault(happened, step, kind, hop, status))


def unreadable(why: str, hop: str) -> TunnelError:
    """Return that the answer to CONNECT cannot be read. why: a clause in our own words."""
    happened = f"{{who}} gave no readable answer: {why}."
    step = f"Check that {{setting}} {_ASK}"
    return TunnelError(Fault(happened, step, ProblemKind.COMPANY_PROXY_ANSWER, hop))


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
    is_refusal = fault.kind in {ProblemKind.COMPANY_PROXY_LOGIN, ProblemKind.COMPANY_PROXY_DENIED}
    kind = CredentialsRefused if is_refusal else TokenUnavailable
    return kind(fault.reason, fault.said_of(TOKEN_ENDPOINT))
