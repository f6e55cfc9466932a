"""Whatever replicas do, and in whatever order they die, all stores keep what states.py says.

hypothesis drives two replicas on one store, and a model of a few lines beside them.
"""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.orders.memory import MemoryStore
from proxy.orders.shared import SharedStore
from proxy.orders.sqlite import SQLiteStore
from proxy.orders.states import OPEN, Answer, OrderRecord, State, after_death
from proxy.orders.store import ClaimLost, Store
from tests.clock import FakeClock
from tests.orders.made import ANSWER, record
from tests.orders.servers import PROGRAM, RedisServer

KEYS = st.sampled_from(["a", "b", "c"])
REPLICAS = st.integers(0, 1)
ANSWERS = st.sampled_from([ANSWER, ANSWER._replace(content=None), Answer(400, b"", b"\0\xff\r\n")])
#: What each step does to the state of a record whose claim is right; what is not here is refused.
STEPS = {
    (State.RESERVED, State.SENT),
    (State.SENT, State.SENT),
    (State.SENT, State.ANSWERED),
    (State.SENT, State.UNKNOWN),
    (State.ANSWERED, State.ANSWERED),
    (State.UNKNOWN, State.ANSWERED),
    (State.UNKNOWN, State.UNKNOWN),
}


class Orders(RuleBasedStateMachine):
    """Two replicas place orders with three keys."""

    replicas = 2

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.model: dict[str, OrderRecord] = {}
        #: The reservations that each replica has made and still believes in.
        self.claims: list[dict[str, OrderRecord]] = [{}, {}]
        self.number = 0
        self.stores: list[Store] = []

    def make(self, owner: str) -> Store:
        """Start a replica."""
        raise NotImplementedError

    def kill(self, store: Store) -> None:
        """Let a replica's process die, as far as its store can tell."""
        raise NotImplementedError

    def run(self, work: Any) -> Any:
        """Run it to its end, if it is not a result already."""
        return self.runner.run(work) if isinstance(work, Coroutine) else work

    def started(self) -> Store:
        """Start a replica with a name of its own."""
        self.number += 1
        made: Store = self.run(self._made(f"{self.number:08x}"))
        return made

    async def _made(self, owner: str) -> Store:
        return self.make(owner)

    @initialize()
    def start(self) -> None:
        """Start all replicas."""
        self.stores = [self.started() for _ in range(self.replicas)]

    def on(self, replica: int) -> tuple[Store, dict[str, OrderRecord]]:
        """Choose a replica."""
        chosen = replica % self.replicas
        return self.stores[chosen], self.claims[chosen]

    @rule(replica=REPLICAS, key=KEYS, content=st.sampled_from([b"1", b"2"]))
    def reserve(self, replica: int, key: str, content: bytes) -> None:
        """One reserves a key that is free; who comes later sees the record."""
        store, claims = self.on(replica)
        wanted = record(store.owner, key, content=content, at=self.clock.wall())
        found = self.run(store.reserve(wanted))
        assert found == self.model.get(wanted.id)
        if found is None:
            self.model[wanted.id] = claims[wanted.id] = wanted
            assert self.run(store.reserve(wanted)) is None  # once more, as after a lost answer

    @rule(
        replica=REPLICAS,
        state=st.sampled_from([State.SENT, State.UNKNOWN, State.ANSWERED]),
        answer=ANSWERS,
    )
    def enter(self, replica: int, state: State, answer: Answer) -> None:
        """Let each order whose claim a replica believes in enter a state."""
        store, claims = self.on(replica)
        given = answer if state is State.ANSWERED else None
        for order_id, claim in claims.items():
            present = self.model.get(order_id)
            is_mine = present is not None and present.claim == claim.claim
            if present is None or not is_mine or (present.state, state) not in STEPS:
                with pytest.raises(ClaimLost):
                    self.run(store.enter(claim, state, given))
                continue
            self.run(store.enter(claim, state, given))
            if present.state is not state:
                self.model[order_id] = present._replace(state=state, answer=given)

    @rule(replica=REPLICAS)
    def release(self, replica: int) -> None:
        """End orders that were not acted on."""
        store, claims = self.on(replica)
        for order_id, claim in list(claims.items()):
            present = self.model.get(order_id)
            mine = present is not None and present.claim == claim.claim
            assert self.run(store.release(claim)) is mine
            if mine:
                del self.model[order_id]
            del claims[order_id]

    @rule(replica=REPLICAS, key=KEYS)
    def forget(self, replica: int, key: str) -> None:
        """Have an operator drop what is not under way."""
        store, _ = self.on(replica)
        order_id = record("0", key).id
        present = self.model.get(order_id)
        can_be = present is not None and present.state not in OPEN
        assert self.run(store.forget(order_id)) is can_be
        if can_be:
            del self.model[order_id]

    @precondition(lambda self: self.replicas > 1)
    @rule(replica=REPLICAS)
    def die(self, replica: int) -> None:
        """Kill a process, and start another one."""
        store, claims = self.on(replica)
        self.kill(store)
        for order_id, present in list(self.model.items()):
            if present.owner == store.owner:
                state = after_death(present.state)
                if state is None:
                    del self.model[order_id]
                else:
                    self.model[order_id] = present._replace(state=state)
        claims.clear()
        self.stores[replica] = self.started()

    @rule(seconds=st.sampled_from([-1e6, 1e6, 1e9]))
    def step_wall_clock(self, seconds: float) -> None:
        """Nothing is dropped because a wall clock steps."""
        self.clock.step_wall(seconds)

    @invariant()
    def all_agree(self) -> None:
        """Each replica sees what the model has."""
        expected = {order_id: found.state for order_id, found in self.model.items()}
        for store in self.stores:
            for key in ("a", "b", "c"):
                order_id = record("0", key).id
                assert self.run(store.look_up(order_id)) == self.model.get(order_id)
            listed = self.run(store.listing(unknown=False))
            assert {found.id: found.state for found in listed} == expected
            unknown = {name for name, state in expected.items() if state is State.UNKNOWN}
            assert {found.id for found in self.run(store.listing(unknown=True))} == unknown
            summary = self.run(store.upkeep())
            assert (summary.held, summary.unknown) == (len(expected), len(unknown))
            assert {found.id for found in summary.records} == unknown

    def teardown(self) -> None:
        """End all."""
        for store in self.stores:
            self.run(store.close())
        self.runner.close()


class InMemory(Orders):
    """A process has one, so nothing is left when it dies."""

    replicas = 1

    def make(self, owner: str) -> Store:
        """Start a replica."""
        return MemoryStore(owner, self.clock.now)


class InFile(Orders):
    """Two processes on one file."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()

    def make(self, owner: str) -> Store:
        """Start a replica."""
        return SQLiteStore(Path(self.directory.name) / "orders.db", owner, self.clock)

    def kill(self, store: Store) -> None:
        """Drop its lock, as the system does; the rest of a kill is in test_crash.py."""
        assert isinstance(store, SQLiteStore)
        self.run(store._writer.close())
        store._presence.end()

    def teardown(self) -> None:
        """End all."""
        super().teardown()
        self.directory.cleanup()


class OnRedis(Orders):
    """Two replicas on one server."""

    server: ClassVar[RedisServer]

    def __init__(self) -> None:
        super().__init__()
        self.server.clear()

    def make(self, owner: str) -> Store:
        """Start a replica."""
        return SharedStore(self.server.url, None, owner)

    def kill(self, store: Store) -> None:
        """Let its lease end."""
        self.run(store.close())


def tried(machine: type[Orders], examples: int) -> Any:
    """Return the test of a machine."""
    case = machine.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestInMemory = tried(InMemory, 60)
TestInFile = tried(InFile, 25)


@pytest.mark.skipif(PROGRAM is None, reason="no redis-server is installed")
class TestOnRedis(tried(OnRedis, 25)):  # type: ignore[misc] # hypothesis makes the class
    """The same on a real server."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, tmp_path_factory: pytest.TempPathFactory) -> Any:
        OnRedis.server = RedisServer(tmp_path_factory.mktemp("redis"), "--appendonly", "no").start()
        yield
        OnRedis.server.stop()
