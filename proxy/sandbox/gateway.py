"""One call of the stand-in: its place, what the faults make of it, what is counted.

Never: sockets, waiting.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from proxy.sandbox.backend import ORDERS, api
from proxy.sandbox.faults import Place
from proxy.sandbox.login import LOGOUT_PATH, TOKEN_PATH, logout, token
from proxy.sandbox.messages import Call, Delivery, Reply, SandboxAnswer, UsageError
from proxy.sandbox.published import SandboxRefusal, error_answer, plain_error
from proxy.sandbox.state import Sandbox

_ENDPOINTS: Final[dict[Place, Callable[[Sandbox, Call], SandboxAnswer]]] = {
    "token": token,
    "logout": logout,
    "api": api,
}
#: Codes after which a new token helps; RFC 6750 section 3.1 calls both of them invalid_token.
_INVALID_TOKEN: Final = frozenset({40105, 40106})
#: Statuses with which RFC 9110 section 15.6.4 and RFC 6585 section 4 connect Retry-After.
_RETRY_LATER: Final = frozenset({429, 503})
_UNAUTHORIZED: Final = 401
#: Stands for the answer of a call that was dropped and never carried out; it is not sent. The
#: number is NGINX's for that case.
_NOTHING: Final = SandboxAnswer(444)


def place_of(path: str) -> Place:
    """Return the place that a path belongs to."""
    if path == TOKEN_PATH:
        return "token"
    return "logout" if path == LOGOUT_PATH else "api"


def reply(sandbox: Sandbox, call: Call) -> Reply:
    """Carry the call out, or not, as the faults say, and count it."""
    place = place_of(call.path)
    is_order = call.method == "POST" and call.path in ORDERS
    faults = sandbox.faults.take(place, *(["order"] if is_order else []))
    effects = [fault.effect for fault in faults]
    answer = _NOTHING
    if all(effect.acts for effect in effects):
        for _ in range(max((effect.times for effect in effects), default=1)):
            answer = _carry_out(place, sandbox, call)
    for effect in effects:
        if effect.error is not None:
            answer = error_answer(effect.error, sandbox.settings.error_shape)
        answer = effect.answer or answer
    made = Reply(
        answer=_with_fields(sandbox, place, answer),
        delay_seconds=sum(effect.delay_seconds or 0 for effect in effects),
        delivery=next(
            (e.delivery for e in effects if e.delivery is not Delivery.WHOLE), Delivery.WHOLE
        ),
        faults=tuple(fault.name for fault in faults),
    )
    sandbox.record(place, made)
    return made


def _carry_out(place: Place, sandbox: Sandbox, call: Call) -> SandboxAnswer:
    try:
        return _ENDPOINTS[place](sandbox, call)
    except SandboxRefusal as refusal:
        error, note = refusal.error, refusal.note
    except UsageError as wrong:
        error, note = plain_error(400, str(wrong)), ""
    return error_answer(error, sandbox.settings.error_shape, note)


def _with_fields(sandbox: Sandbox, place: Place, answer: SandboxAnswer) -> SandboxAnswer:
    """Add what the settings say about Retry-After and WWW-Authenticate."""
    added: list[tuple[str, str]] = []
    seconds = sandbox.settings.retry_after_seconds
    if answer.status in _RETRY_LATER and seconds is not None:
        added.append(("Retry-After", f"{seconds:.0f}"))
    if answer.status == _UNAUTHORIZED and sandbox.settings.www_authenticate:
        scheme = "Basic" if place == "token" else "Bearer"
        error = ', error="invalid_token"' if answer.code in _INVALID_TOKEN else ""
        added.append(("WWW-Authenticate", f'{scheme} realm="sandbox"{error}'))
    return replace(answer, fields=(*answer.fields, *added))
