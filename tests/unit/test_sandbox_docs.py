"""The sandbox's documentation, and that it shares nothing with the proxy."""

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


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_sandbox_shares_nothing_with_the_proxy(module: Path) -> None:
    """Both cannot be wrong in the same way."""
    nodes = list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))
    imported = [
        alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
    ]
    imported += [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
    ours = [name for name in imported if name.split(".")[0] in {"proxy", ""}]
    assert [name for name in ours if not name.startswith("proxy.sandbox")] == []
