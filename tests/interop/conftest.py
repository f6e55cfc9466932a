"""Fixtures of the interoperability tests: the stand-in for the API, and proxies."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.process import Starter
from tests.interop.parts import Recorder


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    """Run the stand-in for the API and its recorder."""
    async with Recorder().running() as recorder:
        yield recorder


@pytest.fixture
async def starter(tmp_path: Path) -> AsyncIterator[Starter]:
    """Start proxies, which end with the test."""
    async with Starter(tmp_path) as starter:
        yield starter
