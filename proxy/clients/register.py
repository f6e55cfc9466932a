"""Who calls, by key or certificate, and what this client may do.

Owns which clients there are, and when each of their keys was last used. It knows no socket and no
event loop; its clock and its chance come in from outside.

Laws
1. A request is judged by the register in force when it comes, whatever connection it comes on: a
   removed key ends its right at once.
2. How long the judgement takes says nothing about a key. What a client shows is hashed first, with
   a random key of this process (BLAKE2b, RFC 7693), and the digest is looked up. The time for the
   hash depends on what was shown alone, and a comparison that ends early tells a part of a digest
   that no client can compute or choose. That is the double HMAC of constant-time comparison, and it
   costs the same for one client as for a thousand.
3. A client that shows a key is who the key says, whatever its certificate says; with a wrong key it
   is refused.
4. A client's paths lie within `upstream.allowed_paths`: the policy judges those first.
5. A use of a key is remembered by the key's place in the list, never by a part of the key.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.errors import Refused
from proxy.problems import ProblemKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from proxy.secret import Secret

#: Bytes of a digest: 2^64 tries for a collision, with a key that is not known.
_DIGEST_SIZE: Final = 16


class Entry(NamedTuple):
    """A client as the settings have it.

    name: None for the holder of `listen.client_key`. keys: all of them valid. certificate: a DNS
    name, or a CN. paths, methods: None allows all that the listener allows.
    """

    name: str | None
    keys: Sequence[Secret] = ()
    certificate: str | None = None
    paths: Sequence[str] | None = None
    methods: Collection[str] | None = None


class Client:
    """A client and its rights. name: None for one without a name."""

    __slots__ = ("_methods", "_paths", "_prefixes", "name")

    def __init__(self, entry: Entry) -> None:
        self.name = entry.name
        self._methods: frozenset[bytes] | None = None
        self._prefixes: tuple[bytes, ...] | None = None
        self._paths: frozenset[bytes] = frozenset()
        if entry.methods is not None:
            self._methods = frozenset(method.encode("ascii") for method in entry.methods)
        if entry.paths is not None:
            paths = [path.encode("ascii") for path in entry.paths]
            self._prefixes = tuple(path if path.endswith(b"/") else path + b"/" for path in paths)
            self._paths = frozenset(path for path in paths if not path.endswith(b"/"))

    def may(self, method: bytes, path: bytes) -> bool:
        """Whether this client's rights cover a call.

        path: as the policy has judged it, without a query.
        """
        if self._methods is not None and method not in self._methods:
            return False
        return self._prefixes is None or path.startswith(self._prefixes) or path in self._paths

    def __repr__(self) -> str:
        return f"Client({self.name!r})"


#: Who calls where neither keys nor clients are set.
ANYBODY: Final = Client(Entry(None))


def unknown() -> Refused:
    """Return what a request gets that says of no client that it is that one."""
    return Refused(
        ProblemKind.CLIENT_KEY,
        "The client key is missing or wrong, and no certificate says who calls. Send a key of listen.client_key or listen.clients, "
        "once, in X-Proxy-Key.",
    )


def not_covered(client: Client) -> Refused:
    """Return what a request gets that the rights of its client do not cover."""
    return Refused(
        ProblemKind.CLIENT_RIGHTS,
        f"The client {client.name} may not call this path with this method. Correct the call, or extend allowed_paths or "
        "allowed_methods of this client in listen.clients.",
    )


class _Key:
    """A key in use. used_at: seconds since the epoch; None while it was not used."""

    __slots__ = ("client", "used_at")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.used_at: float | None = None


class Register:
    """The clients in force. `follow` changes them; between two calls of it they stay as they are.

    pepper: 16 to 64 random bytes of this process. wall: seconds since the epoch, for people.
    """

    def __init__(self, pepper: bytes, wall: Callable[[], float]) -> None:
        self._hash = hashlib.blake2b(digest_size=_DIGEST_SIZE, key=pepper)
        self._wall = wall
        self._is_open = True
        self._keys: dict[bytes, _Key] = {}
        self._certificates: dict[str, Client] = {}
        self._positions: dict[str, list[_Key]] = {}

    def follow(self, entries: Iterable[Entry]) -> None:
        """Let these be the clients from the next request on; without any, everybody may call.

        What is known of a key's use stays with the key, whatever its position is now.
        """
        keys: dict[bytes, _Key] = {}
        certificates: dict[str, Client] = {}
        positions: dict[str, list[_Key]] = {}
        entries = tuple(entries)
        for entry in entries:
            client = Client(entry)
            if entry.certificate is not None:
                certificates[entry.certificate.lower()] = client
            digests = [self._digest(key.reveal().encode("ascii")) for key in entry.keys]
            for digest in digests:
                key = keys[digest] = _Key(client)
                before = self._keys.get(digest)
                if before is not None and before.client.name == client.name:
                    key.used_at = before.used_at
            if entry.name is not None:
                positions[entry.name] = [keys[digest] for digest in digests]
        self._keys, self._certificates, self._positions = keys, certificates, positions
        self._is_open = not entries

    def identify(self, keys: Sequence[bytes], names: Sequence[str] = ()) -> Client | None:
        """Return who calls; None for a client that may not.

        keys: every value of `X-Proxy-Key` in the request. names: the names in the client's
        certificate, in lower case.
        """
        if self._is_open:
            return ANYBODY
        if not keys:
            return self._certified(names)
        if len(keys) > 1:
            return None
        key = self._keys.get(self._digest(keys[0]))
        if key is None:
            return None
        key.used_at = self._wall()
        return key.client

    def _certified(self, names: Sequence[str]) -> Client | None:
        """Return the one client that these names belong to.

        A certificate with the names of two belongs to neither.
        """
        found = {
            id(client): client
            for client in map(self._certificates.get, names)
            if client is not None
        }
        return next(iter(found.values())) if len(found) == 1 else None

    def _digest(self, shown: bytes) -> bytes:
        hashed = self._hash.copy()
        hashed.update(shown)
        return hashed.digest()

    def last_used(self) -> dict[str, list[float | None]]:
        """Return, by client, when each of its keys was last used, in the order of the settings."""
        return {name: [key.used_at for key in keys] for name, keys in self._positions.items()}
