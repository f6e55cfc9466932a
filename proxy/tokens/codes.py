"""The closed table of error codes: which there are, what each means, which of them may be shown.

Pure. A peer writes the error code, so it could be anything, a credential included. A code that is
shown (log, `/status`, answer, metric) is therefore one of this table, or a short number. Sources:
Telenor's developer pages ("Error codes" of the token endpoint and of the Info API), RFC 6749
sections 4.1.2.1 and 5.2, RFC 6750 section 3.1, and Apigee's policy error reference.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple


class GatewayCode(NamedTuple):
    """A code of the gateway before the API.

    status: of the answers that carry it. meaning: Telenor's words, as a clause without a full stop.
    step: what the operator does next, as one sentence; "" where settings decide about that.
    """

    status: int
    meaning: str
    step: str


#: Where an order's id is: an answer 5xx is no order in doubt of the list, but the API may have
#: acted on it.
LOOK_UP: Final = (
    "Look an order up before sending it again: its request_id is in the log's lines with that"
    " status or error, and in telenor-proxy status if no whole answer came."
)
_ASK_TELENOR: Final = "Contact Telenor if it lasts, and name the time and the request id."
_COMPARE_PATH: Final = "Compare the method and the path of the call with Telenor's reference."
_STRIPPED: Final = (
    "The proxy sent a Bearer token: ask what between the proxy and the API changes Authorization."
)

#: Telenor's codes in answers to calls. They are stated for the Info API, on the same gateway.
GATEWAY: Final = {
    "40001": GatewayCode(
        400,
        "missing or invalid end-user id",
        "Correct the request in the application that sends it.",
    ),
    "40101": GatewayCode(401, "invalid resource", _COMPARE_PATH),
    "40102": GatewayCode(401, "missing authorization header", _STRIPPED),
    "40103": GatewayCode(
        401,
        "no API product found",
        "Add the Mobile Subscription Order API to the app in the developer portal.",
    ),
    "40104": GatewayCode(
        401,
        "not authorized to use the given MSISDN",
        "See in Min Bedrift which rights the machine user has, and whether the number is your"
        " company's.",
    ),
    "40105": GatewayCode(
        401,
        "invalid access token",
        "The proxy renews the token by itself; if it comes often, look for another program that"
        " logs in with the same machine user.",
    ),
    "40106": GatewayCode(
        401,
        "access token expired",
        "The proxy renews the token by itself; if it comes often, report the wrong expires_in to"
        " Telenor.",
    ),
    "40107": GatewayCode(401, "Basic authentication not allowed", _STRIPPED),
    "40108": GatewayCode(401, "invalid client id or secret for Basic authentication", _STRIPPED),
    "40301": GatewayCode(403, "invalid scope", ""),
    "40401": GatewayCode(404, "path or method not found", _COMPARE_PATH),
    "4042000": GatewayCode(404, "path or method not found on the back-end server", _COMPARE_PATH),
    "42901": GatewayCode(429, "rate-limit quota violation", ""),
    "42902": GatewayCode(429, "spike-arrest violation", ""),
    "50001": GatewayCode(500, "internal error", f"{LOOK_UP} {_ASK_TELENOR}"),
    "50002": GatewayCode(500, "failed to validate acr", _ASK_TELENOR),
    "50003": GatewayCode(500, "failed to validate subscription", _ASK_TELENOR),
}

#: The codes with which a new access token helps, and only these.
CURABLE: Final = frozenset({"40105", "40106"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Codes of the token endpoint.
TOKEN_ENDPOINT: Final = _words("1 2 4 5 6 7 8 9 12 15 16 20 21 22 23")

#: RFC 6749, sections 4.1.2.1 and 5.2; RFC 6750, section 3.1.
OAUTH: Final = _words("""
    access_denied insufficient_scope invalid_client invalid_grant invalid_request invalid_scope
    invalid_token server_error temporarily_unavailable unauthorized_client unsupported_grant_type
    unsupported_response_type
""")

#: Apigee writes `fault.detail.errorcode` as the part of the gateway that failed, and why. Both are
#: closed lists, and every pair of the two is a known word: versions of Apigee differ in the pairs.
_APIGEE_PARTS: Final = _words("keymanagement.service. oauth.v2. steps.oauth.v2.")
_APIGEE_REASONS: Final = _words("""
    CompanyStatusNotActive DeveloperStatusNotActive FailedToResolveAPIKey
    FailedToResolveAccessToken FailedToResolveAuthorizationCode FailedToResolveClientId
    FailedToResolveRefreshToken FailedToResolveToken GrantTypeDisabled InsufficientScope
    InvalidAPICallAsNoApiProductMatchFound InvalidAccessToken InvalidApiKey
    InvalidApiKeyForGivenResource InvalidClientIdentifier InvalidParameter InvalidTokenType
    MissingParameter UnSupportedGrantType access_token_expired access_token_not_approved
    apiproduct_doesnot_exist apiresource_doesnot_exist app_not_approved
    consumer_key_missing_api_product_mapping insufficient_scope invalid_access_token invalid_client
    invalid_client-app_not_approved invalid_client-invalid_key invalid_refresh_token
    invalid_request-authorization_code_invalid invalid_scope refresh_token_expired
""")
APIGEE: Final = frozenset(
    part + reason for part in _APIGEE_PARTS for reason in _APIGEE_REASONS
) | _words("""
    access_token_expired access_token_not_approved invalid_access_token
    invalid_client-app_not_approved invalid_client-invalid_key
    messaging.adaptors.http.flow.ApplicationNotFound messaging.adaptors.http.flow.ErrorResponseCode
    messaging.adaptors.http.flow.GatewayTimeout messaging.adaptors.http.flow.RequestTimeOut
    messaging.adaptors.http.flow.ServiceUnavailable messaging.adaptors.http.flow.SslHandshakeFailed
    messaging.adaptors.http.flow.UnexpectedEOFAtTarget messaging.runtime.RouteFailed
    policies.ratelimit.QuotaViolation policies.ratelimit.SpikeArrestViolation
    steps.raisefault.RaiseFault
""")

#: What the words of RFC 6750, section 3.1, and of Apigee (there after the last dot) mean in
#: Telenor's codes, as far as both say the same.
_SAME_AS: Final = {
    "access_token_expired": "40106",
    "access_token_not_approved": "40105",
    "invalid_access_token": "40105",
    "invalid_token": "40105",
    "apiproduct_doesnot_exist": "40103",
    "InvalidAPICallAsNoApiProductMatchFound": "40103",
    "apiresource_doesnot_exist": "40101",
    "insufficient_scope": "40301",
    "InsufficientScope": "40301",
    "QuotaViolation": "42901",
    "SpikeArrestViolation": "42902",
}

#: Every code that is documented somewhere.
KNOWN: Final = frozenset(GATEWAY) | TOKEN_ENDPOINT | OAUTH | APIGEE
#: For metrics: what any code that is not in `KNOWN` is counted as.
OTHER: Final = "other"

#: A number that is documented nowhere may be shown if it is no longer than Telenor's longest
#: (4042000): a phone number has 8 digits or more, and so has every credential that Telenor makes.
_SHORT_NUMBER: Final = re.compile(r"[0-9]{1,7}", re.ASCII)


def look_up(code: str | None) -> GatewayCode | None:
    """Return what is known of a gateway's code, or of the word of Apigee's that says the same."""
    return GATEWAY.get(_number(code)) if code in KNOWN else None


def label(code: str | None) -> str:
    """Return the code as the label of a metric: one of `KNOWN`, `OTHER`, or "" for none."""
    if code is None:
        return ""
    return code if code in KNOWN else OTHER


def concerns_token(code: str | None) -> bool:
    """Whether the code of a 401 means that the token is not valid, so that a new one helps."""
    return code is not None and _number(code) in CURABLE


def quotable(code: str | None, credentials: Iterable[str] = ()) -> str | None:
    """Return the code if it may stand in logs and messages, else None.

    It may if it is in `KNOWN` or a number of at most seven digits, and neither is nor contains one
    of `credentials`, the values in force: a server may repeat one where its error code should be.
    """
    if code is None or not (code in KNOWN or _SHORT_NUMBER.fullmatch(code)):
        return None
    return None if any(credential and credential in code for credential in credentials) else code


def _number(code: str) -> str:
    return _SAME_AS.get(code.rpartition(".")[2], code)
