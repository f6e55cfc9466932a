"""How the sandbox behaves as long as no fault is on. Each setting holds its own reading."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from proxy.sandbox.messages import UsageError
from proxy.sandbox.published import SHAPES

_SWITCH: Final = {"true": True, "on": True, "false": False, "off": False}
#: About 31 years: more means nothing to a test, and every sum of such numbers fits the 64 bits of a
#: JSON integer.
_MAX_SECONDS: Final = 10**9

#: What the token endpoint writes under `expires_in`, from the token's true lifetime. `missing`
#: leaves the member out. A client that trusts `absurd` keeps its token for some 31 million years.
EXPIRES_IN: Final[dict[str, Callable[[float], object]]] = {
    "number": lambda seconds: seconds,
    "string": str,
    "missing": lambda _seconds: None,
    "absurd": lambda _seconds: 10**15,
    "negative": lambda _seconds: -1,
    "words": lambda _seconds: "soon",
}
#: What the real token endpoint was seen to give: two strings, and no `token_type`.
MINIMAL: Final = "minimal"


def read_number(value: object) -> float:
    """Read a number of seconds from JSON or from the command line; a whole one stays whole."""
    try:
        number = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        number = math.nan
    if not 0 <= number <= _MAX_SECONDS:  # NaN is in no range
        raise UsageError(f"the value must be a number of seconds, from 0 to {_MAX_SECONDS}")
    return int(number) if number.is_integer() else number


def _optional_number(value: object) -> float | None:
    return None if value is None or value == "none" else read_number(value)


def _switch(value: object) -> bool:
    return _SWITCH[_one_of(_SWITCH)(str(value).lower())]


def _one_of(names: Collection[str]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if str(value) not in names:
            raise UsageError(f"the value must be one of {', '.join(names)}")
        return str(value)

    return read


def _words(value: object) -> str:
    if not isinstance(value, str):
        raise UsageError("the value must be a text: words with a space between them")
    return value


@dataclass(slots=True)
class SandboxSettings:
    """The settings. A test assigns to an attribute; `change` judges values from outside."""

    token_lifetime_seconds: float = field(default=3599, metadata={"read": read_number})
    expires_in: str = field(default="number", metadata={"read": _one_of(EXPIRES_IN)})
    token_answer: str = field(default="full", metadata={"read": _one_of(("full", MINIMAL))})
    allowed_scopes: str = field(default="orders accounts", metadata={"read": _words})
    single_session: bool = field(default=False, metadata={"read": _switch})
    shared_token: bool = field(default=False, metadata={"read": _switch})
    error_shape: str = field(default="code-number", metadata={"read": _one_of(SHAPES)})
    www_authenticate: bool = field(default=False, metadata={"read": _switch})
    retry_after_seconds: float | None = field(default=None, metadata={"read": _optional_number})
    order_delay_seconds: float = field(default=2, metadata={"read": read_number})
    account_delay_seconds: float = field(default=2, metadata={"read": read_number})

    def change(self, changes: Mapping[str, object]) -> None:
        """Change several settings, or none of them if one name or value is wrong."""
        judged = {name: read_setting(name, value) for name, value in changes.items()}
        for name, value in judged.items():
            setattr(self, name, value)


def read_setting(name: str, value: object) -> object:
    """Turn a value into what the setting of that name keeps, or raise UsageError."""
    known = {each.name: each for each in fields(SandboxSettings)}
    if name not in known:
        raise UsageError(f"unknown setting {name!r}; known: {', '.join(known)}")
    try:
        read: object = known[name].metadata["read"](value)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    return read
