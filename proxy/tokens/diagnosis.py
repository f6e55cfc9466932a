"""From an error body to its code, and from a code to words: which credential, and where it is.

Pure, and never raises: an error about an error would hide the first one. The codes are those of
Telenor's developer pages; the JSON around them is published nowhere, so it is read by likely names,
at any depth. Nothing that a peer sent goes into words; even a code does only if `codes.quotable`
lets it.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Final, NamedTuple

from proxy.tokens import codes
from proxy.tokens.coding import decoded

# --- Reading ------------------------------------------------------------------------------------

#: An error body is small; more than this is a web page, and not worth the time.
MOST_ERROR_BYTES: Final = 65_536
#: So many values are looked at, nearest to the top first: more than any error body has.
_MOST_VALUES: Final = 500
#: More digits than any number that means something here; such a number becomes a float.
_MOST_DIGITS: Final = 18

#: Where a code stands, spelled without case and punctuation: `code`, `errorCode`, `error_code`,
#: `fault.detail.errorcode`.
_CODE_KEYS: Final = frozenset({"code", "errorcode", "errcode", "faultcode"})
#: Where it may stand when those names are absent (RFC 6749, section 5.2).
_ERROR_KEYS: Final = frozenset({"error", "errors", "fault"})

_LEADING_NUMBER: Final = re.compile(r"\s*([0-9]{1,10})(?!\w|\.\w)", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z][\w.\-]{1,79}", re.ASCII)
_PUNCTUATION: Final = re.compile(r"[\W_]+")


def read_json(body: bytes) -> object:
    """Read the JSON value in a body, tolerantly; None if it holds none."""
    try:
        return json.loads(body.decode("utf-8-sig", "replace"), parse_int=_integer)
    except (ValueError, RecursionError):
        return None


def _integer(digits: str) -> int | float:
    # int() refuses thousands of digits, and takes its time with hundreds.
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def error_code(body: bytes) -> str | None:
    """Find the error code in a body of any JSON shape; None when it names none."""
    return None if len(body) > MOST_ERROR_BYTES else code_in(read_json(body))


def code_in(value: object) -> str | None:
    """Find the error code in a JSON value; None when it names none.

    A documented code is preferred to any other, the outer to the inner. A bare echo of the HTTP
    status (`"code": 401`, `"error": "Unauthorized"`) names no code.
    """
    found: list[tuple[bool, bool, str]] = []
    queue = deque([("", value)])
    for _ in range(_MOST_VALUES):
        if not queue:
            break
        name, item = queue.popleft()
        if isinstance(item, dict):
            queue.extend((_plain(key), inner) for key, inner in islice(item.items(), _MOST_VALUES))
        elif isinstance(item, list):
            queue.extend((name, inner) for inner in islice(item, _MOST_VALUES))
        elif name in _CODE_KEYS | _ERROR_KEYS and (code := _as_code(item)) is not None:
            found.append((code not in _KNOWN, name in _ERROR_KEYS, code))
    return min(found, key=lambda each: each[:2])[-1] if found else None


def _plain(name: str) -> str:
    return _PUNCTUATION.sub("", name).lower()


_STATUS_WORDS: Final = frozenset(_plain(status.phrase) for status in HTTPStatus)
_STATUS_NUMBERS: Final = range(100, 600)


def _as_code(value: object) -> str | None:
    """Give the value as a code: a whole number, a string that begins with one, or a word."""
    if isinstance(value, float) and value.is_integer():
        value = f"{value:.0f}"
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value)
    if number := _LEADING_NUMBER.match(text):
        code = number[1].lstrip("0") or "0"
        return None if int(code) in _STATUS_NUMBERS else code
    word = text.strip()
    return word if _WORD.fullmatch(word) and _plain(word) not in _STATUS_WORDS else None


#: `<code>40104</code>`, `<errorCode type="int">40104</errorCode>`, `<error code="40104">`, `code:
#: 40104`.
_NAMED: Final = re.compile(
    rb"""(?=(?:code|error)\b(?:["']?\s*[=:]\s*["']?|[^<>]{0,80}>\s*)([A-Za-z0-9][\w.\-]{0,79}))""",
    re.ASCII | re.IGNORECASE,
)
#: `<p>40104: Not authorized</p>`, or the same without markup.
_LEADING: Final = re.compile(rb"(?:^|>)\s*([45][0-9]{4,6})\b", re.ASCII)
#: Those of the token endpoint are so short that a page may hold them by chance.
_IN_TEXT: Final = codes.KNOWN - codes.TOKEN_ENDPOINT


def _codes_in(content: bytes, coding: bytes | None) -> Iterator[str]:
    """Yield the codes that an answer's body names, the likeliest first.

    The coding may not have been applied, so the content is also read as it came. What is no JSON is
    searched for the codes of the table: a proxy in between may answer with XML.
    """
    plain = decoded(content, coding, MOST_ERROR_BYTES)
    for view in (content,) if plain is None else dict.fromkeys((plain[0], content)):
        if len(view) > MOST_ERROR_BYTES:
            continue
        value = read_json(view)
        if (code := code_in(value)) is not None:
            yield code
        for pattern in (_NAMED, _LEADING) if value is None else ():
            for match in islice(pattern.finditer(view), _MOST_VALUES):
                code = match[1].decode("ascii").rstrip(".-")
                if code in _IN_TEXT:
                    yield code


def error_code_of(
    content: bytes | None, coding: bytes | None = None, credentials: Iterable[str] = ()
) -> str | None:
    """Return the code that the body of a 4xx or 5xx names, if `codes.quotable` allows it.

    content: the body as it came, None if it was too large. coding: its `Content-Encoding`.
    credentials: values in force, which are never returned.
    """
    code = None if content is None else next(_codes_in(content, coding), None)
    return codes.quotable(code, credentials)


# --- A 401 of the API --------------------------------------------------------------------------

_UNAUTHORIZED: Final = 401
#: Bytes of a WWW-Authenticate that are looked at: the search takes quadratic time.
_MOST_CHALLENGE: Final = 1024
#: RFC 6750, section 3.1.
_INVALID_TOKEN: Final = re.compile(rb"\bbearer\b.*\berror\s*=\s*\"?invalid_token\b", re.IGNORECASE)


def rejected_token(
    status: int,
    challenge: Sequence[bytes],
    content: bytes | None,
    coding: bytes | None = None,
    *,
    is_head: bool = False,
) -> bool:
    """Whether an answer of the API means that a new access token would help.

    It does if the challenge says `invalid_token` (RFC 6750), or the body says as much or names no
    code. Codes about rights, and unknown codes, do not.

    challenge: the values of `WWW-Authenticate`. content, coding: see `error_code_of`. is_head: the
    answer is one to HEAD, so it has no body that could name a code.
    """
    if status != _UNAUTHORIZED:
        return False
    if any(_INVALID_TOKEN.search(value[:_MOST_CHALLENGE]) for value in challenge):
        return True
    if is_head:
        return False
    code = None if content is None else next(_codes_in(content, coding), None)
    return code is None or codes.concerns_token(code)


# --- Meaning -----------------------------------------------------------------------------------

_APP: Final = "the app's page in the developer portal (developer.telenor.no, under Dashboard)"
_USER: Final = "Min Bedrift, under APIs"
_APP_PAIR: Final = "oauth.client_id and oauth.client_secret"
_USER_PAIR: Final = "oauth.username and oauth.password"
_COMPARE_APP: Final = f"Compare {_APP_PAIR} with {_APP}."
_RENEWS: Final = "The proxy fetches a new one by itself."


class Diagnosis(NamedTuple):
    """What a code means for the person who runs the proxy.

    meaning: a clause without a full stop. advice: what to do, as whole sentences.
    """

    meaning: str
    advice: str


#: Codes of the token endpoint, of the gateway before it, and of RFC 6749.
_KNOWN: Final = {
    code: said
    for row, said in {
        "1": Diagnosis("the client_id is unknown", f"Compare oauth.client_id with {_APP}."),
        "2 invalid_request": Diagnosis(
            "the grant_type is missing or invalid",
            "Set oauth.token_path to the one in Telenor's reference; something between the proxy"
            " and Telenor may also drop the form.",
        ),
        "4 7 12 15": Diagnosis(
            "the answer is about a way to log in that the proxy does not use",
            "Set oauth.token_path to the one in Telenor's reference.",
        ),
        "5": Diagnosis(
            "the app may not create access tokens",
            f"See that the app is approved and has the Mobile Subscription Order API, on {_APP}.",
        ),
        "6 40102 40107": Diagnosis(
            "the Authorization header is missing or malformed",
            "Something between the proxy and Telenor may strip it; otherwise compare"
            f" {_APP_PAIR} with {_APP}.",
        ),
        "8 40301 invalid_scope": Diagnosis(
            "the scope is unknown, or not granted to the app",
            "If oauth.scope is set, remove it or set the scope that Telenor named; if not, ask"
            " Telenor which scope the app needs.",
        ),
        "9": Diagnosis("the client data is invalid", _COMPARE_APP),
        "16": Diagnosis(
            "the app is set up wrongly on Telenor's side", "Contact Telenor and name the app."
        ),
        "20 invalid_grant": Diagnosis(
            "username or password of the machine user is wrong",
            f"Compare {_USER_PAIR} with {_USER}, where an administrator of the company finds the"
            " username, and can have a new password sent to a mobile phone.",
        ),
        "21 unauthorized_client unsupported_grant_type": Diagnosis(
            "the app may not log in with a machine user (password grant)",
            f"See that the app has the Mobile Subscription Order API, on {_APP}; if it has, ask"
            " Telenor to allow the password grant.",
        ),
        "22 40108 invalid_client": Diagnosis(
            "client_id and client_secret do not belong together", _COMPARE_APP
        ),
        "23": Diagnosis(
            "the machine user and the app do not belong together",
            "Use two of the same company and of the same environment, test or production: "
            f"the username is found in {_USER}; the client_id on {_APP}.",
        ),
        "40101 40401 4042000": Diagnosis(
            "there is no token endpoint at this address",
            "Compare oauth.token_path and upstream.url with Telenor's reference.",
        ),
        "40103": Diagnosis(
            "the app has no API product",
            f"Add the Mobile Subscription Order API to the app, on {_APP}.",
        ),
        "40104": Diagnosis(
            "the machine user may not act for this number",
            f"See which rights the machine user has, in {_USER}.",
        ),
        "40105": Diagnosis("the access token is invalid", _RENEWS),
        "40106": Diagnosis("the access token has expired", _RENEWS),
        "42901 42902": Diagnosis(
            "too many calls in a short time",
            "Count the proxies and other programs that log in with this app, and let them share"
            " one proxy.",
        ),
        "50001": Diagnosis("an internal error on Telenor's side", "Contact Telenor if it lasts."),
    }.items()
    for code in row.split()
}

_NO_REASON: Final = Diagnosis(
    "no reason was given that the proxy knows",
    f"Compare {_APP_PAIR} with {_APP}, and {_USER_PAIR} with {_USER}."
    " A person's login (Telenor ID, formerly Connect ID, or Min Bedrift) does not work here.",
)
_UNEXPECTED: Final = Diagnosis(
    "this is no answer that a token endpoint gives",
    "Compare upstream.url and oauth.token_path with Telenor's reference; something between the"
    " proxy and Telenor may also answer in its place.",
)
_THEIR_FAULT: Final = _KNOWN["50001"]

#: For an answer without a code that is known.
_BY_STATUS: Final[dict[int, Diagnosis]] = {
    HTTPStatus.BAD_REQUEST: _NO_REASON,
    HTTPStatus.UNAUTHORIZED: _NO_REASON,
    HTTPStatus.FORBIDDEN: _NO_REASON,
    HTTPStatus.NOT_FOUND: _KNOWN["40401"],
    HTTPStatus.METHOD_NOT_ALLOWED: _KNOWN["40401"],
    HTTPStatus.TOO_MANY_REQUESTS: _KNOWN["42901"],
}

#: Codes that are about the credentials or their rights, wherever they stand: trying them again soon
#: is of no use.
CREDENTIAL_CODES: Final = frozenset(
    {"1", "5", "6", "8", "9", "20", "21", "22", "23", "40103", "40107", "40108", "40301"}
    | {"invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope"}
)


def diagnose(code: str | None, status: int = HTTPStatus.UNAUTHORIZED) -> Diagnosis:
    """Say what an error code means that came with a status, or else what the status means."""
    theirs = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if theirs and code == "2":  # in a 400 it is about the request, in a 500 an internal error
        return _THEIR_FAULT
    return _KNOWN.get(code or "") or _BY_STATUS.get(status, _THEIR_FAULT if theirs else _UNEXPECTED)


# --- Credentials that cannot be right ----------------------------------------------------------

#: E.164 numbers have at most 15 digits; Norwegian ones have 8 without the country code.
_PHONE: Final = re.compile(r"\+?[0-9]{8,15}", re.ASCII)
_PHONE_SPACING: Final = re.compile(r"[\s()\-./]+")


def looks_like_person(username: str) -> str | None:
    """Say so when a username is most likely a person's login; None otherwise."""
    if "@" in username:
        kind = "an e-mail address"
    elif _PHONE.fullmatch(_PHONE_SPACING.sub("", username)):
        kind = "a phone number"
    else:
        return None
    return (
        f"oauth.username looks like {kind}, so like a person's login (Telenor ID, formerly Connect"
        " ID, or Min Bedrift), which the API does not accept. Set it to the company's machine user,"
        f" whose name is `api` and digits; an administrator of the company finds it in {_USER}."
    )
