"""`status`: what `/status` says becomes a few lines for a person, or JSON, and an exit status."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from proxy import standing
from proxy.settings import AdminSettings
from tests.unit.test_healthcheck import answering

HEADLINE = {
    "state": "not_working",
    "text": "Not working. Telenor answers every call with 401, code 40103: no API product found. Add it.",
    "since": 1_800_000_000.0,
    "failed": 45,
    "calls": 45,
}
TOKEN: dict[str, Any] = {
    "state": "fresh",
    "expires_in_seconds": 2537.4,
    "last_failure": None,
    "next_attempt_in_seconds": 2237.0,
}
ORDER = {
    "at": 1_800_000_060.0,
    "client": None,
    "client_address": None,
    "request_id": "order-1",
    "method": "POST",
    "path": "/corporate-mobile-subscriptions/v2/orders",
    "status": 502,
    "error": "connection_terminated",
}


def asked(*, as_json: bool = False, **changes: Any) -> int:
    """Run the command against a proxy with such a status; give its exit status."""
    told: dict[str, Any] = {
        "headline": HEADLINE,
        "token": TOKEN,
        "unknown_orders": [],
        "settings": {},
        "certificates": [],
    }
    told |= changes
    told["unknown_orders_counted"] = changes.get(
        "unknown_orders_counted", len(told["unknown_orders"])
    )
    content = json.dumps(told).encode()
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + content) as (port, received):
        status = standing.run(AdminSettings(port=port), as_json=as_json)
    assert received == [b"GET /status HTTP/1.0\r\n\r\n"]
    return status


def test_not_working_is_1_with_the_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """The very sentence of the page, since when, how many calls, and the token."""
    assert asked() == 1
    assert capsys.readouterr().out.splitlines() == [
        HEADLINE["text"],
        "Since 2027-01-15 08:00:00 UTC. 45 of the last 45 calls failed.",
        "Token: valid, expires in 2537 s.",
    ]


@pytest.mark.parametrize(("state", "status"), [("working", 0), ("impaired", 1), ("not_working", 1)])
def test_only_working_is_0(state: str, status: int) -> None:
    """A script that asks can tell by the exit status alone."""
    assert asked(headline={**HEADLINE, "state": state, "since": None, "calls": 0}) == status


def test_only_the_newest_orders_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """How many there are, and so few of them that the sentence above stays on the terminal."""
    orders = [ORDER | {"request_id": f"order-{number}"} for number in range(40)]
    asked(unknown_orders=orders)
    lines = capsys.readouterr().out.splitlines()
    assert (
        "40 orders to look up, the newest 15 of them here. Do not send one again before: the API may have placed it."
        in lines
    )
    assert [line.rpartition(" ")[2] for line in lines if "request id" in line] == [
        f"order-{n}" for n in range(15)
    ]


def test_orders_to_look_up_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """With time, client (its address, if it has no name), method, path and request id, and the warning not to send them again."""
    asked(
        unknown_orders=[
            {**ORDER, "client": "erp", "client_address": "10.0.0.8", "request_id": "order-2"},
            {**ORDER, "client_address": "10.0.0.7", "request_id": "order-3"},
            ORDER,
        ],
        unknown_orders_counted=9,
    )
    assert capsys.readouterr().out.splitlines()[-4:] == [
        (
            "9 orders to look up, the newest 3 of them here. Do not send one again before: "
            "the API may have placed it."
        ),
        (
            "  2027-01-15 08:01:00 UTC  erp  POST /corporate-mobile-subscriptions/v2/orders  "
            "request id order-2"
        ),
        (
            "  2027-01-15 08:01:00 UTC  10.0.0.7  POST /corporate-mobile-subscriptions/v2/orders  "
            "request id order-3"
        ),
        "  2027-01-15 08:01:00 UTC  POST /corporate-mobile-subscriptions/v2/orders  request id order-1",
    ]
    asked(unknown_orders=[ORDER])
    assert "\n1 order to look up. Do not" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"state": "empty", "expires_in_seconds": None}, "Token: none."),
        ({"state": "expired", "expires_in_seconds": 0.0}, "Token: expired."),
        (
            {"state": "stale", "last_failure": {"code": "20"}, "next_attempt_in_seconds": 29.6},
            "Token: due for renewal, expires in 2537 s, next attempt in 30 s.",
        ),
    ],
)
def test_the_token_is_told(
    changes: dict[str, object], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its state, its end, and the next attempt when the last one failed."""
    asked(token=TOKEN | changes)
    assert capsys.readouterr().out.splitlines()[-1] == line


@pytest.mark.parametrize(
    ("judged", "line"),
    [
        ("good", None),
        ("soon", "The API's certificate ends at 2027-01-15 08:00:00 UTC."),
        ("urgent", "The API's certificate ends at 2027-01-15 08:00:00 UTC."),
        ("ended", "The API's certificate has ended: 2027-01-15 08:00:00 UTC."),
    ],
)
def test_a_certificate_that_ends_is_told(
    judged: str, line: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """From 14 days before its end on."""
    asked(certificates=[{"what": "api", "not_after": 1_800_000_000.0, "standing": judged}])
    told = [text for text in capsys.readouterr().out.splitlines() if "certificate" in text]
    assert told == ([] if line is None else [line])


def test_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """The same parts of `/status`, and nothing else."""
    assert asked(as_json=True, unknown_orders=[ORDER]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "headline": HEADLINE,
        "token": TOKEN,
        "unknown_orders": [ORDER],
        "unknown_orders_counted": 1,
        "certificates": [],
    }


def test_a_proxy_that_is_gone_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    """With where it was asked, on standard error."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert standing.run(AdminSettings(port=port), as_json=False) == 1
    assert (
        f"nothing answers at the admin listener, 127.0.0.1 port {port}" in capsys.readouterr().err
    )
    assert standing.run(AdminSettings(port=0), as_json=False) == 1


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\n\r\n[]", b"HTTP/1.1 200 OK\r\n\r\n{}"]
)
def test_somebody_else_there_is_1(answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever answers that is not the admin listener gives 1, and no traceback."""
    with answering(answer) as (port, _):
        assert standing.run(AdminSettings(port=port), as_json=True) == 1
    assert "is no telenor-proxy" in capsys.readouterr().err
