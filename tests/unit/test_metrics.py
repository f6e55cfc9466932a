"""What is counted: complete, readable for Prometheus, and labelled with short closed lists only."""

from typing import get_args

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from proxy.admin.counts import gauge
from proxy.admin.metrics import Metrics
from proxy.forward.policy import METHODS, SAFE_METHODS
from proxy.problems import ProblemKind
from proxy.tokens.values import Cause, TokenEvent
from tests.messages.sentences import reasons
from tests.unit.made import RECORD

LABELS = (
    "asked cause client code error le method python reason result state status status_class version"
)


def families(metrics: Metrics) -> dict[str, Metric]:
    """Return what a scrape reads, by name."""
    return {
        family.name: family
        for family in text_string_to_metric_families(metrics.exposition().decode())
    }


def value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    """Return one sample, None if there is none."""
    return metrics.registry.get_sample_value(sample, labels)


def counts(metrics: Metrics, family: str, label: str) -> dict[str, float]:
    """Return the samples of a family by one label."""
    return {each.labels[label]: each.value for each in families(metrics)[family].samples}


def series(metrics: Metrics) -> set[tuple[str, ...]]:
    """Return every series of a scrape: name, labels and values."""
    return {
        (sample.name, *sorted(f"{label}={text}" for label, text in sample.labels.items()))
        for family in families(metrics).values()
        for sample in family.samples
    }


def everything() -> Metrics:
    """Return metrics after everything that can happen."""
    metrics = Metrics()
    metrics(RECORD)
    unread = RECORD._replace(method=None, path=None, status=400)
    metrics(unread._replace(error="malformed-request", refused=True))
    metrics(RECORD._replace(status=0, error="client_left", attempts=2, token_seconds=0.5))
    metrics(RECORD._replace(status=401, code="made-up"))
    metrics(RECORD._replace(status=451))
    for kind in ProblemKind:
        error = kind.type if kind.is_refusal else kind.word
        failed = RECORD._replace(status=kind.status, error=error, refused=kind.is_refusal)
        metrics(failed._replace(outcome="unknown"))
    for cause in get_args(Cause):
        metrics.on_token(TokenEvent("renewed", cause, seconds=0.3))
        metrics.on_token(TokenEvent("renewal_failed", cause, reason="timeout"))
    # pending: before the first fetch has ended; no fetch fails of it.
    known = {reason for reason in reasons() if not reason.endswith("_")} - {"pending"}
    for reason in known | {"http_500", "http_503", "rate_limited"}:
        metrics.on_token(TokenEvent("renewal_failed", "ahead", reason=reason))
    metrics.on_token(TokenEvent("invalidated"))
    metrics.on_token(TokenEvent("contended"))
    metrics.expose(lambda: [gauge("telenor_proxy_requests_in_flight", "Requests.", 3)])
    return metrics


def test_every_name_is_ours() -> None:
    """Names begin with `telenor_proxy_`; each family has help and a type."""
    found = families(everything())
    assert len(found) > 10
    for family in found.values():
        assert family.name.startswith("telenor_proxy_")
        assert family.documentation
        assert family.type in {"counter", "gauge", "histogram"}


def test_every_label_is_of_a_short_closed_list() -> None:
    """No path, host, id or secret; other requests open no series."""
    metrics = everything()
    before = series(metrics)
    size = len(metrics.exposition().splitlines())
    for number in range(100):
        other = RECORD._replace(request_id=f"id-{number}", path=f"/orders/{number}")
        metrics(other._replace(client_address=f"1000:{number}"))
        metrics(RECORD._replace(status=401, code=f"made-up-{number}"))
        metrics(RECORD._replace(status=430 + number % 50))
    text = metrics.exposition().decode()
    assert len(text.splitlines()) == size
    assert {label.partition("=")[0] for _, *labels in before for label in labels} <= {
        *LABELS.split()
    }
    for secretive in ("4799885577", "/orders", "id-1"):
        assert secretive not in text


@pytest.mark.parametrize(
    ("method", "status", "labels"),
    [
        ("POST", 201, {"method": "POST", "status_class": "2xx"}),
        ("GET", 304, {"method": "GET", "status_class": "3xx"}),
        (None, 400, {"method": "unknown", "status_class": "4xx"}),
        ("GET", 499, {"method": "GET", "status_class": "4xx"}),
        ("DELETE", 502, {"method": "DELETE", "status_class": "5xx"}),
        ("POST", 0, {"method": "POST", "status_class": "none"}),
    ],
)
def test_requests_are_counted_by_method_and_class(
    method: str | None, status: int, labels: dict[str, str]
) -> None:
    """An unparsed request has no method, a cut one no status."""
    metrics = Metrics()
    for _ in range(3):
        metrics(RECORD._replace(method=method, status=status))
    assert value(metrics, "telenor_proxy_requests_total", **labels) == 3


@pytest.mark.parametrize(
    ("status", "code", "labels"),
    [
        (401, "40103", {"status": "401", "code": "40103"}),
        (401, "hunter2", {"status": "401", "code": "other"}),
        (503, None, {"status": "503", "code": "none"}),
        (599, None, {"status": "5xx", "code": "none"}),
        (418, None, {"status": "4xx", "code": "none"}),
    ],
)
def test_errors_of_the_api_are_counted_by_status_and_code(
    status: int, code: str | None, labels: dict[str, str]
) -> None:
    """From closed lists; answers of the proxy's own do not count."""
    metrics = Metrics()
    metrics(RECORD._replace(status=status, code=code))
    metrics(RECORD._replace(status=status, error="path-not-allowed", refused=True))
    assert value(metrics, "telenor_proxy_upstream_errors_total", **labels) == 1
    assert value(Metrics(), "telenor_proxy_upstream_errors_total", status="401", code="40103") == 0


def test_durations_are_counted_in_buckets() -> None:
    """Whole calls and the upstream's part, in seconds."""
    metrics = Metrics()
    metrics(RECORD._replace(seconds=0.2, upstream_seconds=0.025))
    metrics(RECORD._replace(seconds=400.0, upstream_seconds=None))
    assert value(metrics, "telenor_proxy_request_duration_seconds_count") == 2
    assert value(metrics, "telenor_proxy_request_duration_seconds_sum") == pytest.approx(400.2)
    assert value(metrics, "telenor_proxy_request_duration_seconds_bucket", le="0.1") == 0
    assert value(metrics, "telenor_proxy_request_duration_seconds_bucket", le="0.25") == 1
    assert value(metrics, "telenor_proxy_request_duration_seconds_bucket", le="60.0") == 1
    assert value(metrics, "telenor_proxy_request_duration_seconds_bucket", le="+Inf") == 2
    assert value(metrics, "telenor_proxy_upstream_duration_seconds_count") == 1
    assert value(metrics, "telenor_proxy_upstream_duration_seconds_bucket", le="0.01") == 0
    assert value(metrics, "telenor_proxy_upstream_duration_seconds_bucket", le="0.025") == 1


def test_waiting_for_a_token_is_counted() -> None:
    """Calls that had a token at hand do not count."""
    metrics = Metrics()
    metrics(RECORD)
    assert value(metrics, "telenor_proxy_token_wait_seconds_count") == 0
    metrics(RECORD._replace(token_seconds=0.5))
    assert value(metrics, "telenor_proxy_token_wait_seconds_count") == 1
    assert value(metrics, "telenor_proxy_token_wait_seconds_sum") == 0.5


def test_refusals_and_failures_are_distinguished() -> None:
    """Refusals by reason, failures by error, each only once."""
    metrics = Metrics()
    metrics(RECORD._replace(status=403, error="path-not-allowed", refused=True))
    metrics(RECORD._replace(status=502, error="dns_error"))
    assert value(metrics, "telenor_proxy_refused_requests_total", reason="path-not-allowed") == 1
    assert value(metrics, "telenor_proxy_failed_requests_total", error="dns_error") == 1
    assert sum(counts(metrics, "telenor_proxy_refused_requests", "reason").values()) == 1
    assert sum(counts(metrics, "telenor_proxy_failed_requests", "error").values()) == 1


# --- the first increase ------------------------------------------------------------------------


def test_every_way_to_be_refused_or_to_fail_is_there_from_the_start() -> None:
    """At 0, so that an alert sees the first one; nothing impossible."""
    metrics = Metrics()
    refused = {kind.type for kind in ProblemKind if kind.is_refusal}
    failed = {kind.word for kind in ProblemKind if not kind.is_refusal}
    assert counts(metrics, "telenor_proxy_refused_requests", "reason") == dict.fromkeys(refused, 0)
    failed |= {"client_left", "client_slow"}
    assert counts(metrics, "telenor_proxy_failed_requests", "error") == dict.fromkeys(failed, 0)


def test_the_usual_requests_are_there_from_the_start() -> None:
    """The methods of order systems, with every class of status."""
    metrics = Metrics()
    found = {
        tuple(sample.labels.values())
        for sample in families(metrics)["telenor_proxy_requests"].samples
        if sample.value == 0
    }
    methods = {"GET"} | {method.decode() for method in METHODS - SAFE_METHODS}
    classes = {"2xx", "3xx", "4xx", "5xx", "none"}
    assert found == {(method, status) for method in methods for status in classes}
    assert metrics.requests() == {}


def test_nothing_that_happens_opens_a_series() -> None:
    """Errors, outcomes and renewals all have theirs from the start."""
    kinds = tuple(f"telenor_proxy_{kind}" for kind in ("refused", "failed", "unknown", "token"))
    opened = series(everything()) - series(Metrics())
    assert {each for each in opened if each[0].startswith(kinds)} == set()


# --- the rest ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "outcome", "is_counted"),
    [
        *((method, "unknown", True) for method in ("POST", "PUT", "PATCH", "DELETE")),
        *((method, "unknown", False) for method in ("GET", "HEAD", "OPTIONS")),
        ("POST", "not_sent", False),
        ("POST", None, False),
    ],
)
def test_orders_of_unknown_outcome_are_counted(
    method: str, outcome: str | None, *, is_counted: bool
) -> None:
    """By method, only where the call may have changed something; a refused repetition did not."""
    metrics = Metrics()
    record = RECORD._replace(method=method, outcome=outcome)
    metrics(record._replace(status=409, error="order-unknown", refused=True))
    metrics(record._replace(status=502, error="connection_terminated"))
    expected = dict.fromkeys(("POST", "PUT", "PATCH", "DELETE"), 0) | (
        {method: 1} if is_counted else {}
    )
    assert counts(metrics, "telenor_proxy_unknown_outcomes", "method") == expected


def test_requests_sent_again_are_counted() -> None:
    """The first attempt does not count."""
    metrics = Metrics()
    for attempts in (0, 1, 2, 3):
        metrics(RECORD._replace(attempts=attempts))
    assert value(metrics, "telenor_proxy_replays_total") == 2


@pytest.mark.parametrize(
    ("code", "label"), [("42901", "42901"), ("42902", "42902"), ("40105", "other"), (None, "other")]
)
def test_throttling_is_counted_by_code(code: str | None, label: str) -> None:
    """The gateway's two codes, and all else as one."""
    metrics = Metrics()
    metrics.throttled(code)
    metrics.throttled(code)
    assert value(metrics, "telenor_proxy_upstream_throttled_total", code=label) == 2
    assert sum(metrics.throttled_by_code().values()) == 2
    assert metrics.throttled_by_code()[label] == 2


def test_other_events_are_counted() -> None:
    """Pacing, reloads, spans and answered logins; their series are there from the start."""
    metrics = Metrics()
    reloads, spans = "telenor_proxy_configuration_reloads", "telenor_proxy_spans"
    assert counts(metrics, reloads, "result") == {"accepted": 0, "refused": 0}
    metrics.held_back(0.5)
    assert value(metrics, "telenor_proxy_pacing_wait_seconds_count") == 1
    assert value(metrics, "telenor_proxy_pacing_wait_seconds_sum") == 0.5
    for accepted in (True, False, False):
        metrics.reloaded(accepted)
    assert counts(metrics, reloads, "result") == {"accepted": 1, "refused": 2}
    metrics.spans("exported", 3)
    metrics.spans("dropped", 2)
    assert counts(metrics, spans, "result") == {"exported": 3, "failed": 0, "dropped": 2}
    metrics.answered_login("token")
    logins = counts(metrics, "telenor_proxy_answered_logins", "asked")
    assert logins == {"token": 1, "logout": 0}


def test_what_happens_to_tokens_is_counted() -> None:
    """Fetches by result and cause, failures by reason, rejections, contention."""
    metrics = Metrics()
    metrics.on_token(TokenEvent("renewed", "startup", seconds=0.3))
    metrics.on_token(TokenEvent("renewal_failed", "ahead", reason="timeout"))
    metrics.on_token(TokenEvent("invalidated"))
    metrics.on_token(TokenEvent("contended"))
    assert (
        value(metrics, "telenor_proxy_token_renewals_total", result="success", cause="startup") == 1
    )
    assert (
        value(metrics, "telenor_proxy_token_renewals_total", result="failure", cause="ahead") == 1
    )
    assert value(metrics, "telenor_proxy_token_renewal_failures_total", reason="timeout") == 1
    assert value(metrics, "telenor_proxy_token_renewal_duration_seconds_count") == 1
    assert value(metrics, "telenor_proxy_token_invalidations_total") == 1
    assert value(metrics, "telenor_proxy_token_contentions_total") == 1


def test_a_gauge_is_read_at_each_scrape() -> None:
    """One name may have a value for each label."""
    metrics = Metrics()
    state = {"in_use": 1.0, "idle": 2.0}
    metrics.expose(lambda: [gauge("telenor_proxy_x", "Text.", (["state"], state))])
    assert value(metrics, "telenor_proxy_x", state="in_use") == 1
    state["in_use"] = 5
    assert value(metrics, "telenor_proxy_x", state="in_use") == 5
    assert value(metrics, "telenor_proxy_x", state="idle") == 2


def test_the_version_is_shown() -> None:
    """`telenor_proxy_build_info` names the proxy's version and Python's."""
    (sample,) = families(Metrics())["telenor_proxy_build_info"].samples
    assert sample.value == 1
    assert set(sample.labels) == {"version", "python"}


# --- clients -----------------------------------------------------------------------------------


def by_client(metrics: Metrics) -> dict[tuple[str, str], float]:
    """Return the counts by client and status class that are not 0."""
    return {
        (sample.labels["client"], sample.labels["status_class"]): sample.value
        for sample in families(metrics)["telenor_proxy_client_requests"].samples
        if sample.value
    }


def test_requests_are_counted_by_client_and_status_class() -> None:
    """A name that is not configured opens no series."""
    metrics = Metrics()
    metrics.follow(["erp", "shop"])
    for client, status in (("erp", 201), ("erp", 403), ("erp", 200), (None, 403), ("unknown", 200)):
        metrics(RECORD._replace(client=client, status=status))
    assert by_client(metrics) == {("erp", "2xx"): 2, ("erp", "4xx"): 1, ("none", "4xx"): 1}


def test_a_client_has_its_series_from_the_start() -> None:
    """It keeps its counts when the settings change."""
    metrics = Metrics()
    metrics.follow(["erp"])
    metrics(RECORD._replace(client="erp", status=200))
    metrics.follow(["shop"])
    samples = families(metrics)["telenor_proxy_client_requests"].samples
    assert {sample.labels["client"] for sample in samples} == {"none", "erp", "shop"}
    assert len(samples) == 3 * 5
    assert by_client(metrics) == {("erp", "2xx"): 1}
