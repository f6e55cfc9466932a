"""The values of token keeping do not change, and show no secret."""

import dataclasses

import pytest

from proxy.secret import Secret
from proxy.tokens.values import AccessToken, Credentials, Grant

TOKEN = AccessToken(
    Secret("s3cr3t"), generation=7, fetched_at=0, renew_at=10, usable_until=20, expires_at=25
)


@pytest.mark.parametrize(
    "value",
    [
        TOKEN,
        Grant(Secret("s3cr3t"), 60),
        Credentials("id", Secret("s3cr3t"), "api1", Secret("s3cr3t")),
    ],
)
def test_no_secret_is_shown(value: object) -> None:
    """`str`, `repr` and `format`, also inside of other values."""
    copied = dataclasses.asdict(value)  # type: ignore[call-overload]
    assert "s3cr3t" not in f"{value!s} {value!r} {value} {[value]} {copied}"


def test_a_token_shows_its_generation_and_its_times() -> None:
    """To find it in the log; `reveal` returns the secret."""
    assert repr(TOKEN) == (
        "AccessToken(generation=7, fetched_at=0, renew_at=10, usable_until=20, expires_at=25)"
    )
    assert TOKEN.reveal() == "s3cr3t"


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (0, "fresh"),
        (9.9, "fresh"),
        (10, "stale"),
        (19.9, "stale"),
        (20, "expired"),
        (25, "expired"),
    ],
)
def test_a_token_ages(now: float, state: str) -> None:
    """Fresh until its renewal is due, stale until it is no longer sent, then expired."""
    assert TOKEN.state(now) == state


def test_a_token_does_not_change() -> None:
    """It is frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        TOKEN.generation = 8  # type: ignore[misc]
