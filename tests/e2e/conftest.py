"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.e2e.process import DEADLINE, Api, Starter, serving_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """Run the stand-in for the API, without TLS."""
    async with serving_api() as api:
        yield api


@pytest.fixture
async def tls_api(tmp_path: Path) -> AsyncIterator[Api]:
    """Run the stand-in for the API over TLS."""
    async with serving_api(tmp_path) as api:
        yield api


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Starter]:
    """Start commands; all of them end with the test."""
    async with Starter(tmp_path) as starter:
        yield starter


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Be a client, as an order system would be."""
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session
