"""Who calls, by key or certificate, and what this client may do; when each key was last used.

It knows no socket and no event loop; clock and random bytes come in from outside.

Laws
1. A request is judged by the register in force when it comes, whatever connection it comes on: a
   removed key ends its right at once.
2. How long the judgement takes says nothing about a key. What a client shows is hashed first, with
   a random key of this process (BLAKE2b, RFC 7693), and the digest is looked up: a comparison that
   ends early tells a part of a digest that no client can compute or choose.
3. A client that shows a key is who the key says, whatever its certificate says; with a wrong key it
   is refused.
4. A client's paths lie within `upstream.allowed_paths`: the policy judges those first.
5. A use of a key is remembered by the key's place in the list, never by a part of the key.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from proxy.errors import Refused
from proxy.problems import ProblemKind
from proxy.settings import ClientSettings

#: Bytes of a digest: 2^64 tries for a collision, with a key that is not known.
_DIGEST_SIZE: Final = 16


class Client:
    """A client and its rights. name: None for one without a name."""

    __slots__ = ("_methods", "_paths", "_prefixes", "name")

    def __init__(self, declared: ClientSettings) -> None:
        self.name = declared.name or None
        self._methods: frozenset[bytes] | None = None
        self._prefixes: tuple[bytes, ...] | None = None
        self._paths: frozenset[bytes] = frozenset()
        if declared.allowed_methods is not None:
            self._methods = frozenset(method.encode("ascii") for method in declared.allowed_methods)
        if declared.allowed_paths is not None:
            paths = [path.encode("ascii") for path in declared.allowed_paths]
            self._prefixes = tuple(path if path.endswith(b"/") else path + b"/" for path in paths)
            self._paths = frozenset(path for path in paths if not path.endswith(b"/"))

    def may(self, method: bytes, path: bytes) -> bool:
        """Whether its rights cover a call. path: as the policy has judged it, without a query."""
        if self._methods is not None and method not in self._methods:
            return False
        return self._prefixes is None or path.startswith(self._prefixes) or path in self._paths

    def __repr__(self) -> str:
        return f"Client({self.name!r})"


#: Who calls where neither keys nor clients are set.
ANYBODY: Final = Client(ClientSettings())


def unknown() -> Refused:
    """Return what a request of no known client gets."""
    return Refused(
        ProblemKind.CLIENT_KEY,
        "The client key is missing or wrong; without a key, a client's certificate counts. Send a"
        " key of listen.client_key or listen.clients, once, in X-Proxy-Key.",
    )


def not_covered(client: Client) -> Refused:
    """Return what a request gets that the rights of its client do not cover."""
    return Refused(
        ProblemKind.CLIENT_RIGHTS,
        f"The client {client.name} may not call this path with this method. Correct the call, or"
        " extend allowed_paths or allowed_methods of this client in listen.clients.",
    )


class _Key:
    """A key in use. used_at: seconds since the epoch; None before its first use."""

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

    def follow(self, clients: Iterable[ClientSettings]) -> None:
        """Let these be the clients from the next request on; without any, each client may call.

        What is known of a key's use stays with the key, whatever its position is now.
        """
        keys: dict[bytes, _Key] = {}
        certificates: dict[str, Client] = {}
        positions: dict[str, list[_Key]] = {}
        clients = tuple(clients)
        for declared in clients:
            client = Client(declared)
            if declared.certificate is not None:
                certificates[declared.certificate.lower()] = client
            digests = [self._digest(key.reveal().encode("ascii")) for key in declared.keys]
            for digest in digests:
                key = keys[digest] = _Key(client)
                before = self._keys.get(digest)
                if before is not None and before.client.name == client.name:
                    key.used_at = before.used_at
            if declared.name:
                positions[declared.name] = [keys[digest] for digest in digests]
        self._keys, self._certificates, self._positions = keys, certificates, positions
        self._is_open = not clients

    def identify(self, keys: Sequence[bytes], names: Sequence[str] = ()) -> Client | None:
        """Return who calls; None for a client that may not.

        keys: every value of `X-Proxy-Key` in the request. names: the names in the client's
        certificate, in lower case; a certificate with the names of two clients is of neither.
        """
        if self._is_open:
            return ANYBODY
        if not keys:
            known = {self._certificates.get(name) for name in names} - {None}
            return known.pop() if len(known) == 1 else None
        key = self._keys.get(self._digest(keys[0])) if len(keys) == 1 else None
        if key is None:
            return None
        key.used_at = self._wall()
        return key.client

    def _digest(self, shown: bytes) -> bytes:
        hashed = self._hash.copy()
        hashed.update(shown)
        return hashed.digest()

    def last_used(self) -> dict[str, list[float | None]]:
        """Return, by client, when each of its keys was last used, in the order of the settings."""
        return {name: [key.used_at for key in keys] for name, keys in self._positions.items()}
