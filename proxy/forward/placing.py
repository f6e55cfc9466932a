"""How an order that is remembered is placed: the steps between a request and `Forwarder._forward`.

    hold the content -> begin a record (or replay, or refuse) -> forward -> end the record

The forwarder itself records that the first byte leaves, and the answer before its client gets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import NOT_SENT, Failed
from proxy.forward import rewrite
from proxy.forward.attempt import ClientDisconnected, ClientSlow, client_fault, too_large
from proxy.http1 import grammar
from proxy.network.stream import Gone
from proxy.orders.content import HeldContent
from proxy.orders.desk import Replay
from proxy.problems import ProblemKind

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proxy.forward.attempt import Bounds
    from proxy.forward.exchange import Exchange
    from proxy.orders.desk import Desk

#: Bytes. An order is smaller, so `limits.max_replay_bytes: 0` does not send it through a file.
_ALWAYS_IN_MEMORY: Final = 65_536


async def place(
    exchange: Exchange,
    desk: Desk,
    bounds: Bounds,
    forward: Callable[[Exchange], Coroutine[object, object, None]],
) -> None:
    """Place one order, or answer its repetition. Raises what `forward` raises, and `Refused`."""
    request = exchange.request
    with HeldContent(max(bounds.max_replay, _ALWAYS_IN_MEMORY)) as held:
        await _hold(exchange, held, bounds)
        found = await desk.begin(
            client=exchange.client_name or "",
            method=request.method,
            target=request.target,
            key=request.order_keys,
            content=held.digest,
            request_id=exchange.request_id.decode("ascii"),
        )
        if isinstance(found, Replay):
            _replay(exchange, found)
            return
        exchange.held, exchange.order = held, found
        exchange.kept = b"".join(held.pieces()) if held.size <= bounds.max_replay else None
        try:
            await forward(exchange)
        except Failed as error:
            await (found.not_sent() if error.outcome == NOT_SENT else found.unknown())
            raise
        except (ClientDisconnected, ClientSlow):
            if exchange.committed:
                found.left()
            raise
        finally:
            exchange.held = exchange.order = None
            found.abandon(may_be_placed=exchange.committed)


async def _hold(exchange: Exchange, held: HeldContent, bounds: Bounds) -> None:
    """Take the whole content of the request."""
    body = exchange.body
    try:
        piece = body.ready()
        if not body.done and body.size == 0 and exchange.request.expects:
            exchange.continued = True
            exchange.client.write(rewrite.CONTINUE)
        while True:
            if body.size > bounds.max_body:
                raise too_large(bounds)
            held.feed(piece)
            if body.done:
                return
            piece = await body.read(bounds.body_timeout)
    except (Gone, TimeoutError, grammar.Malformed) as error:
        raise client_fault(error, exchange, bounds) from None
    except OSError:
        raise Failed(
            ProblemKind.ORDER_STORE_AWAY,
            "The content of the order cannot be held until it is whole: the directory for temporary "
            "files takes nothing. Remove files there. Nothing was sent.",
            outcome=NOT_SENT,
        ) from None


def _replay(exchange: Exchange, answer: Replay) -> None:
    """Give an answer that was given before."""
    out, exchange.keep_alive = rewrite.replay(
        answer, exchange.request, exchange.request_id, keep_alive=exchange.keep_alive
    )
    exchange.status = answer.status
    exchange.answered = True
    exchange.bytes_out = len(answer.content)
    exchange.client.write(out)
