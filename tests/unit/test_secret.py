"""A secret: nothing but `reveal` shows it."""

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable

import orjson
import pytest

from proxy.secret import Secret

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
    """Neither a text made of it nor of what holds it."""
    shown = show(SECRET)
    assert SENTINEL not in shown
    assert "Secret" in shown


@pytest.mark.parametrize(
    "refuse",
    [pickle.dumps, json.dumps, orjson.dumps, vars, iter, len, hash, bytes, "{:>40}".format],
)
def test_a_secret_cannot_be_converted(refuse: Callable[[object], object]) -> None:
    """The error does not show it either."""
    with pytest.raises(TypeError) as caught:
        refuse(SECRET)
    assert SENTINEL not in str(caught.value)


def test_reveal_returns_it() -> None:
    """Also from a copy."""
    assert SECRET.reveal() == SENTINEL
    assert copy.deepcopy(SECRET).reveal() == SENTINEL


@pytest.mark.parametrize("text", ["", "a", "bl\u00e5", "\udcff"])
def test_equal_secrets_hold_the_same_text(text: str) -> None:
    """A text never equals a secret."""
    secret = Secret(text)
    same, longer, plain = Secret(text), Secret(f"{text}x"), str(text)
    assert secret == same
    assert secret != longer
    assert secret != plain
