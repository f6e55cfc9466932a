"""The token endpoint on the wire: one password grant (RFC 6749, section 4.3), one logout.

Owns its connections, so that calls of the API cannot starve it. It sends the credentials to the configured origin and
nowhere else: no redirect is followed, no cookie, `.netrc` or proxy variable is heeded. No exception that leaves here holds
a request's fields or body, not even as its context.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

import proxy
from proxy import faults
from proxy.errors import TokenError, TokenUnavailable
from proxy.tokens.answers import Answer, read_grant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.tokens.values import AccessToken, Credentials, Grant

#: An answer of the token endpoint has a few hundred bytes; of a longer one, no more than this is read.
MOST_ANSWER_BYTES: Final = 1_048_576
#: One fetch at a time, and a logout beside it at most.
_CONNECTIONS: Final = 2

#: aiohttp adds these by itself, with values of its own choice.
_NOT_BY_ITSELF: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_FIELDS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"telenor-proxy/{proxy.__version__}",
}


class TokenEndpoint:
    """The token endpoint of one origin. Built inside a running event loop, closed with `close`.

    origin: `https://host` or `https://host:port` (or `http`), without a path.
    tls: whom to trust, for an https origin; None for http.
    timeout_seconds: for a whole call, from the name's resolution to the last byte.
    """

    def __init__(
        self,
        *,
        origin: str,
        token_path: str,
        logout_path: str,
        tls: ssl.SSLContext | None,
        timeout_seconds: float,
    ) -> None:
        # Already encoded: the path goes out byte for byte as it stands in the settings.
        self._token_url = URL(origin + token_path, encoded=True)
        self._logout_url = URL(origin + logout_path, encoded=True)
        self._timeout_seconds = timeout_seconds
        if self._token_url.scheme == "https" and tls is None:
            raise ValueError("an https origin needs a TLS context")
        # Never aiohttp's own context: it is built at import, and may write its keys to SSLKEYLOGFILE.
        self._session = aiohttp.ClientSession(
            # A connection is used once: hours lie between two fetches, and nothing left over from one can answer the next.
            connector=aiohttp.TCPConnector(
                limit=_CONNECTIONS,
                force_close=True,
                ssl=True if tls is None else tls,
                resolver=aiohttp.ThreadedResolver(),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            raise_for_status=False,
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=_NOT_BY_ITSELF,
        )

    async def fetch(self, credentials: Credentials) -> Grant:
        """Log in once; raise `CredentialsRefused` or `TokenUnavailable` when that gives no usable token."""
        fields = {
            "Authorization": _basic(credentials),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return read_grant(await self._exchange("POST", self._token_url, fields, _form(credentials)))

    async def logout(self, token: AccessToken) -> bool:
        """End a token's life; False when that failed in whatever way, which nobody can mend: it ends by itself later."""
        try:
            answer = await self._exchange(
                "GET", self._logout_url, {"Authorization": f"Bearer {token.reveal()}"}, None
            )
        except TokenError:
            return False
        return answer.status == HTTPStatus.OK

    async def close(self) -> None:
        """Close the connections; a call under way fails."""
        await self._session.close()

    async def _exchange(self, method: str, url: URL, fields: dict[str, str], content: bytes | None) -> Answer:
        """Send one request and read its answer, all within the timeout.

        An error status counts even if its body does not come whole: a refusal that was taken for a timeout would be
        tried again at once.
        """
        status = 0
        received: Mapping[str, str] = {}
        body = bytearray()
        failure: TokenError | None = None
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._session.request(
                    method, url, headers=_FIELDS | fields, data=content, allow_redirects=False
                ) as response,
            ):
                status, received = response.status, response.headers
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > MOST_ANSWER_BYTES:
                        break
        except TimeoutError:
            failure = _timed_out(self._timeout_seconds)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            failure = _translate(error)
        # Raised here and not above, so that the foreign exception, which may hold the request, is not even its context.
        if failure is not None and status < HTTPStatus.MULTIPLE_CHOICES:
            raise failure
        return Answer(status, received, bytes(body), whole=failure is None and len(body) <= MOST_ANSWER_BYTES)


# --- Faults on the way ------------------------------------------------------------------------------------------------

_NETWORK: Final = "Check upstream.url, the network and the firewall."


def _timed_out(seconds: float) -> TokenUnavailable:
    return TokenUnavailable(
        "timeout", f"The token endpoint did not answer within {seconds:g} seconds. {_NETWORK}"
    )


def _translate(error: aiohttp.ClientError | OSError | UnicodeError) -> TokenError:
    """Name the fault, in our words and the system's; the exception itself is let go."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _named(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):  # DNS and TLS too
        return _named(error.os_error)
    if isinstance(error, ssl.SSLError | socket.gaierror | UnicodeError):
        return faults.token_failure(error)
    if isinstance(error, aiohttp.ClientResponseError):
        return TokenUnavailable(
            "malformed", f"What answered is no token endpoint: it spoke no HTTP. {_NETWORK}"
        )
    return TokenUnavailable(
        "reset", f"The connection to the token endpoint broke before the answer was there. {_NETWORK}"
    )


def _named(error: Exception) -> TokenError:
    return faults.token_failure(error if isinstance(error, OSError) else OSError())


# --- The request ------------------------------------------------------------------------------------------------------


def _basic(credentials: Credentials) -> str:
    # Telenor's examples encode the two as they are; RFC 6749, section 2.3.1, would have them form-encoded first.
    pair = f"{credentials.client_id}:{credentials.client_secret.reveal()}"
    return f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"


def _form(credentials: Credentials) -> bytes:
    """Encode the form. A space becomes %20, not +: whoever decodes forms, or only percent signs, understands that."""
    pairs = {
        "grant_type": "password",
        "username": credentials.username,
        "password": credentials.password.reveal(),
    }
    if credentials.scope is not None:
        pairs["scope"] = credentials.scope
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs.items()).encode("ascii")
