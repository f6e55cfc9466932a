"""Finds in the package's code the texts of errors, answers and warnings."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import proxy
from proxy import faults

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(proxy.__file__).parent
MODULES: Final = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}

#: Stands where the code fills something in.
HOLE: Final = "…"


def text_of(node: ast.AST | None) -> str | None:
    """Return the text of a string in the code, with `HOLE` for variable parts; else None."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values
        )
    return None


class Logged(NamedTuple):
    """A call that logs a warning or an error; detail: None unless it is a string in the code."""

    where: str
    event: str
    has_detail: bool
    detail: str | None


def warnings() -> Iterator[Logged]:
    """Yield each call that logs a warning, an error or an exception by the name of an event."""
    for module, tree in MODULES.items():
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            event = text_of(call.args[0]) or ""
            levels = {part.attr for part in ast.walk(call.func) if isinstance(part, ast.Attribute)}
            if re.fullmatch(r"[a-z]+\.[a-z_]+", event) and levels & {
                "warning",
                "error",
                "exception",
            }:
                details = [keyword.value for keyword in call.keywords if keyword.arg == "detail"]
                yield Logged(module, event, bool(details), text_of(details[0]) if details else None)


def raised(*names: str, argument: int = 0) -> Iterator[tuple[str, str]]:
    """Yield place and text of each call of these names with a string as that argument."""
    for module, tree in MODULES.items():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in ast.walk(function):
                if (
                    isinstance(call, ast.Call)
                    and ast.unparse(call.func).rpartition(".")[2] in names
                ):
                    text = text_of(call.args[argument]) if len(call.args) > argument else None
                    if text is not None:
                        yield f"{module}:{function.name}", text


def reasons() -> set[str]:
    """Return the reasons of failed token fetches in the code, without their variable parts."""
    found = set()
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if (
                module.startswith("tokens.")
                and isinstance(node, ast.Call)
                and ast.unparse(node.func) in {"TokenUnavailable", "CredentialsRefused"}
            ):
                found |= {
                    part.value
                    for part in ast.walk(node.args[0])
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                }
    return found | faults.REASONS
