"""Fixtures of the gateway's and the end-to-end tests, which serve here too.

Sockets, tasks and credentials are audited after each test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import api, http, start
from tests.gateway.conftest import certificates, lab, variant
from tests.reliability.house import House, house_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateway.conftest import Lab

__all__ = ["api", "certificates", "house", "http", "lab", "start", "variant"]


@pytest.fixture
async def house(lab: Lab) -> AsyncIterator[House]:
    """Build a house with the default settings."""
    async with house_of(lab) as built:
        yield built
