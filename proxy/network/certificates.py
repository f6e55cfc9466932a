"""When certificates end: what of X.509 the standard library does not show of files.

None is trusted because of what is read here; OpenSSL decides that.
"""

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
#: A UTCTime or a GeneralizedTime, and a sequence of two: `Validity` (RFC 5280 section 4.1.2.5).
_TIME: Final = rb"(\x17\x0d[0-9]{12}Z|\x18\x0f[0-9]{14}Z)"
_VALIDITY: Final = re.compile(rb"\x30[\x1e\x20\x22]" + _TIME + _TIME)
#: Years of a UTCTime: from 50 on they are of the last century (RFC 5280 section 4.1.2.5.1).
_PIVOT: Final = "50"
_DAY: Final = 86_400  # seconds
#: Seconds before its end from which a certificate's end is reported, and is urgent; as the alerts'.
SOON: Final = 14 * _DAY
URGENT: Final = 3 * _DAY
GOOD: Final = "good"


def not_after(der: bytes) -> float:
    """Return when a certificate ends, in seconds since the epoch. Raises `ValueError`.

    For certificates of this machine's files only: an issuer's name made for it could mislead the
    pattern.
    """
    found = _VALIDITY.search(der)
    if found is None:
        raise ValueError("it is no certificate")
    text = found[2][2:].decode("ascii")
    if len(text) < len("YYYYMMDDhhmmssZ"):
        text = f"{'19' if text[:2] >= _PIVOT else '20'}{text}"
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _ends(path: Path) -> list[float]:
    text = path.read_text("ascii", "replace")
    return [not_after(ssl.PEM_cert_to_DER_cert(found)) for found in _PEM.findall(text)]


def end_of_leaf(path: Path) -> float:
    """Return when the first certificate in a PEM file ends. Raises `OSError` or `ValueError`."""
    ends = _ends(path)
    if not ends:
        raise ValueError("it holds no certificate")
    return ends[0]


def end_of_file(path: Path | None) -> float | None:
    """Return when the earliest to end of a PEM file ends; None without one that can be read."""
    try:
        return None if path is None else min(_ends(path), default=None)
    except (OSError, ValueError):
        return None


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
