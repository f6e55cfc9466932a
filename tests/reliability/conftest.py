"""Fixtures of the gateway's and the end-to-end tests, and a scripted token endpoint and API.

Sockets, tasks and credentials are audited after each test.
"""

from collections.abc import AsyncIterator
from typing import Final

import pytest

from tests.e2e.conftest import api, http, start
from tests.gateway.conftest import Lab, certificates, lab, variant
from tests.reliability.house import House, house_of
from tests.scripted import Act, Flood, Received, ScriptedServer, Steps, reply

__all__ = ["api", "certificates", "house", "http", "lab", "start", "variant"]

#: A call of the first is never answered; that of the second with 200 MB.
HANGS: Final = b"/corporate-accounts/hangs"
BIG: Final = b"/corporate-accounts/big"
_PIECE, _PIECES = b"x" * 65_536, 200 * 16


def answers(seen: Received) -> Steps:
    """Be token endpoint and API."""
    if seen.target.startswith(b"/oauth/"):
        grant = b'{"access_token": "token-of-the-test-1", "expires_in": 3600}'
        return [Act.WHOLE, reply(200, grant)]
    if seen.target == BIG:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(_PIECE) * _PIECES)
        return [head, Flood(_PIECE, _PIECES)]
    return [Act.WHOLE] if seen.target == HANGS else [Act.WHOLE, reply(200, seen.target)]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedServer]:
    """Run the token endpoint and API of a process."""
    async with ScriptedServer() as made:
        made.usual = answers
        yield made


@pytest.fixture
def many_files() -> None:
    """Let this process have 4096 descriptors; skip if the system does not allow that."""
    import resource  # noqa: PLC0415 # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip(f"no more than {hard} descriptors may be had here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))


@pytest.fixture
async def house(lab: Lab) -> AsyncIterator[House]:
    """Build a house with the default settings."""
    async with house_of(lab) as built:
        yield built
