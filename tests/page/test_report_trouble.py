"""What the report adds for the page.

Failures that noise cannot hide, and no path but of an order to look up.
"""

from __future__ import annotations

import json
from typing import Any

from tests.page.staged import Stage


def test_refused_requests_hide_no_failure() -> None:
    """A client that is refused a hundred times leaves the one real failure in the list.

    The newest come first.
    """
    stage = Stage()
    stage.call(502, error="connection_refused", request_id="the-one")
    for number in range(100):
        stage.clock.suspend(1)
        stage.call(403, error="client-key", refused=True, request_id=f"noise-{number}")
    failures: Any = stage.report.status()["last_failures"]
    assert [failure["request_id"] for failure in failures][-1] == "the-one"
    assert failures[0]["request_id"] == "noise-99"
    assert len(failures) == 21
    assert failures[-1]["refused"] is False


def test_paths_and_secrets_are_not_in_the_status() -> None:
    """A path can hold a phone number; a setting that is secret is only said to be set."""
    stage = Stage()
    stage.call(
        502, error="connection_refused", path="/corporate-mobile-subscriptions/v1/4799885577"
    )
    text = json.dumps(stage.report.status())
    assert "4799885577" not in text
    assert "Sentinel" not in text
