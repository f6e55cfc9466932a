"""The Idempotency-Key of a request, and the fingerprint of an order. Pure.

Source: draft-ietf-httpapi-idempotency-key-header, section 2.1. The draft's value is a structured
string; clients also send it bare, so quotes do not count: `"abc"` and `abc` are one key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from proxy.errors import Refused
from proxy.problems import ProblemKind

#: Methods that may change something at the API. On others the field means nothing.
METHODS: Final = {b"POST": "POST", b"PUT": "PUT", b"PATCH": "PATCH", b"DELETE": "DELETE"}
#: Characters of a key, quotes not counted.
LONGEST: Final = 255

_BARE: Final = re.compile(rb"[\x21\x23-\x7e][\x21-\x7e]{0,%d}" % (LONGEST - 1))
_QUOTED: Final = re.compile(rb'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_ESCAPED: Final = re.compile(rb'\\(["\\])')
_VISIBLE: Final = re.compile(rb"[\x21-\x7e]+")


def parse(fields: Sequence[bytes]) -> str:
    """Return the key of the field values of one request, of which there is at least one.

    Raises `Refused`.
    """
    if len(fields) != 1:
        raise _refused("it is there more than once")
    value = fields[0]
    if _BARE.fullmatch(value) is None:
        value = _unquoted(value.strip(b" \t"))
    return value.decode("ascii")


def _unquoted(value: bytes) -> bytes:
    if value.startswith(b'"'):
        quoted = _QUOTED.fullmatch(value)
        if quoted is None:
            raise _refused("its quotes do not enclose one string of visible characters")
        value = _ESCAPED.sub(rb"\1", quoted[1])
    if not value:
        raise _refused("it is empty")
    if len(value) > LONGEST:
        raise _refused(f"it has more than {LONGEST} characters")
    if not _VISIBLE.fullmatch(value):
        raise _refused("it holds characters other than visible ASCII")
    return value


def _refused(why: str) -> Refused:
    return Refused(
        ProblemKind.ORDER_KEY,
        f"The Idempotency-Key cannot be used because {why}. "
        f"Send one such field, with 1 to {LONGEST} visible characters.",
    )


def fingerprint(client: str, method: bytes, target: bytes) -> hashlib._Hash:
    """Begin the SHA-256 of what makes two orders the same; feed it the content, then it is whole.

    client: its name, "" if clients have none.
    """
    name = client.encode()
    parts = (len(name), name, len(method), method, len(target), target)
    return hashlib.sha256(b"%d:%b%d:%b%d:%b" % parts)


def identify(client: str, key: str) -> str:
    """Return the id of the record of a key: 32 hexadecimal digits, the same on every replica."""
    name = client.encode()
    return hashlib.sha256(b"key:%d:%b%b" % (len(name), name, key.encode())).hexdigest()[:32]


def identify_guarded(order: bytes) -> str:
    """Return the id of the record of an order without a key, by its fingerprint."""
    return hashlib.sha256(b"guard:" + order).hexdigest()[:32]
