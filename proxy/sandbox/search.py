"""The parameters of the Info API's lists, with the rules that Telenor has published for them.

`productId` or `since` (changed within so many seconds), not both; `ascending`; `page` from 0;
`pageSize` from 1 to 1,000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import parse_qsl

from proxy.sandbox.messages import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_Entry = TypeVar("_Entry")

#: Published: `pageSize` is from 1 to 1,000.
MAX_PAGE_SIZE: Final = 1000
#: Not published. The largest one, so that a small list comes whole.
_DEFAULT_PAGE_SIZE: Final = MAX_PAGE_SIZE
#: Longer numbers mean nothing here, and `int` is slow with very long ones.
_MAX_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted. number: from 0. size: entries a page."""

    number: int = 0
    size: int = _DEFAULT_PAGE_SIZE

    def of(self, entries: Sequence[_Entry]) -> list[_Entry]:
        """Cut the page out of the whole list; one behind its end is empty."""
        begin = self.number * self.size
        return list(entries[begin : begin + self.size])


@dataclass(frozen=True, slots=True)
class Search:
    """A search for subscriptions. Exactly one of `product_id` and `since_seconds` is given."""

    product_id: str | None
    since_seconds: int | None
    ascending: bool
    page: Page


def read_page(query: str) -> Page:
    """Read `page` and `pageSize` out of a raw query. Raises UsageError with the broken rule."""
    return _page(_parameters(query))


def read_search(query: str) -> Search:
    """Read a search for subscriptions out of a raw query. Raises UsageError with the rule."""
    given = _parameters(query)
    product_id, since = given.get("productId"), given.get("since")
    if product_id is not None and since is not None:
        raise UsageError("productId and since cannot be used together")
    if not product_id and since is None:
        raise UsageError("One of the search parameters productId and since is required")
    ascending = given.get("ascending", "true")
    if ascending not in {"true", "false"}:
        raise UsageError("ascending must be true or false")
    seconds = None if since is None else _number("since", since)
    return Search(product_id, seconds, ascending == "true", _page(given))


def _parameters(query: str) -> dict[str, str]:
    """Read the parameters by name, the last one where a name comes twice."""
    return dict(parse_qsl(query, keep_blank_values=True))


def _page(given: dict[str, str]) -> Page:
    size = _number("pageSize", given.get("pageSize", str(_DEFAULT_PAGE_SIZE)))
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise UsageError(f"pageSize must be a number from 1 to {MAX_PAGE_SIZE}")
    return Page(_number("page", given.get("page", "0")), size)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise UsageError(f"{name} must be a whole number, 0 or more")
    return int(text)
