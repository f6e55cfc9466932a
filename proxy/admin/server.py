"""The admin listener: an aiohttp application over one `Report`.

It answers from local state only, and never with a secret. Nothing here changes anything, except
`DELETE /orders/ID` (orders.py).
"""

import asyncio
import contextlib
import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import HttpVersion11, web

from proxy.admin import orders, page
from proxy.admin.report import Report

_EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
_FIELDS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_UNAVAILABLE: Final = 503
#: Seconds that `/status` waits for the store of orders; programs wait for `/status` for 3 s.
_LOOK_SECONDS: Final = 1.0
#: A `Host` field (RFC 9110, section 7.2), as far as names and addresses of machines go: the host,
#: and perhaps a port.
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::[0-9]*)?")

# What aiohttp's server says of a request that it cannot parse quotes it, and a client may have sent
# a key to the wrong port.
logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL + 1)


def create_app(
    report: Report, *, local: bool = False, book: orders.Orders | None = None
) -> web.Application:
    """Build the application.

    local: only this machine can connect, so only its own names are accepted. book: the remembered
    orders, if there are any.
    """

    async def status_page(_: web.Request) -> web.Response:
        return web.Response(
            body=page.CONTENT,
            content_type="text/html",
            charset="utf-8",
            headers={"Content-Security-Policy": page.POLICY},
        )

    async def startup(_: web.Request) -> web.Response:
        return _probe(None if report.started() else "There has been no access token yet.")

    async def readiness(_: web.Request) -> web.Response:
        return _probe(report.not_ready(), report.remark())

    async def liveness(_: web.Request) -> web.Response:
        return _probe(None)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=report.metrics(), headers={"Content-Type": _EXPOSITION})

    async def status(request: web.Request) -> web.Response:
        if book is not None and book.away is None:
            # Another process may have forgotten an order. What fails is reported by `Keeper.run`.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await book.look_after()
        history = request.query.get("history") == "1"
        return orders.json_response(report.status(history=history))

    app = web.Application(
        middlewares=[_plain_errors, _keep_out_rebound_names] if local else [_plain_errors]
    )
    app.on_response_prepare.append(_set_fields)
    app.router.add_get("/", status_page)
    for handler in (startup, readiness, liveness, metrics, status):
        app.router.add_get(f"/{handler.__name__}", handler)
    if book is not None:
        orders.add_routes(app, book)
    return app


def _probe(problem: str | None, remark: str | None = None) -> web.Response:
    detail = problem or remark
    body = {"ok": problem is None} | ({} if detail is None else {"detail": detail})
    return orders.json_response(body, 200 if problem is None else _UNAVAILABLE)


@web.middleware
async def _plain_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer 404 and 405 in a word, and never with what was asked."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.Response(
            status=error.status,
            text=f"{error.reason}\n",
            headers={k: v for k, v in error.headers.items() if k == "Allow"},
        )


@web.middleware
async def _keep_out_rebound_names(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer to addresses and `localhost` only: a web page can point its name at 127.0.0.1."""
    # RFC 9112, section 3.2: 400 for none, several, and one that is no host. HTTP/1.0 may do
    # without; browsers never do.
    if request.version < HttpVersion11 and "Host" not in request.headers:
        return await handler(request)
    hosts = [_HOST.fullmatch(value) for value in request.headers.getall("Host", [])]
    if len(hosts) != 1 or hosts[0] is None:
        raise web.HTTPBadRequest
    name = hosts[0][1].lower()
    if name != "localhost":
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            raise web.HTTPMisdirectedRequest from None
    return await handler(request)


async def _set_fields(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _FIELDS.items():
        response.headers.setdefault(name, value)
    response.headers.pop("Server", None)
