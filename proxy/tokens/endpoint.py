"""The token endpoint on the wire: one password grant (RFC 6749, section 4.3), one logout.

Owns its connections, so that calls of the API cannot starve it. It sends the credentials to the configured origin and
nowhere else: no redirect is followed, no cookie, `.netrc` or proxy variable is heeded. No exception that leaves here holds
a request's fields or body, not even as its context.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import aiohttp
import structlog
from yarl import URL

import proxy
from proxy.errors import TokenError, TokenUnavailable
from proxy.tokens.answers import Answer, read_grant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import SimpleNamespace

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

_log = structlog.get_logger("proxy.tokens")


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
            trace_configs=[_connecting()],
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
        failure: TokenUnavailable | None = None
        began = asyncio.get_running_loop().time()
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
        _log.debug(
            "token.endpoint_answered",
            method=method,
            status=status or None,
            bytes=len(body),
            reason=None if failure is None else failure.reason,
            ms=_since(began),
        )
        # Raised here and not above, so that the foreign exception, which may hold the request, is not even its context.
        if failure is not None and status < HTTPStatus.MULTIPLE_CHOICES:
            raise failure
        return Answer(status, received, bytes(body), whole=failure is None and len(body) <= MOST_ANSWER_BYTES)


def _connecting() -> aiohttp.TraceConfig:
    """Have the log say, at level debug, how long a connection takes."""
    timing = aiohttp.TraceConfig()

    async def dns_begins(_session: object, context: SimpleNamespace, _params: object) -> None:
        context.dns_began = asyncio.get_running_loop().time()

    async def dns_ends(_session: object, context: SimpleNamespace, _params: object) -> None:
        context.dns_ms = _since(context.dns_began)

    async def connecting_begins(_session: object, context: SimpleNamespace, _params: object) -> None:
        context.began = asyncio.get_running_loop().time()

    async def connecting_ends(_session: object, context: SimpleNamespace, _params: object) -> None:
        dns_ms = getattr(context, "dns_ms", None)  # an address needs no name server
        _log.debug("token.endpoint_connected", dns_ms=dns_ms, ms=_since(context.began))

    timing.on_dns_resolvehost_start.append(dns_begins)
    timing.on_dns_resolvehost_end.append(dns_ends)
    timing.on_connection_create_start.append(connecting_begins)
    timing.on_connection_create_end.append(connecting_ends)
    return timing


def _since(began: float) -> float:
    return round((asyncio.get_running_loop().time() - began) * 1000, 2)


# --- Faults on the way ------------------------------------------------------------------------------------------------

_NETWORK: Final = "Check upstream.url, the network and the firewall."


def _timed_out(seconds: float) -> TokenUnavailable:
    return TokenUnavailable(
        "timeout", f"The token endpoint did not answer within {seconds:g} seconds. {_NETWORK}"
    )


def _translate(error: aiohttp.ClientError | OSError | UnicodeError) -> TokenUnavailable:
    """Name the fault, in our words and the system's; the exception itself is let go."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return TokenUnavailable(
            "tls",
            f"The certificate of the token endpoint is not trusted: {_verdict(error.certificate_error)}. "
            "Check the clock of this machine; behind a proxy that inspects TLS, put its CA into upstream.ca_file.",
        )
    if isinstance(error, aiohttp.ClientConnectorSSLError | ssl.SSLError):
        return TokenUnavailable("tls", f"No TLS connection to the token endpoint came about. {_NETWORK}")
    # A name that cannot even be asked for, with an empty label or one too long, is a UnicodeError of the idna codec.
    if isinstance(error, aiohttp.ClientConnectorDNSError | UnicodeError):
        return TokenUnavailable(
            "dns",
            "The name of the token endpoint's host was not found. Check upstream.url and the name server.",
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        why = "" if error.os_error.errno is None else f": {os.strerror(error.os_error.errno)}"
        return TokenUnavailable("connect", f"No connection to the token endpoint came about{why}. {_NETWORK}")
    if isinstance(error, aiohttp.ClientResponseError):
        return TokenUnavailable(
            "malformed", f"What answered is no token endpoint: it spoke no HTTP. {_NETWORK}"
        )
    return TokenUnavailable(
        "reset", f"The connection to the token endpoint broke before the answer was there. {_NETWORK}"
    )


def _verdict(error: Exception) -> str:
    # OpenSSL's own words, such as "certificate has expired"; of the peer's certificate they quote nothing.
    return (
        error.verify_message
        if isinstance(error, ssl.SSLCertVerificationError)
        else "it could not be verified"
    )


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
