"""Handing requests to an exporter: bounded, counted, off the calls' path, and over at the end."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from proxy import telemetry
from proxy.errors import StartError
from proxy.records import Record
from proxy.telemetry.spans import Spans, attributes, is_error
from tests.clock import FakeClock

RECORD = Record("id-1", "POST", "/orders/4799885577", 201, 0.2, upstream_seconds=0.1, attempts=1)
ENDPOINT = "http://collector:4318"


class Stage:
    """A hand-over with a collector that does what the test says."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.batches: list[list[Finished]] = []
        self.counts = {"exported": 0, "failed": 0, "dropped": 0}
        self.takes = True
        self.breaks: Exception | None = None
        #: While it is clear, the collector does not answer.
        self.answers = asyncio.Event()
        self.answers.set()
        self.handover = Handover(self._export, ENDPOINT, self.clock, self._count, self._aside)

    def _export(self, batch: Sequence[Finished]) -> int | None:
        if self.breaks is not None:
            raise self.breaks
        self.batches.append(list(batch))
        return len(batch) if self.takes else None

    def _count(self, result: str, number: int) -> None:
        self.counts[result] += number

    async def _aside(self, work: Callable[[], int | None]) -> int | None:
        await self.answers.wait()
        return work()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let it run, with the clock at rest."""
        async with self.handover.running():
            await self.clock.settle()
            yield

    def ids(self) -> list[list[str]]:
        """Return the request ids of the batches."""
        return [[finished.record.request_id for finished in batch] for batch in self.batches]


@pytest.fixture
def stage() -> Stage:
    """Give one whose collector accepts everything."""
    return Stage()


def many(number: int) -> list[Record]:
    """Make so many records."""
    return [RECORD._replace(request_id=f"id-{count}") for count in range(number)]


# --- The queue ---------------------------------------------------------------------------------


async def test_requests_are_exported_a_few_seconds_later(stage: Stage) -> None:
    """In one batch and in order, each with the time of its end."""
    async with stage.running():
        stage.handover(RECORD)
        ended = stage.clock.wall()
        await stage.clock.advance(PERIOD - 1)
        stage.handover.observe(many(4)[2:])
        assert stage.batches == []
        await stage.clock.advance(1)
        assert stage.ids() == [["id-1", "id-2", "id-3"]]
        times = [finished.ended_at - ended for finished in stage.batches[0]]
        assert times == [0, PERIOD - 1, PERIOD - 1]
        await stage.clock.advance(10 * PERIOD)
    assert len(stage.batches) == 1
    assert stage.counts == {"exported": 3, "failed": 0, "dropped": 0}


async def test_a_whole_batch_does_not_wait(stage: Stage) -> None:
    """It leaves at once."""
    async with stage.running():
        stage.handover.observe(many(BATCH + 1))
        await stage.clock.settle()
        assert [len(batch) for batch in stage.batches] == [BATCH]
        await stage.clock.advance(PERIOD)
        assert [len(batch) for batch in stage.batches] == [BATCH, 1]


async def test_the_queue_is_bounded_and_what_does_not_fit_is_counted(stage: Stage) -> None:
    """While a collector hangs, the first records are kept and later ones dropped."""
    async with stage.running():
        stage.answers.clear()
        stage.handover.observe(many(BATCH))
        await stage.clock.settle()
        stage.handover.observe(many(MOST_QUEUED + 7))
        await stage.clock.advance(60)
        assert stage.batches == []
        stage.answers.set()
        await stage.clock.settle()
        assert sum(map(len, stage.batches)) == BATCH + MOST_QUEUED
    assert stage.counts == {"exported": BATCH + MOST_QUEUED, "failed": 0, "dropped": 7}


async def test_one_batch_at_a_time(stage: Stage) -> None:
    """At the end, too."""
    stage.answers.clear()
    busy = 0

    async def aside(work: Callable[[], int | None]) -> int | None:
        nonlocal busy
        busy += 1
        assert busy == 1
        await stage.answers.wait()
        busy -= 1
        return work()

    one = Handover(stage._export, ENDPOINT, stage.clock, stage._count, aside)
    async with one.running():
        one.observe(many(2 * BATCH))
        await stage.clock.settle()
        assert busy == 1
        asyncio.get_running_loop().call_soon(stage.answers.set)
    assert stage.counts["exported"] == 2 * BATCH


# --- The end -----------------------------------------------------------------------------------


async def test_the_end_does_not_wait_for_a_collector_that_hangs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for a moment."""
    assert LAST_SECONDS <= 2
    monkeypatch.setattr(handover, "LAST_SECONDS", 0.01)
    async with asyncio.timeout(5):
        async with stage.running():
            stage.answers.clear()
            stage.handover(RECORD)
    assert stage.batches == []


async def test_the_end_does_not_wait_for_the_thread() -> None:
    """It is a daemon thread, unlike those of the event loop's executor."""
    found: list[threading.Thread] = []

    def work() -> int:
        found.append(threading.current_thread())
        return 5

    assert await in_thread(work) == 5
    assert found[0] is not threading.main_thread()
    assert found[0].daemon


def test_a_thread_may_outlive_the_event_loop() -> None:
    """Its result is dropped."""
    go, gone = threading.Event(), threading.Event()

    def work() -> int:
        go.wait()
        gone.set()
        return 1

    async def main() -> None:
        task = asyncio.create_task(in_thread(work))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "telemetry")
    go.set()
    thread.join(5)
    assert gone.is_set()
    assert not thread.is_alive()


# --- A collector that fails --------------------------------------------------------------------


async def test_a_collector_that_takes_nothing_is_logged_once(stage: Stage) -> None:
    """When it begins, and when it is over with how much was lost."""
    with structlog.testing.capture_logs() as logged:
        async with stage.running():
            stage.takes = False
            for _ in range(3):
                stage.handover(RECORD)
                await stage.clock.advance(PERIOD)
            (failed,) = logged
            assert (failed["event"], failed["log_level"]) == ("traces.export_failed", "warning")
            assert (failed["endpoint"], failed["reason"]) == (ENDPOINT, "not_taken")
            stage.takes = True
            stage.handover(RECORD)
            await stage.clock.advance(PERIOD)
            stage.handover(RECORD)
            await stage.clock.advance(PERIOD)
    assert logged[1:] == [
        {"event": "traces.export_restored", "log_level": "info", "endpoint": ENDPOINT, "lost": 3}
    ]
    assert stage.counts == {"exported": 2, "failed": 3, "dropped": 0}


async def test_a_failing_exporter_is_logged(stage: Stage) -> None:
    """The batch has failed; the log has the exception's type, not its text."""
    with structlog.testing.capture_logs() as logged:
        async with stage.running():
            stage.breaks = ValueError("hunter2")
            stage.handover(RECORD)
            await stage.clock.advance(PERIOD)
            stage.breaks = None
            stage.handover(RECORD)
            await stage.clock.advance(PERIOD)
    assert logged[0]["reason"] == "ValueError"
    assert "hunter2" not in str(logged)
    assert stage.counts == {"exported": 1, "failed": 1, "dropped": 0}


async def test_what_a_thread_raises_comes_back() -> None:
    """It is raised where the work is awaited."""

    def work() -> int:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 # it has no words
        await in_thread(work)


async def test_without_the_extra_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.delitem(sys.modules, "proxy.telemetry.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartError, match=r"^telemetry\.otlp_endpoint: .*telenor-proxy\[otel\]"):
        telemetry.create(ENDPOINT, FakeClock(), lambda _result, _number: None)


def test_a_variable_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, without its value."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "hunter2")
    with pytest.raises(StartError, match=r"^telemetry: .*OTEL_") as caught:
        telemetry.create(ENDPOINT, FakeClock(), lambda _result, _number: None)
    assert "hunter2" not in str(caught.value)


def test_a_handover_is_made() -> None:
    """Nothing is sent yet."""
    made = telemetry.create(ENDPOINT, FakeClock(), lambda _result, _number: None)
    assert isinstance(made, Spans)


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
