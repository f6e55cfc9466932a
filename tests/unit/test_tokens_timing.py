"""How long a token lives, when it is renewed, and when a failed attempt is made again."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tokens import timing

HOUR = 3600.0


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3599, 3599.0),
        ("3600", 3600.0),
        (" 3600 ", 3600.0),
        (1800.5, 1800.5),
        ("+60", 60.0),
        ("60.5", 60.5),
        (1, 1.0),
    ],
)
def test_a_sensible_lifetime_is_believed(expires_in: object, seconds: float) -> None:
    """A number and a string of digits say the same, and nothing is noted about them."""
    assert timing.lifetime(expires_in) == (seconds, None)


@pytest.mark.parametrize(
    "expires_in",
    [
        None,
        "",
        "soon",
        "3_600",
        "1e3",
        "NaN",
        "-1",
        "٣٦٠٠",
        True,
        False,
        0,
        -1,
        0.5,
        -math.inf,
        math.nan,
        [],
        {},
        [3600],
    ],
)
def test_a_useless_lifetime_becomes_the_default(expires_in: object) -> None:
    """A missing, unreadable or non-positive lifetime is replaced by the documented default, and that is said."""
    seconds, note = timing.lifetime(expires_in)
    assert seconds == timing.DEFAULT_LIFETIME
    assert note is not None
    assert ("no expires_in" in note) == (expires_in is None)


@pytest.mark.parametrize(
    "expires_in",
    [86_401, 3_599_000, "3600000", math.inf, 10**400, "9" * 40],
    ids=lambda said: f"{said!s:.12}",
)
def test_an_absurdly_long_lifetime_is_cut(expires_in: object) -> None:
    """A lifetime of more than a day, milliseconds perhaps, is cut to a day, and that is said."""
    seconds, note = timing.lifetime(expires_in)
    assert seconds == timing.LONGEST_LIFETIME
    assert note is not None


def test_a_lifetime_of_a_day_is_not_cut() -> None:
    """The longest lifetime that is believed is believed whole."""
    assert timing.lifetime(86_400) == (86_400.0, None)


@given(
    st.one_of(
        st.integers(), st.floats(), st.text(), st.booleans(), st.none(), st.lists(st.integers())
    )
)
def test_no_lifetime_is_unusable(expires_in: object) -> None:
    """Whatever the answer holds, the lifetime is between a second and a day, and a change is noted."""
    seconds, note = timing.lifetime(expires_in)
    assert timing.SHORTEST_LIFETIME <= seconds <= timing.LONGEST_LIFETIME
    assert note is not None or seconds == float(str(expires_in).strip())


@pytest.mark.parametrize(
    ("lifetime", "refresh_ahead", "renewed_at"),
    [
        pytest.param(HOUR, 300, 3300, id="long-life"),
        pytest.param(600, 300, 300, id="twice-the-lead"),
        pytest.param(599, 300, 299.5, id="just-short"),
        pytest.param(200, 300, 100, id="shorter-than-the-lead"),
        pytest.param(1, 300, 0.5, id="shortest"),
        pytest.param(HOUR, 0, 3590, id="no-lead"),
        pytest.param(10, 1, 8, id="lead-below-margin"),
    ],
)
def test_renewal_begins_ahead_of_expiry(
    lifetime: float, refresh_ahead: float, renewed_at: float
) -> None:
    """A token is renewed `refresh_ahead` before its end, a short one at half of its life."""
    assert timing.renew_after(lifetime, refresh_ahead) == pytest.approx(renewed_at)


@given(st.floats(timing.SHORTEST_LIFETIME, timing.LONGEST_LIFETIME), st.floats(0, 10_000))
def test_a_token_is_stale_before_it_is_expired(lifetime: float, refresh_ahead: float) -> None:
    """Whatever the lead, the renewal begins in the second half of life, and time is left for it before requests must wait."""
    renewed_at = timing.renew_after(lifetime, refresh_ahead)
    usable_until = lifetime - timing.safety_margin(lifetime)
    assert lifetime / 2 <= renewed_at < usable_until < lifetime


def test_the_safety_margin_leaves_short_tokens_of_use() -> None:
    """The margin is seconds for a long-lived token, and a tenth of a short life."""
    assert timing.safety_margin(HOUR) == 5
    assert timing.safety_margin(2) == pytest.approx(0.2)


def test_backoff_doubles_between_its_bounds() -> None:
    """Passing failures wait from 0.5 s to 30 s, between half of a doubling ceiling and the whole of it."""
    lowest = [timing.backoff(failures, 0.0) for failures in range(1, 9)]
    highest = [timing.backoff(failures, 1.0) for failures in range(1, 9)]
    assert lowest == [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert highest == [1, 2, 4, 8, 16, 30, 30, 30]
    assert timing.backoff(1_000_000, 1.0) == 30


def test_refused_credentials_are_tried_a_bounded_number_of_times() -> None:
    """Refused credentials are tried 15 times in the first hour and 12 times in each one after it."""
    pauses = [timing.refused_pause(refusals) for refusals in range(1, 40)]
    assert pauses[:6] == [30, 60, 120, 300, 300, 300]
    attempts = [0.0, *itertools.accumulate(pauses)]
    assert sum(attempt < HOUR for attempt in attempts) == 15
    assert sum(HOUR <= attempt < 2 * HOUR for attempt in attempts) == 12


@pytest.mark.parametrize(
    ("pause", "retry_after", "expected"),
    [
        (0.5, None, 0.5),
        (0.5, 7.0, 7.0),
        (30.0, 7.0, 30.0),
        (0.5, 86_400.0, 300.0),
        (0.5, math.inf, 300.0),
    ],
)
def test_retry_after_lengthens_a_pause_within_reason(
    pause: float, retry_after: float | None, expected: float
) -> None:
    """What the token endpoint asks for is a lower bound, but an absurd wish is no outage."""
    assert timing.no_sooner_than(pause, retry_after) == expected


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "later"}, None),
        (
            {
                "retry-after": "Thu, 01 Jan 2026 00:02:00 GMT",
                "date": "Thu, 01 Jan 2026 00:00:30 GMT",
            },
            90.0,
        ),
        (
            {
                "retry-after": "Thu, 01 Jan 2026 00:00:00 GMT",
                "date": "Thu, 01 Jan 2026 00:00:30 GMT",
            },
            0.0,
        ),
        ({"retry-after": "Thu, 01 Jan 2026 00:02:00 GMT"}, None),
        ({"retry-after": "Thu, 01 Jan 2026 00:02:00 GMT", "date": "yesterday"}, None),
        (
            {"retry-after": "Thu, 01 Jan 2026 00:02:00 GMT", "date": "Thu, 01 Jan 2026 00:00:30"},
            None,
        ),
    ],
)
def test_retry_after_is_read_without_this_hosts_clock(
    fields: dict[str, str], seconds: float | None
) -> None:
    """`Retry-After` is seconds or a date.

    A date is measured from the answer's own `Date`, or it says nothing.
    """
    assert timing.retry_after(fields) == seconds


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_retry_after_is_an_error(value: str, date: str) -> None:
    """Any text in the two fields gives a number of seconds or none."""
    seconds = timing.retry_after({"retry-after": value, "date": date})
    assert seconds is None or seconds >= 0


def test_forced_renewals_slow_down_from_the_third_in_a_row() -> None:
    """One or two lost tokens cost five seconds.

    From the third on the pace slows down to once a minute.
    """
    assert [timing.forced_interval(losses) for losses in range(9)] == [
        5,
        5,
        5,
        10,
        20,
        40,
        60,
        60,
        60,
    ]
    assert timing.forced_interval(1_000_000) == 60
