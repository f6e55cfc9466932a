"""The sandbox's documentation names everything that it has."""

from dataclasses import fields
from pathlib import Path

from proxy.sandbox.faults import FAULTS
from proxy.sandbox.published import SHAPES
from proxy.sandbox.settings import EXPIRES_IN, SandboxSettings
from proxy.sandbox.state import DEFAULT_CREDENTIALS

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, str]:
    """Read the table under a heading: the first cell's name, and the rest of the row."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): "|".join(row[1:]) for row in cells}


def test_every_fault_is_documented_with_its_default() -> None:
    """One row each, in the same order."""
    table = rows("Faults")
    assert list(table) == list(FAULTS)
    for name, kind in FAULTS.items():
        assert not kind.default or f"`{kind.default}`" in table[name], name


def test_every_setting_is_documented_with_its_default() -> None:
    """One row each, in the same order, with every value that it takes."""
    table = rows("Settings")
    defaults = {each.name: each.default for each in fields(SandboxSettings)}
    shown = {True: "true", False: "false", None: "none"}
    assert list(table) == list(defaults)
    for name, default in defaults.items():
        text = shown[default] if default is None or isinstance(default, bool) else str(default)
        assert f"`{text}`" in table[name], name
    for name, values in (("error_shape", SHAPES), ("expires_in", EXPIRES_IN)):
        assert [value for value in values if f"`{value}`" not in table[name]] == []


def test_every_shape_of_an_error_is_documented() -> None:
    """One row each, in the same order."""
    assert list(rows("Shapes of an error"))[1:] == list(SHAPES)


def test_the_credentials_are_documented() -> None:
    """All four."""
    for name in ("client_id", "client_secret", "username", "password"):
        assert getattr(DEFAULT_CREDENTIALS, name) in PAGE
