"""A secret: nothing shows it but the one loud verb."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from typing import TYPE_CHECKING

import orjson
import pytest

from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

SENTINEL = "hunter2-sentinel"
SECRET = Secret(SENTINEL)


@dataclasses.dataclass
class Holder:
    """Something that holds a secret."""

    secret: Secret


@pytest.mark.parametrize(
    "show",
    [
        str,
        repr,
        ascii,
        format,
        "{:}".format,
        "{!s:>40}".format,
        lambda secret: f"{secret} {secret!r}",
        lambda secret: str([secret]),
        lambda secret: str(Holder(secret)),
        lambda secret: str(dataclasses.asdict(Holder(secret))),
        lambda secret: json.dumps(secret, default=str),
        lambda secret: orjson.dumps(secret, default=repr).decode(),
    ],
)
def test_nothing_shows_a_secret(show: Callable[[object], str]) -> None:
    """However a text is made of it, or of what holds it, there is none of it in it."""
    shown = show(SECRET)
    assert SENTINEL not in shown
    assert "Secret" in shown


@pytest.mark.parametrize(
    "refuse",
    [pickle.dumps, json.dumps, orjson.dumps, vars, iter, len, hash, bytes, "{:>40}".format],
)
def test_what_would_make_something_else_of_a_secret_fails(
    refuse: Callable[[object], object],
) -> None:
    """It is not serialised, counted, hashed or formatted, and the refusal does not show it either."""
    with pytest.raises(TypeError) as caught:
        refuse(SECRET)
    assert SENTINEL not in str(caught.value)


def test_the_one_loud_verb_reveals_it() -> None:
    """`reveal` gives the characters, also of a copy."""
    assert SECRET.reveal() == SENTINEL
    assert copy.deepcopy(SECRET).reveal() == SENTINEL


@pytest.mark.parametrize("text", ["", "a", "bl\u00e5", "\udcff"])
def test_a_secret_equals_its_like_only(text: str) -> None:
    """Two secrets are equal when their characters are, whatever these are.

    A text never equals a secret.
    """
    secret = Secret(text)
    same, longer, plain = Secret(text), Secret(f"{text}x"), str(text)
    assert secret == same
    assert secret != longer
    assert secret != plain
