"""A store in a Redis or Valkey, which several replicas share.

Laws
1. Each step is one script on the server, so of two replicas with one key one reserves it.
2. A replica holds a lease there. When it has ended, what that replica sent is unknown, and what it
   reserved is dropped; its own claim is then lost, and it does not send.
3. A call ends within `_PATIENCE`, whatever the server does, and is never cut off in the middle.

How durable records are is the server's setting: `appendonly yes` and `maxmemory-policy noeviction`.
"""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Awaitable, Sequence
from typing import Any, Final

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from proxy.orders import scripts
from proxy.orders.states import BEFORE, Answer, OrderRecord, State
from proxy.orders.store import LISTED, MAX_RECORDS, SHOWN, ClaimLost, StoreAway, Summary
from proxy.secret import Secret

log = structlog.get_logger("proxy.orders")

#: The client's name for the scheme of a Valkey.
_SCHEME: Final = re.compile(r"\Avalkey", re.IGNORECASE)
_TAG: Final = "{telenor-proxy}"
_LEASES: Final = f"{_TAG}:owner:"
_ORDERS: Final = f"{_TAG}:order:"
#: Seconds. Upkeep renews it every few seconds, and so does each order.
_LEASE: Final = 20.0
#: Seconds for one answer of the server, and for all of a call.
_ANSWER: Final = 2.0
_PATIENCE: Final = 4.0
_CONNECTIONS: Final = 16
#: Records that one upkeep looks at: more than a proxy has calls under way.
_LOOKED_AT: Final = 2_000

_UNREACHABLE: Final = (
    "The Redis of orders.store cannot be reached. Check that it runs, and the URL of orders.store."
)
_NOT_TRUSTED: Final = (
    "The certificate of the Redis of orders.store is not trusted. Name its authority in the URL, "
    "as ?ssl_ca_certs=FILE, and its host as the certificate does."
)
_PASSWORD: Final = (
    "The Redis of orders.store refuses the user or the password. "  # noqa: S105 # words
    "Compare orders.store_password with the server's."
)
_PERMISSION: Final = (
    "The Redis of orders.store does not permit its user what the proxy needs. "
    "Let that user run scripts on keys that begin with {telenor-proxy}."
)
_NO_WRITES: Final = (
    "The Redis of orders.store takes no writes. "
    "Check its memory, its disk, and that it is no replica."
)
_FULL: Final = (
    "The Redis of orders.store holds as many orders as it may. "
    "Lower orders.remember_seconds, or forget orders."
)


_STATE: Final = scripts.FIELDS.index("state")
_FINGERPRINT: Final = scripts.FIELDS.index("fingerprint")


class SharedStore:
    """Connects when it is used. url: redis:// or rediss://. owner: hexadecimal digits.

    places_orders: False for a command that only looks, and so holds no lease.
    """

    def __init__(
        self,
        url: str,
        password: Secret | None,
        owner: str,
        *,
        places_orders: bool = True,
        lease: float = _LEASE,
        most: int = MAX_RECORDS,
    ) -> None:
        self.owner = owner
        self._lease = str(int(lease * 1000)) if places_orders else ""
        self._most = most
        credentials = {} if password is None else {"password": password.reveal()}
        self._pool = BlockingConnectionPool.from_url(
            _SCHEME.sub("redis", url),
            max_connections=_CONNECTIONS,
            timeout=_ANSWER,
            socket_timeout=_ANSWER,
            socket_connect_timeout=_ANSWER,
            retry=Retry(NoBackoff(), 1),  # a pooled connection that the server has closed
            **credentials,
        )
        self._client: Redis = Redis(connection_pool=self._pool)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_checked = False
        self._scripts = {
            body: self._client.register_script(scripts.COMMON + body) for body in scripts.ALL
        }

    async def reserve(self, record: OrderRecord) -> OrderRecord | None:
        """Remember a new record, unless there is one with its id."""
        values = (*record[1:-4], repr(record.created_at), repr(record.lifetime))
        pairs = zip(OrderRecord._fields[1:-2], values, strict=True)
        fields = [part for name, value in pairs if value is not None for part in (name, value)]
        found = await self._run(
            scripts.RESERVE, record.id, record.claim, self._lease, self._most, *fields
        )
        if found == b"full":
            raise StoreAway(_FULL)
        return _record(record.id, found)

    async def enter(self, record: OrderRecord, state: State, answer: Answer | None = None) -> None:
        """Let it enter a state."""
        before = "".join(f" {each} " for each in BEFORE[state])
        kept: list[str | bytes | int] = []
        if answer is not None:
            kept += ["status", answer.status, "fields", answer.fields]
            kept += [] if answer.content is None else ["content", answer.content]
        arguments = (record.claim, self._lease, before, state, *kept)
        if not await self._run(scripts.ENTER, record.id, *arguments):
            raise ClaimLost

    async def release(self, record: OrderRecord) -> bool:
        """Drop it."""
        return bool(await self._run(scripts.RELEASE, record.id, record.claim))

    async def look_up(self, order_id: str) -> OrderRecord | None:
        """Return the record."""
        return _record(order_id, await self._run(scripts.LOOK_UP, order_id))

    async def listing(self, *, unknown: bool, most: int = LISTED) -> Sequence[OrderRecord]:
        """Return what is remembered."""

        async def work() -> list[OrderRecord]:
            name = f"{_TAG}:unknown" if unknown else f"{_TAG}:index"
            return await self._records(await self._client.zrange(name, 0, most - 1))

        await self.upkeep()
        return sorted(await self._bounded(work()), key=lambda record: record.created_at)

    async def _records(self, ids: Sequence[Any]) -> list[OrderRecord]:
        pipeline = self._client.pipeline(transaction=False)
        names = [order_id.decode() for order_id in ids]
        for order_id in names:
            pipeline.hmget(f"{_ORDERS}{order_id}", *scripts.FIELDS[:-1])
        rows = await pipeline.execute() if ids else []
        found = (_record(order_id, [*row, None]) for order_id, row in zip(names, rows, strict=True))
        return [record for record in found if record is not None]

    async def forget(self, order_id: str) -> bool:
        """Drop it by an operator's word."""
        return bool(await self._run(scripts.FORGET, order_id))

    async def upkeep(self) -> Summary:
        """Renew the lease, note whose process died, and say what is held."""
        held, unknown, ids = await self._run(scripts.UPKEEP, "", self._lease, _LOOKED_AT, SHOWN)
        if not self._is_checked and self._lease:
            self._is_checked = True
            await self._bounded(self._warn_of_policy())
        return Summary(held, unknown, await self._bounded(self._records(ids)))

    async def _warn_of_policy(self) -> None:
        """Warn if the server may drop records by itself. It need not let us ask."""
        with contextlib.suppress(ResponseError):
            policy = (await self._client.config_get("maxmemory-policy")).get("maxmemory-policy")
            if policy not in {None, "noeviction", b"noeviction"}:
                log.warning(
                    "orders.store_forgets",
                    detail="The Redis of orders.store drops keys when its memory is full, and "
                    "orders with them. Set its maxmemory-policy to noeviction.",
                )

    async def close(self) -> None:
        """End; the lease ends too."""
        if self._lease:
            with contextlib.suppress(StoreAway):
                await self._bounded(self._client.delete(f"{_LEASES}{self.owner}"))
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._client.aclose()
        await self._pool.disconnect()

    async def _run(self, script: str, order_id: str, *arguments: str | bytes | int) -> Any:  # noqa: ANN401 # what a script gives
        keys = [
            *(f"{_TAG}:{name}" for name in ("index", "open", "unknown")),
            f"{_ORDERS}{order_id}",
            f"{_LEASES}{self.owner}",
        ]
        return await self._bounded(
            self._scripts[script](keys=keys, args=[_LEASES, _ORDERS, order_id, *arguments])
        )

    async def _bounded(self, work: Awaitable[Any]) -> Any:  # noqa: ANN401 # what the work gives
        """Do it in a task of its own, which goes on if the caller stops waiting.

        Cancelled, the client would first wait for its connection to close, for seconds.
        """
        task = asyncio.create_task(_translated(work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(_PATIENCE):
                return await asyncio.shield(task)
        except TimeoutError:
            raise StoreAway(_UNREACHABLE) from None

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have left


async def _translated(work: Awaitable[Any]) -> Any:  # noqa: ANN401 # what the work gives
    """Wait for work of the client. Raises `StoreAway`."""
    try:
        return await work
    except (RedisError, OSError, TimeoutError, RuntimeError) as error:
        # RuntimeError: uvloop's word for a write to a connection that has just been lost.
        raise StoreAway(_why(error)) from None


def _why(error: Exception) -> str:
    if isinstance(error, AuthenticationError):
        return _PASSWORD
    if isinstance(error, NoPermissionError | AuthorizationError):
        return _PERMISSION
    if isinstance(error, ResponseError):
        return _NO_WRITES
    is_certificate = isinstance(error.__context__, ssl.SSLCertVerificationError)
    return _NOT_TRUSTED if is_certificate else _UNREACHABLE


def _record(order_id: str, values: Sequence[Any]) -> OrderRecord | None:
    """Make a record of the values of `scripts.FIELDS`; nothing, or one without a state, is none."""
    if not values or values[_STATE] is None:
        return None
    *parts, status, fields, content = values
    words: list[Any] = [None if part is None else part.decode(errors="replace") for part in parts]
    words[_FINGERPRINT] = parts[_FINGERPRINT]
    *texts, created_at, lifetime, state = words
    answer = None if status is None else Answer(int(status), fields, content)
    return OrderRecord._make(
        [order_id, *texts, float(created_at), float(lifetime), State(state), answer]
    )
