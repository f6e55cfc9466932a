"""What a store of records has to do. Three do it: memory.py, sqlite.py, shared.py.

Laws
1. A change is remembered when its call returns. That to SENT returns only after the record would
   survive a crash of the process, and of the machine where the store can promise that.
2. Each change names the claim that it is made for. A claim that the record no longer has changes
   nothing, and raises `ClaimLost`.
3. Each change may be made twice, because a caller that heard nothing of the first repeats it. The
   second one changes nothing.
4. A call ends within seconds. If the store cannot do it, that raises `StoreAway`.
5. A call whose caller was cancelled may have been made.
"""

import errno
import os
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from proxy.errors import ProxyError
from proxy.orders.states import Answer, OrderRecord, State

T = TypeVar("T")
#: What a store in memory returns at once, and others let the caller await.
Soon: TypeAlias = T | Coroutine[Any, Any, T]

#: Of what a store keeps of an order. A store of a newer version is left as it is.
VERSION: Final = 1
#: Records that a shared store holds at most: some ten orders a second for a day.
MAX_RECORDS: Final = 1_000_000
#: Unknown records that a summary names: as many as the status page.
SHOWN: Final = 300
#: Records that one listing gives.
LISTED: Final = 10_000


class StoreAway(ProxyError):
    """The store cannot be used now. Its text says why, in words, and what to do."""


class ClaimLost(ProxyError):
    """The record is no longer the caller's: it was dropped, or it ended."""


def unwritable(error: OSError) -> str:
    """Say why a file of records cannot be written, and what to do."""
    if error.errno == errno.ENOENT:
        return "its directory does not exist. Make it, and let the proxy's user write it"
    if error.errno == errno.EISDIR:
        return "it is a directory. Name a file, such as orders.db in it"
    reason = os.strerror(error.errno) if error.errno else "the system gives no reason"
    return (
        f"the file cannot be written: {reason}. "
        "Let the user that the proxy runs as write it and its directory"
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """What a store holds. unknown: the number of those; oldest first, `records` has some."""

    held: int = 0
    unknown: int = 0
    records: Sequence[OrderRecord] = ()


class Store(Protocol):
    """Where orders are remembered. One object is one owner of claims."""

    owner: str

    def reserve(self, record: OrderRecord) -> Soon[OrderRecord | None]:
        """Remember a new record, unless there is one with its id: then return that one."""

    def enter(self, record: OrderRecord, state: State, answer: Answer | None = None) -> Soon[None]:
        """Let it enter a state of `states.BEFORE`; its time, if it has one, begins anew.

        answer: given with ANSWERED, and only then.
        """

    def release(self, record: OrderRecord) -> Soon[bool]:
        """Drop it if it is still that claim's, in whatever state; say whether it was."""

    def look_up(self, order_id: str) -> Soon[OrderRecord | None]:
        """Return the record, None if there is none."""

    async def listing(self, *, unknown: bool, most: int = LISTED) -> Sequence[OrderRecord]:
        """Return what is remembered, oldest first, without contents; with `unknown` only those."""

    async def forget(self, order_id: str) -> bool:
        """Drop it by an operator's word, unless it is under way; say whether it was dropped."""

    async def upkeep(self) -> Summary:
        """Drop what is over, note whose process died, and say what is held. Every few seconds."""

    async def close(self) -> None:
        """End. The claims end too."""
