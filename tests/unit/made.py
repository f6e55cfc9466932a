"""Valid settings with made-up credentials, for the unit tests."""

from pathlib import Path
from typing import Any, Final

import pytest

from proxy.errors import ConfigError
from proxy.records import Record
from proxy.settings import ENVIRONMENT_PREFIX, Settings, judge, load
from proxy.tokens.values import TokenState, TokenStatus

#: A call that went well.
RECORD: Final = Record(
    "id-1", "POST", "/orders/4799885577", 201, 0.2, upstream_seconds=0.1, attempts=1
)
#: The token's status before the first fetch, and with a token in force.
EMPTY: Final = TokenStatus(TokenState.EMPTY, 0, None, None, None, 0.0, 0, 0, 0, contended=False)
FRESH: Final = TokenStatus(TokenState.FRESH, 1, 3599.0, 1.0, None, 3299.0, 1, 0, 0, contended=False)
OAUTH: Final = {"client_id": "c", "client_secret": "s", "username": "u", "password": "p"}
#: The credentials in the environment.
CREDENTIALS: Final = {
    "TELENOR_PROXY_OAUTH__CLIENT_ID": "made-up-id",
    "TELENOR_PROXY_OAUTH__CLIENT_SECRET": "made-up-secret",
    "TELENOR_PROXY_OAUTH__USERNAME": "api0000000000",
    "TELENOR_PROXY_OAUTH__PASSWORD": "made-up-password",
}


def settings(*, oauth: dict[str, Any] | None = None, **sections: dict[str, Any]) -> Settings:
    """Return settings with these sections, written as in the file."""
    return judge({**sections, "oauth": OAUTH | (oauth or {})}, {})


def variable(path: str) -> str:
    """Return the environment variable of a setting."""
    return ENVIRONMENT_PREFIX + path.replace(".", "__").upper()


def problems(env: dict[str, str], path: Path | None = None) -> list[str]:
    """Load what cannot be loaded; return why."""
    with pytest.raises(ConfigError) as caught:
        load(path, env)
    return caught.value.problems
