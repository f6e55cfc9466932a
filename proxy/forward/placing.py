"""How an order that is remembered is placed: the steps between a request and `Forwarder._forward`.

    judge the key -> hold the content -> begin a record (or replay, or refuse) -> forward
        -> end the record

The forwarder itself records that the first byte leaves, and the answer before its client gets it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Final

from proxy.errors import NOT_SENT, Failed
from proxy.forward import policy, rewrite
from proxy.forward.attempt import Bounds, ClientDisconnected, ClientSlow, client_fault
from proxy.forward.exchange import Exchange
from proxy.http1 import grammar
from proxy.network.stream import Gone
from proxy.orders import key as keys
from proxy.orders.content import HeldContent
from proxy.orders.desk import Desk, Replay
from proxy.orders.states import State
from proxy.problems import ProblemKind

#: Bytes. An order is smaller, so `limits.max_replay_bytes: 0` does not send it through a file.
_ALWAYS_IN_MEMORY: Final = 65_536
_NO_ROOM: Final = (
    "The content of the order cannot be held until it is whole: the directory for temporary files "
    "takes nothing. Remove files there. Nothing was sent."
)


async def place(
    exchange: Exchange,
    desk: Desk,
    bounds: Bounds,
    forward: Callable[[Exchange], Coroutine[object, object, None]],
) -> None:
    """Place one order, or answer its repetition. Raises what `forward` raises, and `Refused`."""
    request, client, body = exchange.request, exchange.client_name or "", exchange.body
    key = keys.parse(request.order_keys) if request.order_keys else None
    fingerprint = keys.fingerprint(client, request.method, request.target)
    held = None
    try:
        piece = body.ready()
    except grammar.Malformed as error:
        raise client_fault(error, exchange, bounds) from None
    if body.done and body.size <= min(bounds.max_body, bounds.max_replay):
        fingerprint.update(piece)
        exchange.kept = piece
    else:
        held = await _hold(exchange, bounds, fingerprint, piece)
    try:
        order = await desk.begin(
            client=client,
            method=request.method,
            path=request.path,
            key=key,
            fingerprint=fingerprint.digest(),
            request_id=exchange.request_id,
        )
        if isinstance(order, Replay):
            _replay(exchange, order)
            return
        exchange.order, exchange.held = order, held
        try:
            await forward(exchange)
            if exchange.client.ended:
                # It gave up, most likely: few HTTP clients end their side and go on reading.
                order.left()
        except Failed as error:
            await order.end(None if error.outcome == NOT_SENT else State.UNKNOWN)
            raise
        except (ClientDisconnected, ClientSlow):
            if exchange.committed:
                order.left()
            raise
        finally:
            if not order.is_over:
                order.abandon(may_be_placed=exchange.committed)
    finally:
        if held is not None:
            held.close()


async def _hold(
    exchange: Exchange, bounds: Bounds, fingerprint: hashlib._Hash, piece: bytes
) -> HeldContent | None:
    """Take the whole content into `exchange.kept`; if it is too large for that, return it.

    piece: its beginning. Raises `Refused`, `Failed`, `ClientDisconnected`.
    """
    body = exchange.body
    held = HeldContent(fingerprint, max(bounds.max_replay, _ALWAYS_IN_MEMORY))
    try:
        if not body.done and body.size == 0 and exchange.request.expects:
            exchange.continued = True
            exchange.client.write(rewrite.CONTINUE)
        while True:
            if body.size > bounds.max_body:
                raise policy.too_large(bounds.max_body)  # noqa: TRY301 # closes what is held
            held.feed(piece)
            if body.done:
                break
            piece = await body.read(bounds.body_timeout)
    except BaseException as error:
        held.close()
        if isinstance(error, Gone | TimeoutError | grammar.Malformed):
            raise client_fault(error, exchange, bounds) from None
        if isinstance(error, OSError):
            raise Failed(ProblemKind.ORDER_STORE_AWAY, _NO_ROOM, outcome=NOT_SENT) from None
        raise
    if held.size > bounds.max_replay:
        exchange.kept = None
        return held
    exchange.kept = b"".join(held.pieces())
    held.close()
    return None


def _replay(exchange: Exchange, answer: Replay) -> None:
    """Give an answer that was given before."""
    out, exchange.keep_alive = rewrite.replay(
        answer, exchange.request, exchange.request_id, keep_alive=exchange.keep_alive
    )
    exchange.status = answer.status
    exchange.answered = True
    exchange.replayed_from = answer.first_id
    exchange.bytes_out = len(answer.content)
    exchange.client.write(out)
