"""The token endpoint on the wire: one password grant (RFC 6749, section 4.3), one logout.

Each call has a connection of its own, so that calls of the API cannot starve it. The credentials go
to the configured origin only: no redirect is followed, no cookie or `.netrc` is read. No exception
that leaves here holds a request's fields or body, not even as its context.
"""

import asyncio
import base64
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

import structlog

import proxy
from proxy import faults
from proxy.errors import TokenError, TokenUnavailable
from proxy.http1 import grammar
from proxy.network import call
from proxy.network.dialer import Dialer
from proxy.network.stream import Gone
from proxy.tokens.answers import EndpointAnswer, read_grant
from proxy.tokens.coding import decoded
from proxy.tokens.values import AccessToken, Credentials, Grant

#: An answer of the token endpoint has a few hundred bytes; no more than this is read.
MOST_ANSWER_BYTES: Final = 1_048_576

_NETWORK: Final = "Check upstream.url, the network and the firewall."
_SCHEME: Final = " If that port speaks TLS, use https in upstream.url."

_log = structlog.get_logger("proxy.tokens")


class TokenEndpoint:
    """The token endpoint of the origin that `dialer` connects to.

    token_path, logout_path: as they go out, byte for byte.
    timeout_seconds: for a whole call, from the name's resolution to the last byte.
    """

    def __init__(
        self, dialer: Dialer, token_path: str, logout_path: str, *, timeout_seconds: float
    ) -> None:
        if dialer.origin.is_tls and dialer.tls is None:
            raise ValueError("an https origin needs a TLS context")
        self._dialer = dialer
        self._timeout_seconds = timeout_seconds
        self._login = b"POST %b HTTP/1.1\r\n" % token_path.encode("ascii")
        self._logout = b"GET %b HTTP/1.1\r\n" % logout_path.encode("ascii")
        self._fields = (
            b"Host: %b\r\nUser-Agent: telenor-proxy/%b\r\nAccept: application/json\r\n"
            b"Accept-Encoding: identity\r\nConnection: close\r\n"
        ) % (dialer.origin.host_header, proxy.__version__.encode("ascii"))

    async def fetch(self, credentials: Credentials) -> Grant:
        """Log in once. Raises `CredentialsRefused` or `TokenUnavailable`."""
        client_id, client_secret, username, password = values = (
            credentials.client_id,
            credentials.client_secret.reveal(),
            credentials.username,
            credentials.password.reveal(),
        )
        # Telenor's examples do not form-encode these two, as RFC 6749, section 2.3.1, asks for.
        basic = base64.b64encode(f"{client_id}:{client_secret}".encode())
        pairs = {"grant_type": "password", "username": username, "password": password}
        if credentials.scope is not None:
            pairs["scope"] = credentials.scope
        # With %20 for a space: some servers decode no +.
        form = urlencode(pairs, quote_via=quote, safe="").encode("ascii")
        request = (
            b"%bAuthorization: Basic %b\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n%b"
        ) % (self._login + self._fields, basic, len(form), form)
        return read_grant(await self._ask(request), credentials=values)

    async def logout(self, token: AccessToken) -> bool:
        """End a token's life; False when that failed, which does no harm: it ends by itself."""
        bearer = b"Authorization: Bearer %b\r\n\r\n" % token.reveal().encode("ascii")
        try:
            answer = await self._ask(self._logout + self._fields + bearer)
        except TokenError:
            return False
        return answer.status == HTTPStatus.OK

    async def _ask(self, request: bytes) -> EndpointAnswer:
        """Send one request and read its answer, all within the timeout.

        An error status counts even if its body does not come whole: a refusal that was taken for a
        timeout would be tried again at once.
        """
        now = asyncio.get_running_loop().time
        began = now()
        try:
            answer = await call.ask(
                self._dialer, request, seconds=self._timeout_seconds, most_content=MOST_ANSWER_BYTES
            )
        except Gone:
            failure: TokenError = self._broken(call.End.CUT)
        except grammar.Malformed:
            failure = self._broken(call.End.MALFORMED)
        except (OSError, UnicodeError) as error:
            # With a number it is the kernel that gave up, before our time was over.
            is_ours = isinstance(error, TimeoutError) and error.errno is None
            failure = self._broken(call.End.TIMEOUT) if is_ours else faults.token_failure(error)
        else:
            _log.debug(
                "token.endpoint_answered",
                status=answer.head.status,
                end=answer.end.name.lower(),
                ms=round((now() - began) * 1000, 1),
            )
            # One that is too long is judged by `read_grant`.
            is_judged = answer.end in {call.End.WHOLE, call.End.TOO_LONG}
            if is_judged or answer.head.status >= HTTPStatus.MULTIPLE_CHOICES:
                return _plain(answer)
            failure = self._broken(answer.end)
        # Raised here and not above, so that the foreign exception, whose traceback holds the
        # request, is not its context.
        raise failure

    def _broken(self, end: call.End) -> TokenUnavailable:
        """Say why an answer is not whole."""
        step = _NETWORK if self._dialer.origin.is_tls else _NETWORK + _SCHEME
        if end is call.End.TIMEOUT:
            return TokenUnavailable(
                "timeout",
                f"The token endpoint did not answer within {self._timeout_seconds:g} seconds."
                f" {step}",
            )
        if end is call.End.MALFORMED:
            return TokenUnavailable(
                "malformed",
                f"What answered is no token endpoint: it did not speak HTTP/1.1 as it must. {step}",
            )
        return TokenUnavailable(
            "reset",
            f"The connection to the token endpoint broke before the answer was there. {step}",
        )


def _plain(answer: call.CallAnswer) -> EndpointAnswer:
    """Undo a compression that was not asked for, if that is possible."""
    fields, content = answer.fields(), answer.content
    whole = answer.end is call.End.WHOLE
    coding = fields.get("content-encoding", "").encode("latin-1")
    plain = decoded(content, coding, MOST_ANSWER_BYTES)
    if plain is not None:
        content, whole = plain[0], whole and plain[1]
        fields.pop("content-encoding", None)
    return EndpointAnswer(answer.head.status, fields, content, whole)
