"""`/orders` of the admin listener: what is remembered, and forgetting one.

`DELETE /orders/ID` is the one request there that changes something. It is taken from loopback
only, and never from a web page: a browser asks before a DELETE to another origin, and gets no
permission here.
"""

import ipaddress
from typing import Final, Protocol

import orjson
from aiohttp import web

_FORBIDDEN: Final = 403
_UNAVAILABLE: Final = 503


class Orders(Protocol):
    """What is remembered of orders. away: why the store cannot be used; None if it can."""

    away: str | None

    async def look_after(self) -> None:
        """See what the store holds now."""

    async def listed(self, *, unknown: bool) -> list[dict[str, object]] | str:
        """Return the orders, JSON-serialisable, or why that cannot be said now."""

    async def forget(self, order_id: str) -> tuple[int, str] | None:
        """Drop one; return a status and words if it was not dropped."""


def add_routes(app: web.Application, orders: Orders) -> None:
    """Answer to `/orders`."""

    async def listed(request: web.Request) -> web.Response:
        found = await orders.listed(unknown=request.query.get("unknown") == "1")
        if isinstance(found, str):
            return _refused(_UNAVAILABLE, found)
        return json_response({"orders": found})

    async def forget(request: web.Request) -> web.Response:
        if not _is_local(request):
            return _refused(
                _FORBIDDEN,
                "Orders are forgotten from the proxy's own machine only. "
                "Run `telenor-proxy orders forget` there.",
            )
        problem = await orders.forget(request.match_info["id"])
        if problem is not None:
            return _refused(*problem)
        return json_response({"ok": True})

    app.router.add_get("/orders", listed)
    app.router.add_delete("/orders/{id:[0-9a-zA-Z]+}", forget)


def _refused(status: int, detail: str) -> web.Response:
    return json_response({"ok": False, "detail": detail}, status)


def json_response(content: object, status: int = 200) -> web.Response:
    """Return an answer with JSON content."""
    body = orjson.dumps(content)
    return web.Response(body=body, content_type="application/json", status=status)


def _is_local(request: web.Request) -> bool:
    """Whether a program on this machine asks, and no web page in a browser."""
    if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
        return False
    try:
        address = ipaddress.ip_address((request.remote or "").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
