"""The composition root: builds the parts, starts the two listeners, and ends them in order.

start: listener and admin listener bound -> token task -> ready with the first token
stop:  readiness off -> (delay) -> listener closed -> requests in flight finish
       -> token task ends -> logout -> admin listener closed

What of the settings can change at run time goes through `_follow`; everything else is built once.
"""

import asyncio
import contextlib
import gc
import random
import secrets
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Final

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
from proxy.records import Record
from proxy.rotation import Configuration, Rotation
from proxy.secret import Secret
from proxy.settings import OAuthSettings, Settings
from proxy.settings.kinds import is_loopback
from proxy.signals import Signals
from proxy.tokens.diagnosis import error_code_of, rejected_token
from proxy.tokens.endpoint import TokenEndpoint
from proxy.tokens.source import TokenSource
from proxy.tokens.values import Credentials, TokenEvent
from proxy.watching import watch

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
    """Run the proxy until it is stopped; return the exit status. Raises ConfigError, StartError."""
    transport.use(settings.upstream.transport)
    redactor = logs.Redactor(_secrets(settings))
    writer = logs.configure(settings.log, redactor)

    async def serve() -> int:
        return await Proxy(settings, writer, redactor, configuration, notifier, handed).run()

    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(serve())
    finally:
        writer.write_out()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop that the proxy runs on."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 # not on Windows

    return uvloop.new_event_loop()


def _secrets(settings: Settings) -> list[str]:
    return [secret.reveal() for _, secret in settings.secrets() if isinstance(secret, Secret)]


def _credentials(oauth: OAuthSettings) -> Credentials:
    return Credentials(
        oauth.client_id, oauth.client_secret, oauth.username, oauth.password, oauth.scope
    )


class Proxy:
    """All parts of one proxy. Build it and `run` it in an event loop.

    Without a `configuration` the settings never change. handed: sockets that systemd has opened.
    Raises `ConfigError`.
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
        upstream, oauth, orders = settings.upstream, settings.oauth, settings.orders
        pacing, collector = settings.pacing, settings.telemetry.otlp_endpoint
        self._settings = settings
        self._handed = handed
        self._writer = writer
        self._redactor = redactor
        self._configuration = configuration or Configuration(None, lambda: settings)
        self._notifier = notifier or Notifier({}, 0)
        self._signals = Signals()
        self._clock = clock = SystemClock()
        self._metrics = metrics = Metrics()
        self._tls = opening.listener_tls(settings.listen, clock)
        self._credentials = _credentials(oauth)
        self._secrets = _secrets(settings)
        self._access_log = logs.AccessLog(writer, settings.log)
        self._company_proxy = egress.company_proxy(upstream, self._configuration.environ)
        self._keeper = desk = total = self._spans = None
        if pacing.requests_per_second is not None:
            rate, longest = pacing.requests_per_second, pacing.max_wait_seconds
            total = Pacer(rate, longest, clock, metrics.held_back)
        if collector is not None:
            self._spans = telemetry.create(collector, clock, metrics.spans)
        # The way to the API, through the company's proxy as it is at each connection.
        self._dialer = Dialer(
            upstream.origin,
            tls.client_context(upstream.ca_file) if upstream.origin.is_tls else None,
            lambda: self._company_proxy,
            tunnel_seconds=upstream.connect_timeout_seconds,
        )
        if orders.store is not None:  # after what may raise
            self._keeper = Keeper(open_store(orders, clock), clock, metrics.order)
            desk = Desk(
                self._keeper,
                remember_seconds=orders.remember_seconds,
                guard_seconds=orders.guard_seconds,
            )
        self._endpoint = TokenEndpoint(
            self._dialer,
            oauth.token_path,
            oauth.logout_path,
            timeout_seconds=oauth.request_timeout_seconds,
        )
        self._source = TokenSource(
            lambda: self._endpoint.fetch(self._credentials),
            clock=clock,
            random=random.random,
            refresh_ahead_seconds=oauth.refresh_ahead_seconds,
            wait_seconds=oauth.wait_seconds,
            observe=self._on_token,
        )
        self._most_files = descriptors.limit()
        fitted = descriptors.fitted(settings, self._most_files)
        self._pool = Pool(
            self._dialer,
            max_connections=fitted.upstream.max_connections,
            max_age=upstream.max_age_seconds,
            connect_timeout=upstream.connect_timeout_seconds,
            idle_timeout=upstream.idle_timeout_seconds,
        )
        self._roster = Roster(
            settings,
            clock,
            secrets.token_bytes(32),  # BLAKE2b takes a key of up to 64 bytes
            total=total,
            on_held_back=metrics.held_back,
            on_login=metrics.answered_login,
        )
        forwarder = Forwarder(
            settings,
            self._source,
            self._pool,
            error_code=self._error_code,
            is_token_rejected=rejected_token,
            rates=self._roster.rates,
            on_throttled=metrics.throttled,
            desk=desk,
        )
        self._listener = Listener(fitted, forwarder, self._on_record, self._roster)
        self._rotation = Rotation(
            settings,
            self._configuration,
            clock,
            follow=self._follow,
            renew=self._source.renew_now,
            observe=metrics.reloaded,
            done=self._notifier.reloaded,
            at_hangup=None if self._tls is None else self._look_at_certificate,
        )
        self._authorities_end = certificates.end_of_file(upstream.ca_file)
        self._report = self._make_report()
        metrics.follow(client.name for client in settings.listen.clients)
        state = self._source, self._listener, self._pool, self._roster.rates
        metrics.expose(lambda: gauges.families(*state, writer, self._keeper, self._ends))

    def _make_report(self) -> Report:
        return Report(
            self._settings,
            self._clock,
            self._metrics,
            History(self._clock.now()),
            token_status=self._source.status,
            clients=lambda: {
                "connections": self._listener.connections,
                "in_flight": self._listener.in_flight,
                "by_name": self._roster.by_name(),
            },
            upstream=lambda: dict(zip(("in_use", "idle"), self._pool.connections, strict=True)),
            configuration=lambda: {
                "refused": self._rotation.refused,
                "restart_needed": self._rotation.restart_needed,
            },
            log=self._writer.status,
            limits=lambda: descriptors.share(self._settings, self._most_files)._asdict(),
            certificates=self._certificates,
            orders=None if self._keeper is None else self._keeper.status,
            credentials_watched=lambda: bool(
                self._rotation.files() - {self._settings.upstream.ca_file}
            ),
        )

    def _certificates(self) -> list[dict[str, object]]:
        """Return the certificates whose end is known, for `/status`."""
        ends, now = self._ends().items(), self._clock.wall()
        return [
            {"what": what, "not_after": end, "standing": certificates.standing(end, now)}
            for what, end in ends
            if end is not None
        ]

    def _ends(self) -> dict[str, float | None]:
        """Return when each certificate ends, None where there is none or none was seen yet."""
        return {
            "listener": None if self._tls is None else self._tls.not_after,
            "clients": None if self._tls is None else self._tls.clients_not_after,
            "api": self._dialer.not_after,
            "authorities": self._authorities_end,
        }

    def _on_record(self, record: Record) -> None:
        self._access_log(record)
        self._metrics(record)
        self._roster.count(record)
        self._report(record)
        if self._spans is not None:
            self._spans(record)

    def _on_token(self, event: TokenEvent) -> None:
        self._metrics.on_token(event)
        self._report.on_token(event)

    def _error_code(self, content: bytes | None, coding: bytes) -> str | None:
        """Return the code that an error of the API names, unless it is a credential in force."""
        return error_code_of(content, coding, self._secrets)

    def _follow(self, changed: Settings) -> None:
        """Let all that can change at run time follow the changed settings."""
        self._credentials = _credentials(changed.oauth)
        self._secrets = _secrets(changed)
        self._redactor.learn(self._secrets)
        self._metrics.follow(client.name for client in changed.listen.clients)
        with contextlib.suppress(ConfigError):  # the way out stays as it is
            self._company_proxy = egress.company_proxy(
                changed.upstream, self._configuration.environ
            )
        self._listener.follow(changed)
        logs.follow(changed.log)
        self._access_log.follow(changed.log)
        self._report.settings = changed

    async def run(self) -> int:
        """Start, serve until a signal, drain, stop; return the exit status. Raises `StartError`."""
        is_local = all(map(is_loopback, self._settings.admin.host))
        runner = web.AppRunner(
            create_app(self._report, local=is_local, book=self._keeper),
            access_log=None,
            shutdown_timeout=_ADMIN_SHUTDOWN_SECONDS,
        )
        status = self._source.status
        with self._signals.handled(self._on_hangup):
            try:
                await self._start(runner)
                async with (
                    _running(self._source.run()) as token_task,
                    _running(self._notifier.run(self._clock, status)),
                    contextlib.AsyncExitStack() as optional,
                ):
                    if self._keeper is not None:
                        await optional.enter_async_context(_running(self._keeper.run()))
                    if self._spans is not None:
                        await optional.enter_async_context(self._spans.running())
                    async with contextlib.AsyncExitStack() as until_stop:
                        for work in self._until_stop():
                            await until_stop.enter_async_context(_running(work))
                        gc.collect()
                        gc.freeze()  # the collector need not look again at what exists now
                        await self._wait_for_stop(token_task)
                        self._report.draining = True
                    cut_short = await self._drain()
                await self._log_out()
                log.info("shutdown.completed", cut_short=cut_short)
                return 1 if cut_short or self._signals.stop_now.is_set() else 0
            finally:
                try:
                    await self._pool.close()
                    await runner.cleanup()
                finally:
                    if self._keeper is not None:
                        await self._keeper.close()

    def _until_stop(self) -> Iterator[Coroutine[object, object, None]]:
        yield self._rotation.run()
        if self._settings.upstream.keep_warm:
            yield self._pool.keep_warm()
        if self._tls is not None:
            yield watch(self._tls.files, self._look_at_certificate, self._clock)

    def _on_hangup(self) -> None:
        self._notifier.reloading()
        self._rotation.on_hangup()

    async def _start(self, runner: web.AppRunner) -> None:
        await runner.setup()
        context, scheme = (None, "http") if self._tls is None else (self._tls.context, "https")
        admin_port, where = await opening.open_both(
            runner, self._listener, self._settings, self._handed, context
        )
        starting.tell(self._settings.listen, self._configuration.file, transport.foundations())
        starting.warn_of_doubts(self._settings)
        starting.warn_if_short(descriptors.share(self._settings, self._most_files).detail)
        log.info("admin.started", host=starting.hosts(self._settings.admin.host), port=admin_port)
        origin = str(self._settings.upstream.origin)
        log.info("listener.started", upstream=origin, scheme=scheme, **where)

    async def _look_at_certificate(self) -> bool:
        return self._tls is None or await self._tls.look(self._listener.renew)

    async def _wait_for_stop(self, token_task: asyncio.Task[None]) -> None:
        """Wait for a signal; a token task that ends by itself is a mistake of ours, and raises."""
        stop = asyncio.create_task(self._signals.stop.wait())
        try:
            await asyncio.wait({stop, token_task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if token_task.done():
            token_task.result()
            raise RuntimeError("the token task has ended")

    async def _drain(self) -> int:
        """Let the requests in flight finish; return how many did not."""
        shutdown, stop_now = self._settings.shutdown, self._signals.stop_now
        in_flight = self._listener.in_flight
        log.info("shutdown.started", in_flight=in_flight, grace_seconds=shutdown.grace_seconds)
        self._notifier.stopping()
        self._listener.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(shutdown.delay_seconds):
                await stop_now.wait()
        closing = self._listener.close(shutdown.grace_seconds)
        cut_short = await self._signals.unless_stopped_now(closing)
        return await self._listener.close(0) if cut_short is None else cut_short

    async def _log_out(self) -> None:
        token = self._source.usable()
        wanted = self._settings.oauth.logout_on_shutdown and not self._signals.stop_now.is_set()
        if wanted and token is not None:
            ok = await self._signals.unless_stopped_now(self._endpoint.logout(token))
            log.info("token.logged_out", ok=bool(ok))


@contextlib.asynccontextmanager
async def _running(work: Coroutine[object, object, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Do some work beside what is in the context; end it with that."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
