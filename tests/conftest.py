"""What holds for all tests: none of them fails because a machine is slow."""

import asyncio
import os
from collections.abc import Callable, Mapping

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_xdist_auto_num_workers() -> int:
    """Run two tests at once for each core: half of their time is waiting for sockets and clocks."""
    return 2 * (os.cpu_count() or 1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take what the tests of the gateway run on (tests/gateway/variants.py)."""
    group = parser.getgroup("gateway")
    group.addoption(
        "--listener", choices=("plain", "tls"), default="plain", help="what clients speak"
    )
    group.addoption(
        "--transport", choices=("fast", "asyncio"), default="fast", help="upstream.transport"
    )
    group.addoption(
        "--loop", choices=("asyncio", "uvloop"), default="asyncio", help="the event loop"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark of a test that holds on plain TCP only."""
    config.addinivalue_line("markers", "plain_tcp(reason): holds on plain TCP only")


def pytest_asyncio_loop_factories(
    config: pytest.Config,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the event loop that was chosen."""
    if config.getoption("--loop") == "asyncio":
        return {"asyncio": asyncio.new_event_loop}
    import uvloop  # noqa: PLC0415 # not on Windows

    return {"uvloop": uvloop.new_event_loop}
