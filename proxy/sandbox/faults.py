"""What can be made to go wrong, as a table, and which of it is switched on.

A fault is an effect on the calls of one place: token endpoint, logout, API, and of the API only
what places an order. Per call one fault applies, and the delays of its places on top of it. Faults
with a count come first, the oldest first, so that several make a sequence; then those without one,
the newest first. Never: sockets; a call's own content.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final, Literal

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

#: Where a call belongs, for counting.
Place = Literal["token", "logout", "api"]

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
    """One row. effect: fixed, or made from a value, by default `default`; raises UsageError."""

    effect: Effect | Callable[[object], Effect]
    default: str | None = None


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


def _token_answer(body: bytes, content_type: str | None = JSON_TYPE) -> FaultKind:
    return FaultKind(Effect(answer=SandboxAnswer(200, body, content_type)))


_DROPPED: Final = FaultKind(Effect(delivery=Delivery.NONE))
_DROPPED_AFTER: Final = FaultKind(Effect(acts=True, delivery=Delivery.NONE))
_HALF: Final = FaultKind(Effect(acts=True, delivery=Delivery.HALF))
#: A field injection into a client that copies the token into a header unchecked; RFC 6750 section
#: 2.1 allows none of these characters.
_ILLEGAL_TOKEN: Final = json_answer(
    200, {"access_token": "illegal\r\nX-Injected: ø", "expires_in": 3599, "token_type": "Bearer"}
)

#: By name, which begins with the place: `order` is the calls of `api` that place an order.
FAULTS: Final = {
    "token_error": FaultKind(partial(_error, TOKEN_ERRORS), "20"),
    "token_status": FaultKind(_status, "503"),
    "token_slow": FaultKind(_slow, "5"),
    "token_empty": _token_answer(b"", None),
    "token_html": _token_answer(b"<html><body>Please wait</body></html>\n", "text/html"),
    "token_broken_json": _token_answer(b'{"access_token": "cut o'),
    "token_missing": _token_answer(b'{"expires_in": 3599, "token_type": "Bearer"}'),
    "token_illegal": FaultKind(Effect(answer=_ILLEGAL_TOKEN)),
    "token_redirect": FaultKind(_redirect, REDIRECTED_PATH),
    "token_drop": _DROPPED,
    "token_drop_after": _DROPPED_AFTER,
    "token_half": _HALF,
    "logout_error": FaultKind(partial(_error, LOGOUT_ERRORS), "2"),
    "logout_slow": FaultKind(_slow, "5"),
    "logout_drop": _DROPPED,
    "api_error": FaultKind(partial(_error, GATEWAY_ERRORS), "40105"),
    "api_error_after": FaultKind(partial(_error, GATEWAY_ERRORS, acts=True), "40105"),
    "api_status": FaultKind(_status, "503"),
    "api_slow": FaultKind(_slow, "5"),
    "api_drop": _DROPPED,
    "api_drop_after": _DROPPED_AFTER,
    "api_half": _HALF,
    "order_slow": FaultKind(_slow, "5"),
    "order_silent": FaultKind(Effect(acts=True, delivery=Delivery.SILENT)),
    "order_drop": _DROPPED,
    "order_drop_after": _DROPPED_AFTER,
    "order_half": _HALF,
    "order_answered_twice": FaultKind(Effect(acts=True, delivery=Delivery.TWICE)),
    "order_placed_twice": FaultKind(Effect(acts=True, times=2)),
}


@dataclass(slots=True)
class ActiveFault:
    """A fault that is switched on for `remaining` calls; None: until it is switched off."""

    name: str
    value: object
    effect: Effect
    remaining: int | None

    @property
    def place(self) -> str:
        """Which calls it meets: those of `token`, `logout`, `api` or `order`."""
        return self.name.partition("_")[0]


def make_fault(name: object, value: object = None, count: object = None) -> ActiveFault:
    """Make a fault from outside input. Raises UsageError, which says what there is."""
    if not isinstance(name, str) or name not in FAULTS:
        raise UsageError(f"unknown fault {name!r}; known: {', '.join(FAULTS)}")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        raise UsageError(f"{name}: the count must be a whole number, 0 or more")
    kind = FAULTS[name]
    if isinstance(kind.effect, Effect):
        if value is not None:
            raise UsageError(f"{name}: this fault takes no value")
        return ActiveFault(name, None, kind.effect, count)
    used = kind.default if value is None else value
    try:
        return ActiveFault(name, used, kind.effect(used), count)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


class Faults:
    """The faults that are switched on, at most one of each name."""

    def __init__(self) -> None:
        self._active: dict[str, ActiveFault] = {}

    def set(self, fault: ActiveFault) -> None:
        """Switch it on, instead of one of the same name; a count of 0 only switches that off."""
        self._active.pop(fault.name, None)
        if fault.remaining != 0:
            self._active[fault.name] = fault

    def shown(self) -> list[dict[str, object]]:
        """For the control API."""
        return [
            {"name": fault.name, "value": fault.value, "remaining": fault.remaining}
            for fault in self._active.values()
        ]

    def take(self, *places: str) -> list[ActiveFault]:
        """Take what meets the next call of these places: at most one fault, and the delays."""
        here = [fault for fault in self._active.values() if fault.place in places]
        delays = [fault for fault in here if fault.effect.delay_seconds is not None]
        others = [fault for fault in here if fault.effect.delay_seconds is None]
        counted = [fault for fault in others if fault.remaining is not None]
        taken = delays + (counted[:1] or others[-1:])
        for fault in taken:
            if fault.remaining is not None:
                fault.remaining -= 1
                if fault.remaining == 0:
                    del self._active[fault.name]
        return taken
