"""The answer to an application that insists on logging in by itself (`listen.answer_login`). Pure.

Laws
1. The answer is always the same, and nothing of the request counts but method and path.
2. The token is made up. It is dropped like any other `Authorization` of a client, and changes
   nothing of what the API gets.
3. It grants nothing: a client's key or certificate is asked for before, as for any call.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from proxy.settings import Settings

Asked = Literal["token", "logout"]


class LoginAnswer(NamedTuple):
    """An answer 200. asked: what for. fields: its field lines, without framing."""

    asked: Asked
    fields: bytes
    content: bytes


#: As long as the tokens of the gateway (Apigee: 28 letters and digits), which some applications
#: keep in a column of that width.
MADE_UP_TOKEN: Final = b"madeUpByTelenorProxyNotToken"
# Members, types and spaces of the real answer for many years: a strict JSON binder of an old client
# knows no `token_type`, and takes `expires_in` for text. Cache-Control, Pragma: RFC 6749, 5.1.
_TOKEN: Final = LoginAnswer(
    "token",
    b"Content-Type: application/json\r\nCache-Control: no-store\r\nPragma: no-cache\r\n",
    b'{"access_token" : "%b", "expires_in" : "3600"}' % MADE_UP_TOKEN,
)
_LOGOUT: Final = LoginAnswer(
    "logout", b"Content-Type: text/plain\r\nCache-Control: no-store\r\n", b"OK!"
)


def answers(settings: Settings) -> Mapping[tuple[bytes, bytes], LoginAnswer]:
    """Return what is answered here, by method and path (without its query)."""
    if not settings.listen.answer_login:
        return {}
    oauth = settings.oauth
    return {
        (b"POST", oauth.token_path.encode("ascii")): _TOKEN,
        (b"GET", oauth.logout_path.encode("ascii")): _LOGOUT,
    }
