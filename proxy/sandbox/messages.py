"""The values that the parts of the sandbox hand to each other.

A call as it came in, an answer as it goes out.

Never: sockets, clocks, state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class UsageError(ValueError):
    """Somebody asked the sandbox for what it does not have.

    The message is a sentence for a person and says what exists.
    """


class Delivery(Enum):
    """How much of an answer the caller gets to see."""

    WHOLE = "whole"
    TWICE = "twice"  # the whole answer, and the same bytes once more behind it
    HALF = "half"  # the head, half of the content, then the connection is cut
    SILENT = "silent"  # nothing comes, and the connection stays open until the caller gives up
    NONE = "none"  # the connection is cut before the first byte


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    path, query: as they were sent, without the question mark between them.
    fields: in their order, with their spelling and their duplicates.
    """

    method: str
    path: str
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    query: str = ""

    def all(self, name: str) -> list[str]:
        """Every value of the field, in the order in which they came."""
        return [value for given, value in self.fields if given.lower() == name.lower()]

    def first(self, name: str) -> str | None:
        """Give the first value of the field, or None."""
        return next(iter(self.all(name)), None)


@dataclass(frozen=True, slots=True)
class SandboxAnswer:
    """One response.

    code: Telenor's error code, when the answer stands for one. It counts and is logged, whatever
    shape the content has. note: why the sandbox answered so, for its own log; the caller never sees
    it. A fixed sentence, never a part of the request.
    """

    status: int
    body: bytes = b""
    content_type: str | None = None
    fields: tuple[tuple[str, str], ...] = ()
    code: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and the way it is to be delivered.

    `faults` are the names of those that had a part in it.
    """

    answer: SandboxAnswer
    delay_seconds: float = 0
    delivery: Delivery = Delivery.WHOLE
    faults: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """The status, or `dropped` or `silent` when the caller saw none, for counters and log."""
        unseen = {Delivery.NONE: "dropped", Delivery.SILENT: "silent"}
        return unseen.get(self.delivery, str(self.answer.status))
