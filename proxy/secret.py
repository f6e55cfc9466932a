"""A text that nothing shows: neither `str`, `repr`, `format` nor a dump, and it cannot be pickled.

`Secret.reveal` is the one way to its characters; tests/unit/test_architecture.py names each place
that goes it.
"""

from __future__ import annotations

from typing import Never, final


@final
class Secret:
    """A password, a token or a key. Comparing two takes the same time wherever they differ."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the characters: only where they are checked, sent, compared or hidden."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('**********')"

    def __eq__(self, other: object) -> bool:
        import hmac  # noqa: PLC0415 # loads OpenSSL, 5 ms, and a health check compares nothing

        if not isinstance(other, Secret):
            return NotImplemented
        # The text may be anything, also what is no UTF-8.
        mine, theirs = (text.encode("utf-8", "surrogatepass") for text in (self._text, other._text))
        return hmac.compare_digest(mine, theirs)

    __hash__ = None  # type: ignore[assignment] # a hash would distinguish secrets

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> Never:
        raise TypeError("unpicklable secret")
