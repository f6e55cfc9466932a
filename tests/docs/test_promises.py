"""Every promise of the security page names the tests that hold it."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.pages import ROOT, SECURITY, names, rows

_, _, _REST = SECURITY.partition("<!-- promises:begin -->")
PROMISES, _, _ = _REST.partition("<!-- promises:end -->")
NAMED = sorted({name for row in rows(PROMISES) for name in names(row[1])})


def test_every_promise_has_a_test() -> None:
    """No row is without one."""
    assert len(rows(PROMISES)) > 10
    assert [row[0] for row in rows(PROMISES) if not names(row[1])] == []


@pytest.mark.parametrize("name", NAMED)
def test_a_named_test_exists(name: str) -> None:
    """A test is named as pytest names it: `tests/FILE.py::test_NAME`."""
    path, _, function = name.partition("::")
    assert re.fullmatch(r"tests/[\w/]+\.py", path)
    defined = {
        node.name
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert function in defined
