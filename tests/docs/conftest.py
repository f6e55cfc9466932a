"""Fixtures of the tests that run what the documentation says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.process import Api, Starter, serving_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """Run the stand-in for the API."""
    async with serving_api() as api:
        yield api


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Starter]:
    """Start commands; all of them end with the test."""
    starter = Starter(tmp_path)
    try:
        yield starter
    finally:
        await starter.close()
