"""Fixtures of the end-to-end tests."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.process import DEADLINE, Api, Running, Starter, configuration, serving_api


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


def _client() -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    return aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Give a client."""
    async with _client() as session:
        yield session


class Standing(NamedTuple):
    """A proxy for all tests that change nothing in it, its API, and a client.

    A test that calls the API, or the client, has `pytest.mark.asyncio(loop_scope="session")`.
    """

    proxy: Running
    api: Api
    http: aiohttp.ClientSession


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _standing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Standing]:
    async with (
        serving_api() as api,
        Starter(tmp_path_factory.mktemp("standing")) as start,
        _client() as http,
    ):
        config = configuration(
            api.url, upstream={"response_timeout_seconds": 1}, orders={"store": "memory"}
        )
        yield Standing(await start.ready(config), api, http)


@pytest.fixture
def standing(_standing: Standing) -> Standing:
    """Give the shared proxy, with an API that has seen nothing yet."""
    _standing.api.sandbox.reset()
    return _standing
