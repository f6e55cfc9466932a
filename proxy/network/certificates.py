"""How long certificates hold.

What of X.509 (RFC 5280 section 4.1) the standard library does not show.

It reads certificates that OpenSSL has taken, or that it judges later; none is trusted because of
what is read here.
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_LONG_FORM: Final = 0x80
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
#: Years of a UTCTime: from 50 on they are of the last century (RFC 5280 section 4.1.2.5.1).
_PIVOT: Final = 50
_DAY: Final = 86_400  # seconds
#: Seconds before its end from which a certificate is told of, and from which it is urgent; the
#: alerts' limits.
SOON: Final = 14 * _DAY
URGENT: Final = 3 * _DAY
GOOD: Final = "good"


class Validity(NamedTuple):
    """When a certificate holds, in seconds since the epoch."""

    not_before: float
    not_after: float


class _Element(NamedTuple):
    tag: int
    content: bytes
    rest: bytes


def validity(der: bytes) -> Validity:
    """Return when a certificate holds. Raises `ValueError` if it is none."""
    try:
        body = _next(_next(der, _SEQUENCE).content, _SEQUENCE).content
        element = _next(body)
        if element.tag == _VERSION:
            element = _next(element.rest)  # the serial number
        algorithm = _next(element.rest, _SEQUENCE)
        issuer = _next(algorithm.rest, _SEQUENCE)
        held = _next(_next(issuer.rest, _SEQUENCE).content)
        return Validity(_instant(held), _instant(_next(held.rest)))
    except IndexError:
        raise ValueError("it is no certificate") from None


def in_pem(text: str) -> list[bytes]:
    """Return the certificates of a PEM file, each as DER.

    Raises `ValueError` if one of them is not whole.
    """
    return [ssl.PEM_cert_to_DER_cert(found) for found in _PEM.findall(text)]


def first_to_end(ders: list[bytes]) -> float | None:
    """Return when the first of these certificates ends, in seconds since the epoch.

    None without any.
    """
    return min((validity(der).not_after for der in ders), default=None)


def standing(not_after: float, now: float) -> str:
    """Return `good`, `soon`, `urgent` or `ended`; both in seconds since the epoch."""
    left = not_after - now
    return "ended" if left <= 0 else "urgent" if left < URGENT else "soon" if left < SOON else GOOD


def ending(not_after: float, now: float) -> str:
    """Say when a certificate ends, as a clause; both in seconds since the epoch."""
    day = datetime.fromtimestamp(not_after, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if not_after <= now:
        return f"ended at {day}"
    left = int(not_after - now)
    size, unit = (left // _DAY, "day") if left >= _DAY else (left // 3600, "hour")
    return f"ends at {day}, in {size} {unit}{'' if size == 1 else 's'}"


def end_of_leaf(path: Path) -> float:
    """Return when the first certificate in a PEM file ends.

    Raises `OSError`, `ValueError` or `IndexError`.
    """
    return validity(in_pem(path.read_text("ascii", "replace"))[0]).not_after


def end_of_file(path: Path | None) -> float | None:
    """Return when the first certificate of a PEM file ends, in seconds since the epoch.

    None without one that can be read.
    """
    try:
        return None if path is None else first_to_end(in_pem(path.read_text("ascii", "replace")))
    except (OSError, ValueError):
        return None


def _next(data: bytes, tag: int | None = None) -> _Element:
    """Take one element of DER off the front. Raises `IndexError` or `ValueError`."""
    found, size, start = data[0], data[1], 2
    if size >= _LONG_FORM:
        count = size - _LONG_FORM
        size, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if tag not in (None, found) or len(data) < start + size:
        raise ValueError("it is no certificate")
    return _Element(found, data[start : start + size], data[start + size :])


def _instant(element: _Element) -> float:
    text = element.content.decode("ascii")
    if element.tag == _UTC_TIME:
        text = f"{'19' if int(text[:2]) >= _PIVOT else '20'}{text}"
    elif element.tag != _GENERALIZED_TIME:
        raise ValueError("it is no certificate")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
