"""Every answer that the proxy makes itself, written once: `ProblemKind`.

The listener takes status, type and title from here, the log and the metrics their word, and
`make generate` the tables in docs/reference.md and docs/troubleshooting.md. What only one request
can tell, its `detail`, stands where the answer is raised.
"""

from __future__ import annotations

import enum
from typing import Final


class ProblemKind(enum.Enum):
    """One kind of answer of the proxy's own.

    A member is written as `"STATUS TYPE PROXY_ERROR"`, title, when, do.

    status: of HTTP. type: what `type` of the problem details ends in (RFC 9457); several kinds may
    share one. proxy_error: the proxy error type that `Proxy-Status` carries (RFC 9209, section
    2.3). title: of the problem details. when, do: for the tables: when it is the answer (a clause),
    and what to do (a sentence or two).
    """

    type: Final[str]
    status: Final[int]
    proxy_error: Final[str]
    title: Final[str]
    when: Final[str]
    do: Final[str]

    def __init__(self, answer: str, title: str, when: str, do: str) -> None:
        status, self.type, self.proxy_error = answer.split()
        self.status = int(status)
        self.title = title
        self.when = when
        self.do = do

    @property
    def is_company_proxy(self) -> bool:
        """Whether it is about the company's proxy, through which the API is reached."""
        return self.type.startswith("company-proxy-")

    @property
    def word(self) -> str:
        """The word for it in the log's `error` and in metrics: RFC 9209's if that says enough."""
        return self.type if self.is_company_proxy else self.proxy_error

    @property
    def is_refusal(self) -> bool:
        """Whether the request may not pass; otherwise it could not be forwarded, or not in time."""
        return self.status in {501, 505} or (self.status < 500 and self.status != 429)  # noqa: PLR2004 # the class 5xx

    @property
    def keeps_out(self) -> bool:
        """Whether it turns away who calls, or where to: each next call of that application too."""
        return self.status in {403, 421}

    # The request may not pass.
    MALFORMED = (
        "400 malformed-request http_request_error",
        "The request is not well-formed HTTP/1.1",
        "it is not well-formed HTTP/1.1, or its framing is ambiguous",
        "Correct the client, as `detail` says. It is most often code that writes HTTP by hand.",
    )
    AMBIGUOUS_TARGET = (
        "400 ambiguous-target http_request_error",
        "The request target could mean two things",
        "its target could mean two things",
        "Send the plain path.",
    )
    PATH_NOT_ALLOWED = (
        "403 path-not-allowed http_request_denied",
        "This path may not be called",
        "its path is not under `upstream.allowed_paths`, or is the login's",
        "Add the prefix to `upstream.allowed_paths`. Remove code that logs in by itself.",
    )
    CLIENT_KEY = (
        "403 client-key http_request_denied",
        "The client key is missing or wrong",
        "`X-Proxy-Key` is missing or wrong, or the certificate is no client's",
        "Have the client send its key once, or show its certificate.",
    )
    CLIENT_RIGHTS = (
        "403 client-not-allowed http_request_denied",
        "This client may not make this call",
        "the rights of this client do not cover its method or path",
        "Correct the application, or extend the client's rights in `listen.clients`.",
    )
    BROWSER = (
        "403 browser-request http_request_denied",
        "Web pages may not use this proxy",
        "it comes from a web page",
        "Call the proxy from a server.",
    )
    ORDER_KEY = (
        "400 order-key http_request_error",
        "The Idempotency-Key cannot be used",
        "its `Idempotency-Key` cannot be used, or there are two",
        "Send one such field, with a new random value for each order.",
    )
    METHOD_NOT_ALLOWED = (
        "405 method-not-allowed http_request_denied",
        "This method is not forwarded",
        "its method is CONNECT or TRACE",
        "Set telenor-proxy as the base URL, not as a forward proxy.",
    )
    CLIENT_SILENT = (
        "408 client-timeout http_request_error",
        "The rest of the request did not come in time",
        "the client fell silent in the middle of it",
        "Correct the client's `Content-Length`.",
    )
    ORDER_IN_FLIGHT = (
        "409 order-in-flight http_request_denied",
        "The same order is under way",
        "the same order is under way",
        "Wait for `Retry-After`, and send it again with the same key.",
    )
    ORDER_UNKNOWN = (
        "409 order-unknown http_request_denied",
        "This order may already be placed",
        "it is not known whether the same order was placed before",
        "Look the order up, and then forget its record.",
    )
    ORDER_ANSWERED = (
        "409 order-answered http_request_denied",
        "This order was answered before",
        "the same order was answered, in an answer too large to be kept",
        "Look the order up at Telenor.",
    )
    LENGTH_REQUIRED = (
        "411 length-required http_request_error",
        "The request does not say how long its body is",
        "it is an HTTP/1.0 request that does not say how long its body is",
        "Have the client send `Content-Length`, or speak HTTP/1.1.",
    )
    CONTENT_TOO_LARGE = (
        "413 content-too-large http_request_error",
        "The request body is too large",
        "its body is larger than `limits.max_body_bytes`",
        "Raise the limit if calls really are larger: an order has some hundred bytes.",
    )
    TARGET_TOO_LONG = (
        "414 target-too-long http_request_error",
        "The request target is too long",
        "its target is longer than `limits.max_target_bytes`",
        "See what the client puts into the query. Raise the limit if it is right.",
    )
    EXPECTATION = (
        "417 unknown-expectation http_request_error",
        "This expectation cannot be met",
        "it expects something other than `100-continue`",
        "Remove the field `Expect` in the client.",
    )
    HOST_NOT_ALLOWED = (
        "421 host-not-allowed http_request_denied",
        "This Host is not served here",
        "its `Host` is not in `listen.allowed_hosts`",
        "Add the name by which the client calls the proxy to `listen.allowed_hosts`.",
    )
    ORDER_KEY_REUSED = (
        "422 order-key-reused http_request_denied",
        "The Idempotency-Key belongs to another order",
        "its `Idempotency-Key` belongs to another order",
        "Use a new key for each order, and the very same bytes for a repetition.",
    )
    HEAD_TOO_LARGE = (
        "431 head-too-large http_request_error",
        "The request head is too large",
        "its head exceeds `limits.max_header_bytes` or `limits.max_header_fields`",
        "See what the client sends, most often cookies. Raise the limit if it is right.",
    )
    METHOD_UNKNOWN = (
        "501 method-unknown http_request_error",
        "This method is not known",
        "its method is none of HTTP's, or not in capitals",
        "Write the method in capitals.",
    )
    VERSION = (
        "505 http-version http_request_error",
        "This version of HTTP is not spoken here",
        "it is neither HTTP/1.1 nor HTTP/1.0",
        "Set the client to HTTP/1.1.",
    )

    # It could not be forwarded.
    PACED = (
        "429 too-many-requests http_request_denied",
        "The proxy holds calls to the set rate",
        "pacing is on, and it would have to wait longer than `pacing.max_wait_seconds`",
        "Wait for `Retry-After` and send it again, or raise the rate.",
    )
    CLIENT_RATE = (
        "429 client-rate http_request_denied",
        "This client's rate is used up",
        "this client has a rate, and it would have to wait longer than `pacing.max_wait_seconds`",
        "Wait for `Retry-After` and send it again, or raise the client's rate.",
    )
    DNS = (
        "502 upstream-not-found dns_error",
        "The API's host name could not be resolved",
        "the API's name could not be resolved",
        "Run `telenor-proxy check` on the same machine, in the same container.",
    )
    REFUSED = (
        "502 upstream-unreachable connection_refused",
        "No connection to the API",
        "the API's host refused the connection",
        "Have connections to `upstream.url` allowed; `check` shows the address that is tried.",
    )
    UNROUTABLE = (
        "502 upstream-unreachable destination_ip_unroutable",
        "No connection to the API",
        "there is no route to the API's host",
        "Have connections to `upstream.url` allowed; `check` shows the address that is tried.",
    )
    CERTIFICATE = (
        "502 upstream-not-trusted tls_certificate_error",
        "The API's certificate is not trusted",
        "the API's certificate is not trusted",
        "Have the API exempted from TLS inspection, or set `upstream.ca_file`.",
    )
    TLS = (
        "502 upstream-tls tls_protocol_error",
        "No secure connection to the API",
        "no secure connection to the API could be made",
        "Run `telenor-proxy check`, and compare `upstream.url`.",
    )
    TERMINATED = (
        "502 upstream-broke-off connection_terminated",
        "The API's connection broke off",
        "the API's connection broke off",
        "With `not_sent`, send it again. With `unknown`, look the order up first.",
    )
    BAD_ANSWER = (
        "502 upstream-answer-unreadable http_protocol_error",
        "The API's answer is not valid HTTP",
        "what the API answered is not valid HTTP",
        "Look the order up first. If it lasts, report what `detail` says.",
    )
    COMPANY_PROXY_DNS = (
        "502 company-proxy-not-found dns_error",
        "The company's proxy could not be found by its name",
        "the name of the company's proxy (`upstream.proxy_url`) could not be resolved",
        "Run `telenor-proxy check`, and ask the network's administrators for the name.",
    )
    COMPANY_PROXY_REFUSED = (
        "502 company-proxy-unreachable connection_refused",
        "No connection to the company's proxy",
        "the company's proxy refused the connection",
        "Compare `upstream.proxy_url` with what the network's administrators say.",
    )
    COMPANY_PROXY_UNROUTABLE = (
        "502 company-proxy-unreachable destination_ip_unroutable",
        "No connection to the company's proxy",
        "there is no route to the company's proxy",
        "Compare `upstream.proxy_url` with what the network's administrators say.",
    )
    COMPANY_PROXY_CERTIFICATE = (
        "502 company-proxy-not-trusted tls_certificate_error",
        "The certificate of the company's proxy is not trusted",
        "the certificate of the company's proxy is not trusted",
        "Add the company's authority to `upstream.ca_file`, with those that the API needs.",
    )
    COMPANY_PROXY_TLS = (
        "502 company-proxy-tls tls_protocol_error",
        "No secure connection to the company's proxy",
        "no secure connection to the company's proxy could be made",
        "Try `http://` in `upstream.proxy_url`.",
    )
    COMPANY_PROXY_TERMINATED = (
        "502 company-proxy-broke-off connection_terminated",
        "The connection to the company's proxy broke off",
        "the connection to the company's proxy broke off",
        "Ask its administrators to allow CONNECT to the API.",
    )
    COMPANY_PROXY_ANSWER = (
        "502 company-proxy-answer-unreadable http_protocol_error",
        "The company's proxy gave no readable answer",
        "what the company's proxy answered is not valid HTTP",
        "Compare `upstream.proxy_url` with what the network's administrators say.",
    )
    COMPANY_PROXY_LOGIN = (
        "502 company-proxy-login destination_unavailable",
        "The company's proxy asks for a login",
        "the company's proxy asks for a login, or refused ours",
        "Set `upstream.proxy_username` and `upstream.proxy_password`.",
    )
    COMPANY_PROXY_DENIED = (
        "502 company-proxy-denied destination_unavailable",
        "The company's proxy does not allow the API",
        "the company's proxy does not allow the API",
        "Ask its administrators to allow CONNECT to the API.",
    )
    COMPANY_PROXY_FAILED = (
        "502 company-proxy-failed destination_unavailable",
        "The company's proxy opened no tunnel",
        "the company's proxy opened no tunnel",
        "Give its administrators the status in `detail` and the time.",
    )
    NO_TOKEN = (
        "503 no-token destination_unavailable",
        "There is no usable access token",
        "there is no usable token within `oauth.wait_seconds`",
        "See `detail`: it has the reason and what to do.",
    )
    NO_CONNECTION = (
        "503 upstream-busy connection_limit_reached",
        "All connections to the API are in use",
        "all connections to the API stayed in use",
        "Send it again. If it lasts, raise `upstream.max_connections`.",
    )
    ORDER_STORE_AWAY = (
        "503 order-store-away proxy_internal_response",
        "The order cannot be recorded",
        "the order cannot be recorded, and so was not sent",
        "See `detail`: it says what to do about `orders.store`.",
    )
    OVERLOADED = (
        "503 too-many-connections proxy_internal_response",
        "The proxy has no room for one more client",
        "more than `limits.max_connections` clients are connected",
        "Have the client keep its connections, or close them.",
    )
    DRAINING = (
        "503 draining proxy_internal_response",
        "The proxy is shutting down",
        "the proxy is shutting down",
        "With `not_sent`, send it again. With `unknown`, look the order up first.",
    )
    CONNECT_TIMEOUT = (
        "504 upstream-timeout connection_timeout",
        "The API did not accept a connection in time",
        "the API accepted no connection within `upstream.connect_timeout_seconds`",
        "Ask whether a firewall drops packets to `upstream.url`.",
    )
    COMPANY_PROXY_TIMEOUT = (
        "504 company-proxy-timeout connection_timeout",
        "The company's proxy did not answer in time",
        "the company's proxy did not answer within `upstream.connect_timeout_seconds`",
        "Run `telenor-proxy check`, and ask the proxy's administrators.",
    )
    ANSWER_TIMEOUT = (
        "504 upstream-timeout http_response_timeout",
        "The API did not answer in time",
        "the API was silent for `upstream.response_timeout_seconds`",
        "With `unknown`, look the order up before sending it again.",
    )
    WRITE_TIMEOUT = (
        "504 upstream-timeout connection_write_timeout",
        "The API did not take the request in time",
        "the API did not take the request within `upstream.response_timeout_seconds`",
        "With `unknown`, look the order up before sending it again.",
    )
    INTERNAL = (
        "500 internal-error proxy_internal_error",
        "The proxy made a mistake",
        "the proxy made a mistake",
        "Look `outcome` up, and report the mistake with the log's `request.crashed`.",
    )
