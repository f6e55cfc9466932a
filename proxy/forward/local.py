"""Requests that are answered here and not forwarded.

An OPTIONS that may go no further, and an application's own login.

Laws
1. Nothing of the request's content is looked at or kept.
2. The content is read within the limits of any call, so that the connection can go on behind it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from proxy.errors import Refused
from proxy.forward import rewrite
from proxy.forward.attempt import ClientDisconnected
from proxy.http1 import grammar
from proxy.network.stream import Gone
from proxy.problems import ProblemKind

if TYPE_CHECKING:
    from proxy.clients.login import LoginAnswer
    from proxy.forward.exchange import Exchange
    from proxy.network.message import Body
    from proxy.settings import LimitsSettings


def answer_options(exchange: Exchange) -> None:
    """Answer an OPTIONS request that may go no further (RFC 9110 section 7.6.2)."""
    exchange.status = 204
    exchange.answered = True
    take_what_is_there(exchange.body)
    exchange.keep_alive = exchange.keep_alive and exchange.body.done
    exchange.client.write(
        rewrite.options(
            exchange.request_id, minor=exchange.request.minor, keep_alive=exchange.keep_alive
        )
    )


async def answer_login(exchange: Exchange, answer: LoginAnswer, limits: LimitsSettings) -> None:
    """Answer an application's own login, once its content is whole.

    Raises `Refused`, `ClientDisconnected`.
    """
    if exchange.request.expects and not exchange.client.buffer:
        exchange.client.write(rewrite.CONTINUE)
    await _drop(exchange, limits)
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


async def _drop(exchange: Exchange, limits: LimitsSettings) -> None:
    """Read the request's content to its end, and drop it."""
    body = exchange.body
    while not body.done:
        try:
            await body.read(limits.body_timeout_seconds)
        except grammar.Malformed as error:
            raise Refused(
                ProblemKind.MALFORMED,
                f"The body is refused because {error}. Correct the client: nothing is repaired "
                "here.",
            ) from None
        except TimeoutError:
            raise Refused(
                ProblemKind.CLIENT_SILENT,
                f"No byte of the body came for {limits.body_timeout_seconds:g} s "
                "(limits.body_timeout_seconds). Check the client.",
            ) from None
        except Gone:
            if exchange.client.lost:
                raise ClientDisconnected from None
            raise Refused(
                ProblemKind.MALFORMED,
                "The body ended before it was whole. Check that the client sends as much as it "
                "announces.",
            ) from None
        if body.size > limits.max_body_bytes:
            raise Refused(
                ProblemKind.CONTENT_TOO_LARGE,
                f"The body is larger than {limits.max_body_bytes} bytes. Send less, or raise "
                "limits.max_body_bytes.",
            )


def take_what_is_there(body: Body) -> None:
    """Drop the content that has arrived of a request that was not sent.

    If that was all of it, the connection can serve the next request.
    """
    with contextlib.suppress(grammar.Malformed):
        while not body.done and body.ready():
            pass
