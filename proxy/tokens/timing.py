"""How long a token lives, when it is renewed, and how soon a failed attempt is repeated.

Pure arithmetic, in seconds: no clock, no random, no state.
"""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

# --- Lifetime -----------------------------------------------------------------------------------

#: For an answer without a usable `expires_in` (RFC 6749, section 5.1, only recommends it). Short
#: beside the hour of Telenor's example, long enough to log in only every five minutes.
DEFAULT_LIFETIME: Final = 600.0
#: Longer promises are cut to a day: seconds and milliseconds are mixed up in the wild, and one more
#: login a day is cheap.
LONGEST_LIFETIME: Final = 86_400.0
#: Less than this says nothing useful: no request could be served with such a token.
SHORTEST_LIFETIME: Final = 1.0
#: A token is no longer sent this long before its end: it must be valid when the gateway sees it,
#: also if the two clocks run apart while it lives.
SAFETY_MARGIN: Final = 5.0
#: The margin of a short-lived token is this part of its life, or it would hardly be used.
SAFETY_SHARE: Final = 0.1

_NUMBER: Final = re.compile(r"\s*([+-]?[0-9]{1,40}(?:\.[0-9]{0,40})?)\s*", re.ASCII)


def lifetime_of(expires_in: object) -> tuple[float, str | None]:
    """Judge the `expires_in` of an answer: a number, a string, missing (None) or nonsense.

    Returns how long the token is taken to live, and why, if that is not what the answer said.
    """
    seconds = _number(expires_in)
    if seconds is None or math.isnan(seconds) or seconds < SHORTEST_LIFETIME:
        said = "no" if expires_in is None else "an unusable"
        return DEFAULT_LIFETIME, (
            f"The token endpoint gave {said} expires_in; the token is taken to live for"
            f" {DEFAULT_LIFETIME:.0f} seconds. Contact Telenor if it lasts."
        )
    if seconds > LONGEST_LIFETIME:
        return LONGEST_LIFETIME, (
            "The token endpoint gave an expires_in of more than a day, perhaps in milliseconds; the"
            f" token is taken to live for {LONGEST_LIFETIME:.0f} seconds at most."
            " Contact Telenor if it lasts."
        )
    return seconds, None


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        return None if match is None else float(match[1])
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:  # an integer beyond any float
            return math.inf if value > 0 else -math.inf
    return None


def safety_margin(lifetime: float) -> float:
    """How long before its end a token is no longer sent."""
    return min(SAFETY_MARGIN, SAFETY_SHARE * lifetime)


def renew_after(lifetime: float, refresh_ahead: float) -> float:
    """When to renew, in seconds of the token's life: at half of a short one's.

    However small `refresh_ahead` is, the renewal begins a safety margin before the token is no
    longer sent, so that requests need not wait for it.
    """
    ahead = max(refresh_ahead, 2 * safety_margin(lifetime))
    return max(lifetime - ahead, lifetime / 2)


# --- Trying again after a failure --------------------------------------------------------------

#: The first passing failure is tried again after this long at the earliest.
FIRST_BACKOFF: Final = 0.5
#: The longest pause: a service that is back is used again soon.
LONGEST_BACKOFF: Final = 30.0
#: A longer `Retry-After` is cut to this, the slowest pace of refused credentials: one absurd field
#: must not be an outage.
LONGEST_RETRY_AFTER: Final = 300.0
#: Refused credentials do not get better by themselves, and a gateway may lock a machine user out.
#: With these pauses there are 15 attempts in the first hour and 12 in each one after that.
REFUSED_PAUSES: Final = (30.0, 60.0, 120.0, 300.0)

#: So many doublings reach the longest backoff; counting on would only overflow.
_MOST_DOUBLINGS: Final = 16


def pause(faults: int, refusals: int, retry_after: float | None, jitter: float) -> float:
    """Seconds until the next attempt, after so many faults and refusals since the last success.

    Once refused, the slow pace holds until a success: a fault may hide a refusal. `retry_after`
    lengthens the pause, within reason. jitter: from 0 to 1, at random. After faults the pause lies
    between half of a ceiling, which doubles, and the whole of it ("equal jitter"): many proxies
    that failed together do not come back together.
    """
    if refusals:
        own = REFUSED_PAUSES[min(refusals, len(REFUSED_PAUSES)) - 1]
    else:
        ceiling = min(LONGEST_BACKOFF, math.ldexp(FIRST_BACKOFF, min(faults, _MOST_DOUBLINGS)))
        own = ceiling / 2 * (1 + jitter)
    return max(own, min(retry_after or 0.0, LONGEST_RETRY_AFTER))


def asked_wait(fields: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for (RFC 9110, section 10.2.3), if it can be read.

    fields: by lower-case name. A date is measured from the answer's own `Date`: this host's clock
    may be wrong.
    """
    value = fields.get("retry-after", "")
    seconds = _number(value)
    if seconds is None:
        try:
            asked, sent = map(parsedate_to_datetime, (value, fields.get("date", "")))
            seconds = (asked - sent).total_seconds()
        except (TypeError, ValueError, OverflowError):  # no date, without a zone, or out of range
            return None
    return max(0.0, seconds)


# --- Renewals forced by a 401 ------------------------------------------------------------------

#: Forced renewals are at least this far apart: a service that answers 401 to everything cannot make
#: the proxy log in all the time.
FORCED_INTERVAL: Final = 5.0
#: The longest interval when each new token is soon rejected again: two proxies that end each
#: other's tokens then log in once a minute each, instead of at every call.
LONGEST_FORCED_INTERVAL: Final = 60.0
#: Forced renewals in a row from which on another login is suspected. One may be a revoked token.
CONTENDED_FROM: Final = 2
#: Forced renewals in a row from which on they are slowed down: two may be bad luck, and each one
#: that waits costs clients a 401.
SLOWED_FROM: Final = 3
#: Once slowed down, each interval is longer by up to this part of it, at random. With equal
#: intervals two proxies keep in step, and the first to log in is rejected all the time.
FORCED_SPREAD: Final = 0.5
#: After this long without a forced renewal the row is over. Well above the longest interval, or a
#: fight would never be seen.
QUIET_SECONDS: Final = 300.0


def forced_interval(losses: int, jitter: float) -> float:
    """Seconds until the next forced renewal is allowed, after that many in a row.

    jitter: from 0 to 1, at random.
    """
    if losses < SLOWED_FROM:
        return FORCED_INTERVAL
    doublings = min(losses - SLOWED_FROM + 1, _MOST_DOUBLINGS)
    interval = min(LONGEST_FORCED_INTERVAL, math.ldexp(FORCED_INTERVAL, doublings))
    return interval * (1 + FORCED_SPREAD * jitter)
