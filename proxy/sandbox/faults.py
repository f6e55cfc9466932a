"""What can be made to go wrong, as a table, and which of it is switched on.

A fault is an effect on the calls of one place: token endpoint, logout, API, and of the API only
what places an order. Per call one fault applies, and the delays of its places on top of it. Faults
with a count come first, the oldest first, so that several make a sequence; then those without one,
the newest first. Never: sockets; a call's own content.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal

from proxy.sandbox.messages import Delivery, SandboxAnswer, UsageError
from proxy.sandbox.published import (
    GATEWAY_ERRORS,
    JSON_TYPE,
    LOGOUT_ERRORS,
    TOKEN_ERRORS,
    PublishedError,
    find_error,
    json_answer,
    plain_error,
)
from proxy.sandbox.settings import read_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Where a call belongs, for counting.
Place = Literal["token", "logout", "api"]
#: Where a fault waits: `order` is the calls of `api` that place an order.
FaultPlace = Literal["token", "logout", "api", "order"]

#: Here the sandbox counts followed redirects: a client must not post its password anywhere
#: but to the token endpoint.
REDIRECTED_PATH: Final = "/_sandbox/redirected"

_ERROR_STATUSES: Final = frozenset(
    str(status.value) for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST
)


@dataclass(frozen=True, slots=True)
class Effect:
    """What a fault does to one call.

    acts: the call is carried out all the same. times: so often, if it is. error, answer: what is
    answered instead; an error takes the shape of the settings, an answer goes out as it is.
    delay_seconds: the call is carried out at once, and its answer held back for so long.
    """

    acts: bool = False
    times: int = 1
    error: PublishedError | None = None
    answer: SandboxAnswer | None = None
    delivery: Delivery = Delivery.WHOLE
    delay_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One row. effect: makes it from a value, by default `default`; raises UsageError."""

    name: str
    place: FaultPlace
    default: str | None
    effect: Callable[[object], Effect]


def _error(table: Sequence[PublishedError], value: object, *, acts: bool = False) -> Effect:
    return Effect(acts=acts, error=find_error(table, value))


def _status(value: object) -> Effect:
    if str(value) not in _ERROR_STATUSES:
        raise UsageError("the value must be the status of an error, such as 429 or 503")
    return Effect(error=plain_error(int(str(value))))


def _slow(value: object) -> Effect:
    return Effect(acts=True, delay_seconds=read_number(value))


def _redirect(value: object) -> Effect:
    # 307 is the dangerous one: it asks for the same method and the same body, password included
    # (RFC 9110 section 15.4.8).
    location = str(value)
    if not location or not location.isprintable() or " " in location or not location.isascii():
        raise UsageError("the value must be a URL, percent-encoded where needed")
    return Effect(answer=SandboxAnswer(307, fields=(("Location", location),)))


def _fixed(effect: Effect, value: object) -> Effect:
    if value is not None:
        raise UsageError("this fault takes no value")
    return effect


def _token_answer(body: bytes, content_type: str | None = JSON_TYPE) -> Callable[[object], Effect]:
    return partial(_fixed, Effect(answer=SandboxAnswer(200, body, content_type)))


_DROPPED: Final = partial(_fixed, Effect(delivery=Delivery.NONE))
_DROPPED_AFTER: Final = partial(_fixed, Effect(acts=True, delivery=Delivery.NONE))
_HALF: Final = partial(_fixed, Effect(acts=True, delivery=Delivery.HALF))
_SILENT: Final = partial(_fixed, Effect(acts=True, delivery=Delivery.SILENT))
_ANSWERED_TWICE: Final = partial(_fixed, Effect(acts=True, delivery=Delivery.TWICE))
_PLACED_TWICE: Final = partial(_fixed, Effect(acts=True, times=2))

#: A field injection into a client that copies the token into a header unchecked; RFC 6750 section
#: 2.1 allows none of these characters.
_ILLEGAL_TOKEN: Final = json_answer(
    200, {"access_token": "illegal\r\nX-Injected: ø", "expires_in": 3599, "token_type": "Bearer"}
)

FAULTS: Final[dict[str, FaultKind]] = {
    kind.name: kind
    for kind in (
        FaultKind("token_error", "token", "20", partial(_error, TOKEN_ERRORS)),
        FaultKind("token_status", "token", "503", _status),
        FaultKind("token_slow", "token", "5", _slow),
        FaultKind("token_empty", "token", None, _token_answer(b"", None)),
        FaultKind(
            "token_html",
            "token",
            None,
            _token_answer(b"<html><body>Please wait</body></html>\n", "text/html"),
        ),
        FaultKind("token_broken_json", "token", None, _token_answer(b'{"access_token": "cut o')),
        FaultKind(
            "token_missing",
            "token",
            None,
            _token_answer(b'{"expires_in": 3599, "token_type": "Bearer"}'),
        ),
        FaultKind("token_illegal", "token", None, partial(_fixed, Effect(answer=_ILLEGAL_TOKEN))),
        FaultKind("token_redirect", "token", REDIRECTED_PATH, _redirect),
        FaultKind("token_drop", "token", None, _DROPPED),
        FaultKind("token_drop_after", "token", None, _DROPPED_AFTER),
        FaultKind("token_half", "token", None, _HALF),
        FaultKind("logout_error", "logout", "2", partial(_error, LOGOUT_ERRORS)),
        FaultKind("logout_slow", "logout", "5", _slow),
        FaultKind("logout_drop", "logout", None, _DROPPED),
        FaultKind("api_error", "api", "40105", partial(_error, GATEWAY_ERRORS)),
        FaultKind("api_error_after", "api", "40105", partial(_error, GATEWAY_ERRORS, acts=True)),
        FaultKind("api_status", "api", "503", _status),
        FaultKind("api_slow", "api", "5", _slow),
        FaultKind("api_drop", "api", None, _DROPPED),
        FaultKind("api_drop_after", "api", None, _DROPPED_AFTER),
        FaultKind("api_half", "api", None, _HALF),
        FaultKind("order_slow", "order", "5", _slow),
        FaultKind("order_silent", "order", None, _SILENT),
        FaultKind("order_drop", "order", None, _DROPPED),
        FaultKind("order_drop_after", "order", None, _DROPPED_AFTER),
        FaultKind("order_half", "order", None, _HALF),
        FaultKind("order_answered_twice", "order", None, _ANSWERED_TWICE),
        FaultKind("order_placed_twice", "order", None, _PLACED_TWICE),
    )
}


@dataclass(slots=True)
class ActiveFault:
    """A fault that is switched on for `remaining` calls; None: until it is switched off."""

    kind: FaultKind
    value: object
    effect: Effect
    remaining: int | None

    def shown(self) -> dict[str, object]:
        """For the control API."""
        return {"name": self.kind.name, "value": self.value, "remaining": self.remaining}


def make_fault(name: object, value: object = None, count: object = None) -> ActiveFault:
    """Make a fault from outside input. Raises UsageError, which says what there is."""
    kind = FAULTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise UsageError(f"unknown fault {name!r}; known: {', '.join(FAULTS)}")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        raise UsageError(f"{kind.name}: the count must be a whole number, 0 or more")
    used = kind.default if value is None else value
    try:
        return ActiveFault(kind, used, kind.effect(used), count)
    except UsageError as error:
        raise UsageError(f"{kind.name}: {error}") from None


class Faults:
    """The faults that are switched on, at most one of each name."""

    def __init__(self) -> None:
        self._active: dict[str, ActiveFault] = {}

    def set(self, fault: ActiveFault) -> None:
        """Switch it on, instead of one of the same name; a count of 0 only switches that off."""
        self._active.pop(fault.kind.name, None)
        if fault.remaining != 0:
            self._active[fault.kind.name] = fault

    def clear(self) -> None:
        """Switch all of them off."""
        self._active.clear()

    def shown(self) -> list[dict[str, object]]:
        """For the control API."""
        return [fault.shown() for fault in self._active.values()]

    def take(self, *places: FaultPlace) -> list[ActiveFault]:
        """Take what meets the next call of these places: at most one fault, and the delays."""
        here = [fault for fault in self._active.values() if fault.kind.place in places]
        delays = [fault for fault in here if fault.effect.delay_seconds is not None]
        others = [fault for fault in here if fault.effect.delay_seconds is None]
        counted = [fault for fault in others if fault.remaining is not None]
        taken = delays + (counted[:1] or others[-1:])
        for fault in taken:
            if fault.remaining is not None:
                fault.remaining -= 1
                if fault.remaining == 0:
                    del self._active[fault.kind.name]
        return taken
