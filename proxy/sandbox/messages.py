"""The values that the parts of the sandbox hand to each other. Never: sockets, clocks, state."""

import argparse
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson


class UsageError(argparse.ArgumentTypeError):
    """The sandbox does not have what was asked for; the message says what exists.

    argparse shows the message of its own type as it is.
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
    """One request as sent: query without `?`; fields with their order, case and duplicates."""

    method: str
    path: str
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    query: str = ""

    def all(self, name: str) -> list[str]:
        """Every value of the field, in the order in which they came."""
        return [value for given, value in self.fields if given.lower() == name.lower()]

    def first(self, name: str) -> str | None:
        """Return the first value of the field, or None."""
        return next(iter(self.all(name)), None)

    def json_object(self) -> dict[str, Any]:
        """Read the body. Raises UsageError if it is no JSON object."""
        try:
            content = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            content = None
        if not isinstance(content, dict):
            raise UsageError("the body must be a JSON object")
        return content


@dataclass(frozen=True, slots=True)
class SandboxAnswer:
    """One response.

    code: Telenor's error code, if it stands for one; it is counted and logged, whatever shape the
    content has. note: why, for the sandbox's own log; a fixed sentence, never a part of the
    request.
    """

    status: int
    body: bytes = b""
    content_type: str | None = None
    fields: tuple[tuple[str, str], ...] = ()
    code: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and how it is delivered. faults: the names of those that had a part in it."""

    answer: SandboxAnswer
    delay_seconds: float = 0
    delivery: Delivery = Delivery.WHOLE
    faults: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """The status, or `dropped` or `silent` when the caller saw none, for counters and log."""
        unseen = {Delivery.NONE: "dropped", Delivery.SILENT: "silent"}
        return unseen.get(self.delivery, str(self.answer.status))
