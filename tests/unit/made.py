"""Valid settings with made-up credentials, for the unit tests."""

from __future__ import annotations

from typing import Any, Final

from proxy.settings import Settings, judge

OAUTH: Final = {"client_id": "c", "client_secret": "s", "username": "u", "password": "p"}


def settings(*, oauth: dict[str, Any] | None = None, **sections: dict[str, Any]) -> Settings:
    """Return settings with these sections, written as in the file."""
    return judge({**sections, "oauth": OAUTH | (oauth or {})}, {})
