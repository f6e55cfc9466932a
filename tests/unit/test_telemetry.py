"""Spans of records: what they say, and when the proxy does not start with them."""

import sys
from typing import Any

import pytest

from proxy import telemetry
from proxy.errors import StartError
from proxy.telemetry.spans import attributes, is_error
from tests.clock import FakeClock
from tests.unit.made import RECORD

ENDPOINT = "http://collector:4318"


def test_without_the_extra_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.delitem(sys.modules, "proxy.telemetry.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartError, match=r"^telemetry\.otlp_endpoint: .*requirements/otel\.txt"):
        telemetry.create(ENDPOINT, FakeClock(), lambda _result, _number: None)


def test_a_variable_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, without its value."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "hunter2")
    with pytest.raises(StartError, match=r"^telemetry: .*OTEL_") as caught:
        telemetry.create(ENDPOINT, FakeClock(), lambda _result, _number: None)
    assert "hunter2" not in str(caught.value)


# --- What a span says --------------------------------------------------------------------------


def test_a_span_says_what_the_access_line_says() -> None:
    """In OpenTelemetry's names where it has them; what is unknown is left out."""
    record = RECORD._replace(bytes_in=69, bytes_out=49, token_seconds=0.5)
    assert attributes(record) == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "url.path": "/orders/4799885577",
        "http.response.status_code": 201,
        "http.request.body.size": 69,
        "http.response.body.size": 49,
        "telenor_proxy.request_id": "id-1",
        "telenor_proxy.attempts": 1,
        "telenor_proxy.upstream_seconds": 0.1,
        "telenor_proxy.token_seconds": 0.5,
        "telenor_proxy.refused": False,
    }


ERROR, STATUS = "error.type", "http.response.status_code"


@pytest.mark.parametrize(
    ("changes", "expected", "is_fault"),
    [
        ({"status": 404}, {ERROR: None, STATUS: 404}, False),
        ({"status": 503}, {ERROR: "503", STATUS: 503}, True),
        (
            {"status": 502, "error": "dns_error", "outcome": "not_sent"},
            {ERROR: "dns_error", "telenor_proxy.outcome": "not_sent"},
            True,
        ),
        ({"status": 401, "code": "40103"}, {"telenor_proxy.code": "40103"}, False),
        (
            {"client": "shop", "client_address": "10.0.0.7"},
            {"telenor_proxy.client": "shop", "client.address": "10.0.0.7"},
            False,
        ),
        (
            {"error": "connection_terminated", "outcome": "unknown"},
            {ERROR: "connection_terminated", "telenor_proxy.outcome": "unknown"},
            True,
        ),
        ({"status": 0, "error": "http_protocol_error"}, {STATUS: None}, True),
        ({"status": 499, "error": "client_left"}, {STATUS: None, ERROR: "client_left"}, False),
        ({"status": 200, "error": "client_slow"}, {STATUS: 200}, False),
        (
            {"status": 403, "error": "path-not-allowed", "refused": True},
            {ERROR: "path-not-allowed", "telenor_proxy.refused": True},
            False,
        ),
        (
            {"status": 501, "error": "method-unknown", "refused": True},
            {ERROR: "method-unknown"},
            True,
        ),
        (
            {"method": None, "path": None},
            {"http.request.method": "_OTHER", "url.path": None},
            False,
        ),
    ],
)
def test_what_went_wrong_is_said(
    changes: dict[str, Any], expected: dict[str, object], *, is_fault: bool
) -> None:
    """The error, the status if the client got one; an error unless the client caused it."""
    record = RECORD._replace(**changes)
    found = attributes(record)
    assert {name: found.get(name) for name in expected} == expected
    assert is_error(record) is is_fault
