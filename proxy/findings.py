"""What `check` finds, one value a line. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Mark(enum.Enum):
    """How a step went: the word, and the sign before it where signs can be shown."""

    OK = ("ok", "✓")
    WARNING = ("warning", "!")
    FAILED = ("FAILED", "✗")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer: the step, how it went, and whole sentences for a person."""

    mark: Mark
    step: str
    text: str
    #: What an object has beside these three, by name.
    more: tuple[tuple[str, object], ...] = ()

    def line(self, *, signs: bool) -> str:
        """Write it as one line; without `signs` in ASCII, as far as the text is."""
        word, sign = self.mark.value
        return f"{f'{sign} ' if signs else ''}{word:<7}  {self.step:<13}  {self.text}"


def ok(step: str, text: str, *more: tuple[str, object]) -> Finding:
    """Return a finding of a step that went well."""
    return Finding(Mark.OK, step, text, more)


def warning(step: str, text: str, *more: tuple[str, object]) -> Finding:
    """Return a finding that an operator should look at."""
    return Finding(Mark.WARNING, step, text, more)


def failed(step: str, text: str) -> Finding:
    """Return a finding without which the proxy would not work."""
    return Finding(Mark.FAILED, step, text)
