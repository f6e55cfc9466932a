"""`status`: `/status` becomes a few lines for a person, or JSON, and an exit status."""

import json
from typing import Any

import pytest

from proxy import standing
from proxy.settings import AdminSettings
from tests.ports import held_port
from tests.unit.test_healthcheck import answering

HEADLINE = {
    "state": "not_working",
    "text": "Not working. Telenor answers every call with 401, code 40103: no API product. Add it.",
    "since": 1_800_000_000.0,
    "failed": 45,
    "calls": 45,
    "caller": None,
}
TOKEN: dict[str, Any] = {
    "state": "fresh",
    "expires_in_seconds": 2537.4,
    "last_failure": None,
    "next_attempt_in_seconds": 2237.0,
}
PATH = "/corporate-mobile-subscriptions/v2/orders"
ORDER: dict[str, Any] = {
    "at": 1_800_000_060.0,
    "client": None,
    "client_address": None,
    "request_id": "order-1",
    "method": "POST",
    "path": PATH,
    "status": 502,
    "error": "connection_terminated",
}
EMPTY: dict[str, Any] = {"unknown_orders": [], "settings": {}, "certificates": []}


def asked(*, as_json: bool = False, **changes: Any) -> int:
    """Run the command against a proxy with such a status; return its exit status."""
    shown = {"headline": HEADLINE, "token": TOKEN, **EMPTY, **changes}
    shown.setdefault("unknown_orders_counted", len(shown["unknown_orders"]))
    content = json.dumps(shown).encode()
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + content) as (port, received):
        status = standing.run(AdminSettings(port=port), as_json=as_json)
    assert received == [b"GET /status HTTP/1.0\r\n\r\n"]
    return status


def test_not_working_is_1_with_the_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """The page's sentence, since when, how many calls of whom, and the token."""
    for changes, share in (
        ({}, "45 of the last 45 calls failed."),
        ({"failed": 1, "calls": 1}, "One call failed."),
        (
            {"failed": 3, "calls": 0, "caller": "erp"},
            "3 calls were turned away. The last one came from erp.",
        ),
    ):
        assert asked(headline=HEADLINE | changes) == 1
        assert capsys.readouterr().out.splitlines() == [
            HEADLINE["text"],
            f"Since 2027-01-15 08:00:00 UTC. {share}",
            "Token: valid, expires in 2537 s.",
        ]


@pytest.mark.parametrize(("state", "status"), [("working", 0), ("impaired", 1), ("not_working", 1)])
def test_only_working_is_0(state: str, status: int) -> None:
    """For scripts."""
    assert asked(headline={**HEADLINE, "state": state, "since": None, "calls": 0}) == status


LOOK = "Do not send one again before: the API may have placed it."


def test_orders_to_look_up_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """The newest ones, with time, client or its address, method, path and request id."""
    erp = {"client": "erp", "client_address": "10.0.0.8", "request_id": "order-2"}
    unnamed = {"client_address": "10.0.0.7", "request_id": "order-3"}
    orders = [ORDER | erp, ORDER | unnamed, ORDER]
    asked(unknown_orders=orders, unknown_orders_counted=9)
    at = "  2027-01-15 08:01:00 UTC"
    assert capsys.readouterr().out.splitlines()[-4:] == [
        f"9 orders to look up, the newest 3 of them here. {LOOK}",
        f"{at}  erp  POST {PATH}  request id order-2",
        f"{at}  10.0.0.7  POST {PATH}  request id order-3",
        f"{at}  POST {PATH}  request id order-1",
    ]
    asked(unknown_orders=[ORDER])
    assert "\n1 order to look up. Do not" in capsys.readouterr().out
    asked(unknown_orders=[ORDER | {"request_id": f"order-{number}"} for number in range(40)])
    lines = capsys.readouterr().out.splitlines()
    assert f"40 orders to look up, the newest 15 of them here. {LOOK}" in lines
    shown = [line.rpartition(" ")[2] for line in lines if "request id" in line]
    assert shown == [f"order-{number}" for number in range(15)]


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
def test_the_token_is_shown(
    changes: dict[str, object], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its state, its end, and the next attempt after a failure."""
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
def test_a_certificate_that_ends_is_shown(
    judged: str, line: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """From 14 days before its end."""
    asked(certificates=[{"what": "api", "not_after": 1_800_000_000.0, "standing": judged}])
    shown = [text for text in capsys.readouterr().out.splitlines() if "certificate" in text]
    assert shown == ([] if line is None else [line])


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
    """With the address on standard error."""
    with held_port() as held:
        port = held.getsockname()[1]
        assert standing.run(AdminSettings(port=port), as_json=False) == 1
    refused = f"nothing answers at the admin listener, 127.0.0.1 port {port}"
    assert refused in capsys.readouterr().err
    assert standing.run(AdminSettings(port=0), as_json=False) == 1


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\n\r\n[]", b"HTTP/1.1 200 OK\r\n\r\n{}"]
)
def test_another_server_there_is_1(answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a traceback."""
    with answering(answer) as (port, _):
        assert standing.run(AdminSettings(port=port), as_json=True) == 1
    assert "is no telenor-proxy" in capsys.readouterr().err
