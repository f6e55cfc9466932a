"""Spans of records: what they say, and when the proxy does not start with them."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from proxy import telemetry
from proxy.errors import StartError
from proxy.problems import ProblemKind
from proxy.records import Record
from proxy.telemetry.spans import Spans, attributes, is_error
from tests.clock import FakeClock

RECORD = Record("id-1", "POST", "/orders/4799885577", 201, 0.2, upstream_seconds=0.1, attempts=1)
ENDPOINT = "http://collector:4318"


def test_without_the_extra_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that is asked for and cannot be served is told at the start, with what to install."""
    monkeypatch.delitem(sys.modules, "proxy.telemetry.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartError, match=r"^telemetry\.otlp_endpoint: .*telenor-proxy\[otel\]"):
        telemetry.create(ENDPOINT, FakeClock(), lambda _result, _number: None)


def test_a_variable_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, and without its value."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "hunter2")
    with pytest.raises(StartError, match=r"^telemetry: .*OTEL_") as caught:
        telemetry.create(ENDPOINT, FakeClock(), lambda _result, _number: None)
    assert "hunter2" not in str(caught.value)


def test_it_is_made_where_it_can_be() -> None:
    """Nothing is sent before there is something to send."""
    made = telemetry.create(ENDPOINT, FakeClock(), lambda _result, _number: None)
    assert isinstance(made, Spans)


# --- What a span says --------------------------------------------------------------------------


def test_a_span_says_what_the_access_line_says() -> None:
    """In OpenTelemetry's own words where it has them.

    What there is nothing to say of is left out.
    """
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


@pytest.mark.parametrize(
    ("changes", "told", "error"),
    [
        ({"status": 404}, {"error.type": None, "http.response.status_code": 404}, False),
        ({"status": 503}, {"error.type": "503", "http.response.status_code": 503}, True),
        (
            {"status": 502, "error": "dns_error", "outcome": "not_sent"},
            {"error.type": "dns_error", "telenor_proxy.outcome": "not_sent"},
            True,
        ),
        (
            {"status": 401, "code": "40103", "client": "shop", "client_address": "10.0.0.7"},
            {
                "telenor_proxy.code": "40103",
                "telenor_proxy.client": "shop",
                "client.address": "10.0.0.7",
            },
            False,
        ),
        (
            {"status": 201, "error": "connection_terminated", "outcome": "unknown"},
            {"error.type": "connection_terminated", "telenor_proxy.outcome": "unknown"},
            True,
        ),
        ({"status": 0, "error": "http_protocol_error"}, {"http.response.status_code": None}, True),
        (
            {"status": 499, "error": "client_left"},
            {"http.response.status_code": None, "error.type": "client_left"},
            False,
        ),
        ({"status": 200, "error": "client_slow"}, {"http.response.status_code": 200}, False),
        (
            {"status": 403, "error": "path-not-allowed", "refused": True},
            {"error.type": "path-not-allowed", "telenor_proxy.refused": True},
            False,
        ),
        (
            {"status": 501, "error": "method-unknown", "refused": True},
            {"error.type": "method-unknown"},
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
    changes: dict[str, Any],
    told: dict[str, object],
    error: bool,  # noqa: FBT001 # a column
) -> None:
    """The error by its word, the status if the client got one, and an error of the span unless the client is to blame."""
    record = RECORD._replace(**changes)
    found = attributes(record)
    assert {name: found.get(name) for name in told} == told
    assert is_error(record) is error


def test_every_kind_of_answer_has_a_span() -> None:
    """None of the proxy's own answers is left without its error."""
    for kind in ProblemKind:
        record = RECORD._replace(status=kind.status, error=kind.proxy_error)
        assert attributes(record)["error.type"] == kind.proxy_error
