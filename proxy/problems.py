"""Every answer that the proxy makes itself, written once: `ProblemKind`.

The listener takes status, type and title from here, the log and the metrics their word, and
`make generate` the tables in docs/reference.md and docs/troubleshooting.md. What only one request
can tell, its `detail`, stands where the answer is raised.
"""

import enum
from typing import Final


class ProblemKind(enum.Enum):
    """One kind of answer of the proxy's own.

    A member is written as `"STATUS TYPE PROXY_ERROR"`, title, do, when.

    status: of HTTP. type: what `type` of the problem details ends in (RFC 9457); several kinds may
    share one. proxy_error: the proxy error type that `Proxy-Status` carries (RFC 9209, section
    2.3). title: of the problem details. do, when: for the tables: what to do (a sentence or two),
    and when it is the answer (a clause; without one, the title).
    """

    type: Final[str]
    status: Final[int]
    proxy_error: Final[str]
    title: Final[str]
    do: Final[str]
    when: Final[str]

    def __init__(self, answer: str, title: str, do: str, when: str = "") -> None:
        status, self.type, self.proxy_error = answer.split()
        self.status = int(status)
        self.title = title
        self.do = do
        self.when = when or title[0].lower() + title[1:]

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
        "Correct the client, as `detail` says. It is most often code that writes HTTP by hand.",
        "it is not well-formed HTTP/1.1, or its framing is ambiguous",
    )
    AMBIGUOUS_TARGET = (
        "400 ambiguous-target http_request_error",
        "The request target could mean two things",
        "Send the plain path.",
    )
    PATH_NOT_ALLOWED = (
        "403 path-not-allowed http_request_denied",
        "This path may not be called",
        "Add the prefix to `upstream.allowed_paths`. Remove code that logs in by itself.",
        "its path is not under `upstream.allowed_paths`, or is the login's",
    )
    CLIENT_KEY = (
        "403 client-key http_request_denied",
        "The client key is missing or wrong",
        "Have the client send its key once, or show its certificate.",
        "`X-Proxy-Key` is missing or wrong, or the certificate is no client's",
    )
    CLIENT_RIGHTS = (
        "403 client-not-allowed http_request_denied",
        "This client may not make this call",
        "Correct the application, or extend the client's rights in `listen.clients`.",
        "the rights of this client do not cover its method or path",
    )
    BROWSER = (
        "403 browser-request http_request_denied",
        "Web pages may not use this proxy",
        "Call the proxy from a server.",
        "it comes from a web page",
    )
    ORDER_KEY = (
        "400 order-key http_request_error",
        "The Idempotency-Key cannot be used",
        "Send one such field, with a new random value for each order.",
        "its `Idempotency-Key` cannot be used, or there are two",
    )
    METHOD_NOT_ALLOWED = (
        "405 method-not-allowed http_request_denied",
        "This method is not forwarded",
        "Set telenor-proxy as the base URL, not as a forward proxy.",
        "its method is CONNECT or TRACE",
    )
    CLIENT_SILENT = (
        "408 client-timeout http_request_error",
        "The rest of the request did not come in time",
        "Correct the client's `Content-Length`.",
    )
    ORDER_IN_FLIGHT = (
        "409 order-in-flight http_request_denied",
        "The same order is under way",
        "Wait for `Retry-After`, and send it again with the same key.",
    )
    ORDER_UNKNOWN = (
        "409 order-unknown http_request_denied",
        "This order may already be placed",
        "Look the order up, and then forget its record.",
    )
    ORDER_ANSWERED = (
        "409 order-answered http_request_denied",
        "This order was answered before",
        "Look the order up at Telenor.",
        "the same order was answered, in an answer too large to be kept",
    )
    LENGTH_REQUIRED = (
        "411 length-required http_request_error",
        "The request does not say how long its body is",
        "Have the client send `Content-Length`, or speak HTTP/1.1.",
        "it is an HTTP/1.0 request that does not say how long its body is",
    )
    CONTENT_TOO_LARGE = (
        "413 content-too-large http_request_error",
        "The request body is too large",
        "Raise the limit if calls really are larger: an order has some hundred bytes.",
        "its body is larger than `limits.max_body_bytes`",
    )
    TARGET_TOO_LONG = (
        "414 target-too-long http_request_error",
        "The request target is too long",
        "See what the client puts into the query. Raise the limit if it is right.",
        "its target is longer than `limits.max_target_bytes`",
    )
    EXPECTATION = (
        "417 unknown-expectation http_request_error",
        "This expectation cannot be met",
        "Remove the field `Expect` in the client.",
        "it expects something other than `100-continue`",
    )
    HOST_NOT_ALLOWED = (
        "421 host-not-allowed http_request_denied",
        "This Host is not served here",
        "Add the name by which the client calls the proxy to `listen.allowed_hosts`.",
        "its `Host` is not in `listen.allowed_hosts`",
    )
    ORDER_KEY_REUSED = (
        "422 order-key-reused http_request_denied",
        "The Idempotency-Key belongs to another order",
        "Use a new key for each order, and the very same bytes for a repetition.",
    )
    HEAD_TOO_LARGE = (
        "431 head-too-large http_request_error",
        "The request head is too large",
        "See what the client sends, most often cookies. Raise the limit if it is right.",
        "its head exceeds `limits.max_header_bytes` or `limits.max_header_fields`",
    )
    METHOD_UNKNOWN = (
        "501 method-unknown http_request_error",
        "This method is not known",
        "Write the method in capitals.",
        "its method is none of HTTP's, or not in capitals",
    )
    VERSION = (
        "505 http-version http_request_error",
        "This version of HTTP is not spoken here",
        "Set the client to HTTP/1.1.",
        "it is neither HTTP/1.1 nor HTTP/1.0",
    )

    # It could not be forwarded.
    PACED = (
        "429 too-many-requests http_request_denied",
        "The proxy holds calls to the set rate",
        "Wait for `Retry-After` and send it again, or raise the rate.",
        "pacing is on, and it would have to wait longer than `pacing.max_wait_seconds`",
    )
    CLIENT_RATE = (
        "429 client-rate http_request_denied",
        "This client's rate is used up",
        "Wait for `Retry-After` and send it again, or raise the client's rate.",
        "this client has a rate, and it would have to wait longer than `pacing.max_wait_seconds`",
    )
    DNS = (
        "502 upstream-not-found dns_error",
        "The API's host name could not be resolved",
        "Run `telenor-proxy check` on the same machine, in the same container.",
    )
    REFUSED = (
        "502 upstream-unreachable connection_refused",
        "No connection to the API",
        "Have connections to `upstream.url` allowed; `check` shows the address that is tried.",
        "the API's host refused the connection",
    )
    UNROUTABLE = (
        "502 upstream-unreachable destination_ip_unroutable",
        "No connection to the API",
        "Have connections to `upstream.url` allowed; `check` shows the address that is tried.",
        "there is no route to the API's host",
    )
    CERTIFICATE = (
        "502 upstream-not-trusted tls_certificate_error",
        "The API's certificate is not trusted",
        "Have the API exempted from TLS inspection, or set `upstream.ca_file`.",
    )
    TLS = (
        "502 upstream-tls tls_protocol_error",
        "No secure connection to the API",
        "Run `telenor-proxy check`, and compare `upstream.url`.",
    )
    TERMINATED = (
        "502 upstream-broke-off connection_terminated",
        "The API's connection broke off",
        "With `not_sent`, send it again. With `unknown`, look the order up first.",
    )
    BAD_ANSWER = (
        "502 upstream-answer-unreadable http_protocol_error",
        "The API's answer is not valid HTTP",
        "Look the order up first. If it lasts, report what `detail` says.",
    )
    COMPANY_PROXY_DNS = (
        "502 company-proxy-not-found dns_error",
        "The company's proxy could not be found by its name",
        "Run `telenor-proxy check`, and ask the network's administrators for the name.",
        "the name of the company's proxy (`upstream.proxy_url`) could not be resolved",
    )
    COMPANY_PROXY_REFUSED = (
        "502 company-proxy-unreachable connection_refused",
        "No connection to the company's proxy",
        "Compare `upstream.proxy_url` with what the network's administrators say.",
        "the company's proxy refused the connection",
    )
    COMPANY_PROXY_UNROUTABLE = (
        "502 company-proxy-unreachable destination_ip_unroutable",
        "No connection to the company's proxy",
        "Compare `upstream.proxy_url` with what the network's administrators say.",
        "there is no route to the company's proxy",
    )
    COMPANY_PROXY_CERTIFICATE = (
        "502 company-proxy-not-trusted tls_certificate_error",
        "The certificate of the company's proxy is not trusted",
        "Add the company's authority to `upstream.ca_file`, with those that the API needs.",
    )
    COMPANY_PROXY_TLS = (
        "502 company-proxy-tls tls_protocol_error",
        "No secure connection to the company's proxy",
        "Try `http://` in `upstream.proxy_url`.",
    )
    COMPANY_PROXY_TERMINATED = (
        "502 company-proxy-broke-off connection_terminated",
        "The connection to the company's proxy broke off",
        "Ask its administrators to allow CONNECT to the API.",
    )
    COMPANY_PROXY_ANSWER = (
        "502 company-proxy-answer-unreadable http_protocol_error",
        "The company's proxy gave no readable answer",
        "Compare `upstream.proxy_url` with what the network's administrators say.",
    )
    COMPANY_PROXY_LOGIN = (
        "502 company-proxy-login destination_unavailable",
        "The company's proxy asks for a login",
        "Set `upstream.proxy_username` and `upstream.proxy_password`.",
        "the company's proxy asks for a login, or refused ours",
    )
    COMPANY_PROXY_DENIED = (
        "502 company-proxy-denied destination_unavailable",
        "The company's proxy does not allow the API",
        "Ask its administrators to allow CONNECT to the API.",
    )
    COMPANY_PROXY_FAILED = (
        "502 company-proxy-failed destination_unavailable",
        "The company's proxy opened no tunnel",
        "Give its administrators the status in `detail` and the time.",
    )
    NO_TOKEN = (
        "503 no-token destination_unavailable",
        "There is no usable access token",
        "See `detail`: it has the reason and what to do.",
        "there is no usable token within `oauth.wait_seconds`",
    )
    NO_CONNECTION = (
        "503 upstream-busy connection_limit_reached",
        "All connections to the API are in use",
        "Send it again. If it lasts, raise `upstream.max_connections`.",
    )
    ORDER_STORE_AWAY = (
        "503 order-store-away proxy_internal_response",
        "The order cannot be recorded",
        "See `detail`: it says what to do about `orders.store`.",
        "the order cannot be recorded, and so was not sent",
    )
    OVERLOADED = (
        "503 too-many-connections proxy_internal_response",
        "The proxy has no room for one more client",
        "Have the client keep its connections, or close them.",
        "more than `limits.max_connections` clients are connected",
    )
    DRAINING = (
        "503 draining proxy_internal_response",
        "The proxy is shutting down",
        "With `not_sent`, send it again. With `unknown`, look the order up first.",
    )
    CONNECT_TIMEOUT = (
        "504 upstream-timeout connection_timeout",
        "The API did not accept a connection in time",
        "Ask whether a firewall drops packets to `upstream.url`.",
        "the API accepted no connection within `upstream.connect_timeout_seconds`",
    )
    COMPANY_PROXY_CONNECT_TIMEOUT = (
        "504 company-proxy-timeout connection_timeout",
        "The company's proxy did not answer in time",
        "Run `telenor-proxy check`, and ask the proxy's administrators.",
        "the company's proxy did not answer within `upstream.connect_timeout_seconds`",
    )
    ANSWER_TIMEOUT = (
        "504 upstream-timeout http_response_timeout",
        "The API did not answer in time",
        "With `unknown`, look the order up before sending it again.",
        "the API was silent for `upstream.response_timeout_seconds`",
    )
    WRITE_TIMEOUT = (
        "504 upstream-timeout connection_write_timeout",
        "The API did not take the request in time",
        "With `unknown`, look the order up before sending it again.",
        "the API did not take the request within `upstream.response_timeout_seconds`",
    )
    INTERNAL = (
        "500 internal-error proxy_internal_error",
        "The proxy made a mistake",
        "Look `outcome` up, and report the mistake with the log's `request.crashed`.",
    )
