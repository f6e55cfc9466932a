"""The life of one record, and what a repetition of its order gets. Pure.

    state     | sent      answered  unknown   release   its process died
    ----------+------------------------------------------------------------
    reserved  | sent      -         -         dropped   dropped
    sent      | sent      answered  unknown   dropped   unknown
    answered  | -         answered  -         dropped   answered
    unknown   | -         answered  unknown   dropped   unknown

`release` is proof that the order was not acted on. `-` cannot happen: the store refuses it. A
process that was taken for dead, because it could not reach the store, may still end its order. An
operator's `forget` drops `answered` and `unknown`; an order under way cannot be forgotten.
`reserved` and `answered` are dropped when their time is over, counted from the last change.
`unknown` has no end but `forget`, except in a record of the guard, which ends with its time.

    the same key again while the record is | then
    ---------------------------------------+----------------------------------------------
    of another method, target or content   | 422
    reserved, sent                         | 409 with Retry-After
    answered                               | the same answer; 409 if its content was too large
    unknown                                | 409, until an operator forgets it
    dropped                                | sent
"""

import enum
from typing import Final, NamedTuple

#: Bytes of an answer's content that are kept. Of a larger one, status and fields are.
MAX_CONTENT: Final = 65_536

#: Codes of the gateway in a 5xx that say that it did not pass the call on: it failed to validate
#: the acr, or the subscription (Telenor's developer pages, "Error codes").
NOT_ACTED_ON: Final = frozenset({"50002", "50003"})

_SERVER_ERRORS: Final = 500
# 401: the gateway decides before the order reaches the API. 425: RFC 8470 section 5.2, not
# processed. 429: RFC 6585 section 4, over the limit.
_NOT_ACCEPTED: Final = frozenset({401, 425, 429})
# Says that the request came incomplete; a gateway may mean its own wait for the API.
_REQUEST_TIMEOUT: Final = 408


class State(enum.StrEnum):
    """The state of a record."""

    RESERVED = "reserved"
    SENT = "sent"
    ANSWERED = "answered"
    UNKNOWN = "unknown"


#: The states in which a record may be when it enters one, by the table above. A change that is made
#: twice changes nothing the second time, so each is among its own.
BEFORE: Final = {
    State.SENT: frozenset({State.RESERVED, State.SENT}),
    State.ANSWERED: frozenset({State.SENT, State.UNKNOWN, State.ANSWERED}),
    State.UNKNOWN: frozenset({State.SENT, State.UNKNOWN}),
}
#: States of an order under way.
OPEN: Final = frozenset({State.RESERVED, State.SENT})


class Answer(NamedTuple):
    """What the API answered.

    fields: field lines as they went to the client, each with CRLF, without framing. content: None
    if it was too large to be kept.
    """

    status: int
    fields: bytes
    content: bytes | None


class OrderRecord(NamedTuple):
    """One order that is remembered.

    id: its name for operators, and its key in the store. claim: unlike that of any other
    reservation; `owner` is the part before the dot. key: None for one of the guard. client: its
    name, "" if clients have none. path: the target without its query. fingerprint: the SHA-256 that
    `key.fingerprint` begins. request_id: of the request that placed it. created_at: seconds since
    the epoch, for people. lifetime: seconds that it is remembered for.
    """

    id: str
    claim: str
    key: str | None
    client: str
    method: str
    path: str
    fingerprint: bytes
    request_id: str
    created_at: float
    lifetime: float
    state: State = State.RESERVED
    answer: Answer | None = None

    @property
    def owner(self) -> str:
        """The process that placed it."""
        return self.claim.partition(".")[0]


def ending(status: int, code: str | None) -> State | None:
    """Return the state after an answer of the API; None drops the record.

    code: the API's error code in the answer, if it names one.
    """
    if status in _NOT_ACCEPTED:
        return None
    is_failure = status >= _SERVER_ERRORS and code not in NOT_ACTED_ON
    return State.UNKNOWN if is_failure or status == _REQUEST_TIMEOUT else State.ANSWERED


class Again(enum.StrEnum):
    """What a repetition gets."""

    REUSED = "reused"
    IN_FLIGHT = "in_flight"
    REPLAYED = "replayed"
    ANSWERED = "answered"
    UNKNOWN = "unknown"


def again(record: OrderRecord, fingerprint: bytes) -> Again:
    """Decide what a request gets whose key a record has."""
    if record.fingerprint != fingerprint:
        return Again.REUSED
    if record.state in OPEN:
        return Again.IN_FLIGHT
    if record.state is State.UNKNOWN or record.answer is None:
        return Again.UNKNOWN
    return Again.ANSWERED if record.answer.content is None else Again.REPLAYED


def after_death(state: State) -> State | None:
    """Return the state of a record whose process died, None if it is dropped."""
    if state is State.RESERVED:
        return None
    return State.UNKNOWN if state is State.SENT else state


def may_forget(state: str) -> bool:
    """Whether an operator may drop it: one under way could be placed twice."""
    return state not in OPEN


def has_end(state: State, *, guarded: bool) -> bool:
    """Whether a record in this state is dropped when its time is over."""
    return state is not State.SENT and (guarded or state is not State.UNKNOWN)
