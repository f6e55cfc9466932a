"""The sandbox's documentation and its borders."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from proxy.sandbox.faults import FAULTS
from proxy.sandbox.published import SHAPES
from proxy.sandbox.settings import EXPIRES_IN, SandboxSettings
from proxy.sandbox.state import DEFAULT_CREDENTIALS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")
MODULES = sorted((ROOT / "proxy" / "sandbox").glob("*.py"))


def rows(heading: str) -> dict[str, str]:
    """Read the table under a heading: the first cell's name, and the rest of the row."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): "|".join(row[1:]) for row in cells}


def test_every_fault_is_documented_with_its_default() -> None:
    """The table of faults has one row for each fault, in the same order, and shows the default value."""
    table = rows("Faults")
    assert list(table) == list(FAULTS)
    assert {
        name
        for name, kind in FAULTS.items()
        if kind.default and f"`{kind.default}`" not in table[name]
    } == set()


def test_every_setting_is_documented_with_its_default() -> None:
    """The table of settings has one row for each setting, in the same order, and shows the default value."""
    table = rows("Settings")
    defaults = {each.name: each.default for each in fields(SandboxSettings)}
    shown = {True: "true", False: "false", None: "none"}
    assert list(table) == list(defaults)
    for name, default in defaults.items():
        text = shown[default] if default is None or isinstance(default, bool) else str(default)
        assert f"`{text}`" in table[name], name


@pytest.mark.parametrize(
    ("setting", "values"), [("error_shape", SHAPES), ("expires_in", EXPIRES_IN)]
)
def test_every_choice_is_documented(setting: str, values: dict[str, object]) -> None:
    """A setting with a list of values names all of them."""
    assert [value for value in values if f"`{value}`" not in rows("Settings")[setting]] == []


def test_every_shape_of_an_error_is_documented() -> None:
    """The table of shapes has one row for each of them, in the same order."""
    assert list(rows("Shapes of an error"))[1:] == list(SHAPES)


def test_the_credentials_are_documented() -> None:
    """The page shows the credentials that the sandbox accepts."""
    known = DEFAULT_CREDENTIALS
    assert all(
        value in PAGE
        for value in (known.client_id, known.client_secret, known.username, known.password)
    )


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_sandbox_shares_nothing_with_the_proxy(module: Path) -> None:
    """No module of the sandbox imports another part of the package, so that both cannot be wrong in the same way."""
    nodes = list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))
    imported = [
        alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
    ]
    imported += [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
    ours = [name for name in imported if name.split(".")[0] in {"proxy", ""}]
    assert [name for name in ours if not name.startswith("proxy.sandbox")] == []
