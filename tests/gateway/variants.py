"""What these tests run on: listener plain or TLS, either transport, either event loop.

    pytest tests/gateway --listener tls --transport asyncio --loop uvloop

Without options each test runs once on plain TCP with aiofastnet, and the modules in `EVERYWHERE` on
each of `OTHERS` too. `make test-variants` runs all tests on the others. A test that holds on plain
TCP only gives the reason: `@pytest.mark.plain_tcp("reason")`.
"""

from dataclasses import dataclass
from typing import Final, Literal

import pytest


@dataclass(frozen=True, slots=True)
class Variant:
    """How clients reach the proxy, and what its connections are made of (`upstream.transport`)."""

    listener: Literal["plain", "tls"] = "plain"
    transport: Literal["fast", "asyncio"] = "fast"

    def __str__(self) -> str:
        """Name it in the name of a test."""
        return f"{self.listener}-{self.transport}"


PLAIN: Final = Variant()
OTHERS: Final = (Variant("tls"), Variant(transport="asyncio"), Variant("tls", "asyncio"))
#: Modules of tests whose laws depend most on how a connection ends.
EVERYWHERE: Final = frozenset({"test_closing", "test_resets", "test_truncation"})


def variants(config: pytest.Config, module: str) -> tuple[Variant, ...]:
    """Return what the tests of this module run on."""
    chosen = Variant(config.getoption("--listener"), config.getoption("--transport"))
    if chosen == PLAIN and config.getoption("--loop") == "asyncio" and module in EVERYWHERE:
        return (PLAIN, *OTHERS)
    return (chosen,)
