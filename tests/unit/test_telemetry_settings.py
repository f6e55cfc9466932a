"""The address of a collector: a base URL, without a key and without the path that is added."""

from __future__ import annotations

import pytest

from proxy.settings import load
from tests.unit.made import CREDENTIALS, problems

VARIABLE = "TELENOR_PROXY_TELEMETRY__OTLP_ENDPOINT"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:4318",
        "http://otel-collector.monitoring:4318/",
        "https://collector.example/otlp",
        "https://[2001:db8::1]:4318/a/b/",
        "HTTPS://Collector.example",
    ],
)
def test_a_base_url_is_accepted(url: str) -> None:
    """With http, too: a collector is most often on the same network."""
    assert load(None, CREDENTIALS | {VARIABLE: url}).telemetry.otlp_endpoint == url


@pytest.mark.parametrize(
    ("url", "start"),
    [
        ("127.0.0.1:4318", "must begin with http:// or https://"),
        ("grpc://127.0.0.1:4317", "must begin with http:// or https://"),
        ("https://user:hunter2-key@collector.example", "must not hold a user or a password"),
        ("https://collector.example/v1/traces", "must be without /v1/traces"),
        ("https://collector.example/otlp/v1/traces/", "must be without /v1/traces"),
        ("https://collector.example?key=hunter2-key", "must end after the host and the port"),
        ("https://collector.example/otlp?key=hunter2-key", "must be a plain path"),
        ("https://collector.example:99999", "must hold a port from 1 to 65535"),
        ("https://", "must hold a valid host name"),
    ],
)
def test_anything_else_is_refused(url: str, start: str) -> None:
    """Without repeating it: it may hold a key."""
    (problem,) = problems(CREDENTIALS | {VARIABLE: url})
    assert problem.startswith(f"telemetry.otlp_endpoint (from {VARIABLE}): {start}")
    assert "hunter2" not in problem
