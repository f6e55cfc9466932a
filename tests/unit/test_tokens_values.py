"""The values of token keeping: they do not change, and show no secret."""

from __future__ import annotations

import dataclasses

import pytest

from proxy.secret import Secret
from proxy.tokens.values import AccessToken, Credentials, Grant, TokenState

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
    """`str`, `repr` and `format` of a value that holds a secret show nothing of it, also inside of other values."""
    for shown in (
        str(value),
        repr(value),
        f"{value}",
        f"{[value]}",
        str(dataclasses.asdict(value)),  # type: ignore[call-overload]
    ):
        assert "s3cr3t" not in shown


def test_a_token_shows_its_generation_and_its_times() -> None:
    """What is shown of a token is what one needs to find it in the log."""
    assert repr(TOKEN) == (
        "AccessToken(generation=7, fetched_at=0, renew_at=10, usable_until=20, expires_at=25)"
    )


def test_the_one_loud_verb_reveals_the_token() -> None:
    """`reveal` gives the characters that are injected."""
    assert TOKEN.reveal() == "s3cr3t"


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (0, TokenState.FRESH),
        (9.9, TokenState.FRESH),
        (10, TokenState.STALE),
        (19.9, TokenState.STALE),
        (20, TokenState.EXPIRED),
        (25, TokenState.EXPIRED),
    ],
)
def test_a_token_ages(now: float, state: TokenState) -> None:
    """It is fresh until its renewal is due, stale until it is no longer sent, and expired from then on."""
    assert TOKEN.state(now) is state


def test_a_token_does_not_change() -> None:
    """Whoever holds a token holds the same one for ever."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        TOKEN.generation = 8  # type: ignore[misc]
