"""docs/reliability.md promises nothing that no test holds, and its tables are the ones that the tests play."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.pages import PAGES, ROOT, names, rows, section
from tests.reliability.test_orders import ALLOWED
from tests.reliability.test_token_faults import FAULTS, Phase, expected

PAGE = PAGES["docs/reliability.md"]
PROMISES = rows(section(PAGE, "Promises"))
#: Wherever on the page, as pytest names it.
NAMED = sorted(set(re.findall(r"tests/[\w/]+\.py::\w+", PAGE)))


def test_every_promise_names_its_tests() -> None:
    """No row of the promises is without one."""
    assert len(PROMISES) > 10
    assert [row[0] for row in PROMISES if not [name for name in names(row[1]) if "::" in name]] == []


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_is_named_exists(name: str) -> None:
    """The file is there, and it defines a test of that name."""
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    defined = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert function.startswith("test_")
    assert function in defined


def test_the_phases_are_those_that_are_played() -> None:
    """When a fault meets the proxy, and what an order then comes to, for a fault that passes."""
    told = {row[0]: row[1:] for row in rows(section(PAGE, "When it meets the proxy"))}
    fault = FAULTS["503"]
    assert set(told) == {phase.value for phase in Phase}
    for phase in Phase:
        want = expected(fault, phase)
        status = f"{want.status}" if want.status == 200 else f"{want.status} `not_sent`"
        assert told[phase.value] == [status, str(want.sent), str(want.placed), "yes" if want.ready else "no"]


def test_the_faults_are_those_that_are_played() -> None:
    """Each fault with the word that the log has for it, the attempts that a waiting order sees, and when it is told to come again."""
    told = {row[0]: row[1:] for row in rows(section(PAGE, "What goes wrong"))}
    assert set(told) == set(FAULTS)
    for name, fault in FAULTS.items():
        code = f" {fault.code}" if fault.code else ""
        assert told[name] == [f"`{fault.reason}`{code}", str(len(fault.pauses)), f"{fault.pauses[-1]} s"]


def test_the_outcomes_are_those_that_are_counted() -> None:
    """What a client is told about an order, and how often the API may then have accepted it."""
    told = {row[0]: row[1] for row in rows(section(PAGE, "What a client knows of its order"))}
    assert told == {
        outcome: " or ".join(str(count) for count in sorted(counts)) for outcome, counts in ALLOWED.items()
    }
