"""Fixtures of the status page's tests."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.e2e.conftest import api, http, start  # noqa: F401 # fixtures
from tests.page import browser, staged


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Chromium]:
    """Start the browser, once for all tests."""
    program = browser.find()
    if program is None:
        missing = "Chromium is not installed (Debian: apt-get install chromium)"
        if os.environ.get("CI", "") not in {"", "false"}:
            pytest.fail(missing)
        pytest.skip(missing)
    started = browser.Chromium(program, tmp_path_factory.mktemp("chromium"))
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
async def tab(chromium: browser.Chromium) -> AsyncIterator[browser.Tab]:
    """Open a tab of an English reader in Oslo."""
    async with browser.tab(chromium) as opened:
        yield opened


@pytest.fixture
async def stage() -> AsyncIterator[staged.Stage]:
    """Serve the admin listener of a proxy that works and is an hour old."""
    async with staged.serving(staged.Stage()) as stage:
        yield stage
