"""The address of a collector.

Any base URL, and neither a key in it nor the path that is added to it.
"""

from __future__ import annotations

import pytest

from proxy.errors import ConfigError
from proxy.settings import load

CREDENTIALS = {
    "TELENOR_PROXY_OAUTH__CLIENT_ID": "made-up-id",
    "TELENOR_PROXY_OAUTH__CLIENT_SECRET": "made-up-secret",
    "TELENOR_PROXY_OAUTH__USERNAME": "api0000000000",
    "TELENOR_PROXY_OAUTH__PASSWORD": "made-up-password",
}
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
def test_a_base_url_is_taken(url: str) -> None:
    """With a port or without, with a path or without.

    Http too, since a collector is most often on the same network.
    """
    assert load(None, CREDENTIALS | {VARIABLE: url}).telemetry.otlp_endpoint == url


@pytest.mark.parametrize(
    ("url", "told"),
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
def test_anything_else_is_refused(url: str, told: str) -> None:
    """In words that repeat nothing of it: somebody may have put a key there."""
    with pytest.raises(ConfigError) as caught:
        load(None, CREDENTIALS | {VARIABLE: url})
    (problem,) = caught.value.problems
    assert problem.startswith(f"telemetry.otlp_endpoint (from {VARIABLE}): {told}")
    assert "hunter2" not in problem
