"""The sandbox on a socket: reads a call, waits for slow faults, and delivers an answer or a part.

Never: decisions about what to answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from proxy.sandbox.control import PREFIX, control
from proxy.sandbox.gateway import place_of, reply
from proxy.sandbox.messages import Call, Delivery, Reply

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp.typedefs import Handler

    from proxy.sandbox.messages import SandboxAnswer
    from proxy.sandbox.state import Sandbox

    Log = Callable[[str], None]
    Sleep = Callable[[float], Awaitable[object]]

#: Above the proxy's own default limit of 10 MiB, so that it is not the sandbox that refuses.
_MAX_BODY_BYTES: Final = 16 * 1024 * 1024
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
            record.msg, record.args = (
                "the sandbox got a broken request: %s",
                (type(error).__name__,),
            )
            record.exc_info = record.exc_text = None
        return True


_logger: Final = logging.getLogger("proxy.sandbox")
_logger.addFilter(_NoRequestBytes())


def create_app(
    sandbox: Sandbox, *, log: Log | None = None, sleep: Sleep = asyncio.sleep
) -> web.Application:
    """Build the aiohttp application. log: takes a line per call. sleep: waits for slow faults."""

    # A middleware and not a route, for aiohttp's router decodes and normalizes paths; the gateway
    # here judges the raw one.
    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001 # the name is aiohttp's
        path, _, query = request.raw_path.partition("?")
        with sandbox.token_call() if place_of(path) == "token" else nullcontext():
            call = Call(request.method, path, _fields(request), await request.read(), query)
            if path.startswith(PREFIX):
                made = Reply(control(sandbox, call, _local_address(request)))
            else:
                made = reply(sandbox, call)
            if log is not None:
                log(_line(call, made))
            if made.delay_seconds:
                await sleep(made.delay_seconds)
            return await _deliver(request, made)

    app = web.Application(middlewares=[handle], client_max_size=_MAX_BODY_BYTES)
    app.on_response_prepare.append(_plain_head)
    return app


def _fields(request: web.Request) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers
    )


def _local_address(request: web.Request) -> str | None:
    name = None if request.transport is None else request.transport.get_extra_info("sockname")
    return name[0] if isinstance(name, tuple) else None


async def _plain_head(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Remove aiohttp's banner, and a content type where there is no content."""
    response.headers.pop(hdrs.SERVER, None)
    if response.content_length == 0:
        response.headers.pop(hdrs.CONTENT_TYPE, None)


async def _deliver(request: web.Request, made: Reply) -> web.StreamResponse:
    match made.delivery:
        case Delivery.WHOLE:
            status, body, kind = made.answer.status, made.answer.body, made.answer.content_type
            whole = web.Response(status=status, body=body, content_type=kind)
            whole.headers.extend(made.answer.fields)
            return whole
        case Delivery.TWICE:
            return await _twice(request, made.answer)
        case Delivery.HALF:
            half = await _head(request, made.answer)
            await half.write(made.answer.body[: len(made.answer.body) // 2])
            if request.transport is not None:
                request.transport.close()
            return half
        case Delivery.SILENT:
            # aiohttp has no event for a client that disconnects while it is being answered.
            while request.transport is not None:  # noqa: ASYNC110 # see above
                await asyncio.sleep(_LEFT_SECONDS)
        case Delivery.NONE:
            if request.transport is not None:
                request.transport.abort()
    return web.Response()  # there is no connection to write it to


async def _head(request: web.Request, answer: SandboxAnswer) -> web.StreamResponse:
    """Send the head of the whole answer."""
    response = web.StreamResponse(status=answer.status)
    response.headers.extend(answer.fields)
    if answer.content_type is not None:
        response.content_type = answer.content_type
    response.content_length = len(answer.body)
    await response.prepare(request)
    return response


async def _twice(request: web.Request, answer: SandboxAnswer) -> web.StreamResponse:
    """Send the whole answer, then the same bytes again, which answer nothing that was asked."""
    response = await _head(request, answer)
    await response.write(answer.body)
    await response.write_eof()
    if request.transport is not None:
        head = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
        again = f"HTTP/1.1 {response.status} {response.reason}\r\n{head}\r\n".encode() + answer.body
        request.transport.write(again)
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
    log: Log | None = None,
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
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host or "127.0.0.1"
    is_ipv4 = isinstance(address, ipaddress.IPv4Address)
    if address.is_unspecified:
        return "127.0.0.1" if is_ipv4 else "[::1]"
    return str(address) if is_ipv4 else f"[{address}]"
