"""The composition root: builds the parts, starts the two listeners, and ends them in the right order.

start: listener and admin listener bound -> token task -> ready with the first token
stop:  readiness off -> (delay) -> listener closed -> requests in flight finish -> token task ends -> logout -> admin listener closed

What of the settings can change at run time goes through `apply`; everything else is built once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import random
import secrets
import sys
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from proxy import descriptors, gauges, logs, opening, starting, telemetry
from proxy.admin.history import History
from proxy.admin.metrics import Metrics
from proxy.admin.report import Report
from proxy.admin.server import create_app
from proxy.clients.roster import Roster
from proxy.clock import SystemClock
from proxy.errors import ConfigError
from proxy.forward.forwarder import Forwarder
from proxy.forward.listener import Listener
from proxy.forward.pool import Pool
from proxy.network import certificates, egress, tls, transport
from proxy.network.activation import HandedOver
from proxy.network.dialer import Dialer
from proxy.notify import Notifier
from proxy.orders.desk import Desk
from proxy.orders.keeper import Keeper
from proxy.orders.opening import open_store
from proxy.pacing import Pacer
from proxy.rotation import Configuration, Rotation
from proxy.secret import Secret
from proxy.settings.kinds import is_loopback
from proxy.signals import Signals
from proxy.tokens.diagnosis import error_code_of, rejected_token
from proxy.tokens.endpoint import TokenEndpoint
from proxy.tokens.source import TokenSource
from proxy.tokens.values import Credentials
from proxy.watching import Watcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from proxy.clock import Clock
    from proxy.records import Record
    from proxy.settings import OAuthSettings, PacingSettings, Settings
    from proxy.telemetry.spans import Spans
    from proxy.tokens.values import TokenEvent

log = structlog.get_logger("proxy.app")

#: Probes and scrapes that are under way at the very end.
_ADMIN_SHUTDOWN_SECONDS: Final = 1.0
#: What systemd hands over to a proxy that it has not opened sockets for.
NOTHING: Final = HandedOver()


def run(
    settings: Settings,
    configuration: Configuration,
    notifier: Notifier,
    handed: HandedOver = NOTHING,
) -> int:
    """Run the proxy until it is told to stop; return the exit status.

    Raises `ConfigError`, `StartError`.
    """
    transport.use(settings.upstream.transport)
    redactor = logs.Redactor(_secrets(settings))
    writer = logs.configure(settings.log, redactor)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(
                Proxy(settings, writer, redactor, configuration, notifier, handed).run()
            )
    finally:
        writer.write_out()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop that the proxy runs on."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 # not on Windows

    return uvloop.new_event_loop()


def _tell(observers: list[Callable[[Record], None]], record: Record) -> None:
    for observe in observers:
        observe(record)


def _secrets(settings: Settings) -> list[str]:
    return [secret.reveal() for _, secret in settings.secrets() if isinstance(secret, Secret)]


def _credentials(oauth: OAuthSettings) -> Credentials:
    return Credentials(
        oauth.client_id, oauth.client_secret, oauth.username, oauth.password, oauth.scope
    )


def _pacer(pacing: PacingSettings, clock: Clock, metrics: Metrics) -> Pacer | None:
    if pacing.requests_per_second is None:
        return None
    return Pacer(pacing.requests_per_second, pacing.max_wait_seconds, clock, metrics.held_back)


def _keeper(settings: Settings, clock: Clock, metrics: Metrics) -> Keeper | None:
    """Open the store of orders, if there is one. Raises `ConfigError`."""
    if settings.orders.store is None:
        return None
    store = open_store(settings.orders, os.urandom(8).hex(), clock)
    return Keeper(store, clock, metrics.order)


def _desk(settings: Settings, keeper: Keeper) -> Desk:
    orders = settings.orders
    return Desk(
        keeper, remember_seconds=orders.remember_seconds, guard_seconds=orders.guard_seconds
    )


class Proxy:
    """All parts of one proxy. Build it anywhere, `run` it in an event loop.

    Without a `configuration` the settings never change.

    handed: sockets that systemd has opened. Raises `ConfigError` if the environment's variables
    name a proxy that cannot be used, or the listener's certificate cannot be.
    """

    def __init__(
        self,
        settings: Settings,
        writer: logs.LineWriter,
        redactor: logs.Redactor,
        configuration: Configuration | None = None,
        notifier: Notifier | None = None,
        handed: HandedOver = NOTHING,
    ) -> None:
        self._handed = handed
        self._tls = opening.listener_tls(settings.listen, SystemClock())
        self._settings = settings
        self._credentials = _credentials(settings.oauth)
        self._secrets = _secrets(settings)
        self._writer = writer
        self._access_log = logs.AccessLog(writer, settings.log)
        self._redactor = redactor
        self._configuration = configuration or Configuration(None, lambda: settings)
        self._notifier = notifier or Notifier({}, 0)
        self._signals = Signals()
        self._company_proxy = egress.company_proxy(settings.upstream, self._configuration.environ)

    async def run(self) -> int:
        """Start, serve until a signal comes, drain, stop.

        Returns the exit status; raises `StartError`.
        """
        settings = self._settings
        upstream_settings, oauth = settings.upstream, settings.oauth
        clock, metrics = SystemClock(), Metrics()
        most_files = descriptors.limit()
        fitted = descriptors.fitted(settings, most_files)
        history = History(clock.now())
        keeper = _keeper(settings, clock, metrics)
        spans = _spans(settings, clock, metrics)
        dialer = self._dialer()
        endpoint = TokenEndpoint(
            dialer,
            oauth.token_path,
            oauth.logout_path,
            timeout_seconds=oauth.request_timeout_seconds,
        )

        def on_token(event: TokenEvent) -> None:
            metrics.on_token(event)
            report.on_token(event)

        source = TokenSource(
            lambda: endpoint.fetch(self._credentials),
            clock=clock,
            random=random.random,
            refresh_ahead_seconds=oauth.refresh_ahead_seconds,
            wait_seconds=oauth.wait_seconds,
            observe=on_token,
        )
        pool = Pool(
            dialer,
            max_connections=fitted.upstream.max_connections,
            max_age=upstream_settings.max_age_seconds,
            connect_timeout=upstream_settings.connect_timeout_seconds,
            idle_timeout=upstream_settings.idle_timeout_seconds,
        )
        pacer = _pacer(settings.pacing, clock, metrics)
        roster = Roster(
            settings,
            clock,
            secrets.token_bytes(32),  # BLAKE2b takes a key of up to 64 bytes
            total=pacer,
            on_held_back=metrics.held_back,
            on_login=metrics.answered_login,
        )
        forwarder = Forwarder(
            settings,
            source,
            pool,
            error_code=self._error_code,
            is_token_rejected=rejected_token,
            rates=roster.rates,
            on_throttled=metrics.throttled,
            desk=None if keeper is None else _desk(settings, keeper),
        )

        metrics.name_clients(roster.names)
        observers: list[Callable[[Record], None]] = [self._access_log, metrics, roster.usage]
        listener = Listener(fitted, forwarder, functools.partial(_tell, observers), roster)
        rotation = Rotation(
            settings,
            self._configuration,
            clock,
            apply=lambda changed: self._apply(changed, listener, report, metrics),
            renew=source.renew_now,
            observe=metrics.reloaded,
            done=self._notifier.reloaded,
            at_hangup=None
            if self._tls is None
            else functools.partial(self._tls.look, listener.renew),
        )
        ends = gauges.expose_certificates(
            metrics,
            functools.partial(
                self._ends, dialer, certificates.end_of_file(upstream_settings.ca_file)
            ),
        )
        report = Report(
            settings,
            clock,
            metrics,
            history,
            token_status=source.status,
            clients=lambda: {
                "connections": listener.connections,
                "in_flight": listener.in_flight,
                "by_name": roster.by_name(),
            },
            upstream=lambda: dict(zip(("in_use", "idle"), pool.connections, strict=True)),
            configuration=lambda: {
                "refused": rotation.refused,
                "restart_needed": rotation.restart_needed,
            },
            log=self._writer.status,
            limits=functools.partial(descriptors.status, settings, most_files),
            certificates=lambda: [
                {
                    "what": what,
                    "not_after": end,
                    "standing": certificates.standing(end, clock.wall()),
                }
                for what, end in ends().items()
                if end is not None
            ],
            orders=None if keeper is None else keeper.status,
        )
        report.credentials_watched = bool(rotation.files() - {upstream_settings.ca_file})
        observers += [report] if spans is None else [report, spans]
        gauges.expose(metrics, source, listener, pool, roster.rates, self._writer, keeper)
        runner = web.AppRunner(
            create_app(report, local=all(map(is_loopback, settings.admin.host)), book=keeper),
            access_log=None,
            shutdown_timeout=_ADMIN_SHUTDOWN_SECONDS,
        )

        def on_hangup() -> None:
            self._notifier.reloading()
            rotation.on_hangup()

        with self._signals.handled(on_hangup):
            try:
                await self._start(listener, runner)
                async with (
                    _running(source.run()) as keeping,
                    _running(self._notifier.run(clock, source.status)),
                    contextlib.nullcontext() if keeper is None else _keeping(keeper),
                    contextlib.nullcontext() if spans is None else spans.running(),
                ):
                    async with (
                        _running(rotation.run()),
                        _running(_warming(settings, pool)),
                        _running(self._renewing(listener, clock)),
                    ):
                        gc.collect()
                        # what exists now stays: the collector need not look at it again
                        gc.freeze()
                        await self._serve(keeping)
                        report.draining = True
                    cut_short = await self._drain(listener)
                token = source.usable()
                if (
                    oauth.logout_on_shutdown
                    and token is not None
                    and not self._signals.stop_now.is_set()
                ):
                    ok = await self._signals.unless_stopped_now(endpoint.logout(token))
                    log.info("token.logged_out", ok=bool(ok))
                log.info("shutdown.completed", cut_short=cut_short)
                return 1 if cut_short or self._signals.stop_now.is_set() else 0
            finally:
                await pool.close()
                await runner.cleanup()

    def _dialer(self) -> Dialer:
        """Return the way to the API, through the company's proxy as it is at each connection."""
        upstream = self._settings.upstream
        return Dialer(
            upstream.origin,
            tls.client_context(upstream.ca_file) if upstream.origin.is_tls else None,
            lambda: self._company_proxy,
            tunnel_seconds=upstream.connect_timeout_seconds,
        )

    def _ends(self, dialer: Dialer, authorities: float | None) -> dict[str, float | None]:
        """Return when each certificate ends, None where there is none or none was seen yet."""
        listeners, clients = (
            (None, None)
            if self._tls is None
            else (self._tls.not_after, self._tls.clients_not_after)
        )
        return {
            "listener": listeners,
            "clients": clients,
            "api": dialer.not_after,
            "authorities": authorities,
        }

    def _error_code(self, content: bytes | None, coding: bytes) -> str | None:
        """Return the code that an error of the API names, unless it is a credential in force."""
        return error_code_of(content, coding, self._secrets)

    def _apply(
        self, changed: Settings, listener: Listener, report: Report, metrics: Metrics
    ) -> None:
        """Let all that can change at run time follow the changed settings."""
        self._credentials = _credentials(changed.oauth)
        self._secrets = _secrets(changed)
        self._redactor.learn(self._secrets)
        metrics.name_clients(client.name for client in changed.listen.clients)
        with contextlib.suppress(ConfigError):  # the way out stays as it is
            self._company_proxy = egress.company_proxy(
                changed.upstream, self._configuration.environ
            )
        listener.judge_by(changed)
        logs.set_level(changed.log)
        self._access_log.set_level(changed.log)
        report.settings = changed

    async def _start(self, listener: Listener, runner: web.AppRunner) -> None:
        listen, admin = self._settings.listen, self._settings.admin
        await runner.setup()
        admin_port = await opening.open_admin(runner, admin, self._handed)
        context = None if self._tls is None else self._tls.context
        where = await opening.open_listener(listener, listen, self._handed, context)
        starting.tell(listen, self._configuration.file, transport.foundations())
        starting.warn_of_doubts(self._settings)
        starting.warn_if_short(descriptors.why_short(self._settings, descriptors.limit()))
        log.info("admin.started", host=starting.hosts(admin.host), port=admin_port)
        scheme = "http" if self._tls is None else "https"
        log.info(
            "listener.started", upstream=str(self._settings.upstream.origin), scheme=scheme, **where
        )

    async def _renewing(self, listener: Listener, clock: Clock) -> None:
        """Take up a changed certificate of the listener."""
        if self._tls is not None:
            look = functools.partial(self._tls.look, listener.renew)
            await Watcher(self._tls.files, look, clock).run()

    async def _serve(self, keeping: asyncio.Task[None]) -> None:
        """Wait for a signal; a token task that ends by itself is a mistake of ours, and raises."""
        stop = asyncio.create_task(self._signals.stop.wait())
        try:
            await asyncio.wait({stop, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if keeping.done():
            keeping.result()
            raise RuntimeError("the token task has ended")

    async def _drain(self, listener: Listener) -> int:
        """Let the requests in flight finish; return how many did not."""
        shutdown, stop_now = self._settings.shutdown, self._signals.stop_now
        log.info(
            "shutdown.started", in_flight=listener.in_flight, grace_seconds=shutdown.grace_seconds
        )
        self._notifier.stopping()
        listener.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(shutdown.delay_seconds):
                await stop_now.wait()
        cut_short = await self._signals.unless_stopped_now(listener.close(shutdown.grace_seconds))
        return await listener.close(0) if cut_short is None else cut_short


async def _warming(settings: Settings, pool: Pool) -> None:
    if settings.upstream.keep_warm:
        await pool.keep_warm()


@contextlib.asynccontextmanager
async def _running(work: Coroutine[object, object, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Do some work beside what is in the context; end it with that."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


@contextlib.asynccontextmanager
async def _keeping(keeper: Keeper) -> AsyncIterator[None]:
    """Look after the store of orders beside what is in the context, and close it with that."""
    try:
        async with _running(keeper.run()):
            yield
    finally:
        await keeper.close()


def _spans(settings: Settings, clock: Clock, metrics: Metrics) -> Spans | None:
    collector = settings.telemetry.otlp_endpoint
    return None if collector is None else telemetry.create(collector, clock, metrics.spans)
