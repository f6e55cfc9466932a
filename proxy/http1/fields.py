"""The fields that are not simply passed on, by lower-case name.

One table for each direction, with the reason for each group.

What is not named here keeps its name, its value, its number and its order.
"""

from typing import Final

#: RFC 9110 section 7.6.1; `Proxy-Connection` was never standardized and is still sent (RFC 9112
#: appendix C.2.2).
HOP_BY_HOP: Final = frozenset(
    {
        b"close",  # reserved, because it is an option of Connection (RFC 9110 section 16.4.2)
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

#: The client's fields that stop here.
NOT_FORWARDED: Final = HOP_BY_HOP | {
    # credentials: ours replace them, or they are for us
    b"authorization",
    b"proxy-authorization",
    b"proxy-authenticate",  # a field of answers (RFC 9110 section 11.7.1)
    b"x-proxy-key",
    # written anew
    b"content-length",
    b"host",
    b"x-request-id",
    # answered here (RFC 9110 section 10.1.1), or about an upgrade that does not happen (RFC 7540
    # section 3.2.1)
    b"expect",
    b"http2-settings",
}

#: The fields by which browsers mark what a web page sends; they are judged, and passed on.
BROWSER_MARKS: Final = frozenset(
    {
        b"access-control-request-method",
        b"origin",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-fetch-storage-access",
        b"sec-fetch-user",
    }
)

#: The API's fields that stop here.
NOT_RETURNED: Final = HOP_BY_HOP | {
    b"alt-svc",  # would lead the client around the proxy
    b"content-length",  # written anew
    b"proxy-authenticate",  # between the API and this proxy (RFC 9110 section 11.7.1)
    b"x-request-id",  # the client gets the one that was used
    # CORS would open the proxy to web pages
    b"access-control-allow-credentials",
    b"access-control-allow-headers",
    b"access-control-allow-methods",
    b"access-control-allow-origin",
    b"access-control-allow-private-network",
    b"access-control-expose-headers",
    b"access-control-max-age",
}

#: Whose values decide something, in either direction.
DECIDING: Final = BROWSER_MARKS | {
    b"connection",
    b"content-encoding",
    b"content-length",
    b"expect",
    b"host",
    b"idempotency-key",
    b"max-forwards",
    b"proxy-authenticate",
    b"traceparent",
    b"transfer-encoding",
    b"www-authenticate",
    b"x-proxy-key",
    b"x-request-id",
}

#: How a field is treated, as bits; a field without an entry passes.
STOPS: Final = 1
DECIDES: Final = 2


def _treatments(stopping: frozenset[bytes]) -> dict[bytes, int]:
    return {
        name: STOPS * (name in stopping) | DECIDES * (name in DECIDING)
        for name in stopping | DECIDING
    }


OF_REQUESTS: Final = _treatments(NOT_FORWARDED)
OF_RESPONSES: Final = _treatments(NOT_RETURNED)
