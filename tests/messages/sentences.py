"""Finds what the package's code says: every sentence in it, and those that are spoken in a known way.

A sentence is a string of three words or more. What stands in docstrings and patterns is none, nor what only describes: the help of the command
line, the descriptions of settings and metrics, what the sandbox says in Telenor's place.
"""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(proxy.__file__).parent
MODULES: Final = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}

#: Stands where the code fills something in.
HOLE: Final = "…"
#: Three words in a row.
_WORDS: Final = re.compile(r"(?:(?:[A-Za-z][\w'.()-]*|…)[,;:]? ){2}(?:[A-Za-z][\w']*|…)")
#: Arguments that describe a thing, and say nothing when something happens.
_DESCRIBING: Final = {"description", "help", "epilog"}
#: Functions and modules all of whose sentences do that.
_DESCRIPTIONS: Final = {"admin.metrics", "app:_expose", "sandbox.answers", "settings.reference"}
#: Calls that take a pattern.
_OF_PATTERNS: Final = {"re.compile", "re.fullmatch", "re.match", "re.search", "re.sub"}


#: What `proxy.faults` fills in by name.
_FILLED_IN: Final = re.compile(r"\{(?:who|setting)\}")


class Sentence(NamedTuple):
    """A string in the code. where: module and function."""

    where: str
    line: int
    text: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """What a message that holds it looks like."""
        return re.compile(".*?".join(map(re.escape, self.text.strip().split(HOLE))), re.DOTALL)


def text_of(node: ast.AST | None) -> str | None:
    """Return the text of a string in the code, with `HOLE` for what is filled in; None if it is no string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)
    return None


def sentences() -> Iterator[Sentence]:
    """Yield every sentence, and every part of one."""
    for module, tree in MODULES.items():
        if module not in _DESCRIPTIONS:
            yield from _below(tree, module, "")


def _below(tree: ast.AST, module: str, function: str) -> Iterator[Sentence]:
    where = f"{module}:{function}" if function else module
    if where in _DESCRIPTIONS or (isinstance(tree, ast.Call) and ast.unparse(tree.func) in _OF_PATTERNS):
        return
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        if isinstance(node, ast.keyword) and node.arg in _DESCRIBING:
            continue
        text = text_of(node)
        if text is not None and _WORDS.search(text):
            yield Sentence(where, getattr(node, "lineno", 0), _FILLED_IN.sub(HOLE, text))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _below(node, module, node.name)
        else:
            yield from _below(node, module, function)


# --- What is spoken in a known way ------------------------------------------------------------------------------------


class Logged(NamedTuple):
    """A call that logs a warning or an error: the event, and its `detail` if that is a string in the code."""

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
            if re.fullmatch(r"[a-z]+\.[a-z_]+", event) and levels & {"warning", "error", "exception"}:
                details = [keyword.value for keyword in call.keywords if keyword.arg == "detail"]
                yield Logged(module, event, bool(details), text_of(details[0]) if details else None)


def raised(*names: str, argument: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each call of these that has a string in the code as that argument."""
    for module, tree in MODULES.items():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in names:
                    text = text_of(call.args[argument]) if len(call.args) > argument else None
                    if text is not None:
                        yield f"{module}:{function.name}", text


def told_of_kinds() -> Iterator[tuple[str, str]]:
    """Yield each kind of answer, by its name in `errors`, with each text that stands beside it: as the next argument, or the next item.

    What a function adds to such a text, one of two constants, is added here too.
    """
    for tree in MODULES.values():
        constants = dict(_constants(tree))
        for function, node in _with_functions(tree, None):
            for kind, beside in pairwise(_row(node)):
                if isinstance(kind, ast.Attribute) and ast.unparse(kind.value) == "errors":
                    for text in filter(None, _texts(beside, constants)):
                        yield from ((kind.attr, text + end) for end in _added(function, constants) or [""])


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value


def _with_functions(tree: ast.AST, function: ast.AST | None) -> Iterator[tuple[ast.AST | None, ast.AST]]:
    """Yield each node with the function that it stands in."""
    for node in ast.iter_child_nodes(tree):
        yield function, node
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _with_functions(node, node if is_function else function)


def _row(node: ast.AST) -> list[ast.expr]:
    return node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.Tuple) else []


def _texts(node: ast.AST, constants: dict[str, ast.expr]) -> Iterator[str | None]:
    if isinstance(node, ast.Name):
        yield text_of(constants.get(node.id))
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        table = constants.get(node.value.id)
        yield from map(text_of, table.values if isinstance(table, ast.Dict) else [])
    else:
        yield text_of(node)


def _added(function: ast.AST | None, constants: dict[str, ast.expr]) -> list[str]:
    return [
        text
        for node in ([] if function is None else ast.walk(function))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and isinstance(node.right, ast.IfExp)
        for end in (node.right.body, node.right.orelse)
        for text in filter(None, _texts(end, constants))
    ]
