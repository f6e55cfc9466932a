"""How long a token lives, when it is renewed, and when a failed attempt is made again."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tokens import timing

HOUR = 3600.0
DATE, LATER = "Thu, 01 Jan 2026 00:00:30", "Thu, 01 Jan 2026 00:02:00 GMT"


@pytest.mark.parametrize("expires_in", [3599, "3600", " 3600 ", 1800.5, "+60", "60.5", 1, 86_400])
def test_a_sensible_lifetime_is_believed(expires_in: float | str) -> None:
    """As a number or a string of digits, without a note."""
    assert timing.lifetime_of(expires_in) == (float(expires_in), None)


USELESS = (None, "", "soon", "1e3", "-1", "٣٦٠٠", True, 0, 0.5, math.nan, -math.inf, [3600])
ABSURD = (86_401, 3_599_000, "3600000", math.inf, 10**400, "9" * 40)


@pytest.mark.parametrize(
    ("expires_in", "expected"),
    [
        *((value, timing.DEFAULT_LIFETIME) for value in USELESS),
        *((value, timing.LONGEST_LIFETIME) for value in ABSURD),
    ],
    ids=lambda value: f"{value!s:.12}",
)
def test_another_lifetime_is_corrected(expires_in: object, expected: float) -> None:
    """A useless one to the default, more than a day to a day, with a note."""
    seconds, note = timing.lifetime_of(expires_in)
    assert seconds == expected
    assert note is not None
    assert ("no expires_in" in note) == (expires_in is None)


@given(
    st.one_of(
        st.integers(), st.floats(), st.text(), st.booleans(), st.none(), st.lists(st.integers())
    )
)
def test_no_lifetime_is_unusable(expires_in: object) -> None:
    """It is between a second and a day, and a change is noted."""
    seconds, note = timing.lifetime_of(expires_in)
    assert timing.SHORTEST_LIFETIME <= seconds <= timing.LONGEST_LIFETIME
    assert note is not None or seconds == float(str(expires_in).strip())


@pytest.mark.parametrize(
    ("lifetime", "refresh_ahead", "renewed_at"),
    [
        (HOUR, 300, 3300),
        (600, 300, 300),
        (599, 300, 299.5),
        (200, 300, 100),
        (1, 300, 0.5),
        (HOUR, 0, 3590),
        (10, 1, 8),
    ],
)
def test_renewal_begins_ahead_of_expiry(
    lifetime: float, refresh_ahead: float, renewed_at: float
) -> None:
    """By `refresh_ahead`; for a short token at half of its life."""
    assert timing.renew_after(lifetime, refresh_ahead) == pytest.approx(renewed_at)


@given(st.floats(timing.SHORTEST_LIFETIME, timing.LONGEST_LIFETIME), st.floats(0, 10_000))
def test_a_token_is_stale_before_it_is_expired(lifetime: float, refresh_ahead: float) -> None:
    """The renewal begins in the second half, with time left for it."""
    renewed_at = timing.renew_after(lifetime, refresh_ahead)
    usable_until = lifetime - timing.safety_margin(lifetime)
    assert lifetime / 2 <= renewed_at < usable_until < lifetime
    assert timing.safety_margin(HOUR) == 5
    assert timing.safety_margin(2) == pytest.approx(0.2)


def test_pauses_after_faults_double_between_their_bounds() -> None:
    """From 0.5 s to 30 s, between half of a doubling ceiling and all of it."""
    faults = [*range(1, 9), 1_000_000]
    lowest = [timing.pause(count, 0, None, 0.0) for count in faults]
    highest = [timing.pause(count, 0, None, 1.0) for count in faults]
    assert lowest == [0.5, 1, 2, 4, 8, 15, 15, 15, 15]
    assert highest == [1, 2, 4, 8, 16, 30, 30, 30, 30]


@pytest.mark.parametrize("faults", [0, 1_000_000])
def test_refused_credentials_are_tried_a_bounded_number_of_times(faults: int) -> None:
    """15 times in the first hour, then 12 times an hour, whatever faults come between."""
    pauses = [timing.pause(faults, refusals, None, 1.0) for refusals in range(1, 40)]
    assert pauses[:6] == [30, 60, 120, 300, 300, 300]
    attempts = [0.0, *itertools.accumulate(pauses)]
    assert sum(attempt < HOUR for attempt in attempts) == 15
    assert sum(HOUR <= attempt < 2 * HOUR for attempt in attempts) == 12


@pytest.mark.parametrize(
    ("refusals", "asked", "expected"),
    [(0, 0.0, 0.5), (0, 7.0, 7), (1, 7.0, 30), (0, 86_400.0, 300), (0, math.inf, 300)],
)
def test_retry_after_lengthens_a_pause_within_reason(
    refusals: int, asked: float, expected: float
) -> None:
    """It is a lower bound up to five minutes."""
    assert timing.pause(1, refusals, asked, 0.0) == expected


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "later"}, None),
        ({"retry-after": LATER, "date": f"{DATE} GMT"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:00 GMT", "date": f"{DATE} GMT"}, 0.0),
        ({"retry-after": LATER}, None),
        ({"retry-after": LATER, "date": "yesterday"}, None),
        ({"retry-after": LATER, "date": DATE}, None),
    ],
)
def test_retry_after_is_read_without_this_hosts_clock(
    fields: dict[str, str], seconds: float | None
) -> None:
    """A date is measured from the answer's own `Date`, or means nothing."""
    assert timing.asked_wait(fields) == seconds


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_retry_after_is_an_error(value: str, date: str) -> None:
    """Any text gives a number of seconds or none."""
    seconds = timing.asked_wait({"retry-after": value, "date": date})
    assert seconds is None or seconds >= 0


def test_forced_renewals_slow_down_from_the_third_in_a_row() -> None:
    """To once a minute; from then on two proxies fall out of step."""
    counts = [*range(9), 1_000_000]
    steady = [timing.forced_interval(losses, 0.0) for losses in counts]
    spread = [timing.forced_interval(losses, 1.0) for losses in counts]
    assert steady == [5, 5, 5, 10, 20, 40, 60, 60, 60, 60]
    assert spread == [5, 5, 5, 15, 30, 60, 90, 90, 90, 90]
