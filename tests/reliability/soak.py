"""The soak: long traffic with clients that disconnect, an API that breaks off, and tokens of 2 s.

    python -m tests.reliability.soak --seconds 600          # or --requests 1000000; `make soak`

Every request has a mark, and its answer is made of that mark, so each answer is known byte for
byte. The report, JSON on standard output, counts requests and outcomes; what was mixed up, placed
twice, or cut so that it looked whole (never!); and memory, file descriptors and tasks of the
proxy's process before and after. The exit status is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import platform
import resource
import signal
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import orjson
import uvloop

from tests.e2e.process import clean_environment, configuration
from tests.gateway.client import ACCOUNTS, ORDERS
from tests.reliability.api import BreakingApi, Call, Framing, Plan, Point, content_of, dice_of
from tests.reliability.figures import show
from tests.scripted import reset as reset_connection

CLIENTS: Final = 50
#: One token for two seconds: renewed after one.
TOKEN_LIFE: Final = 2.0  # seconds
ABORTS: Final = 0.05
RESETS: Final = 0.01
LARGEST: Final = 20_000  # bytes of an answer
#: Pools, caches and the allocator have reached their size by then.
WARM_UP: Final = 3.0  # seconds
#: No answer takes so long; a client that gets none has found a fault.
PATIENCE: Final = 30.0  # seconds
#: The idle connections of clients and pool are gone by then.
IDLE: Final = 0.5  # seconds
#: A token that ends on its way is no fault of the proxy's; more of them would be one.
MOST_EXPIRED: Final = 0.001  # of all requests
#: By so much may the figures of `counted` and the resident memory, in bytes, have grown, however
#: long the soak. Idle caches breathe; a leak of ten bytes a request is more in a minute.
MOST_GROWTH: Final = {
    "memory": 48 * 1024 * 1024,
    "blocks": 10_000,
    "allocated": 2 * 1024 * 1024,
    "descriptors": 0,
    "tasks": 0,
}

#: What became of an order, and how often the API may then have accepted it.
OUTCOMES: Final = {
    "2xx": {1},
    "cut off": {1},
    "api error": {0},
    "not_sent": {0},
    "unknown": {0, 1},
    "left": {0, 1},
    "no answer": {0, 1},
}


class Logins:
    """The token endpoint, and the gateway's judgement on tokens."""

    def __init__(self) -> None:
        self.granted = 0
        self.expired = 0
        self._ends: dict[bytes, float] = {}

    def grant(self, _form: bytes) -> tuple[int, bytes]:
        """Grant the next token."""
        self.granted += 1
        token = b"token-%d" % self.granted
        self._ends[token] = time.monotonic() + TOKEN_LIFE
        self._ends.pop(b"token-%d" % (self.granted - 100), None)
        return 200, orjson.dumps({"access_token": token.decode(), "expires_in": TOKEN_LIFE})

    def judge(self, call: Call) -> bool:
        """Say whether the token of a call is good."""
        token = call.fields[b"authorization"].removeprefix(b"Bearer ")
        good = time.monotonic() < self._ends[token]
        self.expired += not good
        return good


def api_of(seed: int, logins: Logins) -> BreakingApi:
    """Build the API: one connection in a hundred breaks, at some point of the call."""
    points = (Point.WHOLE, Point.ANSWER_HEAD, Point.ANSWER_BODY, Point.HEAD)

    def plan(call: Call) -> Plan:
        dice = dice_of(seed, call)
        framing = dice.choices(list(Framing), weights=[60, 35, 5])[0]
        if not logins.judge(call):
            return Plan(status=401)
        breaks = dice.random() < RESETS
        return Plan(dice.choice(points) if breaks else Point.NEVER, framing=framing)

    return BreakingApi(plan, login=logins.grant, largest=LARGEST)


class Answer(NamedTuple):
    """An answer as far as it came. whole: its end was seen."""

    status: int
    fields: dict[bytes, bytes]
    content: bytes
    whole: bool


async def read_answer(reader: asyncio.StreamReader) -> Answer | None:
    """Read one answer; None if not even a head comes."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    line, *lines = head[:-4].split(b"\r\n")
    fields = {
        name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)
    }
    content, whole = bytearray(), False
    try:
        if b"content-length" in fields:
            content += await reader.readexactly(int(fields[b"content-length"]))
        elif fields.get(b"transfer-encoding") == b"chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                content += (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
        else:
            while piece := await reader.read(65_536):
                content += piece
        whole = True
    except asyncio.IncompleteReadError as error:
        content += error.partial
    except ConnectionError:
        pass
    return Answer(int(line.split()[1]), fields, bytes(content), whole)


class Tally:
    """What happened to the requests. orders: the outcome of each order, by its number."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.mixed_up = 0
        self.looked_whole = 0
        self.orders: dict[int, str] = {}

    def check(self, mark: bytes, answer: Answer) -> str:
        """Hold an answer against its mark; return the outcome."""
        if b"proxy-status" in answer.fields:
            return str(orjson.loads(answer.content).get("outcome", "api error"))
        if answer.status != 200:
            return "api error"
        expected = content_of(mark, LARGEST)
        if answer.fields.get(b"x-request-id") != mark or not expected.startswith(answer.content):
            self.mixed_up += 1
        elif answer.whole and len(answer.content) != len(expected):
            self.looked_whole += 1
        return "2xx" if answer.whole else "cut off"


class Client:
    """One client. It keeps its connection while it may, and sometimes disconnects during a call."""

    def __init__(self, port: int, seed: int, tally: Tally) -> None:
        self._port = port
        self._dice = Random(seed)  # noqa: S311 # faults, not secrets
        self._tally = tally
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def work(self, numbers: Iterator[int]) -> None:
        """Make calls until there are no more numbers."""
        for number in numbers:
            is_order = self._dice.random() < 0.5
            try:
                async with asyncio.timeout(PATIENCE):
                    outcome = await self._call(number, is_order=is_order)
            except TimeoutError:
                outcome = "no answer"
                self._drop()
            self._tally.outcomes[outcome] += 1
            if is_order:
                self._tally.orders[number] = outcome
        self._drop()

    async def _call(self, number: int, *, is_order: bool) -> str:
        mark = b"mark-%d" % number
        if self._connection is None:
            self._connection = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._connection
        raw = self._request(mark, is_order=is_order)
        if self._dice.random() < ABORTS:
            return await self._leave(raw)
        writer.write(raw)
        answer = await read_answer(reader)
        if answer is None:
            self._drop()
            return "no answer"
        outcome = self._tally.check(mark, answer)
        if not answer.whole or answer.fields.get(b"connection") == b"close":
            self._drop()
        return outcome

    def _request(self, mark: bytes, *, is_order: bool) -> bytes:
        fields = b"Host: localhost\r\nX-Request-Id: %b\r\n" % mark
        if not is_order:
            return b"GET %b?%b HTTP/1.1\r\n%b\r\n" % (ACCOUNTS, mark, fields)
        content = b'{"mark": "%b", "padding": "%b"}' % (mark, b"x" * self._dice.randrange(2000))
        fields += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(content)
        return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (ORDERS, fields, content)

    async def _leave(self, raw: bytes) -> str:
        """Leave inside the request, with it, or inside the answer; by a reset or in order."""
        assert self._connection is not None
        reader, writer = self._connection
        where = self._dice.randrange(3)
        writer.write(raw if where else raw[: self._dice.randrange(1, len(raw))])
        if where == 2:
            with contextlib.suppress(ConnectionError):
                await reader.read(self._dice.randrange(1, 2000))
        self._drop(reset=self._dice.random() < 0.5)
        return "left"

    def _drop(self, *, reset: bool = False) -> None:
        if self._connection is None:
            return
        writer, self._connection = self._connection[1], None
        if reset:
            reset_connection(writer.transport)
        else:
            writer.close()


class Proxy:
    """The proxy's process. completed: access lines. events, last: of others by name."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._news = asyncio.Event()
        self.completed = 0
        self.events: Counter[str] = Counter()
        self.last: dict[str, Any] = {}
        self.reading = asyncio.get_running_loop().create_task(self._read())

    @classmethod
    async def start(cls, config: Path) -> Proxy:
        """Start it, and wait until it has its first token."""
        command = [sys.executable, str(Path(__file__).with_name("counted.py")), "serve", "--config"]
        process = await asyncio.create_subprocess_exec(
            *command, str(config), stdin=DEVNULL, stdout=PIPE, env=clean_environment()
        )
        proxy = cls(process)
        await proxy.event("token.renewed", 1)
        return proxy

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if b'"request.completed"' in line:  # by far the most, and not worth reading
                self.completed += 1
                continue
            event = orjson.loads(line)
            self.events[event["event"]] += 1
            self.last[event["event"]] = event
            self._news.set()
        self._news.set()

    async def event(self, name: str, count: int) -> None:
        """Wait until there have been so many log events of that name."""
        async with asyncio.timeout(PATIENCE):
            while self.events[name] < count:
                if self.reading.done():
                    raise RuntimeError("the proxy has ended")
                self._news.clear()
                await self._news.wait()

    @property
    def memory(self) -> int:
        """The resident memory, in bytes. It may grow as long as free lists do; that is no leak."""
        fields = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * resource.getpagesize()

    async def at_rest(self) -> dict[str, int]:
        """Measure until idle connections are gone; return the smallest of each figure."""
        seen = []
        for _ in range(20):
            self._process.send_signal(signal.SIGUSR1)
            await self.event("soak.counts", self.events["soak.counts"] + 1)
            seen.append(self.last["soak.counts"] | {"memory": self.memory})
            await asyncio.sleep(3 * IDLE / 20)
        return {name: min(one[name] for one in seen) for name in MOST_GROWTH}

    async def end(self, number: signal.Signals) -> int:
        """End it by a signal, if it has not ended; return the exit status."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        status = await self._process.wait()
        await self.reading
        return status


def numbers(first: int, seconds: float, requests: int | None = None) -> Iterator[int]:
    """Give the requests' numbers, for so long or so many; all clients draw from the same ones."""
    end = time.monotonic() + seconds
    for number in itertools.count(first):
        if time.monotonic() > end if requests is None else number >= first + requests:
            return
        yield number


async def drive(
    proxy: Proxy, seed: int, tally: Tally, shared: Iterator[int]
) -> list[tuple[int, int]]:
    """Let the clients work; return how memory grew, once a second: requests so far, and bytes."""
    port = proxy.last["listener.started"]["port"]
    clients = [Client(port, seed * CLIENTS + index, tally) for index in range(CLIENTS)]
    working = asyncio.gather(*[client.work(shared) for client in clients])
    samples = []
    while not working.done():
        samples.append((tally.outcomes.total(), proxy.memory))
        await asyncio.wait({working}, timeout=1)
    await working
    return samples


def slope(samples: Sequence[tuple[int, int]]) -> float:
    """Return bytes per request by which memory grew in the second half; 0 with too few samples."""
    later = samples[len(samples) // 2 :]
    if len(later) < 3:
        return 0.0
    return statistics.linear_regression(*zip(*later, strict=True)).slope


def judge_orders(tally: Tally, api: BreakingApi) -> tuple[dict[str, int], int]:
    """Compare accepted orders with their outcomes; return both, and the contradictions."""
    accepted: Counter[str] = Counter()
    wrong = 0
    for number, outcome in tally.orders.items():
        count = api.accepted[b"mark-%d" % number]
        accepted[outcome] += count
        wrong += count not in OUTCOMES[outcome]
    return {outcome: count for outcome, count in accepted.items() if count}, wrong


async def soak(
    directory: Path, seed: int, seconds: float, requests: int | None = None
) -> dict[str, Any]:
    """Run it for so many seconds or requests; return the report."""
    logins, tally = Logins(), Tally()
    api = api_of(seed, logins)
    await api.start()
    config = configuration(
        f"http://127.0.0.1:{api.port}", upstream={"idle_timeout_seconds": IDLE, "keep_warm": False}
    )
    file = directory / "config.json"
    file.write_bytes(orjson.dumps(config))
    proxy = await Proxy.start(file)
    try:
        await drive(proxy, seed, tally, numbers(0, WARM_UP))
        before = await proxy.at_rest()
        warm = tally.outcomes.total()
        began = time.monotonic()
        samples = await drive(proxy, seed + 1, tally, numbers(warm, seconds, requests))
        took = time.monotonic() - began
        after = await proxy.at_rest()
        status = await proxy.end(signal.SIGTERM)
    finally:
        await proxy.end(signal.SIGKILL)
        await api.close()
    accepted, wrong = judge_orders(tally, api)
    asked = tally.outcomes.total()
    return {
        "seconds": round(took, 1),
        "requests": asked - warm,
        "requests_a_second": round((asked - warm) / took),
        "seed": seed,
        "python": platform.python_version(),
        "outcomes": dict(tally.outcomes),
        "api_broke_off": sum(api.broken.values()),
        "mixed_up": tally.mixed_up,
        "cut_but_looked_whole": tally.looked_whole,
        "no_answer": tally.outcomes["no answer"],
        "orders_accepted": accepted,
        "orders_accepted_twice": sum(count > 1 for count in api.accepted.values()),
        "orders_that_contradict": wrong,
        "logins": logins.granted,
        "expired_tokens": logins.expired,
        "memory_slope_bytes_a_request": round(slope(samples), 2),
        **{name: [before[name], after[name]] for name in MOST_GROWTH},
        "access_lines": proxy.completed,
        "crashed": proxy.events["request.crashed"],
        "exit_status": status,
    }


def problems(report: dict[str, Any]) -> list[str]:
    """Return what is wrong with a report."""
    never = ["mixed_up", "cut_but_looked_whole", "no_answer", "crashed", "exit_status"]
    never += ["orders_accepted_twice", "orders_that_contradict"]
    found = [f"{name} is {report[name]}" for name in never if report[name]]
    found += [
        f"{name} went from {report[name][0]} to {report[name][1]}"
        for name, most in MOST_GROWTH.items()
        if report[name][1] - report[name][0] > most
    ]
    if report["expired_tokens"] > report["requests"] * MOST_EXPIRED:
        found.append("expired tokens were sent")
    return found


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--requests", type=int, help="instead of seconds")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        report = runner.run(
            soak(Path(directory), arguments.seed, arguments.seconds, arguments.requests)
        )
    found = problems(report)
    show(**report, problems=found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
