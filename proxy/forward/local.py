"""Requests that are answered here and not forwarded.

An OPTIONS that may go no further, and an application's own login.

Laws
1. Nothing of the request's content is looked at or kept.
2. The content is read within the limits of any call, so that the connection can go on behind it.
"""

import contextlib

from proxy.clients.login import LoginAnswer
from proxy.forward import policy, rewrite
from proxy.forward.attempt import Bounds, client_fault
from proxy.forward.exchange import Exchange
from proxy.http1 import grammar
from proxy.network.message import Body
from proxy.network.stream import Gone


def answer_options(exchange: Exchange) -> None:
    """Answer an OPTIONS request that may go no further (RFC 9110 section 7.6.2)."""
    exchange.status = 204
    exchange.answered = True
    drop_what_is_there(exchange.body)
    exchange.keep_alive = exchange.keep_alive and exchange.body.done
    exchange.client.write(
        rewrite.options(
            exchange.request_id, minor=exchange.request.minor, keep_alive=exchange.keep_alive
        )
    )


async def answer_login(exchange: Exchange, answer: LoginAnswer, bounds: Bounds) -> None:
    """Answer an application's own login, once its content is whole.

    Raises `Refused`, `ClientDisconnected`.
    """
    if exchange.request.expects and not exchange.client.buffer:
        exchange.client.write(rewrite.CONTINUE)
    await _drop(exchange, bounds)
    exchange.status = 200
    exchange.answered = True
    exchange.bytes_out = len(answer.content)
    exchange.client.write(
        rewrite.login(
            answer,
            exchange.request_id,
            minor=exchange.request.minor,
            keep_alive=exchange.keep_alive,
        )
    )


async def _drop(exchange: Exchange, bounds: Bounds) -> None:
    """Read the request's content to its end, and drop it."""
    body = exchange.body
    while not body.done:
        try:
            await body.read(bounds.body_timeout)
        except (grammar.Malformed, TimeoutError, Gone) as error:
            raise client_fault(error, exchange, bounds) from None
        if body.size > bounds.max_body:
            raise policy.too_large(bounds.max_body)


def drop_what_is_there(body: Body) -> None:
    """Drop the content that has arrived of a request that was not sent.

    If that was all of it, the connection can serve the next request.
    """
    with contextlib.suppress(grammar.Malformed):
        while not body.done and body.ready():
            pass
