"""The HTTP stacks of order systems, unconfigured, each take all their steps through the proxy."""

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.process import ORDERS, Running, Starter, configuration
from tests.interop.parts import Recorded, Recorder, Wiretap
from tests.interop.plans import CLIENTS, CONTENTS, CURL, MAX_BODY_BYTES, Client, Step, plan

pytestmark = pytest.mark.asyncio(loop_scope="module")

_LIMITS = {"max_body_bytes": MAX_BODY_BYTES}
#: What ends at the proxy: fields that are about the client's connection.
_ENDS_HERE = {"connection", "expect", "http2-settings", "keep-alive", "te", "trailer", "upgrade"}
#: What every client sends as its own, in lower case.
_CLIENT_AUTHORIZATION = b"authorization: basic y2xpzw50omnsawvuda=="


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def starter(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Starter]:
    """Start proxies, which end with the last of these tests."""
    async with Starter(tmp_path_factory.mktemp("proxy")) as starter:
        yield starter


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_recorder() -> AsyncIterator[Recorder]:
    """Run the stand-in for the API and its recorder."""
    async with Recorder().running() as recorder:
        yield recorder


@pytest.fixture
def recorder(running_recorder: Recorder) -> Recorder:
    """Give the recorder, empty."""
    running_recorder.restart()
    return running_recorder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(starter: Starter, running_recorder: Recorder) -> Running:
    """Run the proxy that all clients use."""
    return await starter.ready(configuration(running_recorder.url, limits=_LIMITS))


async def _take_steps(
    client: Client, url: str, directory: Path
) -> dict[str, tuple[int, str, bytes]]:
    """Let the client take its steps; give status, media type and content of what it saw."""
    answers = directory / "answers"
    answers.mkdir()
    steps = plan(client.steps, url, directory)
    status, output, errors = await client.run(steps, answers, directory)
    assert status == 0, f"{output}{errors}"
    seen = {}
    for line in output.splitlines():
        step, number, media_type = line.split("\t")
        seen[step] = (int(number), media_type.partition(";")[0], (answers / step).read_bytes())
    assert list(seen) == [step.name for step in client.steps], errors
    return seen


def _digest(content: bytes) -> str:
    """Stand for content that would fill pages if it were not as it should be."""
    return f"{len(content)} bytes, {hashlib.sha256(content).hexdigest()}"


def _check_forwarded(step: Step, call: Recorded, seen: tuple[int, str, bytes]) -> None:
    """Hold that the call reached the API as sent, with our credential, and its answer came back."""
    assert (call.method, call.target) == (step.method, step.path)
    assert _digest(call.content) == _digest(CONTENTS.get(step.content, b""))
    assert len(call.all("authorization")) == 1
    assert call.all("authorization")[0].startswith("Bearer ")
    assert not _ENDS_HERE.intersection(name for name, _ in call.fields)
    if step.content:
        chunked = step.how == "chunked"
        assert call.all("transfer-encoding") == (["chunked"] if chunked else [])
        assert call.all("content-length") == ([] if chunked else [str(len(call.content))])
    status, media_type, content = seen
    assert status == call.status == step.status
    assert media_type == "application/json"
    if step.how != "head":
        assert _digest(content) == _digest(call.answer)


def _check_refused(step: Step, seen: tuple[int, str, bytes]) -> None:
    """See that the client got the proxy's own answer, whole."""
    status, media_type, content = seen
    assert (status, media_type) == (step.status, "application/problem+json")
    assert json.loads(content)["status"] == step.status


def _check(client: Client, recorder: Recorder, seen: dict[str, tuple[int, str, bytes]]) -> None:
    """See that each step went well, and that the API saw those that it should see, once each."""
    forwarded = [step for step in client.steps if not step.ours]
    assert len(recorder.calls) == len(forwarded), [
        (call.method, call.target) for call in recorder.calls
    ]
    for step, call in zip(forwarded, recorder.calls, strict=True):
        _check_forwarded(step, call, seen[step.name])
    for step in client.steps:
        if step.ours:
            _check_refused(step, seen[step.name])
    assert len(recorder.sandbox.orders) == sum(step.path == ORDERS for step in forwarded)
    assert json.loads(seen["error"][2])["code"] == 40401


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
async def test_an_unconfigured_client_works(
    client: Client, recorder: Recorder, proxy: Running, tmp_path: Path
) -> None:
    """It orders, lists, uploads, gets an error and a refusal, and keeps its connection."""
    before = len(proxy.events("request.completed"))
    wiretap = Wiretap()
    async with wiretap.between((await proxy.event("listener.started"))["port"]) as url:
        seen = await _take_steps(client, url, tmp_path)
    await proxy.event("request.completed", before + len(client.steps))
    _check(client, recorder, seen)
    asked = wiretap.asked.lower()
    assert asked.count(_CLIENT_AUTHORIZATION) == len(client.steps)
    for words in client.says:
        assert words.lower() in asked
    assert b"HTTP/1.1 100 Continue\r\n\r\n" in wiretap.answered or not client.waits
    assert wiretap.connections <= (client.connections or len(client.steps))
    lines = proxy.events("request.completed")[before:]
    assert [(line["method"], line["status"]) for line in lines] == [
        (step.method, step.status) for step in client.steps
    ]


async def test_curl_works_on_a_unix_socket(
    recorder: Recorder, starter: Starter, tmp_path: Path
) -> None:
    """Through a listener that is a Unix socket, curl takes the same steps."""
    path = starter.directory / "listener"
    listen = {"unix_socket": str(path), "port": None}
    await starter.ready(configuration(recorder.url, listen=listen, limits=_LIMITS))
    client = replace(CURL, options=("--unix-socket", str(path)))
    _check(client, recorder, await _take_steps(client, "http://localhost", tmp_path))
