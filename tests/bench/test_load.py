"""What calls the systems: wrk's summary is read, and an unexpected answer is an error."""

import asyncio
from http.client import HTTPMessage

import pytest

from bench import load
from tests.scripted import Act, ScriptedServer

WRK = """Running 1s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
Requests/sec:  20000.00
{"requests": 20000, "duration_us": 1000000, "p50_us": 1500, "p99_us": 2500, "errors": 3}
"""
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd"


def test_the_summary_is_found_in_what_wrk_says() -> None:
    """The one line of JSON is read, wherever it stands."""
    seen = load.parse_summary(WRK)
    assert seen == load.Load(requests=20000, duration=1_000_000, p50=1500, p99=2500, errors=3)
    assert seen.per_second == pytest.approx(20000)


@pytest.mark.parametrize(
    "output",
    [
        "unable to connect to 127.0.0.1:1 Connection refused\n",
        '{"requests": 0, "duration_us": 1, "p50_us": 0, "p99_us": 0, "errors": 32}\n',
    ],
    ids=["no summary", "no request"],
)
def test_a_load_that_got_no_answer_is_an_error(output: str) -> None:
    """`Refused` is raised."""
    with pytest.raises(load.Refused):
        load.parse_summary(output)


@pytest.mark.parametrize("script", ["orders", "keyed"])
def test_a_script_makes_requests(script: str) -> None:
    """It uses the fields that wrk was given, and leaves the summary to `common.lua`."""
    text = (load.SCRIPTS / f"{script}.lua").read_text()
    assert "function request()" in text
    assert "fields()" in text
    assert "function done" not in text


@pytest.mark.parametrize(
    ("answer", "size"),
    [(load.Answer(401, HTTPMessage(), 4), None), (load.Answer(200, HTTPMessage(), 4), 5)],
    ids=["status", "size"],
)
def test_an_unexpected_answer_is_an_error(answer: load.Answer, size: int | None) -> None:
    """Another status or another size is refused."""
    with pytest.raises(load.Refused):
        answer.checked(size)


async def called(pieces: list[bytes]) -> load.Answer:
    """Call a server that sends these pieces and closes the connection."""
    async with ScriptedServer(Act.WHOLE, *pieces, Act.FIN) as server:
        return await asyncio.to_thread(load.call, server.port, "/")


async def test_an_answer_is_read_to_its_end() -> None:
    """However it comes."""
    answer = await called([WHOLE[:20], WHOLE[20:-2], WHOLE[-2:]])
    assert (answer.status, answer.size) == (200, 4)


@pytest.mark.parametrize(
    "pieces",
    [[], [WHOLE[:-1]], [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n"]],
    ids=["none", "cut", "cut chunk"],
)
async def test_an_answer_that_is_cut_off_is_an_error(pieces: list[bytes]) -> None:
    """Less than was promised is not taken for an answer."""
    with pytest.raises(load.Refused):
        await called(pieces)
