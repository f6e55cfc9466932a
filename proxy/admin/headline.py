"""Is it working? One sentence from the token's status and from what the calls get.

The page, `/status`, `telenor-proxy status` and the alerts all say this one.

Pure. Of what a peer sent only codes of the closed table get into a sentence, so a headline of calls
may be the label of a metric. In sentences there are no times and no counts: those stand beside
them, so that the sentence stays the same while the state does.
"""

from typing import Final, NamedTuple

from proxy.admin.calls import CallFault, CallFinding, Extent, HeadlineState, Known
from proxy.problems import ProblemKind
from proxy.tokens import codes
from proxy.tokens.values import TokenFailure, TokenStatus


class Headline(NamedTuple):
    """The state in one sentence, and its parts.

    title, what, step: the parts of `text`: a word or two; what happens; what to do, perhaps "".
    since: seconds since the epoch; None if it was never otherwise since the start. cause: one of a
    closed list (`CAUSES`). why, todo: names of the clause in `what` and of the step, for a page in
    another language: a code, a status, or a word. status, code, error: of the calls that it is
    about. failed, calls: so many of so many calls. caller: of the last call that the proxy itself
    refused, the client's name or address. is_closed: `text` is one of a closed list.
    """

    state: HeadlineState
    cause: str
    title: str
    what: str
    step: str = ""
    since: float | None = None
    why: str = ""
    todo: str = ""
    status: int | None = None
    code: str | None = None
    error: str | None = None
    failed: int = 0
    calls: int = 0
    caller: str | None = None
    is_closed: bool = True

    @property
    def text(self) -> str:
        """All of it, as whole sentences."""
        return f"{self.title}. {self.what} {self.step}".strip()

    def as_json(self) -> dict[str, object]:
        """Return it as `/status` has it."""
        shown = self._asdict() | {"state": str(self.state), "text": self.text}
        del shown["is_closed"]
        return shown


_WORKING: Final = "Working"
_IN_PART: Final = "Working in part"
_NOT_WORKING: Final = "Not working"
_TITLES: Final = {
    HeadlineState.WORKING: _WORKING,
    HeadlineState.IMPAIRED: _IN_PART,
    HeadlineState.NOT_WORKING: _NOT_WORKING,
}

#: The causes beside those of calls, which are `answers.` and `fails.` with an `Extent`.
CAUSES: Final = (
    *("working", "no_calls", "starting", "fetching", "draining", "log_lost"),
    *("token_failed", "renewal_failed", "contended"),
    *(f"{what}.{extent}" for what in ("answers", "fails") for extent in ("all", "some", "last")),
    *("answers.content", "fails.refused", "fails.kept_out"),
)

#: How the sentence begins; then comes the answer, or why.
_ANSWERS: Final[dict[Extent, str]] = {
    "all": "Telenor answers every call with",
    "some": "Telenor answers some of the calls with",
    "last": "Telenor answered the last call with",
    "content": "Telenor takes the token, but turns down what every call asks for:",
}
_FAILS: Final[dict[Extent, str]] = {
    "all": "Every call fails:",
    "some": "Some of the calls fail:",
    "last": "The last call failed:",
    "refused": "The proxy itself turns every call away:",
    "kept_out": "The proxy itself turns calls of an application away",
}

_SEE_RIGHTS: Final = (
    "See that the app has the Mobile Subscription Order API (developer portal), and which rights "
    "the machine user has (Min Bedrift, under APIs)."
)
_ASK_TELENOR: Final = (
    f"{codes.LOOK_UP} Contact Telenor if it lasts, and name the time and the request id."
)
#: What a status means, and what to do, where no known code says it better. 400: each other 4xx.
BY_STATUS: Final[dict[int, tuple[str, str]]] = {
    400: (
        "the call is not as the API wants it",
        "Correct the request in the application that sends it; the API's answer to it says more.",
    ),
    401: ("it does not accept the call's token or rights", _SEE_RIGHTS),
    403: ("the call is not allowed", _SEE_RIGHTS),
    404: (
        "path, method or resource not found",
        "Compare the method and the path of the call with Telenor's reference.",
    ),
    429: ("too many calls in a short time", ""),
    500: ("an error on Telenor's side", _ASK_TELENOR),
}

#: The name of the step that helps after an error, and what happened.
_BY_ERROR: Final = {
    "dns_error": ("dns", "the API's host name could not be resolved"),
    "connection_refused": ("network", "the API's host refused the connection"),
    "destination_ip_unroutable": ("network", "there is no route to the API's host"),
    "tls_protocol_error": ("network", "no secure connection to the API can be made"),
    "tls_certificate_error": ("tls", "the API's certificate is not trusted"),
    "connection_timeout": ("firewall", "the API does not accept a connection in time"),
    "connection_terminated": ("theirs", "the API's connection breaks off"),
    "http_response_timeout": ("theirs", "the API does not answer in time"),
    "connection_write_timeout": ("theirs", "the API does not take the request in time"),
    "http_protocol_error": ("in_between", "the API's answer is not valid HTTP"),
    "connection_limit_reached": ("busy", "all connections to the API are in use"),
    "proxy_internal_response": ("full", "the proxy has no room for one more client"),
    "proxy_internal_error": ("report", "the proxy made a mistake"),
    "company-proxy-not-found": ("company_proxy", "the company's proxy was not found by its name"),
    "company-proxy-unreachable": ("company_proxy", "there is no connection to the company's proxy"),
    "company-proxy-tls": ("company_proxy", "there is no secure connection to the company's proxy"),
    "company-proxy-answer-unreadable": (
        "company_proxy",
        "the company's proxy gives no readable answer",
    ),
    "company-proxy-timeout": ("company_proxy", "the company's proxy does not answer in time"),
    "company-proxy-not-trusted": (
        "company_proxy_ca",
        "the certificate of the company's proxy is not trusted",
    ),
    "company-proxy-broke-off": (
        "company_proxy_allow",
        "the connection to the company's proxy breaks off",
    ),
    "company-proxy-denied": (
        "company_proxy_allow",
        "the company's proxy does not allow connections to the API",
    ),
    "company-proxy-login": (
        "company_proxy_login",
        "the company's proxy asks for a login, or refuses the one it got",
    ),
    "company-proxy-failed": (
        "company_proxy_reach",
        "the company's proxy cannot connect to the API",
    ),
}
_STEPS: Final = {
    "dns": "Check upstream.url and the name server.",
    "network": "Check upstream.url, the network and the firewall.",
    "tls": (
        "Behind a proxy that inspects TLS, put its CA into upstream.ca_file; check this "
        "machine's clock."
    ),
    "firewall": "Check whether a firewall is in between, the network and upstream.url.",
    "in_between": (
        "See that upstream.url leads to Telenor; a login page or a filter may stand in between."
    ),
    "theirs": _ASK_TELENOR,
    "busy": "See in the log how long the API takes (upstream_ms); raise upstream.max_connections.",
    "full": "Count the applications' connections; raise limits.max_connections.",
    "report": "Report it to the project, with the log's event request.crashed.",
    "refused": (
        "The log's event request.completed says which client it is; correct its configuration."
    ),
    "client-key": (
        "Give the application its key (listen.clients or listen.client_key); the log's lines "
        "with error client-key have its client_address."
    ),
    "client-not-allowed": (
        "Extend the client's rights in listen.clients, or correct the application; the log's "
        "lines with error client-not-allowed have the client, method and path."
    ),
    "path-not-allowed": (
        "Add the prefix to upstream.allowed_paths, or correct the application; the log's lines "
        "with error path-not-allowed have the path and the client_address."
    ),
    "company_proxy": "Check upstream.proxy_url, and ask the network's administrators.",
    "company_proxy_ca": "Put the authority of the company's proxy into upstream.ca_file.",
    "company_proxy_login": (
        "Check upstream.proxy_username and upstream.proxy_password, and ask the proxy's "
        "administrators."
    ),
    "company_proxy_allow": (
        "Ask the administrators of the company's proxy to allow CONNECT to the host of "
        "upstream.url."
    ),
    "company_proxy_reach": (
        "Ask the administrators of the company's proxy whether it can resolve and reach the host "
        "of upstream.url."
    ),
    "paced": (
        "Raise pacing.requests_per_second ({pace}) or the client's requests_per_second, or have "
        "the applications send fewer calls."
    ),
    "pace": ("Send fewer calls, or spread them: set pacing.requests_per_second, to 5 for a start."),
    "slower": (
        "Send fewer calls, or spread them further: lower pacing.requests_per_second, which is "
        "{pace}."
    ),
    "scope": "Remove oauth.scope, or set the one that Telenor named.",
    "no_scope": "Ask Telenor which scope the app needs, and set oauth.scope to it.",
}
#: The code for a wrong scope, and the status for too many calls: their steps depend on settings.
_WRONG_SCOPE: Final = "40301"
_TOO_MANY: Final = 429
_KINDS: Final = {kind.type: kind.title for kind in ProblemKind}

_DRAINING: Final = Headline(
    HeadlineState.IMPAIRED,
    "draining",
    "Shutting down",
    "The proxy finishes the calls in flight, and then it ends.",
    "Send new calls to another instance.",
)
_CONTENDED: Final = Headline(
    HeadlineState.NOT_WORKING,
    "contended",
    _NOT_WORKING,
    "The API soon rejects each new token, so calls get 401: most likely another program logs in "
    "with the same machine user.",
    "Find the other program that logs in with this machine user and stop it, or give each a "
    "machine user of its own, or let them share one proxy.",
)
_LOG_LOST: Final = Headline(
    HeadlineState.IMPAIRED,
    "log_lost",
    "Working, but the log loses lines",
    "",
    "Make room on its disk, or restart the program that reads it; "
    "orders to look up stay on the status page.",
)
_GOOD: Final = Headline(
    HeadlineState.WORKING,
    "working",
    _WORKING,
    "Calls go through to Telenor with a valid access token.",
)
_NO_CALLS: Final = Headline(
    HeadlineState.WORKING,
    "no_calls",
    _WORKING,
    "The access token is valid; no call has gone through yet.",
)
_STARTING: Final = Headline(
    HeadlineState.IMPAIRED,
    "starting",
    "Starting",
    "The first access token is being fetched. Calls wait for it.",
)
_FETCHING: Final = Headline(
    HeadlineState.IMPAIRED,
    "fetching",
    "Waiting for a token",
    "A new access token is being fetched. Calls wait for it.",
)


def judge(token: TokenStatus, finding: CallFinding | None, known: Known) -> Headline:
    """Return the headline.

    The order is that of what keeps calls from Telenor: a shutdown, a missing token, another program
    that ends tokens, what the calls get. finding: see `Calls.find`.
    """
    if known.draining is not None:
        return _DRAINING._replace(since=known.draining)
    if not token.state.is_usable and token.last_failure is not None:
        return _token_failed(token.last_failure, known)
    if token.contended:
        return _CONTENDED._replace(since=token.contended_since)
    if not token.state.is_usable:
        return _STARTING if token.generation == 0 else _FETCHING
    return _with_token(token.last_failure, finding, known)


def _with_token(
    failure: TokenFailure | None, finding: CallFinding | None, known: Known
) -> Headline:
    if finding is not None and (finding.state is HeadlineState.NOT_WORKING or failure is None):
        return _calls(finding, known)
    if failure is not None:
        return _renewal_failed(failure, known)
    if known.log_reason is not None:
        what = f"Standard output cannot be written: {known.log_reason}. Calls go on."
        return _LOG_LOST._replace(what=what, since=known.log_lost)
    return (_GOOD if known.any_good else _NO_CALLS)._replace(since=known.well)


def _token_failed(failure: TokenFailure, known: Known) -> Headline:
    # The token in force let calls through until its end, or they failed before it.
    times = filter(None, (known.token_stopped, known.calls_failing))
    return _renewal_failed(failure, known)._replace(
        state=HeadlineState.NOT_WORKING,
        cause="token_failed",
        title=_NOT_WORKING,
        what=failure.detail,
        since=min(times, default=known.token_failing or failure.at),
    )


def _renewal_failed(failure: TokenFailure, known: Known) -> Headline:
    return Headline(
        HeadlineState.IMPAIRED,
        "renewal_failed",
        "Working, but the token cannot be renewed",
        f"{failure.detail} Calls go on with the present token until it ends.",
        since=known.token_failing or failure.at,
        code=failure.code,
        is_closed=codes.label(failure.code) != codes.OTHER,
    )


def _calls(finding: CallFinding, known: Known) -> Headline:
    fault, extent = finding.fault, finding.extent
    if fault.error is None:
        cause = f"answers.{extent}"
        why, todo, clause, step = _about_answer(fault, known)
        what = f"{_ANSWERS[extent]} {_named(fault)}: {clause}."
    else:
        cause = f"fails.{extent}"
        why, todo, clause, step = _about_error(fault.error)
        status = f" ({fault.status}):" if extent == "kept_out" else ""
        what = f"{_FAILS[extent]}{status} {clause}."
    pace = "not set" if known.pace is None else f"{known.pace:g}"
    return Headline(
        finding.state,
        cause,
        _TITLES[finding.state],
        what,
        step.format(pace=pace),
        finding.since,
        why,
        todo,
        fault.status,
        fault.code or None,
        fault.error,
        finding.failed,
        finding.calls,
        finding.caller,
    )


def _named(fault: CallFault) -> str:
    if not fault.code:
        return str(fault.status)
    code = "a code that is not known" if fault.code == codes.OTHER else f"code {fault.code}"
    return f"{fault.status}, {code}"


def _about_answer(fault: CallFault, known: Known) -> tuple[str, str, str, str]:
    """Return names of clause and step, the clause and the step."""
    code = codes.look_up(fault.code)
    if code is not None:
        name = next(name for name, entry in codes.GATEWAY.items() if entry is code)
        clause, step = code.meaning, code.step
    else:
        status = 500 if fault.status >= 500 else fault.status if fault.status in BY_STATUS else 400  # noqa: PLR2004 # 5xx
        name = str(status)
        clause, step = BY_STATUS[status]
    todo = name
    if name == _WRONG_SCOPE:
        todo = "no_scope" if known.scope is None else "scope"
    elif fault.status == _TOO_MANY or not step:  # a quota's code comes with 5xx, too
        todo = "pace" if known.pace is None else "slower"
    return name, todo, clause, _STEPS.get(todo, step)


def _about_error(error: str) -> tuple[str, str, str, str]:
    if error in _BY_ERROR:
        step, clause = _BY_ERROR[error]
        return error, step, clause, _STEPS[step]
    step = "paced" if error == ProblemKind.PACED.type else error if error in _STEPS else "refused"
    title = _KINDS.get(error, "the request is not allowed")
    return error, step, title[:1].lower() + title[1:], _STEPS[step]
