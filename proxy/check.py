"""`telenor-proxy check`: tries configuration, way and credentials one after the other, and says in plain words what is right and what is wrong.

    what the settings say -> name -> connection -> certificate -> access token

Judging is pure; each step on the way is one short function that gives a finding, and the first that fails ends the check, for what
comes after it would only fail as well. Never: a secret or a part of one in a finding. Nor does it log the token out that it
fetched: whether two logins share a token is published nowhere, so that could end the one of a proxy that is at work.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import logging
import os
import socket
import ssl
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from proxy import descriptors, starting
from proxy.errors import CredentialsRefused, TokenError
from proxy.network import tls
from proxy.network.dialer import Dialer
from proxy.settings.consistency import doubts
from proxy.settings.files import writable
from proxy.tokens import policy
from proxy.tokens.diagnosis import looks_like_person
from proxy.tokens.endpoint import TokenEndpoint
from proxy.tokens.values import Credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from proxy.settings import OAuthSettings, Reading, Settings
    from proxy.tokens.values import Grant

    Resolve = Callable[..., Iterable[tuple[object, object, object, object, tuple[object, ...]]]]

_PASSED: Final = 0
_NOT_PASSED: Final = 1

_WOULD_WORK: Final = "An access token was fetched: `telenor-proxy serve` will get one as well."
_NOT_TRIED: Final = "The configuration can be used. Network and credentials were not tried."
_WOULD_FAIL: Final = "The proxy would get no access token. Mend what failed, and check again."

#: What config.example.yaml holds where the credentials belong.
_PLACEHOLDER: Final = "replace-me"
#: What the README and Telenor's own pages show as the look of the four.
_SHOWN: Final = frozenset(
    {"xhdrs6uleK1xyZBOvX37PJ5wALcv1O9", "Glz2FV5XYOvAhFCE", "api7813371375", "hquTvfc00l8F33adAmCd"}
)
#: The variables by which other programs find their way out (curl(1), "ENVIRONMENT").
_PROXY_VARIABLES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy"})
#: Addresses of a name that are shown; more say nothing new.
_MOST_ADDRESSES: Final = 4
_HAPPY_EYEBALLS_DELAY: Final = 0.25  # seconds, RFC 8305 section 5


class Mark(enum.Enum):
    """How a step went: the word, and the sign before it where signs can be shown."""

    OK = ("ok", "✓")
    WARNING = ("warning", "!")
    FAILED = ("FAILED", "✗")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer: the step, how it went, and whole sentences for a person."""

    mark: Mark
    step: str
    text: str
    #: What an object has beside these three, by name.
    more: tuple[tuple[str, object], ...] = ()

    def line(self, *, signs: bool) -> str:
        """Write it as one line; without `signs` in ASCII, as far as the text is."""
        word, sign = self.mark.value
        return f"{f'{sign} ' if signs else ''}{word:<7}  {self.step:<13}  {self.text}"


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of a check.

    offline: judge the configuration only. as_json: print an object a line. settings: print every setting, with its origin.
    """

    offline: bool = False
    as_json: bool = False
    settings: bool = False


def run(reading: Reading, environ: Mapping[str, str], file: Path | None, options: Options) -> int:
    """Check everything and print each finding when it is there; 0 when nothing failed, 1 otherwise.

    environ, file: where the settings come from; the file is None if the environment alone configures the proxy.
    """
    with _without_log():
        return asyncio.run(_run(reading, environ, file, options))


@contextlib.contextmanager
def _without_log() -> Iterator[None]:
    """Keep events of the parts that are tried out of the answer: they would stand between its lines."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


async def _run(reading: Reading, environ: Mapping[str, str], file: Path | None, options: Options) -> int:
    failed = False
    async for finding in _findings(reading, environ, file, options):
        failed = failed or finding.mark is Mark.FAILED
        _print(finding, options)
    if not options.as_json:
        _say(_WOULD_FAIL if failed else _NOT_TRIED if options.offline else _WOULD_WORK)
    return _NOT_PASSED if failed else _PASSED


def tell_problems(problems: Iterable[str]) -> None:
    """Print what is wrong with a configuration as JSON, an object a line."""
    for problem in problems:
        _print(Finding(Mark.FAILED, "configuration", problem), Options(as_json=True))


async def _findings(
    reading: Reading, environ: Mapping[str, str], file: Path | None, options: Options
) -> AsyncIterator[Finding]:
    if options.settings:
        for finding in effective(reading):
            yield finding
    if options.offline:
        for finding in (*read(reading.settings, environ, file), *absent(reading)):
            yield finding
        return
    async for finding in examine(reading.settings, environ, file):
        yield finding


def _print(finding: Finding, options: Options) -> None:
    if options.as_json:
        said = {"step": finding.step, "mark": finding.mark.value[0].lower(), "text": finding.text}
        _say(json.dumps(said | dict(finding.more), ensure_ascii=False))
    else:
        _say(finding.line(signs=_can_show_signs(sys.stdout.encoding)))


def _can_show_signs(encoding: str | None) -> bool:
    return (encoding or "").lower().replace("-", "").replace("_", "") == "utf8"


def _say(line: str) -> None:
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()  # the next step may take a while


async def examine(
    settings: Settings, environ: Mapping[str, str], file: Path | None = None
) -> AsyncIterator[Finding]:
    """Give finding after finding; a failed one is the last."""
    for finding in read(settings, environ, file):
        yield finding
    for step in _steps(settings):
        for finding in await step(settings):
            yield finding
            if finding.mark is Mark.FAILED:
                return


def _steps(settings: Settings) -> tuple[Callable[[Settings], Awaitable[tuple[Finding, ...]]], ...]:
    if settings.upstream.origin.is_tls:
        return look_up, _connect, _shake_hands, _fetch
    return look_up, _connect, _fetch


# --- What the settings say: pure --------------------------------------------------------------------------------------


def read(settings: Settings, environ: Mapping[str, str], file: Path | None = None) -> Iterator[Finding]:
    """Judge what can be judged without a network."""
    source = (
        f"{writable(file)} and the environment, which wins" if file is not None else "the environment alone"
    )
    text = f"It was read from {source}; it is complete, and nothing in it contradicts anything else."
    yield Finding(Mark.OK, "configuration", text)
    yield from _read_credentials(settings)
    if settings.listen.is_open:
        yield Finding(Mark.WARNING, "listener", starting.whom_it_is_open_to(settings.listen))
    if short := descriptors.why_short(settings, descriptors.limit()):
        yield Finding(Mark.WARNING, "limits", short)
    yield _read_destination(settings)
    yield from _read_environment(environ)


def effective(reading: Reading) -> Iterator[Finding]:
    """Give every setting with its value and where that comes from; of secrets only whether they are set."""
    for path, value in reading.settings.effective().items():
        origin = reading.origins[path]
        text = f"{path}: {json.dumps(value, ensure_ascii=False)}  ({origin})"
        more = (("setting", path), ("value", value), ("origin", origin))
        yield Finding(Mark.OK, "setting", text, more)


def absent(reading: Reading) -> Iterator[Finding]:
    """Say which files that the settings name do not exist here."""
    for text in reading.missing:
        yield Finding(Mark.WARNING, "files", f"{text} Where the proxy runs, it has to be there.")


def _read_credentials(settings: Settings) -> Iterator[Finding]:
    if copied := examples(settings):
        text = (
            f"Still an example: {', '.join(copied)}. Put the values there that Telenor gave to your company."
        )
        yield Finding(Mark.WARNING, "credentials", text)
    for doubtful in doubts(settings):
        yield Finding(Mark.WARNING, "credentials", doubtful.text)
    doubt = looks_like_person(settings.oauth.username)
    if doubt is not None:
        yield Finding(Mark.WARNING, "credentials", doubt)


def examples(settings: Settings) -> list[str]:
    """Return the settings whose values are still those of an example."""
    oauth, key = settings.oauth, settings.listen.client_key
    held = {
        "oauth.client_id": oauth.client_id,
        "oauth.client_secret": oauth.client_secret.reveal(),
        "oauth.username": oauth.username,
        "oauth.password": oauth.password.reveal(),
        "listen.client_key": "" if key is None else key.reveal(),
    }
    return [path for path, value in held.items() if value.startswith(_PLACEHOLDER) or value in _SHOWN]


def _read_destination(settings: Settings) -> Finding:
    origin = settings.upstream.origin
    where = f"The credentials go to {origin}{settings.oauth.token_path}, and nowhere else."
    if origin.is_tls or origin.is_loopback:
        return Finding(Mark.OK, "destination", where)
    text = f"{where} They go unencrypted: whoever is on the way can read them. Use https in upstream.url."
    return Finding(Mark.WARNING, "destination", text)


def _read_environment(environ: Mapping[str, str]) -> Iterator[Finding]:
    # Only the names: such a URL often holds a password.
    if found := sorted(name for name in environ if name.lower() in _PROXY_VARIABLES and environ[name]):
        text = f"Not used: {', '.join(found)}. telenor-proxy connects to upstream.url itself: have the firewall let it through."
        yield Finding(Mark.WARNING, "environment", text)


# --- The way there ----------------------------------------------------------------------------------------------------


async def look_up(settings: Settings, resolve: Resolve = socket.getaddrinfo) -> tuple[Finding, ...]:
    """Find the addresses of the upstream's host."""
    host, seconds = settings.upstream.origin.host, settings.upstream.connect_timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            addresses = await _addresses(host, resolve)
    except OSError as error:  # TimeoutError is one
        return (Finding(Mark.FAILED, "name", why_not_found(host, seconds, error)),)
    if host in addresses:
        return (Finding(Mark.OK, "name", f"{host} is an address, so there is no name to look up."),)
    more = ", ..." if len(addresses) > _MOST_ADDRESSES else ""
    return (Finding(Mark.OK, "name", f"{host} is at {', '.join(addresses[:_MOST_ADDRESSES])}{more}"),)


async def _addresses(host: str, resolve: Resolve) -> list[str]:
    """Ask the system's resolver, in a thread that nobody waits for: a lookup cannot be cancelled, and may take minutes."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def deliver(addresses: list[str], error: OSError | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(addresses)
        else:
            answer.set_exception(error)

    def ask() -> None:
        addresses: list[str] = []
        failure: OSError | None = None
        try:
            addresses = [str(entry[4][0]) for entry in resolve(host, None, type=socket.SOCK_STREAM)]
        except OSError as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the check has ended meanwhile, and its loop is closed
            loop.call_soon_threadsafe(deliver, addresses, failure)

    threading.Thread(target=ask, daemon=True).start()
    return await answer


async def _connect(settings: Settings) -> tuple[Finding, ...]:
    origin, seconds = settings.upstream.origin, settings.upstream.connect_timeout_seconds
    try:
        peer = (await _open(settings, None)).get_extra_info("peername")[0]
    except OSError as error:
        text = why_not_connected(f"{origin.host} port {origin.port}", seconds, error)
        return (Finding(Mark.FAILED, "connection", text),)
    return (Finding(Mark.OK, "connection", f"{peer} port {origin.port} accepts connections."),)


async def _shake_hands(settings: Settings) -> tuple[Finding, ...]:
    seconds = settings.upstream.connect_timeout_seconds
    try:
        transport = await _open(settings, tls.client_context(settings.upstream.ca_file))
    except OSError as error:
        return (Finding(Mark.FAILED, "certificate", why_not_trusted(settings, seconds, error)),)
    encryption = transport.get_extra_info("ssl_object")
    issuer = issuer_of(encryption.getpeercert())
    text = f"{encryption.version()}, and the certificate is trusted; it was issued by {issuer}."
    return (Finding(Mark.OK, "certificate", text),)


async def _open(settings: Settings, context: ssl.SSLContext | None) -> asyncio.BaseTransport:
    """Connect, and cut the connection: nothing is sent, but what is known of it stays readable. Raises `OSError`."""
    origin = settings.upstream.origin
    async with asyncio.timeout(settings.upstream.connect_timeout_seconds):
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol,
            origin.host,
            origin.port,
            ssl=context,
            server_hostname=None if context is None else origin.host,
            happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY,
        )
    transport.abort()
    return transport


# --- The token --------------------------------------------------------------------------------------------------------


async def _fetch(settings: Settings) -> tuple[Finding, ...]:
    if copied := [path for path in examples(settings) if path.startswith("oauth.")]:
        text = f"No login was tried with the example's values. Replace {', '.join(copied)} first."
        return (Finding(Mark.FAILED, "access token", text),)
    origin, oauth = settings.upstream.origin, settings.oauth
    endpoint = TokenEndpoint(
        Dialer(origin, tls.client_context(settings.upstream.ca_file) if origin.is_tls else None),
        oauth.token_path,
        oauth.logout_path,
        timeout_seconds=oauth.request_timeout_seconds,
    )
    credentials = Credentials(
        oauth.client_id, oauth.client_secret, oauth.username, oauth.password, oauth.scope
    )
    try:
        grant = await endpoint.fetch(credentials)
    except TokenError as error:
        return (Finding(Mark.FAILED, "access token", why_no_token(error)),)
    return (Finding(Mark.OK, "access token", "Telenor accepts the four credentials."), lifetime(grant, oauth))


def lifetime(grant: Grant, oauth: OAuthSettings) -> Finding:
    """Say how long the token lives and what the proxy will do about it."""
    renewal = policy.renew_after(grant.lifetime, oauth.refresh_ahead_seconds)
    text = f"The token lives for {grant.lifetime:g} s; the proxy renews it after {renewal:g} s."
    if grant.note is None:
        return Finding(Mark.OK, "lifetime", text)
    return Finding(Mark.WARNING, "lifetime", f"{text} {grant.note}")


# --- Words for what failed: pure --------------------------------------------------------------------------------------


#: The host of the default of upstream.url.
_API_HOST: Final = "api.telenor.no"
_LOOK_UP: Final = "Check that this machine can look up names of the internet."


def why_not_found(host: str, seconds: float, error: OSError) -> str:
    """Say why a name gave no address."""
    if isinstance(error, TimeoutError):
        return f"The name server did not answer within {seconds:g} s. {_LOOK_UP}"
    if isinstance(error, socket.gaierror) and error.errno == getattr(socket, "EAI_AGAIN", None):
        return f"The name server did not answer for {host}. {_LOOK_UP}"
    if host == _API_HOST:
        return (
            f"There is no host {host}, says the name server, although the internet knows it. A network that has a company's"
            " proxy as its only way out looks like this: ask for the proxy's address, and set upstream.proxy_url to it."
        )
    return f"There is no host {host}, says the name server. Check how upstream.url is spelled."


def why_not_connected(where: str, seconds: float, error: OSError) -> str:
    """Say why no connection came about."""
    if isinstance(error, TimeoutError):
        return f"{where} did not answer within {seconds:g} s. Ask whether a firewall drops what goes there, and have it let through."
    if isinstance(error, ConnectionRefusedError):
        return f"{where} refused the connection. Check the port in upstream.url, and that the firewall allows it."
    reason = os.strerror(error.errno) if error.errno else "none of its addresses accepts connections"
    return f"There is no way to {where}: {reason}. Check the network, the firewall and upstream.url."


#: Verdicts of OpenSSL (X509_V_ERR_... of x509_vfy.h) that say: the chain ends at an authority that is not among the trusted ones.
_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21})
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_WRONG_NAME: Final = frozenset({62, 64})


def why_not_trusted(settings: Settings, seconds: float, error: OSError) -> str:
    """Say why no TLS connection came about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _why_refused(settings, error.verify_code, error.verify_message)
    if isinstance(error, TimeoutError):
        return f"The TLS handshake was not over within {seconds:g} s. Ask whether a firewall in between looks into it."
    if isinstance(error, ssl.SSLError):
        return "What answers there speaks no TLS that is safe today (1.2 or later). Check scheme and port of upstream.url."
    return "The connection broke off in the TLS handshake. Ask whether a firewall in between allows known hosts only, and have this one added."


def _why_refused(settings: Settings, code: int, message: str) -> str:
    host = settings.upstream.origin.host
    if code in _UNKNOWN_ISSUER and settings.upstream.ca_file is None:
        return (
            "The certificate comes from an authority that this machine does not know. Most likely a proxy in between inspects TLS: "
            "ask your network's administrators for its CA certificate, and name that file in upstream.ca_file."
        )
    if code in _UNKNOWN_ISSUER:
        return (
            "The certificate comes from an authority that is not in upstream.ca_file, which replaces the system's authorities. "
            "Put the one that signs here into it: Telenor's, or that of a proxy in between that inspects TLS."
        )
    if code == _EXPIRED:
        return f"The certificate has expired. Check the clock of this machine; if it is right, {host} or a proxy in between must renew it."
    if code == _NOT_YET_VALID:
        return "The certificate is not valid yet. Check the clock of this machine."
    if code in _WRONG_NAME:
        return f"The certificate is trusted, but it is not for {host}: something else answers there. Check upstream.url, and the name server."
    return f"The certificate is not trusted: {message}. Ask your network's administrators what answers in place of {host}."


def why_no_token(error: TokenError) -> str:
    """Say why there is no token; the words about codes and credentials are those of `tokens`."""
    if error.reason == "redirected" or (isinstance(error, CredentialsRefused) and error.code is None):
        return f"{error.detail} Something in between, such as a filter or a login page of the network, may have answered instead."
    return error.detail


def issuer_of(certificate: Mapping[str, object] | None) -> str:
    """Name who issued a verified certificate (`SSLSocket.getpeercert`): behind a proxy that inspects TLS it is not who one thinks."""
    issuer = (certificate or {}).get("issuer", ())
    names = dict(pair for group in issuer for pair in group) if isinstance(issuer, tuple) else {}
    name = str(names.get("organizationName") or names.get("commonName") or "")
    return name if name.isprintable() and name else "an authority without a name"
