"""`telenor-proxy check`: tries configuration, network and credentials, and says what is wrong.

    settings -> name -> connection -> certificate -> access token -> store of orders

Each step is one short function that yields findings. The first that fails ends the check, since
what comes after it would fail as well. Never: a secret or a part of one in a finding. It does not
log out: two logins may share a token, so that could end the token of a proxy that runs.
"""

import asyncio
import functools
import json
import logging
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, cast

import structlog

from proxy import faults
from proxy.clock import SystemClock
from proxy.errors import BAD_CONFIGURATION, ConfigError, CredentialsRefused, TokenError
from proxy.findings import Finding, Mark, effective, end_of_api, examples, failed, ok, read, warning
from proxy.network import egress, tls
from proxy.network.dialer import Dialer, Timing, reach
from proxy.network.egress import CompanyProxy
from proxy.orders.opening import open_store
from proxy.orders.store import VERSION, StoreAway, unwritable
from proxy.settings import OAuthSettings, OrdersSettings, Origin, Reading, Settings
from proxy.threads import in_daemon_thread
from proxy.tokens import timing
from proxy.tokens.endpoint import TokenEndpoint
from proxy.tokens.values import Credentials, Grant

Step = Callable[[Settings], Awaitable[list[Finding]]]
Resolve = Callable[..., Iterable[tuple[object, object, object, object, tuple[object, ...]]]]

_WOULD_WORK: Final = "An access token was fetched: `telenor-proxy serve` will get one as well."
_NOT_TRIED: Final = "The configuration can be used. Network and credentials were not tried."
_WOULD_FAIL: Final = "The proxy would not work. Fix what failed, and check again."
_NO_ORDERS: Final = "Orders cannot be remembered. Fix what failed, and check again."

_ORDERS: Final = "orders"
#: Addresses of a name that are shown; more say nothing new.
_MOST_ADDRESSES: Final = 4


class Options(NamedTuple):
    """What is asked of a check.

    offline: judge the configuration only. as_json: print an object a line. settings: print every
    setting, with its origin.
    """

    offline: bool = False
    as_json: bool = False
    settings: bool = False


def run(reading: Reading, environ: Mapping[str, str], file: Path | None, options: Options) -> int:
    """Print each finding as it comes; return 0 if nothing failed, 78 where `serve` would, else 1.

    environ, file: where the settings come from; file is None if the environment alone configures
    it.
    """
    before = structlog.get_config()
    # Log events of the parts that are tried would stand between the findings.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        return asyncio.run(_run(reading, environ, file, options))
    finally:
        structlog.configure(**before)


async def _run(
    reading: Reading, environ: Mapping[str, str], file: Path | None, options: Options
) -> int:
    failure = None
    async for finding in _findings(reading, environ, file, options):
        failure = finding if finding.mark is Mark.FAILED else failure
        _print(finding, as_json=options.as_json)
    last_words = _NOT_TRIED if options.offline else _WOULD_WORK
    if failure is not None:
        last_words = _NO_ORDERS if failure.step == _ORDERS else _WOULD_FAIL
    if not options.as_json:
        _say(last_words)
    return 0 if failure is None else failure.status


def tell_problems(problems: Iterable[str]) -> None:
    """Print what is wrong with a configuration as JSON, an object a line."""
    for problem in problems:
        _print(failed("configuration", problem), as_json=True)


async def _findings(
    reading: Reading, environ: Mapping[str, str], file: Path | None, options: Options
) -> AsyncIterator[Finding]:
    for finding in effective(reading) if options.settings else ():
        yield finding
    if not options.offline:
        async for finding in examine(reading.settings, environ, file):
            yield finding
        return
    for finding in read(reading.settings, environ, file):
        yield finding
    for text in reading.missing:
        yield warning("files", f"{text} Where the proxy runs, it has to be there.")
    for finding in _doubt_store(reading.settings.orders):
        yield finding


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        said = {"step": finding.step, "mark": finding.mark.value[0].lower(), "text": finding.text}
        _say(json.dumps(said | dict(finding.more), ensure_ascii=False))
    else:
        encoding = (sys.stdout.encoding or "").lower().replace("_", "-")
        _say(finding.line(signs=encoding in {"utf-8", "utf8"}))


def _say(line: str) -> None:
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()  # the next step may take a while


async def examine(
    settings: Settings, environ: Mapping[str, str], file: Path | None = None
) -> AsyncIterator[Finding]:
    """Yield the findings; a failed one is the last."""
    for finding in read(settings, environ, file):
        yield finding
        if finding.mark is Mark.FAILED:
            return
    try:
        company = egress.company_proxy(settings.upstream, environ)
    except ConfigError as error:
        yield failed("company proxy", error.problems[0], BAD_CONFIGURATION)
        return
    for step in _steps(settings, company):
        for finding in await step(settings):
            yield finding
            if finding.mark is Mark.FAILED:
                return


def _steps(settings: Settings, company: CompanyProxy | None) -> Iterator[Step]:
    """Yield the steps of the way; with a company's proxy, name and connection are that proxy's."""
    through = settings.upstream.origin if company is None else company.origin
    way = Dialer(settings.upstream.origin, None, lambda: company)
    yield functools.partial(look_up, through)
    yield functools.partial(_connect, through)
    if company is not None:
        yield functools.partial(_open_tunnel, way)
    if settings.upstream.origin.is_tls:
        yield functools.partial(_shake_hands, way)
    yield functools.partial(_fetch, way)
    yield _open_orders


# --- The way there -----------------------------------------------------------------------------


def _peer(settings: Settings, origin: Origin) -> faults.Peer:
    """Return the peer at an origin, for sentences."""
    role = faults.API if origin == settings.upstream.origin else faults.COMPANY_PROXY
    return faults.Peer(f"{origin.host} port {origin.port}", role.setting)


#: The host of the default of upstream.url.
_API_HOST: Final = "api.telenor.no"
_BEHIND_A_PROXY: Final = (
    " The internet knows this name. A network that has a company's proxy as its only way out looks "
    "like this: ask for the proxy's address, and set upstream.proxy_url to it."
)


async def look_up(
    origin: Origin, settings: Settings, resolve: Resolve = socket.getaddrinfo
) -> list[Finding]:
    """Find the addresses of a host: the upstream's, or that of the company's proxy."""
    host, seconds = origin.host, settings.upstream.connect_timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            # In a thread: a lookup cannot be cancelled, and may take minutes.
            found = await in_daemon_thread(
                lambda: list(resolve(host, None, type=socket.SOCK_STREAM))
            )
    except TimeoutError:
        text = f"The name server did not answer within {seconds:g} s. "
        return [failed("name", f"{text}Check that this machine can look up such names.")]
    except (OSError, UnicodeError) as error:
        text = faults.explain(error).said_of(_peer(settings, origin))
        return [failed("name", text + (_BEHIND_A_PROXY if host == _API_HOST else ""))]
    addresses = [str(entry[4][0]) for entry in found]
    if host in addresses:
        return [ok("name", f"{host} is an address, so there is no name to look up.")]
    more = ", ..." if len(addresses) > _MOST_ADDRESSES else ""
    return [ok("name", f"{host} is at {', '.join(addresses[:_MOST_ADDRESSES])}{more}")]


async def _connect(origin: Origin, settings: Settings) -> list[Finding]:
    try:
        async with asyncio.timeout(settings.upstream.connect_timeout_seconds):
            raw = await reach(origin, Timing())
    except (OSError, UnicodeError) as error:
        return [failed("connection", faults.explain(error).said_of(_peer(settings, origin)))]
    with raw:
        text = f"{raw.getpeername()[0]} port {origin.port} accepts connections."
    return [ok("connection", text)]


async def _open_tunnel(way: Dialer, settings: Settings) -> list[Finding]:
    """Open a tunnel through the company's proxy, and close it."""
    look = _Look()
    try:
        await way.dial(lambda: look, settings.upstream.connect_timeout_seconds)
    except (OSError, UnicodeError) as error:
        return [failed("tunnel", faults.explain(error).said_of(faults.API))]
    look.transport.abort()
    return [ok("tunnel", f"The company's proxy connects to {way.origin}.")]


async def _shake_hands(way: Dialer, settings: Settings) -> list[Finding]:
    look, seconds = _Look(), settings.upstream.connect_timeout_seconds
    dialer = Dialer(way.origin, tls.client_context(settings.upstream.ca_file), way.through)
    try:
        await dialer.dial(lambda: look, seconds)
    except TimeoutError:
        text = f"The TLS handshake was not over within {seconds:g} s. "
        return [failed("certificate", f"{text}Ask whether a firewall in between looks into it.")]
    except (OSError, UnicodeError) as error:
        return [failed("certificate", faults.explain(error).said_of(_peer(settings, way.origin)))]
    encryption = look.transport.get_extra_info("ssl_object")
    certificate, version = encryption.getpeercert(), encryption.version()
    look.transport.abort()
    text = f"{version}, and the certificate is trusted; it was issued by {issuer_of(certificate)}."
    if dialer.not_after is None:  # it cannot be read here
        return [ok("certificate", text)]
    return [end_of_api(text, dialer.not_after, SystemClock().wall())]


class _Look(asyncio.Protocol):
    """A connection on which nothing is sent."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)


# --- The token, and the store of orders --------------------------------------------------------


async def _fetch(way: Dialer, settings: Settings) -> list[Finding]:
    if copied := [path for path in examples(settings) if path.startswith("oauth.")]:
        text = f"No login was tried with the example's values. Replace {', '.join(copied)} first."
        return [failed("access token", text)]
    origin, oauth = settings.upstream.origin, settings.oauth
    context = tls.client_context(settings.upstream.ca_file) if origin.is_tls else None
    endpoint = TokenEndpoint(
        Dialer(origin, context, way.through),
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
        return [failed("access token", why_no_token(error))]
    return [ok("access token", "Telenor accepts the four credentials."), lifetime(grant, oauth)]


def lifetime(grant: Grant, oauth: OAuthSettings) -> Finding:
    """Say how long the token lives and what the proxy will do about it."""
    renewal = timing.renew_after(grant.lifetime, oauth.refresh_ahead_seconds)
    text = f"The token lives for {grant.lifetime:g} s; the proxy renews it after {renewal:g} s."
    return (
        ok("lifetime", text) if grant.note is None else warning("lifetime", f"{text} {grant.note}")
    )


# --- The store of orders -----------------------------------------------------------------------

_IN_MEMORY: Final = (
    "Orders are remembered until the proxy ends. A path in orders.store outlives that."
)


async def _open_orders(settings: Settings) -> list[Finding]:
    """Look at what `orders.store` names, if it is set; warn of orders with an unknown outcome."""
    if settings.orders.store is None:
        return []
    try:
        return [await _look_at_orders(settings.orders)]
    except ConfigError as error:
        return [failed(_ORDERS, str(error), BAD_CONFIGURATION)]
    except StoreAway as error:
        return [failed(_ORDERS, str(error))]


async def _look_at_orders(orders: OrdersSettings) -> Finding:
    """Open the store, and read what it holds. It makes no file.

    Raises `ConfigError` and `StoreAway`.
    """
    if orders.store_kind == "memory":
        return _finding_on_orders(_IN_MEMORY)
    path = Path(orders.store or "")
    if orders.store_kind == "sqlite" and not path.exists():  # noqa: ASYNC240 # once, in a command
        try:
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise ConfigError([f"orders.store: {path}: {unwritable(error)}."]) from None
        return _finding_on_orders(f"There is no {path} yet. The proxy makes it when it starts.")
    store = open_store(orders, SystemClock(), places_orders=False)
    try:
        summary = await store.upkeep()
    finally:
        await store.close()
    text = f"The store can be written, and holds {summary.held} orders"
    if summary.unknown:
        text += (
            f", {summary.unknown} of them with an unknown outcome. Look them up: "
            "`telenor-proxy orders list --unknown`"
        )
    return _finding_on_orders(f"{text}.", summary.held, summary.unknown, VERSION)


def _finding_on_orders(
    text: str, held: int = 0, unknown: int = 0, version: int | None = None
) -> Finding:
    """Return what was found, for a person and for a program; version: of the records."""
    more = (("held", held), ("unknown", unknown), ("version", version))
    return (warning if unknown else ok)(_ORDERS, text, *more)


def _doubt_store(orders: OrdersSettings) -> Iterator[Finding]:
    """Warn if the file of `orders.store` cannot be made here."""
    directory = Path(orders.store or "").parent
    if orders.store_kind == "sqlite" and not directory.is_dir():
        text = f"orders.store: there is no directory {directory}."
        yield warning(_ORDERS, f"{text} Where the proxy runs, it has to be there.")


# --- Words for what failed: pure ---------------------------------------------------------------


def why_no_token(error: TokenError) -> str:
    """Say why there is no token; the words about codes and credentials are those of `tokens`."""
    if error.reason == "redirected" or (
        isinstance(error, CredentialsRefused) and error.code is None
    ):
        return (
            f"{error.detail} Something in between, such as a filter or a login page of the "
            "network, may have answered instead."
        )
    return error.detail


def issuer_of(certificate: Mapping[str, object] | None) -> str:
    """Name the issuer of a verified certificate, as of `SSLSocket.getpeercert`."""
    issuer = (certificate or {}).get("issuer", ())
    names = dict(pair for group in issuer for pair in group) if isinstance(issuer, tuple) else {}
    name = str(names.get("organizationName") or names.get("commonName") or "")
    return name if name.isprintable() and name else "an authority without a name"
