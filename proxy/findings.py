"""What `check` finds: a value for each line of its answer. Pure."""

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
