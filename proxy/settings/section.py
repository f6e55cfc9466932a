"""How a setting is declared: as a field of a section, which is a frozen dataclass, with its kind, its default and one sentence about it.

Sections are made by `reading`, which has judged the values; a section itself believes what it is given.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, cast

from proxy.settings.kinds import Kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is declared of one setting.

    default: None if it may be left out, MISSING if it may not. changes: whether a change is taken up without a restart.
    """

    kind: Kind[Any]
    default: object
    description: str
    changes: bool = False

    @property
    def is_required(self) -> bool:
        """Whether the proxy cannot do without it."""
        return self.default is MISSING

    def shown(self, value: object) -> object:
        """Return what it holds as a value for JSON; None for an empty list, which is none at all."""
        return None if value in (None, ()) else self.kind.plain(value)


def setting(kind: Kind[T], default: T, *, description: str, changes: bool = False) -> T:
    """Declare a setting with a default."""
    return cast("T", _declared(Setting(kind, default, description, changes)))


def optional(kind: Kind[T], *, description: str, changes: bool = False) -> T | None:
    """Declare a setting that is None when it is left out."""
    return cast("T | None", _declared(Setting(kind, None, description, changes)))


def required(kind: Kind[T], *, description: str, changes: bool = False) -> T:
    """Declare a setting that must be given."""
    return cast("T", _declared(Setting(kind, MISSING, description, changes)))


def _declared(declared: Setting) -> Any:  # noqa: ANN401 # a field of a dataclass, and in each of its objects what the kind makes
    return field(default=declared.default, metadata={"setting": declared})


@dataclass(frozen=True, slots=True)
class Section:
    """What all sections have in common."""

    @classmethod
    def settings(cls) -> Mapping[str, Setting]:
        """Return what is declared, by key."""
        return {field.name: field.metadata["setting"] for field in fields(cls)}

    @classmethod
    def is_secret(cls, key: str) -> bool:
        """Whether the value may come from a file of its own, and is never shown."""
        return f"{key}_file" in cls.__dataclass_fields__

    def __repr__(self) -> str:
        shown = (f"{key}={getattr(self, key)!r}" for key in self.settings() if not self.is_secret(key))
        return f"{type(self).__name__}({', '.join(shown)})"
