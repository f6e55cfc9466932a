"""The sandbox's control API: its pages, its refusals, and that no web page can use it."""

from typing import Any

import orjson
import pytest

from proxy.sandbox.control import control
from proxy.sandbox.messages import Call, SandboxAnswer
from proxy.sandbox.state import DEFAULT_CREDENTIALS, Sandbox

LOCAL = (("Host", "127.0.0.1:8081"),)


def ask(sandbox: Sandbox, method: str, page: str, body: object = None) -> SandboxAnswer:
    """Call the control API from this host."""
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return control(sandbox, Call(method, f"/_sandbox/{page}", LOCAL, raw), "127.0.0.1")


def content(made: SandboxAnswer) -> Any:
    """Read the answer's JSON."""
    assert made.content_type == "application/json"
    return orjson.loads(made.body)


def test_the_state_shows_settings_faults_and_counters_but_no_secret() -> None:
    """One JSON object without tokens and credentials."""
    sandbox = Sandbox()
    token, _ = sandbox.log_in()
    made = ask(sandbox, "GET", "state")
    shown = content(made)
    assert (made.status, shown.keys()) == (200, {"settings", "faults", "counters"})
    assert shown["counters"]["tokens_valid"] == 1
    secrets = (token, DEFAULT_CREDENTIALS.client_secret, DEFAULT_CREDENTIALS.password)
    assert not any(secret.encode() in made.body for secret in secrets)


def test_orders_are_shown() -> None:
    """With its body and what came with it."""
    sandbox = Sandbox(now=lambda: 0.0)
    fields = (("X-Request-Id", "r-1"), ("Idempotency-Key", "k-1"), ("authorization", "a"))
    order = sandbox.place_order({"productId": "1"}, Call("POST", "/orders", fields))
    assert content(ask(sandbox, "GET", "orders")) == {
        "orders": [
            {
                "id": order.id,
                "status": "ACCEPTED",
                "path": "/orders",
                "body": {"productId": "1"},
                "count": 1,
                "request_id": "r-1",
                "idempotency_key": "k-1",
                "authorization_fields": 1,
                "field_names": ["x-request-id", "idempotency-key", "authorization"],
            }
        ]
    }


def test_how_often_each_order_was_placed_is_shown() -> None:
    """A row for each content and path, with its ids and keys: the same order twice is two."""
    sandbox = Sandbox()
    for path, body, key in (
        ("/a", {"x": 1, "y": 2}, "k-1"),
        ("/a", {"x": 2}, None),
        ("/a", {"y": 2, "x": 1}, "k-2"),
        ("/b", {"x": 2}, None),
    ):
        fields = () if key is None else (("Idempotency-Key", key), ("X-Request-Id", f"r-{key}"))
        sandbox.place_order(body, Call("POST", path, fields))
    rows = content(ask(sandbox, "GET", "placed"))["placed"]
    assert [(row["path"], row["body"], row["times"]) for row in rows] == [
        ("/a", {"x": 1, "y": 2}, 2),
        ("/a", {"x": 2}, 1),
        ("/b", {"x": 2}, 1),
    ]
    assert rows[0]["ids"] == ["sandbox-order-1", "sandbox-order-3"]
    assert rows[0]["request_ids"] == ["r-k-1", "r-k-2"]
    assert rows[0]["idempotency_keys"] == ["k-1", "k-2"]
    assert [order.count for order in sandbox.orders] == [1, 1, 2, 1]
    counters = content(ask(sandbox, "GET", "state"))["counters"]
    assert (counters["orders"], counters["repeated_orders"]) == (4, 1)


@pytest.mark.parametrize(
    ("method", "page", "body", "status", "words"),
    [
        ("POST", "faults", {"name": "api_dorp"}, 400, "unknown fault 'api_dorp'; known: token_er"),
        ("POST", "faults", {"nmae": "api_drop"}, 400, "member 'nmae'; known: name, value, count"),
        ("POST", "faults", {"name": "api_drop", "count": -1}, 400, "the count must be"),
        ("POST", "faults", b"api_drop", 400, "the body must be a JSON object"),
        ("POST", "faults", [], 400, "the body must be a JSON object"),
        ("PATCH", "settings", {"lifetime": 5}, 400, "unknown setting 'lifetime'; known: "),
        ("PATCH", "settings", {"expires_in": []}, 400, "the value must be one of"),
        ("GET", "nothing", None, 404, "known: /_sandbox/state, /_sandbox/orders"),
        ("GET", "", None, 404, "known: /_sandbox/state"),
        ("POST", "state", None, 405, "use GET"),
        ("GET", "revoke", None, 405, "use POST"),
    ],
)
def test_wrong_calls_are_refused_in_words(
    method: str, page: str, body: object, status: int, words: str
) -> None:
    """An unknown name is answered with the known ones."""
    made = ask(Sandbox(), method, page, body)
    assert (made.status, words in content(made)["error"]) == (status, True)
    assert (status == 405) == ("Allow" in dict(made.fields))


@pytest.mark.parametrize(
    ("fields", "address", "status"),
    [
        (LOCAL, "127.0.0.1", 200),
        ((("Host", "localhost:8081"),), "127.0.0.1", 200),
        ((("Host", "[::1]:8081"),), "::1", 200),
        ((*LOCAL, ("Sec-Fetch-Site", "none")), "127.0.0.1", 200),  # typed into a browser
        ((*LOCAL, ("Sec-Fetch-Site", "same-origin")), "127.0.0.1", 200),  # a link on it
        ((*LOCAL, ("Origin", "https://evil.example")), "127.0.0.1", 403),  # a page's script
        ((*LOCAL, ("origin", "null")), "127.0.0.1", 403),
        ((*LOCAL, ("Origin", "http://127.0.0.1:8081")), "127.0.0.1", 403),
        ((*LOCAL, ("Sec-Fetch-Site", "cross-site")), "127.0.0.1", 403),  # a page's image
        ((("Host", "evil.example"),), "127.0.0.1", 403),  # DNS rebinding
        ((("Host", "localhost.evil.example"),), "::1", 403),
        ((("Host", "[::1"),), "127.0.0.1", 403),
        ((), "127.0.0.1", 403),
        ((("Host", "sandbox:8081"),), "172.17.0.2", 200),  # another container
        ((("Host", "x"), ("Origin", "http://x")), "172.17.0.2", 403),
        ((("Host", "anything"),), None, 200),  # Unix socket
    ],
)
def test_no_web_page_can_drive_it(
    fields: tuple[tuple[str, str], ...], address: str | None, status: int
) -> None:
    """Neither by a browser's request nor by DNS rebinding."""
    sandbox = Sandbox()
    sandbox.log_in()
    made = control(sandbox, Call("POST", "/_sandbox/revoke", fields), address)
    assert made.status == status
    assert all(token.ended for token in sandbox.issued) == (status == 200)
