"""The sandbox on a socket: reads a call, waits for slow faults, and delivers an answer or a part.

Never: decisions about what to answer.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from proxy.sandbox.control import PREFIX, control
from proxy.sandbox.gateway import place_of, reply
from proxy.sandbox.messages import Call, Delivery, Reply
from proxy.sandbox.state import Sandbox

Log = Callable[[str], None]
Sleep = Callable[[float], Awaitable[object]]

#: Above the proxy's own default limit of 10 MiB, so that it is not the sandbox that refuses.
_MAX_BODY_BYTES: Final = 16 * 1024 * 1024
#: Every byte is a character of it, so that no field fails here.
_BYTES: Final = "latin-1"
#: So often does a call that is never answered look whether its caller is still there.
_LEFT_SECONDS: Final = 0.05
#: A slow fault must not hold up the end of the sandbox.
_SHUTDOWN_SECONDS: Final = 0.25


class _NoRequestBytes(logging.Filter):
    """Reduces aiohttp's report of a broken request, which quotes credentials too, to one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; it is never held back."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | ConnectionError):
            record.msg = "the sandbox got a broken request: %s"
            record.args = (type(error).__name__,)
            record.exc_info = record.exc_text = None
        return True


_logger: Final = logging.getLogger("proxy.sandbox")
_logger.addFilter(_NoRequestBytes())


def create_app(
    sandbox: Sandbox, *, log: Log = lambda _: None, sleep: Sleep = asyncio.sleep
) -> web.Application:
    """Build the aiohttp application. log: takes a line per call. sleep: waits for slow faults."""

    # A middleware and not a route, for aiohttp's router decodes and normalizes paths; the gateway
    # here judges the raw one.
    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001 # the name is aiohttp's
        path, _, query = request.raw_path.partition("?")
        with sandbox.token_call() if place_of(path) == "token" else nullcontext():
            fields = (
                (name.decode(_BYTES), text.decode(_BYTES)) for name, text in request.raw_headers
            )
            call = Call(request.method, path, tuple(fields), await request.read(), query)
            if path.startswith(PREFIX):
                made = Reply(control(sandbox, call, _local_address(request)))
            else:
                made = reply(sandbox, call)
            log(_line(call, made))
            if made.delay_seconds:
                await sleep(made.delay_seconds)
            return await _deliver(request, made)

    app = web.Application(middlewares=[handle], client_max_size=_MAX_BODY_BYTES)
    app.on_response_prepare.append(_plain_head)
    return app


def _local_address(request: web.Request) -> str | None:
    name = request.get_extra_info("sockname")
    return name[0] if isinstance(name, tuple) else None


async def _plain_head(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Remove aiohttp's banner, and a content type where there is no content."""
    response.headers.pop(hdrs.SERVER, None)
    if response.content_length == 0:
        response.headers.pop(hdrs.CONTENT_TYPE, None)


async def _deliver(request: web.Request, made: Reply) -> web.StreamResponse:
    """Return the response, of which as much has been sent as its delivery says."""
    answer = made.answer
    response = web.Response(
        status=answer.status, body=answer.body, content_type=answer.content_type
    )
    response.headers.extend(answer.fields)
    match made.delivery:
        case Delivery.TWICE:
            await response.prepare(request)
            await response.write_eof()
            fields = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
            head = f"HTTP/1.1 {response.status} {response.reason}\r\n{fields}\r\n"
            if request.transport is not None:
                request.transport.write(head.encode() + answer.body)
        case Delivery.HALF:
            await response.prepare(request)
            await response.write(answer.body[: len(answer.body) // 2])
            request.protocol.force_close()
        case Delivery.SILENT:
            # aiohttp has no event for a client that disconnects while it is being answered.
            while request.transport is not None:  # noqa: ASYNC110 # see above
                await asyncio.sleep(_LEFT_SECONDS)
        case Delivery.NONE:
            if request.transport is not None:
                request.transport.abort()  # over TLS, too, without a word
    return response


def _line(call: Call, made: Reply) -> str:
    """One line of the log. Neither query nor fields nor bodies, for these may hold credentials."""
    path = call.path.encode("ascii", "backslashreplace").decode()
    code = "" if made.answer.code is None else f" code={made.answer.code}"
    faults = f" fault={','.join(made.faults)}" if made.faults else ""
    note = f" ({made.answer.note})" if made.answer.note else ""
    return f"{call.method} {path} {made.outcome}{code}{faults}{note}"


@asynccontextmanager
async def running(
    sandbox: Sandbox,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
    *,
    log: Log = lambda _: None,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[str]:
    """Serve the sandbox while in the context; gives its base URL. Port 0: any. Raises OSError."""
    runner = web.AppRunner(
        create_app(sandbox, log=log, sleep=sleep),
        access_log=None,
        auto_decompress=False,  # an order is kept as it was sent
        logger=_logger,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=ssl_context).start()
        scheme = "http" if ssl_context is None else "https"
        yield f"{scheme}://{_reachable(host)}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _reachable(host: str) -> str:
    """Write the host as in a URL; the loopback address if it means all interfaces."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 # not bound
    return f"[{host}]" if ":" in host else host


def make_certificate(host: str) -> tuple[ssl.SSLContext, bytes]:
    """Make a context that serves TLS for loopback names and `host`, and its authority's PEM.

    The authority exists for this one run; private keys are never kept on disk. Raises ImportError
    without the extra `sandbox`.
    """
    import trustme  # noqa: PLC0415 # with the extra only

    authority = trustme.CA(organization_name="telenor-proxy sandbox")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    names = dict.fromkeys(("localhost", "127.0.0.1", "::1", host or "localhost"))
    authority.issue_cert(*names).configure_cert(context)
    return context, authority.cert_pem.bytes()
