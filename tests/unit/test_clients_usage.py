"""What each client has done, as `/status` shows it."""

from __future__ import annotations

from proxy.clients.usage import Usage
from proxy.records import Record


def record(
    client: str | None, status: int = 200, *, refused: bool = False, error: str | None = None
) -> Record:
    """Return a finished request of that client."""
    return Record("id", "GET", "/a", status, 0.01, error=error, refused=refused, client=client)


def test_calls_and_refusals_are_counted_by_client() -> None:
    """A refusal is the proxy's own, by its rules or the client's rate."""
    now = [1_800_000_000.0]
    usage = Usage(lambda: now[0])
    usage.follow(["erp", "shop"])
    usage(record("erp"))
    usage(record("erp", 404))
    usage(record("erp", 403, refused=True, error="client-not-allowed"))
    usage(record("erp", 429, error="http_request_denied"))
    now[0] += 5
    usage(record("erp", 502, error="connection_refused"))
    usage(record(None))
    usage(record("unknown"))
    assert usage.by_name({"erp": [None, 1_800_000_001.0], "shop": []}) == [
        {
            "name": "erp",
            "calls": 5,
            "refused": 2,
            "last_call_at": 1_800_000_005.0,
            "keys": [
                {"position": 1, "last_used_at": None},
                {"position": 2, "last_used_at": 1_800_000_001.0},
            ],
        },
        {"name": "shop", "calls": 0, "refused": 0, "last_call_at": None, "keys": []},
    ]


def test_counts_follow_the_settings() -> None:
    """A client that stays keeps its counts; a removed one is no longer shown."""
    usage = Usage(lambda: 1.0)
    usage.follow(["erp", "shop"])
    usage(record("erp"))
    usage(record("shop"))
    usage.follow(["web", "erp"])
    assert [(row["name"], row["calls"]) for row in usage.by_name({})] == [("web", 0), ("erp", 1)]
