"""Finds in the package's code the texts of errors, answers and warnings."""

import ast
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from proxy import faults
from tests.unit.test_architecture import MODULES

LEVELS: Final = {"debug", "info", "warning", "error", "exception"}
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
    """A call that logs an event; detail: None unless it is a string in the code."""

    event: str
    levels: set[str]
    fields: set[str]
    detail: str | None


def logged() -> Iterator[Logged]:
    """Yield each call that logs by the name of an event, with the levels that it may have."""
    for tree in MODULES.values():
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            event = text_of(call.args[0]) or ""
            names = {part.attr for part in ast.walk(call.func) if isinstance(part, ast.Attribute)}
            if re.fullmatch(r"[a-z]+\.[a-z_]+", event) and names & LEVELS:
                values = {each.arg: each.value for each in call.keywords if each.arg}
                yield Logged(event, names & LEVELS, set(values), text_of(values.get("detail")))


def warnings() -> Iterator[Logged]:
    """Yield each call that logs a warning, an error or an exception."""
    return (each for each in logged() if each.levels & {"warning", "error", "exception"})


def calls(*names: str) -> Iterator[ast.Call]:
    """Yield each call of these names."""
    for tree in MODULES.values():
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in names:
                yield call


def raised(*names: str, argument: int = 0) -> Iterator[str]:
    """Yield the text of each call of these names with a string as that argument."""
    for call in calls(*names):
        text = text_of(call.args[argument]) if len(call.args) > argument else None
        if text is not None:
            yield text


def reasons() -> set[str]:
    """Return the reasons of failed token fetches in the code, without their variable parts."""
    parts = [
        part
        for call in calls("TokenUnavailable", "CredentialsRefused")
        for part in ast.walk(call.args[0])
    ]
    constants = {part.value for part in parts if isinstance(part, ast.Constant)}
    return {word for word in constants if isinstance(word, str)} | faults.REASONS
